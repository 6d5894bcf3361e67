"""How fast and how lean `r1sgg evaluate` is: from files of completions to all metrics.

    python benchmarks/evaluate.py --out results.json                     # 5,000, 20,000 and 100,000 images
    python benchmarks/evaluate.py --images 5000 --peers

Each size runs in a process of its own (OMP_NUM_THREADS=1): CPU-seconds and peak memory are the process's, the start
of Python included. `--peers` runs pycocotools, faster-coco-eval and sgbench on the same boxes and triplets, each in its
own process, for the part that it does ("part"); their input is made ready for them and not counted in it.

R@50 of 11 of 5,000 images differs from sgbench's (0.281967 against 0.281920 in the mean): in ten the annotation repeats
a triplet, which sgbench counts once; in one a box lies on two objects of its class, and sgbench takes the nearer one.

The images are synthetic: 12 objects of VG150 classes, 6 relations, answers with jittered boxes, wrong labels, missing
objects and 4 % broken JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

OBJECTS, RELATIONS = 12, 6
PEERS = ("pycocotools", "faster-coco-eval", "sgbench")


def make_files(folder: Path, images: int, seed: int = 0) -> None:
    """Write gt.jsonl and pred.jsonl for `images` synthetic images."""
    from r1sgg.graph.vocabulary import VG150

    rng = np.random.default_rng(seed)
    with (folder / "gt.jsonl").open("wb") as truth, (folder / "pred.jsonl").open("wb") as answers:
        for number in range(images):
            width, height = (int(v) for v in rng.integers(320, 1024, 2))
            labels = [VG150.objects[k] for k in rng.integers(0, 150, OBJECTS)]
            ids = [f"{label}.{k}" for k, label in enumerate(labels, 1)]
            low = rng.uniform(0, 0.7, (OBJECTS, 2))
            boxes = np.concatenate([low, low + rng.uniform(0.05, 0.3, (OBJECTS, 2))], axis=1)
            pixels = np.rint(boxes * [width, height, width, height]).astype(int)
            pixels[:, 2:] = np.maximum(pixels[:, 2:], pixels[:, :2] + 1)
            pairs = [rng.permutation(OBJECTS)[:2].tolist() for _ in range(RELATIONS)]
            predicates = [VG150.predicates[k] for k in rng.integers(0, 50, RELATIONS)]
            row = {
                "image_id": str(2_000_000 + number),
                "width": width,
                "height": height,
                "objects": [{"id": i, "bbox": b} for i, b in zip(ids, pixels.tolist(), strict=True)],
                "relationships": [
                    {"subject": ids[s], "predicate": p, "object": ids[o]}
                    for (s, o), p in zip(pairs, predicates, strict=True)
                ],
            }
            truth.write(orjson.dumps(row) + b"\n")
            wrong = rng.random(OBJECTS) < 0.15
            said = [
                f"{VG150.objects[int(rng.integers(150))]}.{k}" if w else i
                for k, (i, w) in enumerate(zip(ids, wrong, strict=True), 1)
            ]
            guess = np.clip(np.rint((boxes + rng.normal(0, 0.02, boxes.shape)) * 1000), 0, 1000).astype(int)
            guess[:, 2:] = np.maximum(guess[:, 2:], guess[:, :2] + 1)
            there = rng.random(OBJECTS) > 0.1
            answer = {
                "objects": [{"id": i, "bbox": b} for i, b, t in zip(said, guess.tolist(), there, strict=True) if t],
                "relationships": [
                    {"subject": said[s], "predicate": p if rng.random() > 0.3 else "on", "object": said[o]}
                    for (s, o), p in zip(pairs, predicates, strict=True)
                ],
            }
            text = json.dumps(answer)
            if rng.random() < 0.04:
                text = text[: len(text) // 2]
            line = {
                "image_id": row["image_id"],
                "completion": f"<think></think><answer>{text}</answer>",
                "frame": [1000, 1000],
            }
            answers.write(orjson.dumps(line) + b"\n")


def ours(folder: Path) -> dict[str, Any]:
    """Everything, from the files."""
    from r1sgg.data.base import read_ground_truth
    from r1sgg.data.predictions import read_predictions
    from r1sgg.graph.vocabulary import VG150
    from r1sgg.metrics import evaluate

    result = evaluate(read_ground_truth(folder / "gt.jsonl"), read_predictions(folder / "pred.jsonl"), VG150)
    return {key: result[key] for key in ("images", "failure_rate", "AP50", "R@50", "mR@50", "ngR@50", "precision")}


def ours_ap(folder: Path) -> dict[str, Any]:
    """Only the boxes, to stand beside the COCO evaluators."""
    from r1sgg.metrics.objects import BoxColumns, average_precision

    graphs = _graphs(folder)
    start = time.process_time()
    columns, classes = (BoxColumns(), BoxColumns()), dict[str, int]()
    for k, (size, truth, graph) in enumerate(graphs):
        columns[0].add(k, truth, size, classes, scored=False)
        columns[1].add(k, graph, size, classes, scored=False)
    result = average_precision(*columns, np.arange(len(graphs)))
    return {"AP50": result["AP50"], "part_seconds": time.process_time() - start}


def ours_triplets(folder: Path) -> dict[str, Any]:
    """Only the triplets, to stand beside sgbench: R@K and mR@K without the graph constraint."""
    from r1sgg.judging.protocol import STRICT
    from r1sgg.judging.triplets import blocks, judge

    graphs = _graphs(folder)
    start = time.process_time()
    recalls: list[float] = []
    truths, answers = [truth for _, truth, _ in graphs], [graph for _, _, graph in graphs]
    for part in blocks(truths, answers):
        found = judge(truths[part], answers[part], replace(STRICT, claims="none"))
        true = found.evidence.true
        hits = np.bincount(true.triplet_owners, weights=found.ranks_ng < 50, minlength=len(true.counts))
        recalls += (hits / true.triplet_counts).tolist()
    return {"R@50": float(np.mean(recalls)), "part_seconds": time.process_time() - start}


def coco(folder: Path, package: str) -> dict[str, Any]:
    """AP by pycocotools or faster-coco-eval, on their own whole-set path."""
    import contextlib
    import io

    graphs = _graphs(folder)
    classes: dict[str, int] = {}
    sides: list[list[dict[str, Any]]] = [[], []]
    for image, (size, *pair) in enumerate(graphs):
        for side, graph in zip(sides, pair, strict=True):
            for label, (x1, y1, x2, y2) in zip(graph.labels, (graph.boxes * (size * 2)).tolist(), strict=True):
                row = {"id": len(side) + 1, "image_id": image, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
                row |= {"category_id": classes.setdefault(label, len(classes) + 1), "score": 1.0}
                side.append(row | {"area": row["bbox"][2] * row["bbox"][3]})
    categories = [{"id": k, "name": name} for name, k in classes.items()]
    images = [{"id": k} for k in range(len(graphs))]
    start = time.process_time()
    if package == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = []
        for side in sides:
            data = COCO()
            data.dataset = {"images": images, "annotations": side, "categories": categories}
            data.createIndex()
            loaded.append(data)
        evaluation = COCOeval(*loaded, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    table = evaluation.eval["precision"][0, :, :, 0, 0]
    return {"AP50": float(table[table > -1].mean()), "part_seconds": time.process_time() - start}


def sgbench(folder: Path) -> dict[str, Any]:
    """R@50 and mR@50 by sgbench's own functions."""
    from sgbench import match_instances, recall, remap_triplets

    graphs = _graphs(folder)
    classes: dict[str, int] = {}
    predicates: dict[str, int] = {}
    number = lambda table, name: table.setdefault(name, len(table))  # noqa: E731
    ready = []
    for size, truth, graph in graphs:
        arrays = []
        for g in (truth, graph):
            triplets = [(s, o, number(predicates, p)) for (s, o), p in zip(g.pairs, g.predicates, strict=True)]
            labels = np.array([number(classes, name) for name in g.labels], dtype=int)
            arrays.append((g.boxes * (size * 2), labels, np.array(triplets, dtype=int).reshape(-1, 3)))
        ready.append(arrays)
    start = time.process_time()
    recalls = []
    for (true_boxes, true_labels, true_triplets), (boxes, labels, triplets) in ready:
        if not len(triplets):
            recalls.append(0.0)
            continue
        partners = match_instances(
            gt_instances=true_boxes, gt_labels=true_labels, pred_instances=boxes, pred_labels=labels
        )
        matched = remap_triplets(inst_pred2gt=partners, pred_triplets=triplets)
        settings = {"gt_triplets": true_triplets, "matched_triplets": matched, "num_predicates": 50}
        recalls.append(recall(k=50, mean=False, **settings))
        recall(k=50, mean=True, **settings)
    return {"R@50": float(np.mean(recalls)), "part_seconds": time.process_time() - start}


def _graphs(folder: Path) -> list[Any]:
    """(width, height), true graph and parsed answer of each image."""
    from r1sgg.data.base import read_ground_truth
    from r1sgg.data.predictions import read_predictions
    from r1sgg.metrics.streams import join

    rows = join(read_ground_truth(folder / "gt.jsonl"), read_predictions(folder / "pred.jsonl"))
    return [((e.width, e.height), e.graph, p.read().graph) for _, e, p in rows if p is not None]


RUNS = {
    "r1sgg": ours,
    "r1sgg, AP only": ours_ap,
    "pycocotools": lambda folder: coco(folder, "pycocotools"),
    "faster-coco-eval": lambda folder: coco(folder, "faster-coco-eval"),
    "r1sgg, triplets only": ours_triplets,
    "sgbench": sgbench,
}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run one of `RUNS` in a fresh process; CPU-seconds and peak memory of that process."""
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {"what": name, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20000, 100000])
    parser.add_argument("--peers", action="store_true", help="beside them pycocotools, faster-coco-eval, sgbench")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        result = RUNS[options.child](options.folder)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cost = {"cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
        print(json.dumps(cost | result))
        return
    rows = []
    for images in options.images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_files(folder, images)
            for what in RUNS if options.peers else ("r1sgg",):
                rows.append({"images": images, **measure(what, folder)})
                row = rows[-1]
                part = f"{row['part_seconds']:8.2f}" if "part_seconds" in row else " " * 8
                figure = ", ".join(f"{k} {row[k]:.6f}" for k in ("AP50", "R@50") if k in row)
                print(
                    f"{images:7d}  {what:22s} {row['cpu_seconds']:8.2f} CPU-s  part {part} CPU-s "
                    f"{row['peak_mb']:7.0f} MB  {figure}",
                    flush=True,
                )
    if options.out:
        options.out.write_text(json.dumps({"command": " ".join(sys.argv), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
