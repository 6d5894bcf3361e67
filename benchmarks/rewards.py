"""How many completions the rewards score per CPU-second, beside the floor and a plain-loop implementation.

    OMP_NUM_THREADS=1 python benchmarks/rewards.py --json rewards.json

The batch is a GRPO step's: 32 prompts x 8 completions of about 12 objects and 6 relationships, all five standard terms,
the embedded word vectors. "steady" scores batch after batch of new answers with the labels known; "cold" is the first
batch of a process, the word vectors' loading included. The floor is orjson on the texts and linear_sum_assignment on
these answers' ready cost matrices, nothing else. The plain loops compute the same numbers object by object, with the
label table at hand; the largest difference to ours is printed. Times are CPU times of this process
(time.process_time), the best of the rounds.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from r1sgg.graph.scene import SceneGraph, label_of_id, normalize_name
from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.rubric import STANDARD_TERMS, Rubric

PROMPTS, GENERATIONS, ROUNDS = 32, 8, 7
OBJECTS, PREDICATES = VG150.objects, VG150.predicates
FRAME = (1000.0, 1000.0)

Batch = tuple[list[str], list[SceneGraph], list[tuple[float, float]]]


def batch(rng: random.Random) -> Batch:
    """Noisy answers: boxes jittered, every fifth label wrong, objects missing and added, some relationships off."""
    texts, truths, frames = [], [], []
    for _ in range(PROMPTS):
        truth = [(rng.choice(OBJECTS), _box(rng)) for _ in range(rng.randint(9, 15))]
        ends = [rng.sample(range(len(truth)), 2) for _ in range(rng.randint(4, 8))]
        relations = [(s, rng.choice(PREDICATES), o) for s, o in ends]
        graph = parse(_text(truth, relations), FRAME).graph
        for _ in range(GENERATIONS):
            noisy = [
                (rng.choice(OBJECTS) if rng.random() < 0.2 else name, [v + rng.randint(-9, 9) for v in box])
                for name, box in truth
            ]
            kept = len(noisy) - rng.choice((0, 0, 0, 1, 2))
            noisy = noisy[:kept]
            noisy += [(rng.choice(OBJECTS), _box(rng)) for _ in range(rng.randint(0, 2))]
            guessed = [
                (s, rng.choice(PREDICATES) if rng.random() < 0.3 else p, o) for s, p, o in relations if max(s, o) < kept
            ]
            texts.append(f"<think></think><answer>{_text(noisy, guessed)}</answer>")
            truths.append(graph)
            frames.append(FRAME)
    return texts, truths, frames


def _box(rng: random.Random) -> list[int]:
    x, y = rng.randint(10, 700), rng.randint(10, 700)
    return [x, y, x + rng.randint(40, 280), y + rng.randint(40, 280)]


def _text(objects: list[tuple[str, list[int]]], relations: list[tuple[int, str, int]]) -> str:
    ids = [f"{name}.{k + 1}" for k, (name, _) in enumerate(objects)]
    document = {
        "objects": [{"id": i, "bbox": box} for i, (_, box) in zip(ids, objects, strict=True)],
        "relationships": [{"subject": ids[s], "predicate": p, "object": ids[o]} for s, p, o in relations],
    }
    return orjson.dumps(document).decode()


# ---------------------------------------------------------------- the two beside us


def floor(texts: list[str], costs: list[np.ndarray]) -> None:
    """The JSON reader and the assignment, nothing else."""
    for text, cost in zip(texts, costs, strict=True):
        orjson.loads(text[len("<think></think><answer>") : -len("</answer>")])
        linear_sum_assignment(cost)


def costs_of(rubric: Rubric, item: Batch) -> list[np.ndarray]:
    """The cost matrices of a batch, ready for the assignment."""
    texts, truths, frames = item
    evidence = rubric.evidence(texts, rubric.read(texts, truths, frames), truths, frames)
    cells, boxes = evidence.cells, evidence.cells.boxes
    costs = 1 - evidence.matched.cosines + 2 * (1 - boxes.iou) + 5 * boxes.l1
    sizes = zip(cells.first.tolist(), evidence.true.counts.tolist(), evidence.predicted.counts.tolist(), strict=True)
    return [costs[first : first + rows * columns].reshape(rows, columns) for first, rows, columns in sizes]


class Loops:
    """The five terms, object by object."""

    def __init__(self) -> None:
        similarity = load_similarity("glove")
        names = sorted({*map(normalize_name, OBJECTS), *PREDICATES})
        table = similarity.table(names, names).tolist()
        self.cosine = {(a, b): table[i][j] for i, a in enumerate(names) for j, b in enumerate(names)}

    def score(self, text: str, truth: SceneGraph) -> list[float]:
        """Format, node, edge, hard recall, hard recall + relax."""
        body = text[len("<think></think><answer>") : -len("</answer>")]
        document = orjson.loads(body)
        marked = float("object" in body and "relationships" in body)
        ids = [o["id"] for o in document["objects"]]
        labels = [label_of_id(i) for i in ids]
        boxes = [[v / FRAME[k % 2] for k, v in enumerate(o["bbox"])] for o in document["objects"]]
        index = {i: k for k, i in enumerate(ids)}
        predicted = [
            (index[r["subject"]], normalize_name(r["predicate"]), index[r["object"]]) for r in document["relationships"]
        ]
        true_boxes = truth.boxes.tolist()
        cosine = [[self.cosine[a, b] for b in labels] for a in truth.labels]
        iou = [[_iou(a, b) for b in boxes] for a in true_boxes]
        l1 = [[sum(abs(p - q) for p, q in zip(a, b, strict=True)) for b in boxes] for a in true_boxes]
        cost = [
            [1 - c + 2 * (1 - i) + 5 * d for c, i, d in zip(*rows, strict=True)]
            for rows in zip(cosine, iou, l1, strict=True)
        ]
        pairs = dict(zip(*(side.tolist() for side in linear_sum_assignment(cost)), strict=True))
        node = sum(max(cosine[i][j], 0) + 2 * iou[i][j] + 5 * math.exp(-l1[i][j]) for i, j in pairs.items()) / 8
        edge = hard = relax = 0.0
        for (s, o), predicate in zip(truth.pairs, truth.predicates, strict=True):
            best_edge = best_relax = best_hard = 0.0
            for ps, p, po in predicted:
                product = max(cosine[s][ps], 0) * max(cosine[o][po], 0) * max(self.cosine[predicate, p], 0)
                if pairs.get(s) == ps and pairs.get(o) == po:
                    best_edge = max(best_edge, product)
                if iou[s][ps] >= 0.5 and iou[o][po] >= 0.5:
                    best_relax = max(best_relax, product)
                    if (labels[ps], p, labels[po]) == (truth.labels[s], predicate, truth.labels[o]):
                        best_hard = 1.0
            edge, hard, relax = edge + best_edge, hard + best_hard, relax + best_relax
        count = len(truth.pairs)
        return [marked, node / len(truth), edge / count, hard / count, relax / count]


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


# ---------------------------------------------------------------- measuring


def rate(batches: list[Batch], work: Callable[[Batch], object]) -> float:
    """Completions per CPU-second, the best of the batches."""
    best = math.inf
    for item in batches:
        start = time.process_time()
        work(item)
        best = min(best, (time.process_time() - start) / len(item[0]))
    return 1 / best


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    rng = random.Random(0)
    batches = [batch(rng) for _ in range(ROUNDS + 1)]

    start = time.process_time()
    rubric = Rubric(dict.fromkeys(STANDARD_TERMS, 1.0), load_similarity("glove"))
    first = rubric.score(*batches[0])
    cold = len(first) / (time.process_time() - start)

    loops = Loops()
    plain = [loops.score(c, t) for c, t in zip(*batches[0][:2], strict=True)]
    ours = [list(s.terms.values()) for s in first]
    difference = float(np.abs(np.array(plain) - np.array(ours, dtype=np.float64)).max())
    ready = {id(b): costs_of(rubric, b) for b in batches}
    texts, truths, _ = batches[0]
    figures = {
        "completions": len(texts),
        "objects": sum(map(len, truths)) / len(truths),
        "relationships": sum(len(t.pairs) for t in truths) / len(truths),
        "characters": sum(map(len, texts)) / len(texts),
        "steady": rate(batches[1:], lambda b: rubric.score(*b)),
        "cold": cold,
        "parse": rate(batches[1:], lambda b: [parse(c, f) for c, f in zip(b[0], b[2], strict=True)]),
        "floor": rate(batches[1:], lambda b: floor(b[0], ready[id(b)])),
        "plain_loops": rate(batches[1:], lambda b: [loops.score(c, t) for c, t in zip(*b[:2], strict=True)]),
        "largest_difference_to_plain_loops": difference,
    }
    figures["times_the_floor"] = figures["floor"] / figures["steady"]

    table = Table(title=f"rewards: {PROMPTS} x {GENERATIONS} completions, {figures['objects']:.1f} objects each")
    table.add_column("what")
    table.add_column("completions per CPU-second", justify="right")
    for name in ("steady", "cold", "parse", "floor", "plain_loops"):
        table.add_row(name.replace("_", " "), f"{figures[name]:,.0f}")
    console = Console()
    console.print(table)
    console.print(f"{figures['times_the_floor']:.2f} x the floor; largest difference to plain loops {difference:.1e}")
    if options.json:
        options.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
