"""A scene graph painted on its image: boxes, name tags, curved arrows, and the triplets as a legend.

Readable at any size of image (a thumbnail is enlarged, a large photo reduced) and with some 30 objects. Comparing with
a true graph reuses the evaluation's matching (`r1sgg.metrics`); there is no second definition of a hit here.

    draw_graph(open_image(Path("photo.jpg")), graph).save("graph.png")
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from r1sgg.graph.scene import SceneGraph
from r1sgg.viz.judge import compare
from r1sgg.viz.layout import (
    Arrow,
    Layout,
    Point,
    Rect,
    Tag,
    colour_of,
    display_names,
    head_of,
    ink_on,
    lay_out,
    points_on,
    shorten,
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MIN_SIDE = 896
"""Smaller images are enlarged to this: tags on a thumbnail would hide it."""
MAX_LEGEND = 40
PAPER, INK, QUIET = "#ffffff", "#1d2129", "#6b7280"
STATUS_COLOURS = {"matched": "#1a7f4b", "missed": "#b45309", "spurious": "#c0262d"}
_PREDICATE_PAPER, _PREDICATE_INK = "#16181d", "#ffffff"
_SCALE = 2  # lines are painted at twice the size and reduced, which smooths them


def draw_graph(
    image: Image.Image, graph: SceneGraph, *, truth: SceneGraph | None = None, max_side: int = 1024
) -> Image.Image:
    """Paint a graph on its image, with a legend of its triplets.

    Args:
        image: the picture; any mode and size.
        graph: what to show (boxes are fractions of the image).
        truth: the true graph; relations are then coloured and listed as matched, spurious or missed.
        max_side: the picture's longer side is at most this many pixels, and at least `MIN_SIDE`; the legend adds to it.

    Returns:
        A new RGB image.
    """
    scale = min(max_side, max(MIN_SIDE, *image.size)) / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    font = _font(max(12, round(max(size) * 0.0165)))
    statuses: list[str] | None = None
    missed: Sequence[int] = ()
    if truth is not None:
        judgement = compare(truth, graph)
        statuses = judgement.graph_statuses
        missed = [i for i, status in enumerate(judgement.truth_statuses) if status == "missed"]
    layout = lay_out(graph, size, functools.partial(_tag_size, font), statuses)
    _paint(picture, layout, font)
    rows = _legend_rows(graph, statuses)
    if truth is not None:
        rows += _legend_rows(truth, ["missed"] * len(truth.pairs), only=missed)
    return _with_legend(picture, rows, font) if rows else picture


def text_size(text: str, font_size: float) -> tuple[float, float]:
    """Width and line height in pixels of a text in PIL's built-in font; the report's SVG tags use it as well."""
    font = _font(max(1, round(font_size)))
    return font.getlength(text), font_size * 1.3


@functools.lru_cache(16)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _tag_size(font: Font, text: str) -> tuple[float, float]:
    height = _height(font)
    return font.getlength(text) + 0.7 * height, 1.25 * height


def _height(font: Font) -> float:
    return float(font.size) if isinstance(font, ImageFont.FreeTypeFont) else 12.0


def _paint(picture: Image.Image, layout: Layout, font: Font) -> None:
    width = max(1.5, max(picture.size) / 400)
    layer = Image.new("RGBA", (picture.width * _SCALE, picture.height * _SCALE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for box in layout.boxes:
        pen.rectangle(_scaled(_inset(box.rect, width)), outline="#00000099", width=round(_SCALE * (width + 1.2)))
        pen.rectangle(_scaled(_inset(box.rect, width)), outline=box.colour, width=round(_SCALE * width))
    for arrow in layout.arrows:
        _paint_arrow(pen, arrow, width)
    radius = _SCALE * _height(font) * 0.3
    for box in layout.boxes:
        pen.rounded_rectangle(_scaled(box.tag.rect), radius, fill=box.colour, outline="#ffffffcc", width=_SCALE)
    for arrow in layout.arrows:
        paper = STATUS_COLOURS.get(arrow.status, _PREDICATE_PAPER)
        pen.rounded_rectangle(_scaled(arrow.tag.rect), 2 * radius, fill=paper, outline=arrow.colour, width=_SCALE)
    layer = layer.resize(picture.size, Image.Resampling.BOX)
    picture.paste(layer, (0, 0), layer)
    pen = ImageDraw.Draw(picture)
    for box in layout.boxes:
        _write(pen, box.tag, ink_on(box.colour), font)
    for arrow in layout.arrows:
        _write(pen, arrow.tag, _PREDICATE_INK, font)


def _paint_arrow(pen: ImageDraw.ImageDraw, arrow: Arrow, width: float) -> None:
    points = [(x * _SCALE, y * _SCALE) for x, y in points_on(arrow.curve)]
    colour = STATUS_COLOURS.get(arrow.status, arrow.colour)
    for extra, ink in ((2.4, "#ffffffe0"), (0.0, colour)):
        pen.line(points[:-1], fill=ink, width=round(_SCALE * (width + extra)), joint="curve")
        _dot(pen, points[0], _SCALE * (1.6 * width + extra / 2), ink)
        pen.polygon(head_of(points[-2], points[-1], _SCALE * (7 * width + extra)), fill=ink)


def _dot(pen: ImageDraw.ImageDraw, at: Point, radius: float, colour: str) -> None:
    pen.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=colour)


def _write(pen: ImageDraw.ImageDraw, tag: Tag, ink: str, font: Font) -> None:
    x1, y1, x2, y2 = tag.rect
    pen.text(((x1 + x2) / 2, (y1 + y2) / 2), tag.text, fill=ink, font=font, anchor="mm")


def _inset(rect: Rect, width: float) -> Rect:
    """Half a line further in, so that a box along the border is seen; never turned inside out."""
    half = min(width / 2, (rect[2] - rect[0]) / 2, (rect[3] - rect[1]) / 2)
    return rect[0] + half, rect[1] + half, rect[2] - half, rect[3] - half


def _scaled(rect: Rect) -> Rect:
    return rect[0] * _SCALE, rect[1] * _SCALE, rect[2] * _SCALE, rect[3] * _SCALE


# ---------------------------------------------------------------- the legend

Row = tuple[str, tuple[str, str], str, tuple[str, str]]
"""Status, subject (name, colour), predicate with its count, object (name, colour)."""


def _legend_rows(graph: SceneGraph, statuses: Sequence[str] | None, only: Sequence[int] | None = None) -> list[Row]:
    names = display_names(graph)
    counts: dict[tuple[str, int, str, int], int] = {}
    for i in range(len(graph.pairs)) if only is None else only:
        s, o = graph.pairs[i]
        key = (statuses[i] if statuses else "", s, graph.predicates[i], o)
        counts[key] = counts.get(key, 0) + 1
    return [
        (status, (names[s], colour_of(s)), shorten(p) + (f" x{n}" if n > 1 else ""), (names[o], colour_of(o)))
        for (status, s, p, o), n in counts.items()
    ]


def _with_legend(picture: Image.Image, rows: Sequence[Row], font: Font) -> Image.Image:
    """The picture with its triplets on the right (an upright picture) or below, in columns (a wide one)."""
    shown, left_out = rows[:MAX_LEGEND], max(0, len(rows) - MAX_LEGEND)
    em = _height(font)
    step, margin = round(1.75 * em), round(em)
    column = round(max(_row_width(row, font) for row in shown) + 2 * em)
    lines = len(shown) + bool(left_out)
    below = picture.width > picture.height or picture.height < step * lines
    columns = max(1, (picture.width - margin) // column) if below else 1
    deep = math.ceil(lines / columns)
    if below:
        size = max(picture.width, column + margin), picture.height + deep * step + 2 * margin
        origin = margin, picture.height + margin
    else:
        size = picture.width + column + margin, max(picture.height, deep * step + 2 * margin)
        origin = picture.width + margin, margin
    canvas = Image.new("RGB", size, PAPER)
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    for k, row in enumerate(shown):
        _write_row(pen, (origin[0] + k // deep * column, origin[1] + k % deep * step + step / 2), row, font)
    if left_out:
        k = len(shown)
        at = (origin[0] + k // deep * column, origin[1] + k % deep * step + step / 2)
        pen.text(at, f"and {left_out} more", fill=QUIET, font=font, anchor="lm")
    return canvas


def _row_width(row: Row, font: Font) -> float:
    em = _height(font)
    names = sum(_tag_size(font, name)[0] for name, _ in (row[1], row[3]))
    return names + font.getlength(row[2]) + 1.2 * em + (1.4 * em if row[0] else 0)


def _write_row(pen: ImageDraw.ImageDraw, at: Point, row: Row, font: Font) -> None:
    status, subject, predicate, target = row
    em = _height(font)
    x, y = at
    if status:
        _mark(pen, (x + 0.45 * em, y), 0.4 * em, status)
        x += 1.4 * em
    x = _chip(pen, x, y, subject, font) + 0.6 * em
    pen.text((x, y), predicate, fill=STATUS_COLOURS.get(status, INK), font=font, anchor="lm")
    _chip(pen, x + font.getlength(predicate) + 0.6 * em, y, target, font)


def _chip(pen: ImageDraw.ImageDraw, x: float, y: float, label: tuple[str, str], font: Font) -> float:
    name, colour = label
    w, h = _tag_size(font, name)
    pen.rounded_rectangle((x, y - h / 2, x + w, y + h / 2), 0.3 * _height(font), fill=colour)
    pen.text((x + w / 2, y), name, fill=ink_on(colour), font=font, anchor="mm")
    return x + w


def _mark(pen: ImageDraw.ImageDraw, at: Point, radius: float, status: str) -> None:
    """A tick, a cross or a ring: told apart without colour as well. (The built-in font has no such signs.)"""
    (x, y), r, colour, width = at, radius, STATUS_COLOURS[status], max(2, round(radius / 2.5))
    if status == "matched":
        pen.line([(x - r, y), (x - r / 4, y + r * 0.75), (x + r, y - r * 0.8)], fill=colour, width=width, joint="curve")
    elif status == "spurious":
        pen.line([(x - r * 0.8, y - r * 0.8), (x + r * 0.8, y + r * 0.8)], fill=colour, width=width)
        pen.line([(x - r * 0.8, y + r * 0.8), (x + r * 0.8, y - r * 0.8)], fill=colour, width=width)
    else:
        pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=width)
