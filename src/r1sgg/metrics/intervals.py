"""Bootstrap intervals over images, for one evaluation and for the difference of two on the same images.

Images are drawn with replacement; an interval is the middle 95 % of the resampled figures (the percentile method). AP
has no interval, because its ranking spans images: it is not a ratio of sums over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from r1sgg.errors import InputError
from r1sgg.metrics.figures import Array, Figures

LEVEL = 0.95


class Resampled(Protocol):
    """Figures of `count` images that can be recomputed with weights on the images."""

    count: int

    def values(self, weights: Array | None = None) -> Mapping[str, float | None]:
        """Return the figures; `weights` (count,) says how often each image counts, None: once."""
        ...


def intervals(figures: Resampled, resamples: int, seed: int = 0) -> dict[str, list[float] | None]:
    """Return [low, high] of each figure; None if it is undefined in some resample."""
    draws = [figures.values(weights) for weights in _weights(figures.count, resamples, seed)]
    return {name: _middle([draw[name] for draw in draws]) for name in (draws[0] if draws else ())}


def compare(first: Figures, second: Figures, resamples: int, seed: int = 0) -> dict[str, dict[str, object]]:
    """Return the difference second - first of each figure, with a paired interval: both use the same resamples.

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
    """Yield how often each image is drawn, for each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples if count else 0):
        yield np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)


def _middle(values: list[float | None]) -> list[float] | None:
    given = [v for v in values if v is not None]
    if not given or len(given) < len(values):
        return None
    low, high = np.quantile(given, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
