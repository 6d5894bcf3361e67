"""The shapes of a picture, painted with Pillow (PNG) or written as SVG.

Lengths are in pixels; colours are "#rrggbb" or "#rrggbbaa". Nothing here knows about graphs.

matplotlib was tried instead, on ten pictures of Visual Genome images and drawn scenes. Its Agg backend paints the same
shapes as well as Pillow does here, but takes 1.8 times the CPU time, 0.9 s for the import, and 55 MB more on disk. Its
SVG backend is worse: it stores the photo as PNG, so that the files are 9 times larger, and it does not fit a text to
its tag where the viewer has no DejaVu Sans. With one of two backends replaced, a third of this file would go.
"""

from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from r1sgg.errors import ConfigError
from r1sgg.exports.record import xml_text
from r1sgg.files import writing

Point = tuple[float, float]
Rect = tuple[float, float, float, float]
"""x1, y1, x2, y2."""
Quadratic = tuple[Point, Point, Point]
"""Start, control point and end of a quadratic Bézier curve."""

FORMATS = ("png", "svg")
DASH = (7.0, 4.5)
"""Lengths of the painted and the blank pieces of a dashed line."""
_SCALE = 2  # lines are painted at this many times the size and then reduced, because Pillow does not antialias them
_FAMILY = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
_ANCHORS = {"start": "lm", "middle": "mm"}  # SVG's text-anchor as Pillow names it


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle, with round corners where `radius` is given.

    In every shape, `part` is the class attribute of its SVG element: it tells styles and scripts what it belongs to.
    """

    rect: Rect
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    radius: float = 0.0
    part: str = ""

    def element(self) -> Element:
        """Return the SVG element."""
        x1, y1, x2, y2 = self.rect
        return _element("rect", self, x=x1, y=y1, width=x2 - x1, height=y2 - y1, rx=self.radius)

    def paint(self, pen: ImageDraw.ImageDraw) -> None:
        """Paint at `_SCALE` times the size."""
        grow = self.width / 2 if self.stroke else 0.0  # Pillow puts the line inside the edge, SVG half on each side
        x1, y1, x2, y2 = self.rect
        pen.rounded_rectangle(
            [_SCALE * v for v in (x1 - grow, y1 - grow, x2 + grow, y2 + grow)],
            _SCALE * (self.radius and self.radius + grow),
            fill=self.fill or None,
            outline=self.stroke or None,
            width=max(1, round(_SCALE * self.width)),
        )


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, or one quadratic curve (`curved`); with `fill` the polygon that the points enclose."""

    points: tuple[Point, ...]
    stroke: str = ""
    width: float = 1.0
    fill: str = ""
    curved: bool = False
    dashed: bool = False
    part: str = ""

    def element(self) -> Element:
        """Return the SVG element."""
        first, *others = (f"{_n(x)} {_n(y)}" for x, y in self.points)
        element = _element("path", self)
        element.set("d", f"M{first}{'Q' if self.curved else 'L'}{' '.join(others)}{'Z' if self.fill else ''}")
        element.set("stroke-linejoin", "round")
        if self.fill:
            element.set("paint-order", "stroke")  # the outline lies under the polygon
        if self.dashed:
            element.set("stroke-dasharray", " ".join(map(_n, DASH)))
        else:
            element.set("stroke-linecap", "round")
        return element

    def paint(self, pen: ImageDraw.ImageDraw) -> None:
        """Paint at `_SCALE` times the size."""
        points = [(_SCALE * x, _SCALE * y) for x, y in (points_on(self.points) if self.curved else self.points)]
        pieces: Sequence[Sequence[Point]] = [[*points, *points[:2]] if self.fill else points]
        if self.dashed:
            pieces = list(dashes(points, (_SCALE * DASH[0], _SCALE * DASH[1])))
        for piece in pieces if self.stroke else ():
            pen.line(piece, fill=self.stroke, width=max(1, round(_SCALE * self.width)), joint="curve")
        if self.fill:
            pen.polygon(points, fill=self.fill)


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; `at` is its middle in height, and its "start" or "middle" in width."""

    at: Point
    text: str
    ink: str
    size: float
    anchor: str = "start"
    part: str = ""

    def element(self) -> Element:
        """Return the SVG element."""
        element = Element("text", {"x": _n(self.at[0]), "y": _n(self.at[1]), "font-size": _n(self.size)})
        attributes = {"fill": self.ink, "dominant-baseline": "central", "text-anchor": self.anchor}
        if self.text.isascii() and len(self.text) > 1:
            # Tags are made for the width in Pillow's font: the viewer is to fit its own font into it.
            attributes |= {"textLength": _n(text_width(self.text, self.size)), "lengthAdjust": "spacingAndGlyphs"}
        element.attrib |= attributes | ({"class": self.part} if self.part else {})
        element.text = xml_text(self.text)
        return element

    def paint(self, pen: ImageDraw.ImageDraw) -> None:
        """Paint at the picture's own size, where the font's hinting works."""
        text = self.text.replace("\n", " ")
        pen.text(self.at, text, fill=self.ink, font=font_of(self.size), anchor=_ANCHORS[self.anchor])


@dataclass(frozen=True, slots=True)
class Photo:
    """An image, stretched to a rectangle; an SVG embeds it as JPEG, or `uri` where that is given."""

    rect: Rect
    image: Image.Image
    uri: str = ""

    def element(self) -> Element:
        """Return the SVG element."""
        buffer = io.BytesIO()
        if not self.uri:
            self.image.convert("RGB").save(buffer, "JPEG", quality=90)
        uri = self.uri or data_uri(buffer.getvalue(), "jpeg")
        x1, y1, x2, y2 = self.rect
        attributes = {"x": _n(x1), "y": _n(y1), "width": _n(x2 - x1), "height": _n(y2 - y1)}
        return Element("image", attributes | {"preserveAspectRatio": "none", "href": uri})

    def paste(self, sheet: Image.Image) -> None:
        """Paste the image."""
        x1, y1, x2, y2 = map(round, self.rect)
        size = max(1, x2 - x1), max(1, y2 - y1)
        photo = self.image.convert("RGB")
        sheet.paste(photo if photo.size == size else photo.resize(size, Image.Resampling.LANCZOS), (x1, y1))


@dataclass(frozen=True, slots=True)
class Inset:
    """A drawing inside another; `at` is its corner."""

    at: tuple[int, int]
    drawing: Drawing

    def element(self) -> Element:
        """Return the SVG element."""
        element = Element("g", {"transform": f"translate({self.at[0]} {self.at[1]})"})
        element.extend([shape.element() for shape in self.drawing.shapes])
        return element

    def paste(self, sheet: Image.Image) -> None:
        """Paste the drawing."""
        sheet.paste(self.drawing.to_image(), self.at)


Shape = Rectangle | Line | Text | Photo | Inset


@dataclass(slots=True)
class Drawing:
    """A picture: shapes on white paper, in painting order.

    As PNG, photos and insets lie below all other shapes, and texts above them.

    Attributes:
        width, height: in pixels.
        shapes: what is drawn.
        title: a short description, and
        words: a long one, for those who do not see the picture (SVG only).
    """

    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list)
    title: str = ""
    words: str = ""

    def to_image(self) -> Image.Image:
        """Paint the picture as an RGB image."""
        sheet = Image.new("RGB", (self.width, self.height), "#ffffff")
        lines = [shape for shape in self.shapes if isinstance(shape, Rectangle | Line)]
        for shape in self.shapes:
            if isinstance(shape, Photo | Inset):
                shape.paste(sheet)
        if lines:
            layer = Image.new("RGBA", (_SCALE * self.width, _SCALE * self.height), (0, 0, 0, 0))
            pen = ImageDraw.Draw(layer)
            for line in lines:
                line.paint(pen)
            layer = layer.resize(sheet.size, Image.Resampling.BOX)
            sheet.paste(layer, mask=layer)
        pen = ImageDraw.Draw(sheet)
        for shape in self.shapes:
            if isinstance(shape, Text):
                shape.paint(pen)
        return sheet

    def to_svg(self, *, paper: bool = True) -> str:
        """Write the picture as an SVG document that needs no other file; without `paper`, what is under it is seen."""
        size = {"width": str(self.width), "height": str(self.height), "viewBox": f"0 0 {self.width} {self.height}"}
        root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img", "font-family": _FAMILY})
        for tag, words in (("title", self.title), ("desc", self.words)):
            if words:
                SubElement(root, tag).text = xml_text(words)
        if paper:
            SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
        root.extend([shape.element() for shape in self.shapes])
        return tostring(root, encoding="unicode") + "\n"

    def save(self, path: Path | str) -> None:
        """Write the picture to a file, as PNG or SVG.

        Raises:
            ConfigError: the name does not end in .png or .svg.
            InputError: the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            raise ConfigError(f"{path.name}: expected a name that ends in .png or .svg")
        with writing(path, sync=False) as handle:
            if kind == "svg":
                handle.write(self.to_svg().encode())
            else:
                self.to_image().save(handle, "PNG")

    _repr_svg_ = to_svg
    """Notebooks show the picture."""


def label(
    rect: Rect, text: str, paper: str, ink: str, size: float, *, edge: str = "", radius: float = 0.0, part: str = ""
) -> list[Shape]:
    """Return a text in the middle of a filled rectangle."""
    middle = ((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2)
    paper_shape = Rectangle(rect, paper, edge, radius=radius, part=part)
    return [paper_shape, Text(middle, text, ink, size, "middle", part)]


def data_uri(data: bytes, kind: str) -> str:
    """Return an image file as a data URI; `kind` is its format, as in "image/webp"."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


@functools.lru_cache(32)
def font_of(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font (Latin letters) at this size, so that a picture does not depend on the machine."""
    return ImageFont.load_default(size)


@functools.lru_cache(1 << 14)
def text_width(text: str, size: float) -> float:
    """Return the width of a text in pixels, in Pillow's own font."""
    return float(font_of(size).getlength(text.replace("\n", " ")))


# ---------------------------------------------------------------- curves


def point_on(curve: Sequence[Point], t: float) -> Point:
    """Return the point of a quadratic curve at `t` in [0, 1]."""
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
    (x0, y0), (x1, y1), (x2, y2) = curve
    return a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2


def points_on(curve: Sequence[Point], steps: int = 24) -> list[Point]:
    """Return steps + 1 points of a quadratic curve."""
    return [point_on(curve, k / steps) for k in range(steps + 1)]


def cut_off(curve: Quadratic, end: float) -> Quadratic:
    """Return the part of a curve from its start to `end` in [0, 1] (de Casteljau's subdivision)."""
    (x0, y0), (x1, y1), _ = curve
    return curve[0], (x0 + end * (x1 - x0), y0 + end * (y1 - y0)), point_on(curve, end)


def arrow_head(curve: Quadratic, length: float) -> tuple[Point, Point, Point]:
    """Return the triangle at the end of a curve."""
    (x0, y0), (x1, y1) = point_on(curve, 0.9), curve[2]
    angle = math.atan2(y1 - y0, x1 - x0)
    left, right = (
        (x1 + length * math.cos(angle + turn), y1 + length * math.sin(angle + turn))
        for turn in (math.pi - 0.42, math.pi + 0.42)
    )
    return curve[2], left, right


def dashes(points: Sequence[Point], pattern: tuple[float, float] = DASH) -> Iterator[list[Point]]:
    """Yield the painted pieces of a dashed line through points; a piece goes around corners."""
    xs, ys = np.transpose(points)
    reached = np.cumsum([0.0, *np.hypot(np.diff(xs), np.diff(ys))])  # length of the line up to each point
    for start in np.arange(0.0, reached[-1], sum(pattern)):
        end = min(start + pattern[0], reached[-1])
        stops = [start, *reached[(reached > start) & (reached < end)], end]
        yield list(zip(np.interp(stops, reached, xs).tolist(), np.interp(stops, reached, ys).tolist(), strict=True))


# ---------------------------------------------------------------- SVG


def _element(tag: str, shape: Rectangle | Line, **numbers: float) -> Element:
    """Return an element with the attributes that rectangles and lines share."""
    element = Element(tag, {name: _n(value) for name, value in numbers.items()})
    for name, colour in (("fill", shape.fill), ("stroke", shape.stroke)):
        element.set(name, colour[:7] or "none")
        if len(colour) == 9:  # "#rrggbbaa": many viewers know colours without opacity only
            element.set(f"{name}-opacity", _n(int(colour[7:], 16) / 255))
    element.attrib |= ({"stroke-width": _n(shape.width)} if shape.stroke else {}) | (
        {"class": shape.part} if shape.part else {}
    )
    return element


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
