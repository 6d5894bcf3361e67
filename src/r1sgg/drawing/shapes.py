"""A drawing as a list of shapes: `r1sgg.drawing.raster` paints it, `r1sgg.drawing.svg` writes it; both look alike.

Lengths are pixels, colours are "#rrggbb" or "#rrggbbaa". Nothing here knows of graphs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field

from PIL import Image, ImageFont

Point = tuple[float, float]
Rect = tuple[float, float, float, float]
"""x1, y1, x2, y2."""
Quadratic = tuple[Point, Point, Point]
"""Start, control point and end of a quadratic curve."""

DASH = (7.0, 4.5)
"""Lengths of the painted and the blank pieces of a dashed line."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle with round corners; `width` is its line's."""

    rect: Rect
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    radius: float = 0.0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A curve, or a line through several points."""

    points: Quadratic | tuple[Point, ...]
    stroke: str
    width: float
    curved: bool = True
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Polygon:
    """A filled polygon with an outline."""

    points: tuple[Point, ...]
    fill: str
    stroke: str = ""
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle with an outline."""

    centre: Point
    radius: float
    fill: str = ""
    stroke: str = ""
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; `at` is its middle in height, and its start, middle or end in width."""

    at: Point
    text: str
    ink: str
    size: float
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Photo:
    """An image, stretched to a rectangle."""

    rect: Rect
    image: Image.Image


Shape = Rectangle | Line | Polygon | Dot | Text | Photo


@dataclass(slots=True)
class Drawing:
    """Shapes in painting order on a sheet of paper; in the raster form photos lie below, and texts above, all others.

    `title` and `words` say in words what is drawn (for those who do not see it; SVG only).
    """

    width: int
    height: int
    paper: str = "#ffffff"
    shapes: list[Shape] = field(default_factory=list)
    title: str = ""
    words: str = ""

    def put(self, other: Drawing, at: Point) -> None:
        """Add another drawing's shapes with its corner at `at`."""
        self.shapes += [_moved(shape, at) for shape in other.shapes]


@functools.lru_cache(32)
def font_of(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """PIL's built-in font (Latin letters) at this size."""
    return ImageFont.load_default(size)


@functools.lru_cache(1 << 14)
def text_width(text: str, size: float) -> float:
    """Width of a text in pixels, in PIL's built-in font."""
    return float(font_of(size).getlength(text.replace("\n", " ")))


def point_on(curve: Quadratic, t: float) -> Point:
    """The point at `t` in [0, 1]."""
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
    (x0, y0), (x1, y1), (x2, y2) = curve
    return a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2


def points_on(curve: Quadratic, steps: int = 24) -> list[Point]:
    """The curve as steps + 1 points."""
    return [point_on(curve, k / steps) for k in range(steps + 1)]


def part_of(curve: Quadratic, start: float, end: float) -> Quadratic:
    """The part of a curve between two places in [0, 1] (de Casteljau)."""
    (x0, y0), (x1, y1), (x2, y2) = curve

    def blend(s: float, t: float) -> Point:
        a, b, c = (1 - s) * (1 - t), s * (1 - t) + t * (1 - s), s * t
        return a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2

    return blend(start, start), blend(start, end), blend(end, end)


def head_of(before: Point, tip: Point, length: float) -> tuple[Point, Point, Point]:
    """The triangle of an arrow that arrives at `tip` from `before`."""
    angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
    left, right = (
        (tip[0] + length * math.cos(angle + turn), tip[1] + length * math.sin(angle + turn))
        for turn in (math.pi - 0.42, math.pi + 0.42)
    )
    return tip, left, right


def _moved(shape: Shape, by: Point) -> Shape:
    dx, dy = by
    if isinstance(shape, Rectangle | Photo):
        x1, y1, x2, y2 = shape.rect
        return dataclasses.replace(shape, rect=(x1 + dx, y1 + dy, x2 + dx, y2 + dy))
    if isinstance(shape, Line | Polygon):
        return dataclasses.replace(shape, points=tuple((x + dx, y + dy) for x, y in shape.points))
    if isinstance(shape, Dot):
        return dataclasses.replace(shape, centre=(shape.centre[0] + dx, shape.centre[1] + dy))
    return dataclasses.replace(shape, at=(shape.at[0] + dx, shape.at[1] + dy))
