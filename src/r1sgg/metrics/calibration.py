"""Whether confidences mean what they say: expected calibration error, Brier score, reliability, precision and recall.

A score of 0.7 is calibrated if seven in ten of what gets it are right. The error is that of Guo et al. 2017 ("On
Calibration of Modern Neural Networks", arXiv 1706.04599, Eq. 3): `BINS` bins of equal width on [0, 1], in each the
distance between mean score and share of right ones, weighted by how many are in it. It deliberately mends nothing:
no temperature is fitted.
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
    """The reliability table: a row for each bin that is not empty.

    Args:
        scores: (N,) in [0, 1].
        right: (N,) whether each was.
        bins: of equal width; a score on an edge is in the upper bin, 1 in the last.

    Returns:
        Rows with `low`, `high` (the bin), `count`, `score` (mean) and `accuracy` (share of right ones).
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
    """ECE of a reliability table; None for an empty one."""
    count = sum(row["count"] for row in table)
    return sum(row["count"] * abs(row["accuracy"] - row["score"]) for row in table) / count if count else None


def precision_recall(scores: Array, right: Mask, total: int) -> tuple[Array, Array]:
    """Recall and precision of everything that scores at least as much, from the highest score on.

    Args:
        scores: (N,); equal ones count together, so that their order does not matter.
        right: (N,).
        total: how many could be found.

    Returns:
        Recalls and precisions, (M,) for M different scores.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(right[order])[ends]
    return hits / max(total, 1), hits / (ends + 1)


def pooled_precision(scores: Array, right: Mask, total: int) -> float | None:
    """Area under the interpolated precision-recall curve (each precision the best at that recall or beyond)."""
    if not total:
        return None
    recalls, precisions = precision_recall(scores, right, total)
    best = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(np.sum(np.diff(recalls, prepend=0.0) * best))


def summary(scores: Array, right: Mask, total: int) -> dict[str, Any] | None:
    """All of it as JSON values; None where nothing has a score, or scores are not in [0, 1]."""
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
    }
