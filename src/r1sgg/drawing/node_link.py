"""The drawing of a graph without its image: names in boxes, predicates on the arrows between them.

Objects begin where they are in the image; then distances are pulled towards path lengths (stress majorisation, Gansner
et al. 2004) and names are pushed apart. Objects without relations are in rows at the foot.

networkx places nodes as well (`kamada_kawai_layout` minimises the same stress) but only as points, and for connected
graphs. Drawn with matplotlib, names hid each other, predicates and arrow heads lay under names, and parts of a graph
that are not connected lay on top of each other (eight graphs of Visual Genome images). Pushing names apart, placing
predicates and packing the parts would have remained here, so a dependency would have replaced ten lines.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r1sgg.drawing.shapes import Quadratic, Rect, cut_off, points_on
from r1sgg.drawing.tags import Array, Board, spots_on_curve

EDGE = 150.0
"""Preferred length of an arrow in pixels."""
GAP = 14.0


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow to draw: its ends, and the width and height of the text on it in pixels."""

    subject: int
    object: int
    extent: tuple[float, float]


@dataclass(frozen=True, slots=True)
class NodeLink:
    """Where everything goes: a rectangle for each node; a curve and the rectangle of its text for each edge."""

    height: float
    nodes: tuple[Rect, ...]
    curves: tuple[Quadratic, ...]
    labels: tuple[Rect, ...]


def arrange(places: Array, sizes: Sequence[tuple[float, float]], edges: Sequence[Edge], width: float) -> NodeLink:
    """Place nodes and edges.

    Args:
        places: (N, 2) where each object is in the image, as fractions.
        sizes: width and height in pixels of each node's rectangle.
        edges: what is drawn between them.
        width: of the drawing, in pixels; it becomes as high as it needs to be.
    """
    extents = np.array(sizes, dtype=np.float64).reshape(-1, 2)
    distances = _distances(len(sizes), edges)
    parts = [np.flatnonzero(row) for row in np.unique(np.isfinite(distances), axis=0)]
    related = {end for e in edges for end in (e.subject, e.object)}
    together = sorted((p for p in parts if p[0] in related), key=lambda part: (-len(part), part[0]))
    alone = sorted((p for p in parts if p[0] not in related), key=lambda part: part[0])
    centres = np.zeros((len(sizes), 2))
    for part in together:
        if len(part) > 1:
            centres[part] = _spread(places[part], extents[part], distances[np.ix_(part, part)], width - 2 * GAP)
    loops = any(e.subject == e.object for e in edges)  # they rise 35 pixels above their node
    bottom = _pack(together, centres, extents, 3 * GAP if loops else GAP, width, 3 * GAP)
    if len(together) == 1:  # put it in the middle
        spans = centres[together[0], 0, None] + extents[together[0], 0, None] * (-0.5, 0.5)
        centres[together[0], 0] += max(0.0, (width - spans.min() - spans.max()) / 2)
    bottom = _pack(alone, centres, extents, bottom + (2 * GAP if together else 0), width, 0.8 * GAP)
    nodes = np.hstack([centres - extents / 2, centres + extents / 2])
    rects: list[Rect] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in nodes.tolist()]
    curves = _curves(rects, edges)
    board = Board((width, bottom), [], rects)
    for n, (curve, edge) in enumerate(zip(curves, edges, strict=True)):
        board.put(("edge", n), spots_on_curve(curve, edge.extent))
    board.settle()
    labels = tuple(board.rect(("edge", n)) for n in range(len(edges)))
    return NodeLink(bottom, tuple(rects), tuple(curves), labels)


def _distances(count: int, edges: Sequence[Edge]) -> Array:
    """Return the (N, N) path lengths between nodes, whatever the arrows' direction; infinite where there is no path."""
    distances = np.full((count, count), np.inf)
    np.fill_diagonal(distances, 0)
    for e in edges:
        if e.subject != e.object:
            distances[e.subject, e.object] = distances[e.object, e.subject] = 1
    for k in range(count):  # Floyd and Warshall
        distances = np.minimum(distances, distances[:, k : k + 1] + distances[k : k + 1])
    return distances


def _spread(places: Array, extents: Array, distances: Array, width: float) -> Array:
    """Return positions of a connected part's nodes, no wider than `width` where that is possible."""
    count = len(places)
    angles = 2 * math.pi * 0.618 * np.arange(count)
    jitter = 0.05 * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # objects may share a place
    at = (places + jitter) * (EDGE * max(2.0, math.sqrt(count)))
    reach = EDGE + 0.35 * (extents[:, :1] + extents[:, 0])  # longer between long names
    wanted = np.where(distances > 0, EDGE * (distances - 1) + reach, 0.0)
    weights = np.divide(1.0, wanted**2, out=np.zeros_like(wanted), where=wanted > 0)
    total = weights.sum(axis=1, keepdims=True)
    for _ in range(150):  # the minimum of the stress's majorant; half a step, since all nodes move at once
        delta = at[:, None] - at[None]
        length = np.sqrt((delta**2).sum(axis=-1))
        pull = np.divide(wanted, length, out=np.zeros_like(length), where=length > 1e-9)
        at = (at + (weights[..., None] * (at[None] + delta * pull[..., None])).sum(axis=1) / total) / 2
    if 1.25 * np.ptp(at[:, 0]) < np.ptp(at[:, 1]) < width:  # lay an upright drawing on its side where there is room
        at = at[:, ::-1].copy()
    room = width - extents[:, 0].max()
    if (wide := np.ptp(at[:, 0])) > room:
        at[:, 0] *= room / max(1.0, float(wide))
    return _apart(at, extents, width)


def _apart(at: Array, extents: Array, width: float) -> Array:
    """Push rectangles that overlap (or nearly) apart, along the axis where that takes less."""
    need = (extents[:, None] + extents[None]) / 2 + (GAP, 1.6 * GAP)
    low = at[:, 0].min() - extents[:, 0].max() / 2
    for _ in range(200):
        delta = at[:, None] - at[None]
        gap = need - np.abs(delta)
        close = np.triu((gap > 0).all(axis=-1), 1)
        if not close.any():
            break
        for i, j in np.argwhere(close).tolist():
            axis = int(gap[i, j, 0] > gap[i, j, 1])
            push = math.copysign(gap[i, j, axis] / 2 + 0.5, delta[i, j, axis])
            at[i, axis] += push
            at[j, axis] -= push
        at[:, 0] = np.clip(at[:, 0], low + extents[:, 0] / 2, low + max(width, extents[:, 0].max()) - extents[:, 0] / 2)
    return at


def _pack(
    parts: Sequence[npt.NDArray[np.intp]], centres: Array, extents: Array, top: float, width: float, gap: float
) -> float:
    """Move parts of the graph side by side, in rows that begin at `top`; returns where the next row would begin.

    ┌────┐ ┌──┐ ┌─┐    A row is as high as its highest part; the next part that has no room begins a new one.
    │    │ └──┘ └─┘
    └────┘
    """
    x, high = GAP, 0.0
    for part in parts:
        low = (centres[part] - extents[part] / 2).min(axis=0)
        w, h = ((centres[part] + extents[part] / 2).max(axis=0) - low).tolist()
        if x > GAP and x + w > width - GAP:
            x, top, high = GAP, top + high + gap, 0.0
        centres[part] += (x, top) - low
        x, high = x + w + gap, max(high, h)
    return top + high + (GAP if parts else 0)


def _curves(nodes: Sequence[Rect], edges: Sequence[Edge]) -> list[Quadratic]:
    """Return a curve from rim to rim for each edge."""
    curves = []
    pairs: Counter[frozenset[int]] = Counter()
    for e in edges:
        start, end = nodes[e.subject], nodes[e.object]
        (ax, ay), (bx, by) = (((r[0] + r[2]) / 2, (r[1] + r[3]) / 2) for r in (start, end))
        bend = 0.1 + 0.14 * pairs[frozenset((e.subject, e.object))]  # a second edge between two nodes bends more
        pairs[frozenset((e.subject, e.object))] += 1
        middle = ((ax + bx) / 2 + bend * (by - ay), (ay + by) / 2 - bend * (bx - ax))
        if e.subject == e.object:
            curves.append(((ax - 12, start[1]), (ax, start[1] - 70), (ax + 12, start[1])))
        else:
            curve = _to_rim(((ax, ay), middle, (bx, by)), end)
            x, y, z = _to_rim(curve[::-1], start)
            curves.append((z, y, x))
    return curves


def _to_rim(curve: Quadratic, rect: Rect) -> Quadratic:
    """Return the curve without its end that lies in a rectangle."""
    x1, y1, x2, y2 = rect
    points = points_on(curve, 100)
    outside = [k for k, (x, y) in enumerate(points) if not (x1 <= x <= x2 and y1 <= y <= y2)]
    return cut_off(curve, outside[-1] / 100 if outside else 1.0)
