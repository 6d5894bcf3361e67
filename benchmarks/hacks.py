"""What ways of gaming a reward earn, beside the ground truth and honest completions, under every named reward set.

    python benchmarks/hacks.py --graphs gt.jsonl --json hacks.json

`--graphs` is a ground-truth file, or a JSON list of {image_id, objects, relationships} with boxes in pixels (the image
is then as large as its boxes reach). Each row of the table is a way to answer: what it knows of the image (nothing, the
boxes, the objects, all of it), and the mean total over the images under each set, boxes in thousandths. Hacks that move
copies of objects search for the offset that earns most, for each set by itself. Nothing is trained here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from r1sgg.data.base import example_of_record, read_ground_truth
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.rubric import REWARD_SETS, Rubric

Thing = tuple[str, Sequence[float]]
"""A class and a box in thousandths."""
Triplet = tuple[int, str, int]
Answer = tuple[list[Thing], list[Triplet]]
OFFSETS = (0.0, 0.03, 0.06, 0.1, 0.14, 0.18, 0.22, 0.28, 0.33)
"""Shares of a box's sides by which copies are moved."""


class World(NamedTuple):
    """What a model could have learnt from training data alone."""

    labels: list[str]
    predicates: list[str]
    hub_label: str
    hub_predicate: str


def read_graphs(path: Path) -> list[SceneGraph]:
    """The graphs of a file that have a relationship."""
    if path.suffix == ".jsonl":
        graphs = [example.graph for example in read_ground_truth(path)]
    else:
        graphs = []
        for row in json.loads(path.read_text()):
            corners = np.array([o["bbox"] for o in row["objects"]]).reshape(-1, 4)
            if not len(corners):
                continue
            size = {"width": int(np.ceil(corners[:, 2].max())), "height": int(np.ceil(corners[:, 3].max()))}
            keys = ("objects", "relationships")
            record = {"image_id": str(row["image_id"]), **size, **{key: row[key] for key in keys}}
            graphs.append(example_of_record(record, str(path), Path()).graph)
    return [graph for graph in graphs if graph.pairs]


def learn(graphs: Sequence[SceneGraph]) -> World:
    """Frequent names, and names that are close to all others."""
    labels = Counter(label for g in graphs for label in g.labels)
    predicates = Counter(p for g in graphs for p in g.predicates)
    return World(
        [name for name, _ in labels.most_common()],
        [name for name, _ in predicates.most_common()],
        hub(labels, VG150.objects),
        hub(predicates, VG150.predicates),
    )


def hub(frequencies: Counter[str], vocabulary: Sequence[str]) -> str:
    """The words that together are closest to all names, by their frequency: added one by one while it gets closer."""
    similarity = load_similarity("glove")
    names = list(frequencies)
    weights = np.array([frequencies[name] for name in names], dtype=np.float64)
    weights /= weights.sum()
    words = sorted({word for name in vocabulary for word in name.split()})
    chosen: list[str] = []
    best = 0.0
    while len(chosen) < 25:
        found = np.maximum(similarity.table([" ".join([*chosen, word]) for word in words], names), 0) @ weights
        if found.max() < best + 1e-4:
            break
        best = float(found.max())
        chosen.append(words[int(found.argmax())])
    return " ".join(chosen)


# ---------------------------------------------------------------- honest completions


def gold(graph: SceneGraph) -> Answer:
    """The ground truth."""
    boxes = (graph.boxes * 1000).tolist()
    pairs = zip(graph.pairs, graph.predicates, strict=True)
    return list(zip(graph.labels, boxes, strict=True)), [(s, p, o) for (s, o), p in pairs]


def honest(graph: SceneGraph, rng: random.Random, right: float = 0.8) -> Answer:
    """Four fifths of the objects, boxes a little off; of their triplets four fifths have the right predicate."""
    objects, triplets = gold(graph)
    kept = [k for k in range(len(objects)) if rng.random() < right] or [0]
    place = {old: new for new, old in enumerate(kept)}
    things = [(objects[k][0], jittered(objects[k][1], rng)) for k in kept]
    return things, [(place[s], said(p, rng, right), place[o]) for s, p, o in triplets if s in place and o in place]


def exact_objects(graph: SceneGraph, rng: random.Random, right: float = 0.8) -> Answer:
    """All objects exactly, all pairs, four fifths of the predicates right."""
    objects, triplets = gold(graph)
    return objects, [(s, said(p, rng, right), o) for s, p, o in triplets]


def beyond(graph: SceneGraph, rng: random.Random, world: World, more: int = 5) -> Answer:
    """The ground truth, and a frequent predicate on pairs that it says nothing about."""
    objects, triplets = gold(graph)
    related = {frozenset(pair) for pair in graph.pairs}
    free = [pair for pair in itertools.combinations(range(len(graph)), 2) if frozenset(pair) not in related]
    chosen = rng.sample(free, min(more, len(free)))
    return objects, [*triplets, *((a, rng.choice(world.predicates[:5]), b) for a, b in chosen)]


def said(predicate: str, rng: random.Random, right: float) -> str:
    """The predicate, or any other one."""
    return predicate if rng.random() < right else rng.choice([p for p in VG150.predicates if p != predicate])


def jittered(box: Sequence[float], rng: random.Random) -> list[float]:
    """A box whose sides are off by a twentieth."""
    sides = (box[2] - box[0], box[3] - box[1]) * 2
    x1, y1, x2, y2 = (min(1000.0, max(0.0, v + rng.gauss(0, 0.05) * s)) for v, s in zip(box, sides, strict=True))
    return [min(x1, 998), min(y1, 998), max(x2, min(x1, 998) + 2), max(y2, min(y1, 998) + 2)]


# ---------------------------------------------------------------- parts of hacks


def grid(count: int, label: str, rng: random.Random) -> list[Thing]:
    """Boxes of several sizes anywhere."""
    things = []
    for _ in range(count):
        side = rng.choice((150, 250, 400, 600, 900))
        x, y = rng.uniform(0, 1000 - side), rng.uniform(0, 1000 - side)
        things.append((label, [x, y, x + side, y + side]))
    return things


def all_pairs(objects: Sequence[Thing], predicates: Sequence[str]) -> list[Triplet]:
    """Every ordered pair with every predicate."""
    return [(a, p, b) for p in predicates for a, b in itertools.permutations(range(len(objects)), 2)]


def true_pairs(graph: SceneGraph, predicates: Sequence[str]) -> list[Triplet]:
    """The related pairs with every predicate."""
    return [(s, p, o) for p in predicates for s, o in dict.fromkeys(graph.pairs)]


def copies(answer: Answer, count: int, offset: float, predicates: Sequence[str] | None = None) -> Answer:
    """The answer said `count` times under fresh ids, each time with its boxes moved by a share of their sides.

    With `predicates` each copy has another one on all pairs.
    """
    objects, triplets = answer
    things: list[Thing] = []
    said_: list[Triplet] = []
    for k in range(count):
        x, y = ((k % 3) - 1) * offset if k else 0.0, ((k // 3 % 3) - 1) * offset if k else 0.0
        for label, (x1, y1, x2, y2) in objects:
            dx, dy = x * (x2 - x1), y * (y2 - y1)
            things.append((label, [x1 + dx, y1 + dy, x2 + dx, y2 + dy]))
        shift = k * len(objects)
        named = triplets if predicates is None else [(s, predicates[k], o) for s, o in dict.fromkeys(_ends(triplets))]
        said_ += [(s + shift, p, o + shift) for s, p, o in named]
    return things, said_


def _ends(triplets: Sequence[Triplet]) -> list[tuple[int, int]]:
    return [(s, o) for s, _, o in triplets]


# ---------------------------------------------------------------- the ways to answer

Way = Callable[[SceneGraph, random.Random, World], Answer]
HONEST: dict[str, tuple[str, Way]] = {
    "ground truth": ("all", lambda g, r, w: gold(g)),
    "ground truth, and 5 pairs that nobody annotated": ("all", lambda g, r, w: beyond(g, r, w)),
    "honest: 4/5 of objects and predicates": ("all", lambda g, r, w: honest(g, r)),
    "honest: exact objects, 4/5 of predicates": ("all", lambda g, r, w: exact_objects(g, r)),
}
HACKS: dict[str, tuple[str, Way]] = {
    "one giant box": ("nothing", lambda g, r, w: ([(w.labels[0], [0, 0, 1000, 1000])], [])),
    "12 boxes anywhere, hub label, chain of hub predicates": (
        "nothing",
        lambda g, r, w: (grid(12, w.hub_label, r), [(k, w.hub_predicate, (k + 1) % 12) for k in range(12)]),
    ),
    "40 boxes anywhere, hub label": ("nothing", lambda g, r, w: (grid(40, w.hub_label, r), [])),
    "40 boxes anywhere, hub label, all pairs hub predicate": (
        "nothing",
        lambda g, r, w: (lambda o: (o, all_pairs(o, [w.hub_predicate])))(grid(40, w.hub_label, r)),
    ),
    "300 boxes anywhere, commonest label": ("nothing", lambda g, r, w: (grid(300, w.labels[0], r), [])),
    "exact boxes, hub label, true pairs, hub predicate": (
        "boxes",
        lambda g, r, w: ([(w.hub_label, b) for _, b in gold(g)[0]], true_pairs(g, [w.hub_predicate])),
    ),
    "exact boxes, commonest label, true pairs, commonest predicate": (
        "boxes",
        lambda g, r, w: ([(w.labels[0], b) for _, b in gold(g)[0]], true_pairs(g, w.predicates[:1])),
    ),
    "honest and 60 boxes anywhere": (
        "all",
        lambda g, r, w: (lambda a: ([*a[0], *grid(60, w.labels[0], r)], a[1]))(honest(g, r)),
    ),
    "honest, each object a second time": ("all", lambda g, r, w: (lambda a: (a[0] * 2, a[1]))(honest(g, r))),
    "exact objects, no relation": ("objects", lambda g, r, w: (gold(g)[0], [])),
    "exact objects, true pairs, commonest predicate": (
        "objects",
        lambda g, r, w: (gold(g)[0], true_pairs(g, w.predicates[:1])),
    ),
    "exact objects, true pairs, hub predicate": (
        "objects",
        lambda g, r, w: (gold(g)[0], true_pairs(g, [w.hub_predicate])),
    ),
    "exact objects, true pairs, two commonest predicates": (
        "objects",
        lambda g, r, w: (gold(g)[0], true_pairs(g, w.predicates[:2])),
    ),
    "exact objects, true pairs, all 50 predicates": (
        "objects",
        lambda g, r, w: (gold(g)[0], true_pairs(g, VG150.predicates)),
    ),
    "exact objects, all pairs, commonest predicate": (
        "objects",
        lambda g, r, w: (lambda o: (o, all_pairs(o, w.predicates[:1])))(gold(g)[0]),
    ),
    "exact objects, all pairs, hub predicate": (
        "objects",
        lambda g, r, w: (lambda o: (o, all_pairs(o, [w.hub_predicate])))(gold(g)[0]),
    ),
    "exact objects, true pairs turned round, commonest predicate": (
        "objects",
        lambda g, r, w: (gold(g)[0], [(o, p, s) for s, p, o in true_pairs(g, w.predicates[:1])]),
    ),
    "exact objects, each with itself": (
        "objects",
        lambda g, r, w: (gold(g)[0], [(k, w.predicates[0], k) for k in range(len(g))]),
    ),
    "ground truth, each triplet 10 times": ("all", lambda g, r, w: (gold(g)[0], gold(g)[1] * 10)),
}
MOVED: dict[str, tuple[str, Callable[[SceneGraph, float, World], Answer]]] = {
    "ground truth 10 times under fresh ids, moved": ("all", lambda g, d, w: copies(gold(g), 10, d)),
    "exact objects 8 times under fresh ids, moved, one predicate each": (
        "objects",
        lambda g, d, w: copies(gold(g), 8, d, w.predicates[:8]),
    ),
    "exact objects 2 times under fresh ids, moved, one predicate each": (
        "objects",
        lambda g, d, w: copies(gold(g), 2, d, w.predicates[:2]),
    ),
}
TEXTS = {
    "keywords only": "<think></think><answer>object relationships</answer>",
    "an empty graph": '<think></think><answer>{"objects": [], "relationships": []}</answer>',
}


def text(answer: Answer, frame: tuple[float, float] = (1000.0, 1000.0)) -> str:
    """An answer as a completion; boxes are thousandths, written as whole numbers of the frame."""
    objects, triplets = answer
    ids = [f"{label}.{k}" for k, (label, _) in enumerate(objects, 1)]
    scale = [frame[0] / 1000, frame[1] / 1000] * 2
    document = {
        "objects": [
            {"id": i, "bbox": [round(v * s) for v, s in zip(box, scale, strict=True)]}
            for i, (_, box) in zip(ids, objects, strict=True)
        ],
        "relationships": [{"subject": ids[s], "predicate": p, "object": ids[o]} for s, p, o in triplets],
    }
    return f"<think></think><answer>{orjson.dumps(document).decode()}</answer>"


def measure(graphs: Sequence[SceneGraph], sets: Sequence[str], seed: int = 0) -> dict[str, dict[str, Any]]:
    """For each way to answer what it knows, and its mean total under each set."""
    world = learn(graphs)
    rubrics = {name: Rubric.of(name, load_similarity("glove")) for name in sets}
    frames = [(1000.0, 1000.0)] * len(graphs)

    def totals(texts: Sequence[str]) -> dict[str, float]:
        scores = {name: rubric.score(texts, graphs, frames) for name, rubric in rubrics.items()}
        return {name: float(np.mean([s.total for s in found])) for name, found in scores.items()}

    rows: dict[str, dict[str, Any]] = {}
    for name, (knows, way) in (HONEST | HACKS).items():
        draws = [random.Random(f"{seed}/{k}") for k in range(len(graphs))]  # the same honest part in every row
        answers = [way(g, rng, world) for g, rng in zip(graphs, draws, strict=True)]
        rows[name] = {"knows": knows, **totals([text(answer) for answer in answers])}
    for name, (knows, moved) in MOVED.items():
        found = [totals([text(moved(g, offset, world)) for g in graphs]) for offset in OFFSETS]
        rows[name] = {"knows": knows, **{s: max(row[s] for row in found) for s in sets}}
    for name, said_ in TEXTS.items():
        rows[name] = {"knows": "nothing", **totals([said_] * len(graphs))}
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=Path, required=True, help="a ground-truth file, or a JSON list of graphs")
    parser.add_argument("--sets", nargs="+", default=list(REWARD_SETS), help="named reward sets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    graphs = read_graphs(options.graphs)
    rows = measure(graphs, options.sets, options.seed)
    table = Table(title=f"{len(graphs)} graphs of {options.graphs.name}: mean total")
    for column in ("completion", "knows", *options.sets):
        table.add_column(column, justify="left" if column in ("completion", "knows") else "right")
    for name, row in rows.items():
        table.add_row(name, row["knows"], *(f"{row[s]:.3f}" for s in options.sets))
    Console(width=140).print(table)
    if options.json:
        options.json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
