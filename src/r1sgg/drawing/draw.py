"""A scene graph as a picture: painted on its image, drawn as a graph beside it, compared with the true one.

Readable at any size of image (a thumbnail is enlarged, a large photo reduced) and with some 30 objects. Comparing
reuses the evaluation's matching (`r1sgg.metrics`); there is no second definition of a hit here.

    picture = compose(open_image(Path("photo.jpg")), graph, beside=True)
    save(picture, Path("graph.svg"))  # or .png
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from r1sgg.drawing.graph_panel import graph_panel, merged_panel
from r1sgg.drawing.layout import DOT, MAX_ARROWS, MAX_OBJECTS, Arrow, Box, Layout, lay_out
from r1sgg.drawing.legend import LegendRow, legend, legend_rows
from r1sgg.drawing.raster import to_image
from r1sgg.drawing.shapes import (
    Dot,
    Drawing,
    Line,
    Photo,
    Polygon,
    Rectangle,
    Text,
    head_of,
    point_on,
    text_width,
)
from r1sgg.drawing.style import INK, PREDICATE_INK, PREDICATE_PAPER, QUIET, STATUS_COLOURS, ink_on
from r1sgg.drawing.svg import to_svg
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.outcomes import Judgement, compare

MIN_SIDE = 896
"""Smaller images are enlarged to this, crowded ones somewhat more: tags on a thumbnail would hide it."""
FORMATS = ("png", "svg")


def draw(
    image: Image.Image,
    graph: SceneGraph,
    *,
    truth: SceneGraph | None = None,
    beside: bool = False,
    max_side: int = 1280,
) -> Image.Image:
    """Paint a graph on its image, with a legend of its triplets: `compose` as an RGB image."""
    return to_image(compose(image, graph, truth=truth, beside=beside, max_side=max_side))


def compose(
    image: Image.Image,
    graph: SceneGraph,
    *,
    truth: SceneGraph | None = None,
    beside: bool = False,
    max_side: int = 1280,
    title: str = "",
) -> Drawing:
    """Draw a graph on its image, with a legend of its triplets.

    Args:
        image: the picture; any mode and size.
        graph: what to show (boxes are fractions of the image).
        truth: the true graph; then both are drawn, side by side, and what is matched, missed and spurious is coloured.
        beside: draw the graph without the image as well (with `truth` both graphs as one).
        max_side: an image's longer side is at most this many pixels, and at least `MIN_SIDE`; the rest adds to it.
        title: what the drawing is called (SVG only).
    """
    if truth is None:
        picture, layout = _overlay(image, graph, max_side)
        rows = legend_rows(graph, layout)
        upright = picture.height >= 1.2 * picture.width and not beside
        whole = picture
        if rows:
            words = legend(rows, 0 if upright else picture.width)
            whole = _joined([picture, words], across=upright and words.height <= picture.height)
        if beside:
            colours = layout.colours(len(graph))
            whole = _joined([whole, graph_panel(graph, colours, picture.width, whole.height)], across=True)
    else:
        judgement = compare(truth, graph)
        panels, rows = _compared(image, judgement, max_side)
        whole = _joined(panels, across=True)
        feet = [legend(rows, 0 if beside else whole.width)] if rows else []
        if beside:
            width = whole.width - (feet[0].width if feet else 0)
            if feet and width > 2 * feet[0].width:
                feet = [legend(rows, width // 3)]
                width = whole.width - feet[0].width
            panel = merged_panel(judgement, max(480, width), max([400, *(f.height - CAPTION for f in feet)]))
            feet = [_captioned(panel, "Both as one graph", _counts(judgement)), *feet]
        whole = _joined([whole, _joined(feet, across=True)] if feet else [whole], across=False)
    whole.title = title or f"Scene graph of {len(graph)} objects and {len(graph.pairs)} relationships"
    whole.words = "; ".join(" ".join(words) for words in graph.triplets[:60])
    return whole


def save(drawing: Drawing, path: Path) -> None:
    """Write a drawing as PNG or SVG, as the file's ending says.

    Raises:
        ConfigError: another ending.
        InputError: the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"{path.name}: expected a name that ends in .png or .svg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "svg":
            path.write_text(to_svg(drawing), encoding="utf-8")
        else:
            to_image(drawing).save(path)
    except OSError as error:
        found = error.strerror or "an error"
        raise InputError(str(path), expected="a place to write a file", found=found, hint="choose another") from error


# ---------------------------------------------------------------- the graph on its image


def _overlay(
    image: Image.Image,
    graph: SceneGraph,
    max_side: int,
    statuses: Sequence[str] | None = None,
    object_statuses: Sequence[str] | None = None,
    crowd: int | None = None,
) -> tuple[Drawing, Layout]:
    crowd = crowd or _crowd(graph)
    wanted = max(MIN_SIDE, MIN_SIDE + 10 * (crowd - 24), *image.size)
    scale = min(max_side, wanted) / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    font = max(11.0, min(15.0, 0.0165 * max(size)))
    colours = [STATUS_COLOURS[s] for s in object_statuses] if object_statuses else None
    layout = lay_out(graph, size, _measure(font), statuses, colours, numbers=True)
    drawing = Drawing(*size)
    drawing.shapes.append(Photo((0, 0, *size), image))
    width = max(1.5, max(size) / 480)
    for box in layout.boxes:
        _box(drawing, box, width, dashed=bool(object_statuses and object_statuses[box.index] != "matched"))
    for arrow in layout.arrows:
        _arrow(drawing, arrow, width)
    joints = {end for arrow in layout.arrows for end in (arrow.subject, arrow.object)}
    for box in layout.boxes:
        if box.index in joints:
            drawing.shapes.append(Dot(box.dot, DOT, box.colour, "#ffffff", 1.5))
    for box in layout.boxes:
        _tag(drawing, box.tag.rect, box.tag.text, box.colour, ink_on(box.colour), "#ffffffcc", 0.3, font)
    for arrow in layout.arrows:
        paper = STATUS_COLOURS.get(arrow.status, PREDICATE_PAPER)
        _tag(drawing, arrow.tag.rect, arrow.tag.text, paper, PREDICATE_INK, arrow.colour, 0.6, font)
    return drawing, layout


def _crowd(graph: SceneGraph) -> int:
    """How many things are to be drawn, of those that are."""
    return min(len(graph), MAX_OBJECTS) + min(len(set(graph.pairs)), MAX_ARROWS)


def _measure(font: float) -> Callable[[str], tuple[float, float]]:
    return lambda text: (text_width(text, font) + 0.7 * font, 1.25 * font)


def _box(drawing: Drawing, box: Box, width: float, *, dashed: bool) -> None:
    half = min(width / 2, (box.rect[2] - box.rect[0]) / 2, (box.rect[3] - box.rect[1]) / 2)
    x1, y1, x2, y2 = box.rect
    rect = (x1 + half, y1 + half, x2 - half, y2 - half)  # half a line in: a box along the border is seen
    drawing.shapes.append(Rectangle(rect, stroke="#00000099", width=width + 1.2))
    drawing.shapes.append(Rectangle(rect, stroke=box.colour, width=width, dashed=dashed))


def _arrow(drawing: Drawing, arrow: Arrow, width: float) -> None:
    colour = STATUS_COLOURS.get(arrow.status, arrow.colour)
    dashed = arrow.status in ("missed", "spurious")
    tip, before = arrow.curve[2], point_on(arrow.curve, 0.9)
    head = head_of(before, tip, 4.5 * width + 3)
    drawing.shapes.append(Line(arrow.curve, "#ffffffe0", width + 2.2))
    drawing.shapes.append(Line(arrow.curve, colour, width, dashed=dashed))
    drawing.shapes.append(Polygon(head, colour, "#ffffff", 1.1))


def _tag(
    drawing: Drawing,
    rect: tuple[float, float, float, float],
    text: str,
    paper: str,
    ink: str,
    edge: str,
    roundness: float,
    font: float,
) -> None:
    x1, y1, x2, y2 = rect
    drawing.shapes.append(Rectangle(rect, paper, edge, 1.0, roundness * font))
    drawing.shapes.append(Text(((x1 + x2) / 2, (y1 + y2) / 2), text, ink, font, "middle"))


# ---------------------------------------------------------------- prediction against truth

CAPTION, GAP = 34, 16


def _compared(image: Image.Image, judgement: Judgement, max_side: int) -> tuple[list[Drawing], list[LegendRow]]:
    """Truth and prediction on the image, and the legend's rows: matched, then missed, then spurious."""
    drawings: list[Drawing] = []
    rows: list[LegendRow] = []
    crowd = max(_crowd(judgement.truth), _crowd(judgement.graph))
    for name, graph, statuses, kinds, only in (
        ("Truth", judgement.truth, judgement.truth_statuses, judgement.true_object_statuses, None),
        ("Prediction", judgement.graph, judgement.graph_statuses, judgement.object_statuses, {"spurious"}),
    ):
        drawing, layout = _overlay(image, graph, max_side, statuses, kinds, crowd)
        drawings.append(_captioned(drawing, name, f"{len(graph)} objects, {len(graph.pairs)} relations"))
        rows += legend_rows(graph, layout, statuses, only=only, object_statuses=kinds)
    order = list(STATUS_COLOURS)
    return drawings, sorted(rows, key=lambda row: order.index(row.status))


def _counts(judgement: Judgement) -> str:
    relations = [*judgement.truth_statuses, *(s for s in judgement.graph_statuses if s == "spurious")]
    return ", ".join(f"{relations.count(s)} {s}" for s in STATUS_COLOURS)


def _captioned(drawing: Drawing, name: str, note: str) -> Drawing:
    whole = Drawing(drawing.width, drawing.height + CAPTION, drawing.paper)
    whole.shapes.append(Text((4, CAPTION / 2), name, INK, 17))
    whole.shapes.append(Text((14 + text_width(name, 17), CAPTION / 2), note, QUIET, 14))
    whole.put(drawing, (0, CAPTION))
    return whole


def _joined(drawings: Sequence[Drawing], *, across: bool) -> Drawing:
    """Drawings in a row, or in a column."""
    widths, heights = [d.width for d in drawings], [d.height for d in drawings]
    gaps = GAP * (len(drawings) - 1) if across else 0
    whole = Drawing(sum(widths) + gaps, max(heights)) if across else Drawing(max(widths), sum(heights))
    x = y = 0
    for drawing in drawings:
        whole.put(drawing, (x, y))
        x, y = (x + drawing.width + GAP, 0) if across else (0, y + drawing.height)
    return whole
