"""Pictures for the frame probe: coloured shapes at known places, in several sizes and aspect ratios.

Sizes are chosen so that the frames that models use differ on them: none is a multiple of a patch, some are larger than
the pixels that processors keep and some smaller, and they are wide, high and square.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from r1sgg.graph.scene import Boxes

if TYPE_CHECKING:
    from r1sgg.bulk.stored import Inputs

SIZES = (
    *((640, 360), (375, 500), (1130, 450), (470, 470), (333, 250), (1510, 1010)),
    *((2250, 1300), (1350, 2050), (260, 570), (800, 610), (150, 221), (610, 1190)),
)
"""Width and height of the pictures, in pixels."""

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "yellow": (245, 215, 30),
    "black": (15, 15, 15),
    "purple": (140, 40, 170),
    "orange": (250, 140, 20),
}
SHAPES = ("square", "circle", "triangle")
BACKGROUND = (228, 228, 224)
_EACH = 4  # shapes of a picture
_LEAST, _MOST = 0.14, 0.42  # of a side that a shape takes
_GAP = 0.03


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn picture.

    Attributes:
        image: RGB.
        names: of its shapes, each with a colour of its own: "red square"; or classes of which it has one object.
        boxes: their true boxes, xyxy in fractions of the image, (N, 4).
    """

    image: Image.Image
    names: tuple[str, ...]
    boxes: Boxes


def draw_pictures(sizes: tuple[tuple[int, int], ...] = SIZES, seed: int = 0) -> list[Picture]:
    """Draw one picture of each size.

    Args:
        sizes: width and height in pixels.
        seed: places, colours and shapes are drawn from it.
    """
    draw = random.Random(seed)
    return [_picture(size, draw) for size in sizes]


def pictures_of(inputs: Inputs, most: int = 24) -> list[Picture]:
    """Return the first annotated images in place of drawn ones, with the objects that are the only ones of their class.

    Args:
        inputs: images with true graphs.
        most: how many are taken.

    Raises:
        InputError: an image cannot be opened.
    """
    pictures = []
    for place in itertools.islice(inputs, most):
        truth = inputs.truth(place)
        counts = Counter(truth.labels)
        kept = [k for k, label in enumerate(truth.labels) if counts[label] == 1]
        if kept:
            names = tuple(truth.labels[k] for k in kept)
            pictures.append(Picture(inputs.image(place), names, truth.boxes[kept]))
    return pictures


def _picture(size: tuple[int, int], draw: random.Random) -> Picture:
    image = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(image)
    colours = draw.sample(sorted(COLOURS), _EACH)
    names, boxes = [], []
    for colour, (x1, y1, x2, y2) in zip(colours, _places(size, draw), strict=True):
        shape = draw.choice(SHAPES)
        inside = (x1, y1, x2 - 1, y2 - 1)  # Pillow draws the last row and column too
        if shape == "square":
            pen.rectangle(inside, fill=COLOURS[colour])
        elif shape == "circle":
            pen.ellipse(inside, fill=COLOURS[colour])
        else:
            pen.polygon([((x1 + x2 - 1) / 2, y1), (x1, y2 - 1), (x2 - 1, y2 - 1)], fill=COLOURS[colour])
        names.append(f"{colour} {shape}")
        boxes.append((x1, y1, x2, y2))
    return Picture(image, tuple(names), np.array(boxes, dtype=np.float64) / (size * 2))


def _places(size: tuple[int, int], draw: random.Random) -> list[tuple[int, int, int, int]]:
    """Draw boxes in pixels that do not touch; those that do not fit any more are drawn again."""
    width, height = size
    while True:
        boxes: list[tuple[int, int, int, int]] = []
        for _ in range(200):
            wide, high = (round(side * draw.uniform(_LEAST, _MOST)) for side in size)
            x, y = draw.randint(0, width - wide), draw.randint(0, height - high)
            box = (x, y, x + wide, y + high)
            if all(_apart(box, other, size) for other in boxes):
                boxes.append(box)
            if len(boxes) == _EACH:
                return boxes


def _apart(a: tuple[int, ...], b: tuple[int, ...], size: tuple[int, int]) -> bool:
    return any(
        a[axis] > b[axis + 2] + _GAP * size[axis] or b[axis] > a[axis + 2] + _GAP * size[axis] for axis in (0, 1)
    )
