"""Importance weights of guided answers: what undoes the guide's change of the distribution.

A guide renormalises token by token, so a guided sample is not a free sample that happens to be valid. Its weight

    p(answer) / q(answer)        p: the model, free; q: the model under the guide

makes averages over guided samples, weighted and divided by the sum of weights, estimates of averages over the model's
own valid answers. It holds for samples at temperature 1 from all tokens (top_p 1, top_k 0). Few weights may carry all
of the sum: `effective_sample_size` says how many answers the average is worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r1sgg.inference.engine import Completion


def log_weight(completion: Completion) -> float | None:
    """Return the natural logarithm of a guided answer's weight; None without a guide, or without log-probabilities."""
    pieces = completion.pieces
    if completion.logprobs is None or pieces is None or any(piece.allowed is None for piece in pieces):
        return None
    # the end of the turn has no piece; the guide allows nothing else there
    return completion.logprobs.sum - sum(piece.allowed or 0.0 for piece in pieces)


def effective_sample_size(log_weights: Sequence[float]) -> float:
    """Return Kish's (sum of weights)^2 / sum of squared weights: between 1 and the number of answers; 0 of none."""
    weights = _scaled(log_weights)
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0


def weighted_mean(values: Sequence[float], log_weights: Sequence[float]) -> float:
    """Return the self-normalised mean of (N,) values with (N,) weights.

    Raises:
        ValueError: there are none, or not equally many.
    """
    if len(values) != len(log_weights) or not values:
        raise ValueError(f"expected as many weights as values, found {len(log_weights)} and {len(values)}")
    weights = _scaled(log_weights)
    return float(np.dot(weights, values) / weights.sum())


def _scaled(log_weights: Sequence[float]) -> np.ndarray:
    """Weights up to a factor, the largest 1: their sum may be beyond what a float holds."""
    logs = np.asarray(log_weights, dtype=np.float64)
    return np.exp(logs - logs.max()) if len(logs) else logs
