"""Fit maps from scores to the share that is right: isotonic regression, or one temperature.

Isotonic: the non-decreasing step function of least squared error (scipy's pool adjacent violators), made into a line
through the middles of its steps, and tilted by `TILT`, so that scores that differ stay different and keep their order.
Temperature: the log-odds divided by the number that minimises the log loss (Guo et al. 2017, for two classes).
"""

from __future__ import annotations

import numpy as np

from r1sgg.data.calibration import ScoreMap
from r1sgg.errors import ConfigError, InputError
from r1sgg.metrics.calibration import Array, Mask, calibration_error, reliability

METHODS = ("isotonic", "temperature")
FEWEST = 50
"""Scores below which nothing is fitted."""
TILT = 1e-3
"""Share of the score itself in the fitted value."""


def check(scores: Array, right: Mask, where: str) -> None:
    """See that there is something to fit.

    Raises:
        InputError: fewer than `FEWEST` scores, or all right, or all wrong.
    """
    if len(scores) < FEWEST:
        hint = "predictions need scores (`r1sgg generate --scores` or `--guide`), on more images"
        raise InputError(where, expected=f"{FEWEST} scores or more", found=str(len(scores)), hint=hint)
    if right.all() or not right.any():
        found = f"{len(right)} that are all {'right' if right.all() else 'wrong'}"
        raise InputError(where, expected="right and wrong ones", found=found)


def isotonic(scores: Array, right: Mask) -> tuple[list[float], list[float]]:
    """Fit a rising line.

    Args:
        scores: (N,) in [0, 1].
        right: (N,) whether each item is right.

    Returns:
        Corners of the line: scores from 0 to 1, and values in [0, 1], both rising.
    """
    from scipy.optimize import isotonic_regression  # slow to import

    levels, inverse = np.unique(scores, return_inverse=True)  # equal scores get one value
    weights = np.bincount(inverse).astype(np.float64)
    shares = np.bincount(inverse, weights=right.astype(np.float64)) / weights
    fitted = isotonic_regression(shares, weights=weights).x
    starts = np.flatnonzero(np.concatenate(([True], np.diff(fitted) > 1e-12)))
    sizes = np.add.reduceat(weights, starts)
    x = np.add.reduceat(levels * weights, starts) / sizes
    y = np.add.reduceat(fitted * weights, starts) / sizes
    if x[0] > 0:  # flat beyond the middles of the outer steps
        x, y = np.append(0.0, x), np.append(y[0], y)
    if x[-1] < 1:
        x, y = np.append(x, 1.0), np.append(y, y[-1])
    return x.tolist(), ((1 - TILT) * y + TILT * x).tolist()


def temperature(scores: Array, right: Mask) -> float:
    """Return the temperature that minimises the log loss of the scores, between 1/20 and 20."""
    from scipy.optimize import minimize_scalar  # slow to import

    inside = np.clip(scores, 1e-9, 1 - 1e-9)
    odds = np.log(inside / (1 - inside))
    signs = np.where(right, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signs * odds / np.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def fit(scores: Array, right: Mask, method: str) -> ScoreMap:
    """Fit a map by its method.

    Raises:
        ConfigError: no such method.
    """
    check_method(method)
    if method == "temperature":
        return ScoreMap(temperature=temperature(scores, right))
    corners, values = isotonic(scores, right)
    return ScoreMap(tuple(corners), tuple(values))


def errors(scores: Array, right: Mask, method: str, folds: int = 5) -> tuple[float, float]:
    """Return the expected calibration error of scores, and that of scores mapped by a fit on the other folds.

    Args:
        scores: (N,), those of an image beside each other: folds are stretches of it.
        right: (N,) whether each item is right.
        method: see `fit`.
        folds: number of parts.
    """
    held_out = np.array_split(np.arange(len(scores)), folds)
    after = np.empty(len(scores))
    for rows in held_out:
        others = np.setdiff1d(np.arange(len(scores)), rows)
        after[rows] = fit(scores[others], right[others], method)(scores[rows])
    before, later = (calibration_error(reliability(values, right)) for values in (scores, after))
    return before or 0.0, later or 0.0


def check_method(method: str) -> None:
    """See that a method is known.

    Raises:
        ConfigError: it is not.
    """
    if method not in METHODS:
        raise ConfigError(f"--method: expected one of {', '.join(METHODS)}, found {method!r}")
