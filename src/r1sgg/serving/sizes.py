"""The largest size that a model sees of an image: more pixels need not wait for it."""

from __future__ import annotations

import math
from collections.abc import Callable

from r1sgg.models.coordinates import check_aspect, resized_size
from r1sgg.models.families import Checkpoint

_MOST_SEEN = 2048
"""Longest edge, in pixels, of the images that the known processors with one fixed size make."""


def size_reducer(checkpoint: Checkpoint) -> Callable[[tuple[int, int]], tuple[int, int]]:
    """Return a function that maps width and height of an image to the largest size that the model sees of it.

    If the model's processor resizes images by their pixels, this is the size that the processor would give it.
    """
    limits = checkpoint.image_pixels
    if limits is None:
        edges = [edge for edge in dict(checkpoint.processor.image_processor.size or {}).values() if edge]
        # three times the edge, because a processor can cut an image into tiles, or squeeze a long one
        most = min(3 * max(edges, default=_MOST_SEEN), _MOST_SEEN) ** 2
    else:
        most = limits[1]

    def fit(size: tuple[int, int]) -> tuple[int, int]:
        check_aspect(size)
        pixels = size[0] * size[1]
        if pixels <= most:
            return size
        if limits is not None:
            width, height = resized_size(size, checkpoint.processor, checkpoint.family.frames)
            return int(width), int(height)
        scale = math.sqrt(most / pixels)
        return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))

    return fit
