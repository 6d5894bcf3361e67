"""The graph drawing beside an image: one graph, or prediction and truth as one. Places come from `node_link`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from r1sgg.drawing.layout import MAX_OBJECTS
from r1sgg.drawing.node_link import Edge, arrange
from r1sgg.drawing.shapes import Drawing, Inset, Line, arrow_head, label, text_width
from r1sgg.drawing.style import INK, STATUS_COLOURS, colour_of, display_names, ink_on, joined
from r1sgg.drawing.tags import Array
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.outcomes import Judgement

FONT, SMALL = 15.0, 13.0
_LINE = "#8a93a1"
Relation = tuple[int, int, str, str]
"""Subject and object (node numbers), status ("" where nothing was judged), predicate."""


def graph_panel(graph: SceneGraph, width: int, height: int) -> Drawing:
    """Draw a graph as names and arrows, `width` pixels wide and at least `height` high."""
    relations = [(s, o, "", p) for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    colours = [colour_of(k) for k in range(len(graph))]
    return _drawn(graph.boxes, display_names(graph), colours, relations, width, height)


def merged_panel(judgement: Judgement, width: int, height: int) -> Drawing:
    """Draw truth and prediction as one graph: what is matched once; missed and spurious have their colours."""
    truth, graph = judgement.truth, judgement.graph
    # Nodes are the true objects, then the predicted ones that are none of them.
    node_of = dict(judgement.object_partners)
    spurious = [k for k in range(len(graph)) if k not in node_of]
    node_of |= {k: len(truth) + n for n, k in enumerate(spurious)}
    names = display_names(graph)
    statuses = [*judgement.true_object_statuses, *("spurious" for _ in spurious)]
    relations = [
        (s, o, status, predicate)
        for (s, o), predicate, status in zip(truth.pairs, truth.predicates, judgement.truth_statuses, strict=True)
    ]
    relations += [
        (node_of[s], node_of[o], status, predicate)
        for (s, o), predicate, status in zip(graph.pairs, graph.predicates, judgement.graph_statuses, strict=True)
        if status == "spurious"
    ]
    boxes = np.vstack([truth.boxes, graph.boxes[spurious]])
    colours = [STATUS_COLOURS[status] for status in statuses]
    return _drawn(boxes, [*display_names(truth), *(names[k] for k in spurious)], colours, relations, width, height)


def _drawn(
    boxes: Array, names: Sequence[str], colours: Sequence[str], relations: Iterable[Relation], width: int, height: int
) -> Drawing:
    groups: dict[tuple[int, int, str], list[str]] = {}
    for s, o, status, predicate in relations:
        if s < MAX_OBJECTS and o < MAX_OBJECTS:
            groups.setdefault((s, o, status), []).append(predicate)
    texts = [joined(predicates) for predicates in groups.values()]
    edges = [Edge(s, o, (text_width(t, SMALL) + 8.0, 18.0)) for (s, o, _), t in zip(groups, texts, strict=True)]
    sizes = [(text_width(name, FONT) + 18.0, 28.0) for name in names[:MAX_OBJECTS]]
    found = arrange((boxes[:MAX_OBJECTS, :2] + boxes[:MAX_OBJECTS, 2:]) / 2, sizes, edges, float(width))
    inner = Drawing(width, round(found.height))
    kinds = [status for _, _, status in groups]
    for curve, kind in zip(found.curves, kinds, strict=True):
        ink = STATUS_COLOURS.get(kind, _LINE)
        inner.shapes.append(Line(curve, ink, 1.8, curved=True, dashed=kind in ("missed", "spurious")))
        inner.shapes.append(Line(arrow_head(curve, 11.0), fill=ink))
    for rect, name, colour in zip(found.nodes, names, colours, strict=False):
        inner.shapes += label(rect, name, colour, ink_on(colour), FONT, radius=6.0)
    for rect, text, kind in zip(found.labels, texts, kinds, strict=True):
        inner.shapes += label(rect, text, "#ffffffe6", STATUS_COLOURS.get(kind, INK), SMALL, radius=4.0)
    drawing = Drawing(width, max(height, inner.height))
    drawing.shapes.append(Inset((0, (drawing.height - inner.height) // 2), inner))
    return drawing
