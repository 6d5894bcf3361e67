"""Box geometry on arrays of xyxy boxes, and the one test of whether two boxes overlap enough."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

IOU_THRESHOLD = 0.5
"""Two boxes are the same when they overlap at least this much."""

SAME_OBJECT = 0.9
"""Two predicted objects of one class are the same object, declared twice, from this overlap on."""

SAME_TRUE_OBJECT = 0.85
"""The same for two true objects: lower, so that rounded coordinates never make one object of two that are annotated."""

IOU_SLACK = 1e-9
"""An IoU of exactly 1/2 counts even where rounding left it a little below."""


def overlapping(iou: Array, threshold: float = IOU_THRESHOLD) -> Mask:
    """Whether an IoU reaches the threshold, to `IOU_SLACK`."""
    return np.asarray(iou >= threshold - IOU_SLACK)


class BoxPairs:
    """Pairs of boxes compared.

    Attributes:
        low, high: per coordinate the smaller and the larger value of the two boxes, four arrays each.
    """

    def __init__(self, a: Array, b: Array, plus_one: float = 0.0) -> None:
        """Compare boxes element by element.

        Args:
            a: (4, ...) x1, y1, x2 and y2 of the first boxes.
            b: (4, ...) those of the second; the shapes broadcast.
            plus_one: 1 for the old convention of pixel boxes, whose sides are x2 - x1 + 1.
        """
        self._a, self._b, self._plus_one = a, b, plus_one
        self.low = [np.minimum(p, q) for p, q in zip(a, b, strict=True)]
        self.high = [np.maximum(p, q) for p, q in zip(a, b, strict=True)]

    @cached_property
    def intersection(self) -> Array:
        """The area of overlap."""
        inter = np.maximum(self.low[2] - self.high[0] + self._plus_one, 0.0)
        inter *= np.maximum(self.low[3] - self.high[1] + self._plus_one, 0.0)
        return np.asarray(inter)

    @cached_property
    def union(self) -> Array:
        """The area of both. Areas keep their sign: an inverted box overlaps nothing."""
        one = self._plus_one
        first, second = ((box[2] - box[0] + one) * (box[3] - box[1] + one) for box in (self._a, self._b))
        return np.asarray(first + second - self.intersection)

    @cached_property
    def iou(self) -> Array:
        """Intersection over union; 0 for two empty boxes."""
        inter, union = self.intersection, self.union
        return np.asarray(inter / np.where(union == 0, 1.0, union))

    @cached_property
    def giou(self) -> Array:
        """Generalised IoU (Rezatofighi et al. 2019), in [-1, 1]."""
        union = self.union
        hull = (self.high[2] - self.low[0]) * (self.high[3] - self.low[1])
        return np.asarray(self.iou - (hull - union) / np.where(hull == 0, 1.0, hull))

    @cached_property
    def l1(self) -> Array:
        """Sum of the four absolute differences."""
        sums = self.high[0] - self.low[0]
        for k in range(1, 4):
            sums += self.high[k] - self.low[k]
        return np.asarray(sums)


def pairwise_iou(a_N4: Array, b_M4: Array) -> Array:
    """Intersection over union of all pairs: (N, 4), (M, 4) -> (N, M) in [0, 1]; 0 if both are empty."""
    return BoxPairs(a_N4.T[:, :, None], b_M4.T[:, None, :]).iou


def touching(a_N4: Array, b_N4: Array) -> Mask:
    """Whether boxes have an area in common, element by element: (N, 4), (N, 4) -> (N,)."""
    return np.asarray(BoxPairs(a_N4.T, b_N4.T).intersection > 0)


def pairwise_gaps(a_N4: Array, b_M4: Array) -> Array:
    """Distance of all pairs of boxes, in their unit: (N, 4), (M, 4) -> (N, M).

    It is the distance of the nearest points, 0 where they overlap, plus a hundredth of the distance of the centres,
    which decides between boxes that overlap.
    """
    a, b = a_N4[:, None, :], b_M4[None, :, :]
    between = np.maximum(np.maximum(a[..., :2] - b[..., 2:], b[..., :2] - a[..., 2:]), 0.0)
    centres = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    return np.asarray(np.hypot(between[..., 0], between[..., 1]) + 0.01 * np.hypot(centres[..., 0], centres[..., 1]))
