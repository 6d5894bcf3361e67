"""Pictograms by class: drawn once, cropped to their extent, scaled to any box.

A pictogram is cropped before it is scaled to its box, so boxes are tight by construction.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from r1sgg.miniature.procedural import animals, people, things
from r1sgg.miniature.procedural.pen import RESOLUTION, Drawing, Pen, to_units

if TYPE_CHECKING:
    from collections.abc import Mapping

DRAWINGS: Mapping[str, Drawing] = MappingProxyType(people.DRAWINGS | animals.DRAWINGS | things.DRAWINGS)
"""Every class that can be drawn."""

VARIANTS = 9
"""Number of colour variants; a class with fewer repeats them."""

UNIT_SIZE: Mapping[str, float] = MappingProxyType(
    {
        "man": 0.44, "woman": 0.42, "child": 0.30, "dog": 0.26, "cat": 0.22, "horse": 0.44, "elephant": 0.52,
        "sheep": 0.30, "bird": 0.16, "car": 0.42, "bus": 0.56, "bike": 0.42, "skateboard": 0.30, "tree": 0.60,
        "house": 0.52, "table": 0.44, "chair": 0.36, "bench": 0.46, "lamp": 0.22, "cup": 0.12, "bottle": 0.18,
        "vase": 0.17, "flower": 0.19, "laptop": 0.20, "book": 0.14, "umbrella": 0.42, "kite": 0.28, "hat": 0.17,
        "bag": 0.15, "clock": 0.15,
    }
)  # fmt: skip
"""Size of 100 units of a class, as a fraction of the image's shorter side."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pictogram:
    """A drawing cropped to its extent.

    Attributes:
        image: RGBA raster.
        width, height: the extent in units.
        anchors: name -> (lowest x, highest x, y) as fractions of the extent.
    """

    image: Image.Image
    width: float
    height: float
    anchors: Mapping[str, tuple[float, float, float]]


@functools.lru_cache(1024)
def pictogram(label: str, pose: str, variant: int) -> Pictogram:
    """Draw a class in a pose, at the raster's own size."""
    pen = Pen()
    anchors = DRAWINGS[label](pen, pose, variant)
    extent = pen.image.getchannel("A").getbbox()
    assert extent is not None
    left, top = to_units(extent[0], extent[1])
    width, height = (extent[2] - extent[0]) / RESOLUTION, (extent[3] - extent[1]) / RESOLUTION
    shares = {
        name: ((low - left) / width, (high - left) / width, (y - top) / height)
        for name, (low, high, y) in anchors.items()
    }
    return Pictogram(pen.image.crop(extent), width, height, MappingProxyType(shares))


@functools.lru_cache(4096)
def patch(label: str, pose: str, variant: int, flip: bool, width: int, height: int) -> Image.Image:
    """Return a pictogram scaled to a box of `width` x `height` pixels, mirrored if `flip`."""
    image = pictogram(label, pose, variant).image
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.resize((width, height), Image.Resampling.BOX)


@functools.lru_cache(4096)
def mask(label: str, pose: str, flip: bool, width: int, height: int) -> Mask:
    """Return (height, width): the pixels of the box that a pictogram covers, in any colour."""
    covered = np.asarray(patch(label, pose, 0, flip, width, height).getchannel("A")) >= 128
    covered.setflags(write=False)
    return covered
