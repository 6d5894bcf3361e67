"""Frames: how the four numbers of a written box become fractions of the image.

A plain `Frame` is width and height, for boxes [x1, y1, x2, y2]. `BoxFrame` is for everything else that models write:
another order of axes, a size in place of the second corner, bins with an offset, an image inside a padded square.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from r1sgg.errors import InputError, choices, short
from r1sgg.graph.scene import Boxes

Frame = tuple[float, float]
"""Width and height that coordinates are relative to: (1000, 1000) for Qwen2-VL, pixels for Qwen2.5-VL."""

Axes = Literal["xy", "yx"]
Shape = Literal["corners", "size", "centre"]
"""x1 y1 x2 y2; x1 y1 width height; centre x, centre y, width, height."""


@dataclass(frozen=True, slots=True)
class BoxFrame:
    """What the four numbers of a box mean.

        PaliGemma    <loc0512><loc0256>...   BoxFrame((1024, 1024), axes="yx")
        Florence-2   <loc_500>...            BoxFrame((1000, 1000), offset=0.5)
        COCO         [x, y, w, h]            BoxFrame((640, 480), shape="size")

    Attributes:
        size: width and height of the image in the unit of the numbers (or the number of bins).
        axes: "yx" where y is written before x, in both pairs.
        shape: what the second pair of numbers is, see `Shape`.
        offset: added to the coordinates of corners and centres: 0.5 where a bin stands for its middle.
        origin: x and y of the image's top left corner in the unit of the numbers, where the image is padded.
    """

    size: Frame
    axes: Axes = "xy"
    shape: Shape = "corners"
    offset: float = 0.0
    origin: Frame = (0.0, 0.0)

    @classmethod
    def padded(cls, bins: float, image_size: Frame) -> BoxFrame:
        """Return the frame of a square of `bins` with the image (width, height) centred in it."""
        width, height = image_size
        side = max(width, height)
        size = (bins * width / side, bins * height / side)
        return cls(size, origin=((bins - size[0]) / 2, (bins - size[1]) / 2))

    @property
    def plain(self) -> bool:
        """Whether `size` alone says everything."""
        return self == BoxFrame(self.size)

    def corners(self, boxes_N4: Boxes) -> Boxes:
        """Convert boxes as written to x1 y1 x2 y2 in units of `size`, (N, 4)."""
        boxes = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
        if self.axes == "yx":
            boxes = boxes[:, [1, 0, 3, 2]]
        first, second = boxes[:, :2], boxes[:, 2:]
        shift = self.offset - np.array(self.origin)
        if self.shape == "corners":
            return np.concatenate((first + shift, second + shift), axis=1)
        low = first + shift - (second / 2 if self.shape == "centre" else 0)
        return np.concatenate((low, low + second), axis=1)

    def fractions(self, boxes_N4: Boxes) -> Boxes:
        """Convert boxes as written to xyxy in fractions of the image, (N, 4)."""
        return self.corners(boxes_N4) / (self.size * 2)

    def written(self, boxes_N4: Boxes) -> Boxes:
        """Convert boxes xyxy in fractions of the image to the numbers as written; the inverse of `fractions`."""
        boxes = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4) * (self.size * 2)
        low, side = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        shift = self.offset - np.array(self.origin)
        first = low + (side / 2 if self.shape == "centre" else 0) - shift
        second = boxes[:, 2:] - shift if self.shape == "corners" else side
        out = np.concatenate((first, second), axis=1)
        return out[:, [1, 0, 3, 2]] if self.axes == "yx" else out

    def with_size(self, size: Frame) -> BoxFrame:
        """Return the same conventions for another size."""
        return replace(self, size=size)


AnyFrame = Frame | BoxFrame

_KEYS = ("size", "axes", "shape", "offset", "origin")


def frame_of_value(value: Any, where: str) -> AnyFrame:
    """Read the frame of a line: [width, height], or an object with the fields of `BoxFrame`.

    Raises:
        InputError: it is neither, or a field has another kind of value.
    """
    if not isinstance(value, dict):
        return _pair(value, where)
    for key in value:
        if key not in _KEYS:
            raise InputError(f"{where}.{key}", expected=f"only the keys {choices(_KEYS, key)}", found="an unknown key")
    for key, known in (("axes", get_args(Axes)), ("shape", get_args(Shape))):
        if value.get(key, known[0]) not in known:
            raise InputError(f"{where}.{key}", expected=f"one of {', '.join(known)}", found=short(value[key]))
    offset = value.get("offset", 0.0)
    if not _is_number(offset):
        raise InputError(f"{where}.offset", expected="a number", found=short(offset))
    origin = value.get("origin", [0.0, 0.0])
    if not (isinstance(origin, list) and len(origin) == 2 and all(map(_is_number, origin))):
        raise InputError(f"{where}.origin", expected="[x, y]", found=short(origin))
    frame = BoxFrame(
        _pair(value.get("size"), f"{where}.size"),
        value.get("axes", "xy"),
        value.get("shape", "corners"),
        float(offset),
        (float(origin[0]), float(origin[1])),
    )
    return frame.size if value.keys() == {"size"} else frame  # what is given counts before what a dialect fixes


def frame_to_value(frame: AnyFrame) -> Any:
    """Return the value of a frame for a line of JSON; `frame_of_value` reads it."""
    if not isinstance(frame, BoxFrame):
        return list(frame)
    value: dict[str, Any] = {"size": list(frame.size), "axes": frame.axes, "shape": frame.shape}
    return value | {"offset": frame.offset, "origin": list(frame.origin)}


def size_of(frame: AnyFrame) -> Frame:
    """Return width and height of a frame."""
    return frame.size if isinstance(frame, BoxFrame) else frame


def _pair(value: Any, where: str) -> Frame:
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(_is_number(v) and v > 0 for v in value)):
        raise InputError(where, expected="[width, height], the size that boxes are relative to", found=short(value))
    return float(value[0]), float(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
