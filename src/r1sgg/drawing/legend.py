"""The legend of a picture: its relationships in words, in columns, with the numbers and marks of the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from r1sgg.drawing.layout import Layout
from r1sgg.drawing.shapes import Dot, Drawing, Line, Point, Rectangle, Text, text_width
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
_STEP, _MARGIN = 26.0, 15.0


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
    *,
    only: set[str] | None = None,
    object_statuses: Sequence[str] | None = None,
) -> list[LegendRow]:
    """A row for each distinct relationship, a repeated one with its count; `only` those of these statuses."""
    names = display_names(graph)
    numbers = {i: arrow.number for arrow in layout.arrows for i in arrow.indices} if layout.numbered else {}
    colours = [STATUS_COLOURS[s] for s in object_statuses] if object_statuses else [*map(colour_of, range(len(names)))]
    counts: dict[tuple[str, int, str, int], list[int]] = {}
    for i, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
        status = statuses[i] if statuses else ""
        if only is None or status in only:
            counts.setdefault((status, s, predicate, o), []).append(i)
    return [
        LegendRow(
            status,
            numbers.get(rows[0], 0),
            names[s],
            shorten(predicate) + (f" x{len(rows)}" if len(rows) > 1 else ""),
            names[o],
            (colours[s], colours[o]),
        )
        for (status, s, predicate, o), rows in counts.items()
    ]


def legend(rows: Sequence[LegendRow], width: float = 0) -> Drawing:
    """The rows as a drawing, in as many columns as `width` has room for; at least one."""
    shown, left_out = rows[:MAX_ROWS], max(0, len(rows) - MAX_ROWS)
    column = max(map(_width, shown), default=0) + 1.6 * EM
    lines = len(shown) + bool(left_out)
    columns = max(1, min(lines, int((width - _MARGIN) // column)))
    deep = math.ceil(lines / columns)
    drawing = Drawing(math.ceil(max(width, columns * column + _MARGIN)), math.ceil(deep * _STEP + 2 * _MARGIN))
    for k in range(lines):
        at = (_MARGIN + k // deep * column, _MARGIN + (k % deep + 0.5) * _STEP)
        if k < len(shown):
            _write(drawing, at, shown[k])
        else:
            drawing.shapes.append(Text(at, f"and {left_out} more", QUIET, EM))
    return drawing


def _width(row: LegendRow) -> float:
    names = sum(text_width(name, EM) + 0.7 * EM for name in (row.subject, row.object))
    return names + text_width(row.predicate, EM) + 1.2 * EM + 1.4 * EM * bool(row.status) + 2.2 * EM * bool(row.number)


def _write(drawing: Drawing, at: Point, row: LegendRow) -> None:
    x, y = at
    if row.status:
        _mark(drawing, (x + 0.45 * EM, y), 0.4 * EM, row.status)
        x += 1.4 * EM
    if row.number:
        paper = STATUS_COLOURS.get(row.status, PREDICATE_PAPER)
        drawing.shapes.append(Rectangle((x, y - 0.6 * EM, x + 1.8 * EM, y + 0.6 * EM), paper, radius=0.6 * EM))
        drawing.shapes.append(Text((x + 0.9 * EM, y), str(row.number), PREDICATE_INK, 0.85 * EM, "middle"))
        x += 2.2 * EM
    x = _chip(drawing, x, y, row.subject, row.colours[0]) + 0.6 * EM
    drawing.shapes.append(Text((x, y), row.predicate, STATUS_COLOURS.get(row.status, INK), EM))
    _chip(drawing, x + text_width(row.predicate, EM) + 0.6 * EM, y, row.object, row.colours[1])


def _chip(drawing: Drawing, x: float, y: float, name: str, colour: str) -> float:
    width = text_width(name, EM) + 0.7 * EM
    drawing.shapes.append(Rectangle((x, y - 0.62 * EM, x + width, y + 0.62 * EM), colour, radius=0.3 * EM))
    drawing.shapes.append(Text((x + width / 2, y), name, ink_on(colour), EM, "middle"))
    return x + width


def _mark(drawing: Drawing, at: Point, radius: float, status: str) -> None:
    """A tick, a cross or a ring: told apart without colour as well."""
    (x, y), r, colour, width = at, radius, STATUS_COLOURS[status], max(2.0, radius / 2.5)
    if status == "matched":
        points = ((x - r, y), (x - r / 4, y + r * 0.75), (x + r, y - r * 0.8))
        drawing.shapes.append(Line(points, colour, width, curved=False))
    elif status == "spurious":
        for sign in (1, -1):
            ends = ((x - r * 0.8, y - sign * r * 0.8), (x + r * 0.8, y + sign * r * 0.8))
            drawing.shapes.append(Line(ends, colour, width, curved=False))
    else:
        drawing.shapes.append(Dot((x, y), r, "", colour, width))
