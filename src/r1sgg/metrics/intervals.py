"""Bootstrap intervals over images, for one evaluation and for the difference of two on the same images.

Images are drawn with replacement; an interval holds the middle 95 % of the resamples (the percentile method). AP has
none: its ranking spans images, so it is not a ratio of sums over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from r1sgg.errors import InputError
from r1sgg.metrics.figures import Array, Figures

LEVEL = 0.95


class Resampled(Protocol):
    """Figures of so many images that can be computed again with other weights on them."""

    count: int

    def values(self, weights: Array | None = None) -> Mapping[str, float | None]:
        """The figures; `weights` (images,) says how often each image counts, once where None."""
        ...


def intervals(figures: Resampled, resamples: int, seed: int = 0) -> dict[str, list[float] | None]:
    """[low, high] of each figure; None where it is not defined in every resample."""
    draws = [figures.values(weights) for weights in _weights(figures.count, resamples, seed)]
    return {name: _middle([draw[name] for draw in draws]) for name in (draws[0] if draws else ())}


def compare(first: Figures, second: Figures, resamples: int, seed: int = 0) -> dict[str, dict[str, object]]:
    """Differences second - first of each figure, with paired intervals: both see the same resampled images.

    Raises:
        InputError: the evaluations are not of the same images in the same order.
    """
    if first.columns.image_ids != second.columns.image_ids:
        raise InputError("paired comparison", expected="two evaluations of the same images", found="different images")
    a, b = first.values(), second.values()
    draws: dict[str, list[float | None]] = {name: [] for name in a if name in b}
    for weights in _weights(first.count, resamples, seed):
        x, y = first.values(weights), second.values(weights)
        for name, differences in draws.items():
            differences.append(_difference(x[name], y[name]))
    return {name: {"difference": _difference(a[name], b[name]), "interval": _middle(d)} for name, d in draws.items()}


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _weights(count: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each image is drawn, for each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples if count else 0):
        yield np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)


def _middle(values: list[float | None]) -> list[float] | None:
    given = [v for v in values if v is not None]
    if not given or len(given) < len(values):
        return None
    low, high = np.quantile(given, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
