"""Reliability diagrams (Guo et al. 2017): how often what has a score is right, from the bins of the metrics.

And what a threshold on the scores makes of precision, recall and F1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from r1sgg.pages.curves import Chart, Dot, Frame, Line

_FRAME = Frame(width=274.0, height=266.0, right=10.0, low=(0.0, 0.0), high=(1.0, 1.0))
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def diagrams(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return a diagram for each kind of score that some run gives.

    Args:
        names: of the runs.
        results: of the runs, as `r1sgg.metrics.report.record` returns them.
    """
    found = []
    for kind in ("objects", "triplets"):
        summaries = [(result.get("calibration") or {}).get(kind) for result in results]
        lines = tuple(_line(k, names[k], summary) for k, summary in enumerate(summaries) if summary)
        if lines:
            x_ticks = tuple((_FRAME.at(tick, 0)[0], f"{tick:g}") for tick in _TICKS)
            y_ticks = tuple((_FRAME.at(0, tick)[1], f"{100 * tick:g}") for tick in _TICKS)
            words = " ".join(f"{line.name}: {line.note}." for line in lines)
            summary = f"share of right ones against the score. {words}"
            found.append(Chart(kind.capitalize(), "reliability", "score", _FRAME, lines, x_ticks, y_ticks, summary))
    return found


def threshold_charts(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return for each run whose triplets have scores a chart of precision, recall and F1 over thresholds."""
    found = []
    for name, result in zip(names, results, strict=True):
        if summary := (result.get("calibration") or {}).get("triplets"):
            lines = tuple(
                _curve(k, kind, summary["thresholds"]) for k, kind in enumerate(("precision", "recall", "f1"))
            )
            x_ticks = tuple((_FRAME.at(tick, 0)[0], f"{tick:g}") for tick in _TICKS)
            y_ticks = tuple((_FRAME.at(0, tick)[1], f"{100 * tick:g}") for tick in _TICKS)
            words = f"precision, recall and F1 of triplets against the threshold. {lines[2].note}"
            found.append(Chart(name, "threshold", "threshold", _FRAME, lines, x_ticks, y_ticks, words))
    return found


def _curve(index: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> Line:
    given = [row for row in rows if row[kind] is not None]
    name = "F1" if kind == "f1" else kind
    dots = []
    for row in given:
        text = f"{name} {100 * row[kind]:.1f} % from {row['threshold']:.2f} on, {row['count']:,} triplets"
        dots.append(Dot(*_FRAME.at(row["threshold"], row[kind]), 4.0, text))
    best = max(given, key=lambda row: row[kind], default=None)
    note = "" if best is None else f"best {100 * best[kind]:.1f} % from {best['threshold']:.2f} on"
    return Line(index, name, tuple((dot.x, dot.y) for dot in dots), tuple(dots), note=note)


def _line(index: int, name: str, summary: Mapping[str, Any]) -> Line:
    most = max(row["count"] for row in summary["bins"])
    dots = []
    for row in summary["bins"]:
        right = f"{100 * row['accuracy']:.1f} % were right"
        text = f"{name}: {row['count']:,} scored {row['score']:.2f} on average, {right}"
        radius = round(2 + 6 * math.sqrt(row["count"] / most), 1)  # the area grows with the number of scores
        dots.append(Dot(*_FRAME.at(row["score"], row["accuracy"]), radius, text))
    note = f"ECE {100 * summary['ECE']:.1f} %, Brier {summary['brier']:.3f}, {summary['count']:,} scores"
    return Line(index, name, tuple((dot.x, dot.y) for dot in dots), tuple(dots), note=note)
