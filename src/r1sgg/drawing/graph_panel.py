"""The graph drawing that stands beside an image: one graph, or a prediction and the truth as one. Places come from
`r1sgg.drawing.node_link`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r1sgg.drawing.layout import MAX_OBJECTS
from r1sgg.drawing.node_link import Array, Edge, arrange
from r1sgg.drawing.shapes import Drawing, Line, Polygon, Rectangle, Text, head_of, point_on, text_width
from r1sgg.drawing.style import INK, PAPER, STATUS_COLOURS, display_names, ink_on, joined
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.outcomes import Judgement

FONT, SMALL = 15.0, 13.0
_LINE = "#8a93a1"


def graph_panel(graph: SceneGraph, colours: Sequence[str], width: int, height: int) -> Drawing:
    """A graph as names and arrows, `width` pixels wide and at least `height` high."""
    groups: dict[tuple[int, int], list[str]] = {}
    for (s, o), predicate in zip(graph.pairs, graph.predicates, strict=True):
        if s < MAX_OBJECTS and o < MAX_OBJECTS:
            groups.setdefault((s, o), []).append(predicate)
    edges = [Edge(s, o, joined(p)) for (s, o), p in groups.items()]
    places = (graph.boxes[:MAX_OBJECTS, :2] + graph.boxes[:MAX_OBJECTS, 2:]) / 2
    names = display_names(graph)[:MAX_OBJECTS]
    return _drawn(places, names, colours, edges, [_LINE] * len(edges), [""] * len(edges), width, height)


def merged_panel(judgement: Judgement, width: int, height: int) -> Drawing:
    """Truth and prediction as one graph: what is matched is drawn once; missed and spurious have their colours."""
    truth, graph = judgement.truth, judgement.graph
    place: dict[tuple[str, int], int] = {}
    names: list[str] = []
    colours: list[str] = []
    places: list[Array] = []

    def add(key: tuple[str, int], name: str, status: str, box: Array) -> None:
        if len(names) < MAX_OBJECTS:
            place[key] = len(names)
            names.append(name)
            colours.append(STATUS_COLOURS[status])
            places.append((box[:2] + box[2:]) / 2)

    for k, name in enumerate(display_names(truth)):
        add(("true", k), name, judgement.true_object_statuses[k], truth.boxes[k])
    for k, name in enumerate(display_names(graph)):
        partner = judgement.object_partners.get(k)
        if partner is None:
            add(("made", k), name, "spurious", graph.boxes[k])
        elif ("true", partner) in place:
            place["made", k] = place["true", partner]
    groups: dict[tuple[int, int, str], list[str]] = {}
    spurious = [s if s == "spurious" else "" for s in judgement.graph_statuses]
    for side, one, statuses in (("true", truth, judgement.truth_statuses), ("made", graph, spurious)):
        for (s, o), predicate, status in zip(one.pairs, one.predicates, statuses, strict=True):
            if status and (side, s) in place and (side, o) in place:
                groups.setdefault((place[side, s], place[side, o], status), []).append(predicate)
    edges = [Edge(s, o, joined(p)) for (s, o, _), p in groups.items()]
    kinds = [status for _, _, status in groups]
    inks = [STATUS_COLOURS[kind] for kind in kinds]
    return _drawn(np.array(places).reshape(-1, 2), names, colours, edges, inks, kinds, width, height)


def _drawn(
    places: Array,
    names: Sequence[str],
    colours: Sequence[str],
    edges: Sequence[Edge],
    inks: Sequence[str],
    kinds: Sequence[str],
    width: int,
    height: int,
) -> Drawing:
    sizes = [(text_width(name, FONT) + 18.0, 28.0) for name in names]
    label_sizes = [(text_width(edge.text, SMALL) + 8.0, 18.0) for edge in edges]
    found = arrange(places, sizes, edges, label_sizes, float(width))
    drawing = Drawing(width, max(height, round(found.height)), PAPER)
    inner = Drawing(width, round(found.height))
    for curve, ink, kind in zip(found.curves, inks, kinds, strict=True):
        inner.shapes.append(Line(curve, ink, 1.8, dashed=kind in ("missed", "spurious")))
        inner.shapes.append(Polygon(head_of(point_on(curve, 0.92), curve[2], 11.0), ink))
    for rect, name, colour in zip(found.nodes, names, colours, strict=True):
        inner.shapes.append(Rectangle(rect, colour, radius=6.0))
        middle = ((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2)
        inner.shapes.append(Text(middle, name, ink_on(colour), FONT, "middle"))
    for rect, edge, ink, kind in zip(found.labels, edges, inks, kinds, strict=True):
        inner.shapes.append(Rectangle(rect, "#ffffffe6", radius=4.0))
        middle = ((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2)
        inner.shapes.append(Text(middle, edge.text, ink if kind else INK, SMALL, "middle"))
    drawing.put(inner, (0, (drawing.height - found.height) / 2))
    return drawing
