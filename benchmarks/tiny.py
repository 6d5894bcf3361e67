"""The table of the embedded experiment (`runs/tiny.sh`): every stage, over scenes and seeds.

    python benchmarks/tiny.py runs/tiny --json runs/tiny/table.json
    python benchmarks/tiny.py runs/tiny --objects 3        # only scenes of three objects and more

Reads FOLDER/test/gt.jsonl (the sparse annotation), FOLDER/test/full.jsonl (the truth) and
FOLDER/predictions/STAGE[-sSEED].{greedy,sampled}.jsonl. A stage's figure is the mean over its seeds of the mean over
scenes. Its 95 % interval comes from a two-level bootstrap: seeds are drawn with replacement, then scenes, the same for
all seeds and stages; so it holds what another seed and other scenes would change. A stage with one run has only the
second level. Ratios to another stage are taken inside each resample. `both objects` and `pair` say where true relations
are lost: the share of them whose two objects are in the answer (class, IoU >= 0.5), and are joined there by anything.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r1sgg.data.base import read_ground_truth
from r1sgg.data.predictions import read_predictions
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.triplets import judge
from r1sgg.metrics.per_image import per_image

Array = npt.NDArray[np.float64]
RESAMPLES = 2000
STAGES = ("baseline", "zero-rl", "sft-short", "sft", "control", "sft-rl", "sft-rl-balanced")
COLUMNS = (
    "failures",
    "R@50 truth",
    "R@50 annotation",
    "precision",
    "relations per image",
    "repeated",
    "both objects",
    "pair",
)


@dataclass(frozen=True)
class Runs:
    """One stage in one way of decoding: sums per seed and scene, each (S, N)."""

    sums: dict[str, Array]

    def figure(self, name: str, seeds: npt.NDArray[np.int64], scenes: npt.NDArray[np.int64]) -> float:
        """A figure over the given seeds and scenes (indices, repeats allowed)."""
        top, bottom = self.sums[f"{name}/top"], self.sums[f"{name}/bottom"]
        chosen = np.ix_(seeds, scenes)
        below = bottom[chosen].sum(1)
        return float(np.mean(top[chosen].sum(1) / np.maximum(below, 1e-9)))

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.sums["failures/top"].shape
        return rows, columns


def located(truth: SceneGraph, graph: SceneGraph) -> tuple[int, int]:
    """Of the true relations: how many have both objects in the answer, and how many of these are joined there."""
    same = judge([truth], [graph]).evidence.same_object.reshape(len(truth), len(graph))
    both = [(same[a], same[b]) for a, b in truth.pairs if same[a].any() and same[b].any()]
    return len(both), sum(any(left[c] and right[d] for c, d in graph.pairs) for left, right in both)


def load(folder: Path, stage: str, how: str, objects: int = 0) -> Runs | None:
    """A stage's predictions, scored against both ground truths, on scenes of at least so many objects."""
    pattern = re.compile(rf"{re.escape(stage)}(-s\d+)?\.{how}\.jsonl")
    files = sorted(path for path in (folder / "predictions").iterdir() if pattern.fullmatch(path.name))
    if not files:
        return None
    sums: dict[str, list[list[float]]] = {}
    for path in files:
        row: dict[str, list[float]] = {}
        truth = per_image(read_ground_truth(folder / "test" / "full.jsonl"), read_predictions(path))
        sparse = per_image(read_ground_truth(folder / "test" / "gt.jsonl"), read_predictions(path))
        for full, some in zip(truth, sparse, strict=True):
            if len(full["truth"]) < objects:
                continue
            both, joined = located(full["truth"], full["graph"])
            graph, related = full["graph"], full["R@50"] is not None
            triplets = list(zip(graph.pairs, graph.predicates, strict=True))
            values = {
                "failures": (full["failure"] is not None, 1),
                "R@50 truth": (full["R@50"] or 0, related),
                "R@50 annotation": (some["R@50"] or 0, some["R@50"] is not None),
                "precision": ((full["precision"] or 0) * full["relations"], full["relations"]),
                "relations per image": (full["relations"], 1),
                "repeated": (len(triplets) - len(set(triplets)), len(triplets)),
                "both objects": (both, full["true_relations"]),
                "pair": (joined, full["true_relations"]),
            }
            for name, (top, bottom) in values.items():
                row.setdefault(f"{name}/top", []).append(float(top))
                row.setdefault(f"{name}/bottom", []).append(float(bottom))
        for name, column in row.items():
            sums.setdefault(name, []).append(column)
    return Runs({name: np.array(rows) for name, rows in sums.items()})


def interval(draw: Callable[[np.random.Generator], float], seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of the resamples."""
    rng = np.random.default_rng(seed)
    low, high = np.quantile([draw(rng) for _ in range(RESAMPLES)], [0.025, 0.975])
    return float(low), float(high)


def summary(runs: Runs, name: str) -> tuple[float, float, float]:
    """A figure with its interval."""
    seeds, scenes = runs.shape

    def draw(rng: np.random.Generator) -> float:
        return runs.figure(name, rng.integers(seeds, size=seeds), rng.integers(scenes, size=scenes))

    return (runs.figure(name, np.arange(seeds), np.arange(scenes)), *interval(draw))


def against(runs: Runs, other: Runs, name: str, *, ratio: bool) -> tuple[float, float, float]:
    """How a figure compares with another stage's: ratio or difference, with its interval."""
    (seeds, scenes), others = runs.shape, other.shape[0]

    def compared(mine: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> float:
        a, b = runs.figure(name, mine, at), other.figure(name, theirs, at)
        return a / max(b, 1e-9) if ratio else a - b

    def draw(rng: np.random.Generator) -> float:
        at = rng.integers(scenes, size=scenes)
        return compared(rng.integers(seeds, size=seeds), rng.integers(others, size=others), at)

    return (compared(np.arange(seeds), np.arange(others), np.arange(scenes)), *interval(draw))


def reference(stage: str) -> str:
    """The stage that a stage is compared with."""
    if stage.startswith("ablate-"):
        return "sft-rl"
    if stage.startswith("captions-"):
        return "vg-sft" if stage == "captions-sft" else "captions-sft"
    prefix = "closed-" if stage.startswith("closed-") else ""
    return prefix + ("baseline" if stage == f"{prefix}zero-rl" else "control")


def place(stage: str) -> tuple[bool, bool, int, str]:
    """Where a stage stands in the table: as in the paper, then closed prompts, then ablations."""
    name = stage.removeprefix("closed-")
    order = STAGES.index(name) if name in STAGES else len(STAGES)
    return stage.startswith("ablate-"), stage.startswith("closed-"), order, name


def main() -> None:
    """Print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--objects", type=int, default=0, help="only scenes of at least so many objects")
    arguments = parser.parse_args()
    files = (arguments.folder / "predictions").glob("*.jsonl")
    names = sorted({re.sub(r"(-s\d+)?\.(greedy|sampled)$", "", path.stem) for path in files}, key=place)
    everything = {
        (name, how): load(arguments.folder, name, how, arguments.objects)
        for name in names
        for how in ("greedy", "sampled")
    }
    record: dict[str, Any] = {}
    for how in ("greedy", "sampled"):
        print(f"\n{how}\n| stage | runs x scenes | " + " | ".join(COLUMNS) + " | against | R@50 truth | precision |")
        print("|---" * (len(COLUMNS) + 5) + "|")
        for name in names:
            if (runs := everything[name, how]) is None:
                continue
            found: dict[str, Any] = {"runs": runs.shape[0]}
            cells = []
            for column in COLUMNS:
                scale = 1 if column == "relations per image" else 100
                found[column] = [value * scale for value in summary(runs, column)]
                cells.append("{:.1f} [{:.1f}, {:.1f}]".format(*found[column]))
            other = everything.get((reference(name), how))
            if other is not None and name != reference(name) and other.sums["R@50 truth/top"].any():
                ratio = against(runs, other, "R@50 truth", ratio=True)
                points = [100 * value for value in against(runs, other, "precision", ratio=False)]
                found |= {
                    "reference": reference(name),
                    "R@50 truth / reference": ratio,
                    "precision - reference": points,
                }
                cells += [reference(name), "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)]
                cells.append("{:+.1f} [{:+.1f}, {:+.1f}]".format(*points))
            else:
                cells += [""] * 3
            record.setdefault(how, {})[name] = found
            print(f"| {name} | {runs.shape[0]} x {runs.shape[1]} | " + " | ".join(cells) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
