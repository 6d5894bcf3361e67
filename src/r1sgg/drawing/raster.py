"""A drawing (`r1sgg.drawing.shapes`) painted with PIL: lines at twice the size and reduced, which smooths them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from r1sgg.drawing.shapes import (
    DASH,
    Dot,
    Drawing,
    Line,
    Photo,
    Point,
    Polygon,
    Rectangle,
    Shape,
    Text,
    font_of,
    points_on,
)

_SCALE = 2
_ANCHORS = {"start": "lm", "middle": "mm", "end": "rm"}


def to_image(drawing: Drawing) -> Image.Image:
    """The drawing as an RGB image; photos lie below, and texts above, all other shapes."""
    sheet = Image.new("RGB", (drawing.width, drawing.height), drawing.paper)
    for shape in drawing.shapes:
        if isinstance(shape, Photo):
            x1, y1, x2, y2 = map(round, shape.rect)
            size = max(1, x2 - x1), max(1, y2 - y1)
            photo = shape.image.convert("RGB")
            sheet.paste(photo if photo.size == size else photo.resize(size, Image.Resampling.LANCZOS), (x1, y1))
    layer = Image.new("RGBA", (drawing.width * _SCALE, drawing.height * _SCALE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for shape in drawing.shapes:
        _paint(pen, shape)
    layer = layer.resize(sheet.size, Image.Resampling.BOX)
    sheet.paste(layer, (0, 0), layer)
    pen = ImageDraw.Draw(sheet)
    for shape in drawing.shapes:
        if isinstance(shape, Text):
            text = shape.text.replace("\n", " ")
            pen.text(shape.at, text, fill=shape.ink, font=font_of(shape.size), anchor=_ANCHORS[shape.anchor])
    return sheet


def _paint(pen: ImageDraw.ImageDraw, shape: Shape) -> None:
    """Paint everything but photos and texts."""
    if isinstance(shape, Rectangle):
        rect = tuple(v * _SCALE for v in shape.rect)
        if shape.dashed:
            if shape.fill:
                pen.rounded_rectangle(rect, shape.radius * _SCALE, fill=shape.fill)
            x1, y1, x2, y2 = shape.rect
            _dash(pen, [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], shape.stroke, shape.width)
        else:
            inset = shape.width / 2 * _SCALE if shape.stroke else 0.0
            x1, y1, x2, y2 = rect
            inset = min(inset, (x2 - x1) / 2, (y2 - y1) / 2)
            grown = (x1 - inset, y1 - inset, x2 + inset, y2 + inset)  # PIL draws the line inside; SVG on the edge
            pen.rounded_rectangle(
                grown if shape.stroke else rect,
                shape.radius * _SCALE,
                fill=shape.fill or None,
                outline=shape.stroke or None,
                width=max(1, round(shape.width * _SCALE)),
            )
    elif isinstance(shape, Line):
        points = points_on(shape.points) if shape.curved and len(shape.points) == 3 else list(shape.points)
        if shape.dashed:
            _dash(pen, points, shape.stroke, shape.width)
        else:
            width = max(1, round(shape.width * _SCALE))
            pen.line([(x * _SCALE, y * _SCALE) for x, y in points], fill=shape.stroke, width=width, joint="curve")
    elif isinstance(shape, Polygon):
        points = [(x * _SCALE, y * _SCALE) for x, y in shape.points]
        if shape.stroke:
            width = max(1, round(shape.width * 2 * _SCALE))
            pen.line([*points, *points[:2]], fill=shape.stroke, width=width, joint="curve")
        pen.polygon(points, fill=shape.fill)
    elif isinstance(shape, Dot):
        (x, y), r = shape.centre, shape.radius + shape.width / 2
        pen.ellipse(
            [(x - r) * _SCALE, (y - r) * _SCALE, (x + r) * _SCALE, (y + r) * _SCALE],
            fill=shape.fill or None,
            outline=shape.stroke or None,
            width=round(shape.width * _SCALE),
        )


def _dash(pen: ImageDraw.ImageDraw, points: Sequence[Point], stroke: str, width: float) -> None:
    for start, end in dashes(points):
        pen.line([(x * _SCALE, y * _SCALE) for x, y in (start, end)], fill=stroke, width=max(1, round(width * _SCALE)))


def dashes(points: Sequence[Point], pattern: tuple[float, float] = DASH) -> Iterator[tuple[Point, Point]]:
    """The painted pieces of a dashed line through points."""
    left, on = pattern[0], True
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        length = math.hypot(x2 - x1, y2 - y1)
        at = 0.0
        while length - at > 1e-6:
            step = min(left, length - at)
            if on:
                a, b = at / length, (at + step) / length
                yield (x1 + a * (x2 - x1), y1 + a * (y2 - y1)), (x1 + b * (x2 - x1), y1 + b * (y2 - y1))
            at += step
            left -= step
            if left <= 1e-6:
                on = not on
                left = pattern[0] if on else pattern[1]
