"""Calibration of confidences: expected calibration error, Brier score, reliability table, precision and recall.

A score of 0.7 is calibrated if 70 % of the items with that score are right. The error is that of Guo et al. 2017 ("On
Calibration of Modern Neural Networks", arXiv 1706.04599, Eq. 3): `BINS` bins of equal width on [0, 1], and in each the
distance between mean score and accuracy, weighted by its number of items. Maps that calibrate are fitted in
`r1sgg.metrics.fitting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BINS = 15


def reliability(scores: Array, right: Mask, bins: int = BINS) -> list[dict[str, float]]:
    """Return the reliability table: a row for each bin that is not empty.

    Args:
        scores: (N,) in [0, 1].
        right: (N,) whether each item is right.
        bins: number of bins of equal width; a score on an edge is in the upper bin, 1 in the last.

    Returns:
        Rows with `low`, `high` (the bin), `count`, `score` (mean) and `accuracy`.
    """
    places = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = np.bincount(places, weights=scores, minlength=bins)
    hits = np.bincount(places, weights=right.astype(np.float64), minlength=bins)
    return [
        {
            "low": k / bins,
            "high": (k + 1) / bins,
            "count": int(counts[k]),
            "score": float(sums[k] / counts[k]),
            "accuracy": float(hits[k] / counts[k]),
        }
        for k in np.flatnonzero(counts).tolist()
    ]


def calibration_error(table: Sequence[dict[str, float]]) -> float | None:
    """Return the expected calibration error of a reliability table; None if it is empty."""
    count = sum(row["count"] for row in table)
    return sum(row["count"] * abs(row["accuracy"] - row["score"]) for row in table) / count if count else None


def precision_recall(scores: Array, right: Mask, total: int) -> tuple[Array, Array]:
    """Return recall and precision of the items at or above each score, from the highest score to the lowest.

    Args:
        scores: (N,); items with equal scores count together, so that their order does not matter.
        right: (N,) whether each item is right.
        total: number of true items.

    Returns:
        Recalls and precisions, (M,) for M distinct scores.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(right[order])[ends]
    return hits / max(total, 1), hits / (ends + 1)


def pooled_precision(scores: Array, right: Mask, total: int) -> float | None:
    """Return the area under the interpolated precision-recall curve (the best precision at that recall or higher)."""
    if not total:
        return None
    recalls, precisions = precision_recall(scores, right, total)
    best = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(np.sum(np.diff(recalls, prepend=0.0) * best))


THRESHOLDS = tuple(k / 20 for k in range(20))


def threshold_curve(scores: Array, right: Mask, total: int) -> list[dict[str, float | None]]:
    """Return precision, recall and F1 of the items scored at or above each of `THRESHOLDS`.

    Args:
        scores: (N,) in [0, 1].
        right: (N,) whether each item is right, among all of them.
        total: number of true items.

    Returns:
        Rows with `threshold`, `count`, `precision` (None where nothing is left), `recall` and `f1`.
    """
    rows: list[dict[str, float | None]] = []
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        count, hits = int(kept.sum()), int(right[kept].sum())
        rows.append(
            {
                "threshold": threshold,
                "count": count,
                "precision": hits / count if count else None,
                "recall": hits / total if total else None,
                "f1": 2 * hits / (count + total) if count + total else None,
            }
        )
    return rows


def summary(scores: Array, right: Mask, total: int) -> dict[str, Any] | None:
    """Return all of the above as JSON values; None if there are no scores, or they are not in [0, 1]."""
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    table = reliability(scores, right)
    return {
        "count": len(scores),
        "ECE": calibration_error(table),
        "brier": float(np.mean((scores - right) ** 2)),
        "mean_score": float(scores.mean()),
        "accuracy": float(right.mean()),
        "pooled_AP": pooled_precision(scores, right, total),
        "bins": table,
        "thresholds": threshold_curve(scores, right, total),
    }
