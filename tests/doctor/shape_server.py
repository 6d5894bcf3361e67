"""Answers about drawn shapes, by looking at the pixels that arrive: truthful in one frame, or with faults."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import label

from r1sgg.doctor.shapes import COLOURS
from r1sgg.graph.frames import BoxFrame

from ..endpoint.fake_server import Asked, Said, says

Writer = Callable[[Sequence[str], Sequence[Sequence[float]]], str]
FrameOf = Callable[[tuple[int, int]], BoxFrame]


def shapes_in(image: Image.Image) -> tuple[list[str], np.ndarray]:
    """Return the colours that an image shows and their boxes in fractions of it, as anybody would see them."""
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    height, width = pixels.shape[:2]
    names, boxes = [], []
    for name, colour in COLOURS.items():
        # the largest area of the colour: where two colours meet, a compressed image has a rim of others
        areas, count = label(((pixels - colour) ** 2).sum(-1) < 60**2)
        if not count:
            continue
        largest = 1 + int(np.bincount(areas.ravel())[1:].argmax())
        rows, columns = np.nonzero(areas == largest)
        if len(rows) < 0.002 * areas.size:
            continue
        names.append(name)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return names, np.array(boxes) / (width, height, width, height)


class ShapeModel:
    """A model that sees the shapes and writes their boxes in one frame.

    Args:
        frame: of an image as it arrives.
        write: writes names and boxes.
        noise: standard deviation of each side, as a share of the image.
        wrong: share of boxes that are anywhere.
        shift: moves every box, as a share of the sides.
    """

    def __init__(
        self,
        frame: FrameOf,
        write: Writer,
        *,
        noise: float = 0.0,
        wrong: float = 0.0,
        shift: tuple[float, float] = (0, 0),
    ) -> None:
        self.frame, self.write, self.noise, self.wrong, self.shift = frame, write, noise, wrong, shift

    def answer(self, image: Image.Image, seed: str) -> str:
        names, boxes = shapes_in(image)
        draw = random.Random(seed)
        for box in boxes:
            if draw.random() < self.wrong:
                (x1, x2), (y1, y2) = (sorted((draw.random(), draw.random())) for _ in range(2))
                box[:] = (x1, y1, x2, y2)
            else:
                box += [draw.gauss(side, self.noise) if self.noise else side for side in (*self.shift, *self.shift)]
        frame = self.frame(image.size)
        numbers = frame.written(boxes)
        whole = max(frame.size) > 50
        rows = [[float(round(v)) if whole else round(float(v), 3) for v in row] for row in numbers]
        return self.write(names, rows)

    def __call__(self, asked: Asked) -> Said:
        return says(self.answer(asked.image, f"{asked.image.size}"))


def bins(size: float, **more: object) -> FrameOf:
    """A frame of so many bins for any image."""
    return lambda image: BoxFrame((size, size), **more)  # type: ignore[arg-type]


def pixels(image: tuple[int, int]) -> BoxFrame:
    """Pixels of the image as it arrives."""
    return BoxFrame((float(image[0]), float(image[1])))


def bbox_json(names: Sequence[str], rows: Sequence[Sequence[float]]) -> str:
    return json.dumps([{"bbox_2d": list(row), "label": name} for name, row in zip(names, rows, strict=True)])
