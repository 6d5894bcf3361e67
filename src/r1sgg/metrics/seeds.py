"""Figures of several seeds of one experiment, with intervals over seeds and images, alone and against another.

A figure is the mean over seeds of the figure of each. Its 95 % interval is that of a two-level bootstrap: seeds are
drawn with replacement, then images, the same for all seeds: it holds what another seed and other images would change.
With one seed it has only the second level. A comparison takes the same images for both sides in each resample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r1sgg.data.base import Example
from r1sgg.data.predictions import read_predictions
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.triplets import judge
from r1sgg.metrics.per_image import per_image

Array = npt.NDArray[np.float64]
Estimate = tuple[float, float, float]
"""A figure, and the ends of its interval."""

RESAMPLES = 2000
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
"""What `runs_of` computes. `both objects`: share of true relations whose two objects are in the answer (class, IoU >=
0.5); `pair`: and are joined there by any predicate."""


@dataclass(frozen=True)
class Runs:
    """One stage in one way of decoding: `NAME/top` and `NAME/bottom` per seed and image, each (S, N)."""

    sums: dict[str, Array]

    def figure(self, name: str, seeds: npt.NDArray[np.int64], scenes: npt.NDArray[np.int64]) -> float:
        """Return a figure over the given seeds and images (indices, repeats allowed)."""
        top, bottom = self.sums[f"{name}/top"], self.sums[f"{name}/bottom"]
        chosen = np.ix_(seeds, scenes)
        below = bottom[chosen].sum(1)
        return float(np.mean(top[chosen].sum(1) / np.maximum(below, 1e-9)))

    @property
    def shape(self) -> tuple[int, int]:
        """Seeds and images."""
        rows, columns = self.sums["failures/top"].shape
        return rows, columns


def located(truth: SceneGraph, graph: SceneGraph) -> tuple[int, int]:
    """Count the true relations whose objects are both in the answer, and those of them that are joined there."""
    same = judge([truth], [graph]).evidence.same_object.reshape(len(truth), len(graph))
    both = [(same[a], same[b]) for a, b in truth.pairs if same[a].any() and same[b].any()]
    return len(both), sum(any(left[c] and right[d] for c, d in graph.pairs) for left, right in both)


def runs_of(files: Sequence[Path], truth: Sequence[Example], annotation: Sequence[Example], objects: int = 0) -> Runs:
    """Score predictions files, one per seed, against the true graphs and against an annotation of the same images.

    Args:
        files: completions in the prompt's layout; anything else in them is a failure.
        truth: complete graphs.
        annotation: what the models were trained on, for "R@50 annotation".
        objects: only images with at least so many true objects.

    Raises:
        InputError: a file that cannot be read, or a prediction of another image.
    """
    sums: dict[str, list[list[float]]] = {}
    for path in files:
        row: dict[str, list[float]] = {}
        predictions = read_predictions(path, "ours")
        for full, some in zip(per_image(truth, predictions), per_image(annotation, predictions), strict=True):
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
    """Return the middle 95 % of the resamples."""
    rng = np.random.default_rng(seed)
    low, high = np.quantile([draw(rng) for _ in range(RESAMPLES)], [0.025, 0.975])
    return float(low), float(high)


def summary(runs: Runs, name: str) -> Estimate:
    """Return a figure with its interval."""
    seeds, scenes = runs.shape

    def draw(rng: np.random.Generator) -> float:
        return runs.figure(name, rng.integers(seeds, size=seeds), rng.integers(scenes, size=scenes))

    return (runs.figure(name, np.arange(seeds), np.arange(scenes)), *interval(draw))


def against(runs: Runs, other: Runs, name: str, *, ratio: bool) -> Estimate:
    """Return how a figure compares with another stage's on the same images: ratio or difference."""
    (seeds, scenes), others = runs.shape, other.shape[0]

    def compared(mine: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> float:
        a, b = runs.figure(name, mine, at), other.figure(name, theirs, at)
        return a / max(b, 1e-9) if ratio else a - b

    def draw(rng: np.random.Generator) -> float:
        at = rng.integers(scenes, size=scenes)
        return compared(rng.integers(seeds, size=seeds), rng.integers(others, size=others), at)

    return (compared(np.arange(seeds), np.arange(others), np.arange(scenes)), *interval(draw))
