"""A graph over its image as the records of a static SVG figure (`figure.html.j2`), for `r1sgg data view`.

This file makes no markup: the template writes what it finds in these records, escaped.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from r1sgg.data.base import Example
from r1sgg.drawing.layout import lay_out
from r1sgg.drawing.shapes import head_of, points_on, text_width
from r1sgg.drawing.style import ink_on
from r1sgg.errors import ImageError
from r1sgg.graph.scene import SceneGraph
from r1sgg.pages.pictures import open_picture, thumbnail

_LOG = logging.getLogger(__name__)

FIGURE_SIDE = 480.0
"""Longer side of a figure in its own units, whatever the image: so text and lines look alike in all."""
FONT_SIZE = 12.0
MAX_TRIPLETS = 100


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the gallery, embedded once however often it is shown. `uri` is "" where there is no image."""

    key: str
    width: float
    height: float
    uri: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FigureBox:
    """A box with its name tag (rectangles as x, y, width, height)."""

    key: str
    rect: tuple[float, float, float, float]
    colour: str
    ink: str
    text: str
    tag: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FigureArrow:
    """A relationship: curve, head (both SVG data), tag; `keys` names its relationships."""

    keys: str
    status: str
    path: str
    start: tuple[float, float]
    head: str
    text: str
    tag: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A graph drawn over a picture."""

    picture: Picture
    boxes: tuple[FigureBox, ...]
    arrows: tuple[FigureArrow, ...]
    objects: int
    relationships: int


@dataclass(frozen=True, slots=True)
class Triplet:
    """A line of the list: status, the words, how often it stands there, and which parts of the figures it lights."""

    status: str
    subject: str
    predicate: str
    object: str
    count: int
    truth_keys: str
    predicted_keys: str


def picture_of(example: Example, key: str, read: Callable[[Example], Image.Image] | None = None) -> Picture:
    """The example's image as a data URI, reduced; without one, why. `read`: see `open_picture`."""
    scale = FIGURE_SIDE / max(example.width, example.height)
    size = max(1.0, example.width * scale), max(1.0, example.height * scale)
    try:
        data = thumbnail(open_picture(example, read))
    except ImageError as error:
        _LOG.warning("shown without its image: %s", error)
        return Picture(key, *size, "", f"no image: {error.found}")
    return Picture(key, *size, "data:image/webp;base64," + base64.b64encode(data).decode("ascii"))


def figure_of(graph: SceneGraph, picture: Picture, statuses: Sequence[str], colours: Sequence[str]) -> Figure:
    """A graph over a picture; `statuses` has a word for each relationship, `colours` a colour for each object."""
    layout = lay_out(graph, (picture.width, picture.height), _measure, statuses, colours)
    boxes = [
        FigureBox(f"b{b.index}", _xywh(b.rect), b.colour, ink_on(b.colour), b.tag.text, _xywh(b.tag.rect))
        for b in layout.boxes
    ]
    arrows = []
    for a in layout.arrows:
        (x0, y0), (x1, y1), (x2, y2) = a.curve
        head = head_of(points_on(a.curve)[-2], a.curve[2], 9.0)
        arrows.append(
            FigureArrow(
                keys=" ".join(f"r{i}" for i in a.indices),
                status=a.status,
                path=f"M{x0:.1f},{y0:.1f}Q{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f}",
                start=(round(x0, 1), round(y0, 1)),
                head=" ".join(f"{x:.1f},{y:.1f}" for x, y in head),
                text=a.tag.text,
                tag=_xywh(a.tag.rect),
            )
        )
    return Figure(picture, tuple(boxes), tuple(arrows), len(graph), len(graph.pairs))


def _measure(text: str) -> tuple[float, float]:
    return text_width(text, FONT_SIZE) + 8.0, 1.3 * FONT_SIZE + 2.0


def _xywh(rect: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = rect
    return round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)
