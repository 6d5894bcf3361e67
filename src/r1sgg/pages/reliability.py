"""Reliability diagrams (Guo et al. 2017): how often what scored so much was right, from the bins of the metrics.

Geometry only, in the units of the curves' charts; the template draws it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIDE, LEFT, BOTTOM, TOP, RIGHT = 220.0, 44.0, 36.0, 10.0, 10.0
WIDTH, HEIGHT = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TITLES = {"objects": "Objects", "triplets": "Triplets"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A bin: where it is, its radius (its area grows with the number of scores in it) and what it says."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A run's bins joined by a line; `note` is its calibration error."""

    index: int
    name: str
    path: str
    marks: tuple[Mark, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """The runs' curves for objects, or for triplets."""

    title: str
    curves: tuple[Curve, ...]


def at(score: float, accuracy: float) -> tuple[float, float]:
    """Where a score and an accuracy in [0, 1] are drawn."""
    return round(LEFT + score * SIDE, 1), round(TOP + (1 - accuracy) * SIDE, 1)


def diagrams(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[Diagram]:
    """A diagram for each kind of score that some run gives; `results` are of `r1sgg.metrics.report.record`."""
    found = []
    for kind, title in _TITLES.items():
        curves = []
        for index, (name, result) in enumerate(zip(names, results, strict=True)):
            summary = (result.get("calibration") or {}).get(kind)
            if summary:
                curves.append(_curve(index, name, summary))
        if curves:
            found.append(Diagram(title, tuple(curves)))
    return found


def _curve(index: int, name: str, summary: Mapping[str, Any]) -> Curve:
    most = max(row["count"] for row in summary["bins"])
    marks = []
    for row in summary["bins"]:
        x, y = at(row["score"], row["accuracy"])
        right = f"{100 * row['accuracy']:.1f} % were right"
        text = f"{name}: {row['count']:,} scored {row['score']:.2f} on average, {right}"
        marks.append(Mark(x, y, round(2 + 6 * math.sqrt(row["count"] / most), 1), text))
    path = "M" + "L".join(f"{m.x:g},{m.y:g}" for m in marks)
    note = f"ECE {100 * summary['ECE']:.1f} %, Brier {summary['brier']:.3f}, {summary['count']:,} scores"
    return Curve(index, name, path, tuple(marks), note)
