"""A graph as boxes, arrows and tags that lie over its image: for pictures (`r1sgg.drawing.draw`) and for pages."""

from __future__ import annotations

from collections.abc import Sequence

from r1sgg.drawing.layout import DOT, Layout, lay_out
from r1sgg.drawing.shapes import Drawing, Line, Rect, Rectangle, Shape, arrow_head, label
from r1sgg.drawing.style import PREDICATE_INK, PREDICATE_PAPER, STATUS_COLOURS, ink_on
from r1sgg.graph.scene import SceneGraph


def overlay(
    graph: SceneGraph,
    size: tuple[int, int],
    statuses: Sequence[str] | None = None,
    object_statuses: Sequence[str] | None = None,
    *,
    numbers: bool = True,
    crowded: bool = False,
) -> tuple[Drawing, Layout]:
    """Draw a graph without its image, which the caller puts under it.

    The class attribute of an SVG element tells what it belongs to: "box b3" and "tag b3" to object 3; "arrow r0 r4" to
    relationships 0 and 4; "arrow b3" is the dot at which the arrows of object 3 begin and end. No tag hides another:
    one that has no room is left out.

    Args:
        graph: what to draw.
        size: width and height in pixels.
        statuses: "matched", "missed" or "spurious" for each relationship, and
        object_statuses: for each object, which then have the colours of these words.
        numbers: let a number replace a predicate that has no room (for a legend that gives the numbers).
        crowded: draw tags that have no room as well, with the class "crowded" (for a page that hides them until they
            are pointed at).

    Returns:
        The drawing, and where everything is on it.
    """
    font = max(11.0, min(15.0, 0.0165 * max(size)))
    width = max(1.5, max(size) / 480)  # of lines
    colours = [STATUS_COLOURS[status] for status in object_statuses] if object_statuses else None
    layout = lay_out(graph, size, font, statuses, colours, numbers=numbers)
    shapes: list[Shape] = []
    for box in layout.boxes:
        dashed = object_statuses is not None and object_statuses[box.index] != "matched"
        shapes += _edge(box.rect, box.colour, width, f"box b{box.index}", dashed=dashed)
    parts = ["arrow " + " ".join(f"r{i}" for i in arrow.indices) for arrow in layout.arrows]
    for arrow, part in zip(layout.arrows, parts, strict=True):
        colour = STATUS_COLOURS.get(arrow.status, arrow.colour)
        dashed = arrow.status in ("missed", "spurious")
        head = arrow_head(arrow.curve, 4.5 * width + 3)
        shapes.append(Line(arrow.curve, "#ffffffe0", width + 2.2, curved=True, part=part))  # seen on any photo
        shapes.append(Line(arrow.curve, colour, width, curved=True, dashed=dashed, part=part))
        shapes.append(Line(head, "#ffffff", 2.2, fill=colour, part=part))
    ends = {end for arrow in layout.arrows for end in (arrow.subject, arrow.object)}
    for box in layout.boxes:
        if box.index in ends:
            (x, y), part = box.dot, f"arrow b{box.index}"
            dot = (x - DOT, y - DOT, x + DOT, y + DOT)
            shapes.append(Rectangle(dot, box.colour, "#ffffff", 1.5, radius=DOT, part=part))
    for box in layout.boxes:
        if box.tag.crowded and not crowded:
            continue
        ink, part = ink_on(box.colour), f"tag b{box.index}" + " crowded" * box.tag.crowded
        radius = 0.3 * font
        shapes += label(box.tag.rect, box.tag.text, box.colour, ink, font, edge="#ffffffcc", radius=radius, part=part)
    for arrow, part in zip(layout.arrows, parts, strict=True):
        if arrow.tag.crowded and not crowded:
            continue
        part += " crowded" * arrow.tag.crowded
        paper, radius = STATUS_COLOURS.get(arrow.status, PREDICATE_PAPER), 0.6 * font
        shapes += label(
            arrow.tag.rect, arrow.tag.text, paper, PREDICATE_INK, font, edge=arrow.colour, radius=radius, part=part
        )
    return Drawing(*size, shapes), layout


def _edge(rect: Rect, colour: str, width: float, part: str, *, dashed: bool) -> list[Shape]:
    """Return the edge of a box on a dark one, half a line further in: a box along the picture's border is seen."""
    half = min(width / 2, (rect[2] - rect[0]) / 2, (rect[3] - rect[1]) / 2)
    x1, y1, x2, y2 = rect[0] + half, rect[1] + half, rect[2] - half, rect[3] - half
    around = ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))
    dark = Rectangle((x1, y1, x2, y2), stroke="#00000099", width=width + 1.2, part=part)
    if dashed:
        return [dark, Line(around, colour, width, dashed=True, part=part)]
    return [dark, Rectangle((x1, y1, x2, y2), stroke=colour, width=width, part=part)]
