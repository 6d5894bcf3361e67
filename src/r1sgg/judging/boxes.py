"""Box geometry on arrays of xyxy boxes, all pairs at once. No +1 pixel convention here: boxes are continuous."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

IOU_THRESHOLD = 0.5
"""Two boxes are the same when they overlap at least this much."""

IOU_SLACK = 1e-9
"""An IoU of exactly 1/2 counts even where rounding left it a little below."""


def areas(boxes_N4: Array) -> Array:
    """Areas of boxes: (..., N, 4) -> (..., N); 0 where a side is not positive."""
    sides = np.maximum(boxes_N4[..., 2:] - boxes_N4[..., :2], 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def intersections(a_N4: Array, b_M4: Array) -> Array:
    """Areas of overlap of all pairs: (..., N, 4), (..., M, 4) -> (..., N, M)."""
    low = np.maximum(a_N4[..., :, None, :2], b_M4[..., None, :, :2])
    high = np.minimum(a_N4[..., :, None, 2:], b_M4[..., None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def pairwise_iou(a_N4: Array, b_M4: Array) -> Array:
    """Intersection over union of all pairs: (..., N, 4), (..., M, 4) -> (..., N, M) in [0, 1]; 0 if both are empty."""
    inter = intersections(a_N4, b_M4)
    union = areas(a_N4)[..., :, None] + areas(b_M4)[..., None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def pairwise_giou(a_N4: Array, b_M4: Array) -> Array:
    """Generalised IoU (Rezatofighi et al. 2019) of all pairs: -> (..., N, M) in [-1, 1]; needs x1 <= x2, y1 <= y2."""
    inter = intersections(a_N4, b_M4)
    union = areas(a_N4)[..., :, None] + areas(b_M4)[..., None, :] - inter
    low = np.minimum(a_N4[..., :, None, :2], b_M4[..., None, :, :2])
    high = np.maximum(a_N4[..., :, None, 2:], b_M4[..., None, :, 2:])
    sides = high - low
    hull = sides[..., 0] * sides[..., 1]
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return np.asarray(iou - np.divide(hull - union, hull, out=np.zeros_like(inter), where=hull > 0))


def pairwise_l1(a_N4: Array, b_M4: Array) -> Array:
    """Sum of the four absolute coordinate differences of all pairs: (..., N, 4), (..., M, 4) -> (..., N, M)."""
    return np.asarray(np.abs(a_N4[..., :, None, :] - b_M4[..., None, :, :]).sum(-1))
