"""The legend of a picture: its relationships in words, in columns, with the numbers and marks of the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from r1sgg.drawing.layout import Layout
from r1sgg.drawing.shapes import Drawing, Inset, Line, Rectangle, Shape, Text, label, text_width
from r1sgg.drawing.style import (
    INK,
    PREDICATE_INK,
    PREDICATE_PAPER,
    QUIET,
    STATUS_COLOURS,
    colour_of,
    display_names,
    ink_on,
    shorten,
)
from r1sgg.graph.scene import SceneGraph

MAX_ROWS = 60
EM = 15.0
_STEP, _MARGIN = 26, 15


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A line: status ("" where nothing was judged), the arrow's number (0: none), the words and the names' colours."""

    status: str
    number: int
    subject: str
    predicate: str
    object: str
    colours: tuple[str, str]


def legend_rows(
    graph: SceneGraph,
    layout: Layout,
    statuses: Sequence[str] | None = None,
    object_statuses: Sequence[str] | None = None,
    *,
    only: set[str] | None = None,
) -> list[LegendRow]:
    """Return a row for each distinct relationship, a repeated one with its count; `only` those of these statuses."""
    names = display_names(graph)
    numbers = {i: arrow.number for arrow in layout.arrows for i in arrow.indices} if layout.numbered else {}
    colours = [STATUS_COLOURS[s] for s in object_statuses] if object_statuses else [*map(colour_of, range(len(names)))]
    equal: dict[tuple[str, int, str, int], list[int]] = {}
    for i, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
        status = statuses[i] if statuses else ""
        if only is None or status in only:
            equal.setdefault((status, s, predicate, o), []).append(i)
    rows = []
    for (status, s, predicate, o), indices in equal.items():
        times = f" x{len(indices)}" if len(indices) > 1 else ""
        words = names[s], shorten(predicate) + times, names[o]
        rows.append(LegendRow(status, numbers.get(indices[0], 0), *words, (colours[s], colours[o])))
    return rows


def legend(rows: Sequence[LegendRow], width: float = 0) -> Drawing:
    """Draw the rows in as many columns as `width` has room for, at least one."""
    lines = [_line(row) for row in rows[:MAX_ROWS]]
    column = math.ceil(max((line.width for line in lines), default=0) + 1.6 * EM)
    if len(rows) > MAX_ROWS:
        lines.append(Drawing(column, _STEP, [Text((0, _STEP / 2), f"and {len(rows) - MAX_ROWS} more", QUIET, EM)]))
    columns = max(1, min(len(lines), int((width - _MARGIN) // column)))
    deep = math.ceil(len(lines) / columns)
    drawing = Drawing(math.ceil(max(width, columns * column + _MARGIN)), deep * _STEP + 2 * _MARGIN)
    for k, line in enumerate(lines):
        drawing.shapes.append(Inset((_MARGIN + k // deep * column, _MARGIN + k % deep * _STEP), line))
    return drawing


def _line(row: LegendRow) -> Drawing:
    """Draw a row: mark, number, subject, predicate, object."""
    shapes: list[Shape] = []
    x, y = 0.0, _STEP / 2
    if row.status:
        shapes += _mark(row.status, 0.5 * EM, y, 0.4 * EM)
        x += 1.4 * EM
    if row.number:
        paper, rect = STATUS_COLOURS.get(row.status, PREDICATE_PAPER), (x, y - 0.6 * EM, x + 1.8 * EM, y + 0.6 * EM)
        shapes += label(rect, str(row.number), paper, PREDICATE_INK, 0.85 * EM, radius=0.6 * EM)
        x += 2.2 * EM
    for text, colour in ((row.subject, row.colours[0]), (row.predicate, ""), (row.object, row.colours[1])):
        wide = text_width(text, EM) + (0.7 * EM if colour else 0.0)
        rect = (x, y - 0.62 * EM, x + wide, y + 0.62 * EM)
        if colour:
            shapes += label(rect, text, colour, ink_on(colour), EM, radius=0.3 * EM)
        else:
            shapes.append(Text((x, y), text, STATUS_COLOURS.get(row.status, INK), EM))
        x += wide + 0.6 * EM
    return Drawing(math.ceil(x - 0.6 * EM), _STEP, shapes)


def _mark(status: str, x: float, y: float, r: float) -> list[Shape]:
    """Return a tick, a cross or a ring, which differ without colour as well."""
    colour, width = STATUS_COLOURS[status], 2.4
    if status == "matched":
        return [Line(((x - r, y), (x - r / 4, y + r * 0.75), (x + r, y - r * 0.8)), colour, width)]
    if status == "spurious":
        e = 0.8 * r
        return [Line(((x - e, y - sign * e), (x + e, y + sign * e)), colour, width) for sign in (1, -1)]
    return [Rectangle((x - r, y - r, x + r, y + r), "", colour, width, radius=r)]
