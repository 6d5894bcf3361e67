"""A scene graph as a picture: painted on its image, drawn as a graph beside it, compared with the true one.

Readable at any size of image (a thumbnail is enlarged, a large photo reduced) and with some 30 objects. Comparing uses
the evaluation's matching (`r1sgg.judging.outcomes`); nothing here decides what is right.

    draw("photo.jpg", graph, beside=True).save("graph.svg")  # or .png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from r1sgg.data.images import open_image
from r1sgg.drawing.graph_panel import graph_panel, merged_panel
from r1sgg.drawing.layout import MAX_ARROWS, MAX_OBJECTS, Layout
from r1sgg.drawing.legend import LegendRow, legend, legend_rows
from r1sgg.drawing.overlay import overlay
from r1sgg.drawing.shapes import Drawing, Inset, Photo, Text, text_width
from r1sgg.drawing.style import INK, QUIET, STATUS_COLOURS
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.outcomes import Judgement, compare

MIN_SIDE = 896
"""Smaller images are enlarged to this, crowded ones a little more: tags on a thumbnail would hide it."""
CAPTION, GAP = 34, 16


def draw(
    image: Image.Image | Path | str,
    graph: SceneGraph,
    truth: SceneGraph | None = None,
    *,
    beside: bool = False,
    max_side: int = 1280,
    title: str = "",
) -> Drawing:
    """Draw a graph on its image, with a legend of its triplets.

    Args:
        image: the picture, or its file; any mode and size.
        graph: what to show (boxes are fractions of the image).
        truth: the true graph; then both are drawn side by side, and what is matched, missed or spurious has a colour.
        beside: draw the graph without the image as well (with `truth` both graphs as one).
        max_side: the image's longer side is drawn with at most so many pixels, and at least with `MIN_SIDE`, unless
            `max_side` is smaller. Legend and graph come on top of this.
        title: a short description (SVG only).

    Returns:
        A drawing: `save` writes it as PNG or SVG, `to_image` gives a PIL image, a notebook shows it.

    Raises:
        ImageError: the file cannot be opened as an image.
    """
    picture = image if isinstance(image, Image.Image) else open_image(Path(image))
    drawing = (
        _alone(picture, graph, max_side, beside=beside)
        if truth is None
        else _compared(picture, compare(truth, graph), max_side, beside=beside)
    )
    drawing.title = title or f"Scene graph of {len(graph)} objects and {len(graph.pairs)} relationships"
    drawing.words = "; ".join(" ".join(words) for words in graph.triplets[:60])
    return drawing


def _alone(image: Image.Image, graph: SceneGraph, max_side: int, *, beside: bool) -> Drawing:
    picture, layout = _on_image(image, graph, max_side, _crowd(graph))
    whole = picture
    if rows := legend_rows(graph, layout):
        upright = picture.height >= 1.2 * picture.width and not beside
        words = legend(rows, 0 if upright else picture.width)
        whole = _joined([picture, words], across=upright and words.height <= picture.height)
    if beside:
        whole = _joined([whole, graph_panel(graph, picture.width, whole.height)], across=True)
    return whole


def _compared(image: Image.Image, judgement: Judgement, max_side: int, *, beside: bool) -> Drawing:
    """Draw truth and prediction side by side; the legend and, with `beside`, both as one graph at the foot."""
    panels: list[Drawing] = []
    rows: list[LegendRow] = []
    crowd = max(_crowd(judgement.truth), _crowd(judgement.graph))
    for name, graph, statuses, object_statuses, listed in (
        ("Truth", judgement.truth, judgement.truth_statuses, judgement.true_object_statuses, None),
        ("Prediction", judgement.graph, judgement.graph_statuses, judgement.object_statuses, {"spurious"}),
    ):
        picture, layout = _on_image(image, graph, max_side, crowd, statuses, object_statuses)
        panels.append(_captioned(picture, name, f"{len(graph)} objects, {len(graph.pairs)} relations"))
        rows += legend_rows(graph, layout, statuses, object_statuses, only=listed)
    rows.sort(key=lambda row: list(STATUS_COLOURS).index(row.status))
    top = _joined(panels, across=True)
    feet = [legend(rows, 0 if beside else top.width)] if rows else []
    if beside:
        width = top.width - (feet[0].width if feet else 0)
        if feet and width > 2 * feet[0].width:  # room for two columns of the legend
            feet = [legend(rows, width // 3)]
            width = top.width - feet[0].width
        panel = merged_panel(judgement, max(480, width), max([400, *(f.height - CAPTION for f in feet)]))
        counts = ", ".join(f"{_count(judgement, status)} {status}" for status in STATUS_COLOURS)
        feet = [_captioned(panel, "Both as one graph", counts), *feet]
    return _joined([top, _joined(feet, across=True)] if feet else [top], across=False)


def _count(judgement: Judgement, status: str) -> int:
    """Return how many relationships have a status; a matched one counts in the truth alone."""
    return (judgement.graph_statuses if status == "spurious" else judgement.truth_statuses).count(status)


def _crowd(graph: SceneGraph) -> int:
    """Return how many objects and arrows are drawn."""
    return min(len(graph), MAX_OBJECTS) + min(len(set(graph.pairs)), MAX_ARROWS)


def _on_image(
    image: Image.Image,
    graph: SceneGraph,
    max_side: int,
    crowd: int,
    statuses: Sequence[str] | None = None,
    object_statuses: Sequence[str] | None = None,
) -> tuple[Drawing, Layout]:
    scale = min(max_side, max(MIN_SIDE, MIN_SIDE + 10 * (crowd - 24), *image.size)) / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    drawing, layout = overlay(graph, size, statuses, object_statuses)
    drawing.shapes.insert(0, Photo((0, 0, *size), image))
    return drawing, layout


def _captioned(drawing: Drawing, name: str, note: str) -> Drawing:
    words = [Text((4, CAPTION / 2), name, INK, 17), Text((14 + text_width(name, 17), CAPTION / 2), note, QUIET, 14)]
    return Drawing(drawing.width, drawing.height + CAPTION, [*words, Inset((0, CAPTION), drawing)])


def _joined(drawings: Sequence[Drawing], *, across: bool) -> Drawing:
    """Put drawings in a row, or in a column."""
    shapes, x, y = [], 0, 0
    for drawing in drawings:
        shapes.append(Inset((x, y), drawing))
        x, y = (x + drawing.width + GAP, 0) if across else (0, y + drawing.height)
    if across:
        return Drawing(x - GAP, max(d.height for d in drawings), [*shapes])
    return Drawing(max(d.width for d in drawings), y, [*shapes])
