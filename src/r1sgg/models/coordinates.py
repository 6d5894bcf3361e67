"""How a family writes the corners of a box: the unit, what it is relative to, and the square that some pad to.

Not here: prompts and text. `r1sgg.graph.text` reads and writes boxes, given a plain frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from r1sgg.errors import ImageError
from r1sgg.graph.frames import Axes
from r1sgg.graph.scene import Boxes

if TYPE_CHECKING:
    from transformers import ProcessorMixin

Convention = Literal[
    "thousandths",
    "up_to_999",
    "bins_1024",
    "fractions",
    "resized_pixels",
    "image_pixels",
    "padded_square",
    "square_thousandths",
]
"""0..1000 of width and height; 0..999; 1,024 bins; 0..1; pixels of the resized image; the image's own pixels; 0..1 of a
square with the image in its middle; 0..1000 of a square with the image at its top left."""

_SCALES = {"thousandths": 1000.0, "up_to_999": 999.0, "bins_1024": 1024.0, "fractions": 1.0}

_MAX_ASPECT = 200  # the Qwen image processors refuse longer images
_DECIMALS = 3  # of fractions


@dataclass(frozen=True, slots=True)
class Placement:
    """Position and size of an image in the coordinates that a model uses.

    A 60 x 90 image in a "padded_square" of side 1 (one pixel is 1/90):

        +--+------+--+    size (1, 1)
        |  |      |  |    image (60/90, 1)
        |  |      |  |    offset (15/90, 0)
        +--+------+--+

    Attributes:
        size: the largest x and y.
        image: width and height of the image in that unit; `size`, unless the image is padded.
        offset: x and y of the image's top left corner.
        decimals: digits after the point.
        axes: "yx" where y is written before x.
    """

    size: tuple[float, float]
    image: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    decimals: int = 0
    axes: Axes = "xy"

    def write(self, boxes_N4: Boxes) -> Boxes:
        """Convert boxes xyxy from fractions of the image to the model's coordinates, rounded to its digits."""
        written = np.round(boxes_N4 * (self.image * 2) + self.offset * 2, self.decimals)
        return written[:, [1, 0, 3, 2]] if self.axes == "yx" else written


def placement(
    convention: Convention, image_size: tuple[int, int], processor: ProcessorMixin, axes: Axes = "xy"
) -> Placement:
    """Place an image of that size (width, height in pixels) in a family's coordinates.

    Raises:
        ImageError: the image is more than 200 times as long as wide.
    """
    check_aspect(image_size)
    width, height = image_size
    if convention == "padded_square":
        side, (x, y) = _square(image_size)
        return Placement((1.0, 1.0), (width / side, height / side), (x / side, y / side), _DECIMALS, axes)
    if convention == "square_thousandths":
        side = max(image_size)
        return Placement((1000.0, 1000.0), (1000 * width / side, 1000 * height / side), axes=axes)
    if convention == "resized_pixels":
        size = resized_size(image_size, processor)
    elif convention == "image_pixels":
        size = (float(width), float(height))
    else:
        size = (_SCALES[convention],) * 2
    return Placement(size, size, decimals=_DECIMALS if convention == "fractions" else 0, axes=axes)


def pad_to_square(image: Image.Image, colour: tuple[int, int, int], *, centred: bool) -> Image.Image:
    """Put an image into a square of its longer side; a square image is returned as it is.

    Args:
        image: RGB.
        colour: of the padding.
        centred: put it in the middle, as `padded_square` coordinates assume; else at the top left
            (`square_thousandths`).
    """
    side, middle = _square(image.size)
    if image.size == (side, side):
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, middle if centred else (0, 0))
    return square


def _square(image_size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return the side of the padded square, and x and y of the centred image's top left corner."""
    side = max(image_size)
    return side, ((side - image_size[0]) // 2, (side - image_size[1]) // 2)


def check_aspect(image_size: tuple[int, int]) -> None:
    """Refuse an image that is too long for the Qwen image processors.

    Raises:
        ImageError: the image is more than 200 times as long as wide.
    """
    if max(image_size) > _MAX_ASPECT * min(image_size):
        raise ImageError(
            "image",
            expected=f"sides that differ by a factor of at most {_MAX_ASPECT}",
            found=f"{image_size[0]}x{image_size[1]}",
            hint="crop it",
        )


def resized_size(image_size: tuple[int, int], processor: ProcessorMixin, frames: int = 1) -> tuple[float, float]:
    """Compute width and height in pixels after the processor's resizing (`image_grid_thw` times the patch size).

    Args:
        image_size: width and height in pixels.
        processor: one that limits images by their pixels.
        frames: how often it counts each pixel, see `ModelFamily.frames`.
    """
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    resize = processor.image_processor
    height, width = smart_resize(
        image_size[1],
        image_size[0],
        factor=resize.patch_size * resize.merge_size,
        min_pixels=resize.size["shortest_edge"] // frames,
        max_pixels=resize.size["longest_edge"] // frames,
    )
    return float(width), float(height)
