"""The drawing of a graph without its image: names in boxes, predicates on the arrows between them.

Objects begin where they are in the image, then distances are pulled towards path lengths (stress majorisation, Gansner
et al. 2004) and names are pushed apart. Objects without relations stand in rows at the foot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r1sgg.drawing.shapes import Point, Quadratic, Rect, point_on
from r1sgg.judging.boxes import intersections

Array = npt.NDArray[np.float64]
EDGE = 150.0
"""Length in pixels that an arrow would like to have."""
GAP = 14.0


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow to draw: its ends and the text on it."""

    subject: int
    object: int
    text: str


@dataclass(frozen=True, slots=True)
class NodeLink:
    """Where everything goes: a rectangle a node; a curve and the rectangle of its text an edge."""

    width: float
    height: float
    nodes: tuple[Rect, ...]
    curves: tuple[Quadratic, ...]
    labels: tuple[Rect, ...]


def arrange(
    places: Array,
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[Edge],
    label_sizes: Sequence[tuple[float, float]],
    width: float,
) -> NodeLink:
    """Place nodes and edges.

    Args:
        places: (N, 2) where each object is in the image, as fractions.
        sizes: width and height in pixels of each node's rectangle.
        edges: what is drawn between them.
        label_sizes: width and height in pixels of each edge's text.
        width: of the drawing, in pixels; its height is as much as it takes.
    """
    extents = np.array(sizes, dtype=np.float64).reshape(-1, 2)
    groups = _components(len(sizes), edges)
    centres = np.zeros((len(sizes), 2))
    top = GAP
    together = [g for g in groups if len(g) > 1]
    shelf: list[tuple[Array, Array]] = []
    for group in sorted(together, key=len, reverse=True):
        index = np.array(group)
        spots = _spread(places[index], extents[index], _distances(group, edges), width - 2 * GAP)
        shelf.append((index, spots))
    x, line = GAP, 0.0
    for index, spots in shelf:
        low = (spots - extents[index] / 2).min(axis=0)
        w, h = ((spots + extents[index] / 2).max(axis=0) - low).tolist()
        if x > GAP and x + w > width - GAP:
            x, top, line = GAP, top + line + 3 * GAP, 0.0
        centres[index] = spots - low + (x, top)
        x, line = x + w + 3 * GAP, max(line, h)
    top += line + (3 * GAP if together else 0)
    alone = [g[0] for g in groups if len(g) == 1]
    top = _rows(alone, extents, centres, top, width)
    used = centres[np.concatenate([i for i, _ in shelf])] if shelf else centres
    if shelf and len(shelf) == 1:  # a single component is put in the middle
        wide = extents[shelf[0][0], 0] / 2
        slack = width - ((used[:, 0] + wide).max() - (used[:, 0] - wide).min())
        centres[shelf[0][0], 0] += max(0.0, slack / 2 - GAP)
    nodes = np.hstack([centres - extents / 2, centres + extents / 2])
    curves, labels = _edges(nodes, edges, label_sizes, (width, top + GAP))
    return NodeLink(width, top + GAP, tuple(map(_rect, nodes)), tuple(curves), tuple(labels))


def _rect(values: Array) -> Rect:
    x1, y1, x2, y2 = values.tolist()
    return x1, y1, x2, y2


def _components(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    owner = list(range(count))

    def root(k: int) -> int:
        while owner[k] != k:
            owner[k] = owner[owner[k]]
            k = owner[k]
        return k

    for e in edges:
        owner[root(e.subject)] = root(e.object)
    groups: dict[int, list[int]] = {}
    for k in range(count):
        groups.setdefault(root(k), []).append(k)
    return list(groups.values())


def _distances(group: Sequence[int], edges: Sequence[Edge]) -> Array:
    """Path lengths within a component, whatever the direction of arrows."""
    place = {k: n for n, k in enumerate(group)}
    distances = np.full((len(group), len(group)), np.inf)
    np.fill_diagonal(distances, 0)
    for e in edges:
        if e.subject in place and e.subject != e.object:
            distances[place[e.subject], place[e.object]] = distances[place[e.object], place[e.subject]] = 1
    for k in range(len(group)):
        distances = np.minimum(distances, distances[:, k : k + 1] + distances[k : k + 1])
    return distances


def _spread(places: Array, extents: Array, distances: Array, width: float) -> Array:
    """Positions of a component's nodes, no wider than `width` where that is possible."""
    count = len(places)
    angles = 2 * math.pi * 0.618 * np.arange(count)
    jitter = 0.05 * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # objects may share a place
    at = (places + jitter) * (EDGE * max(2.0, math.sqrt(count)))
    reach = EDGE + 0.35 * (extents[:, :1] + extents[:, 0])  # between long names
    wanted = np.where(distances > 0, EDGE * (distances - 1) + reach, 0.0)
    weights = np.divide(1.0, wanted**2, out=np.zeros_like(wanted), where=wanted > 0)
    total = weights.sum(axis=1, keepdims=True)
    for _ in range(150):  # the majorant of the stress; half a step, since all nodes move at once
        delta = at[:, None] - at[None]
        length = np.sqrt((delta**2).sum(axis=-1))
        pull = np.divide(wanted, length, out=np.zeros_like(length), where=length > 1e-9)
        at = (at + (weights[..., None] * (at[None] + delta * pull[..., None])).sum(axis=1) / total) / 2
    if 1.25 * np.ptp(at[:, 0]) < np.ptp(at[:, 1]) < width:  # lie down where there is room
        at = at[:, ::-1].copy()
    span = np.ptp(at, axis=0) + extents.max(axis=0)
    if span[0] > width:
        at[:, 0] *= (width - extents[:, 0].max()) / max(1.0, float(np.ptp(at[:, 0])))
    return _apart(at, extents, width)


def _apart(at: Array, extents: Array, width: float) -> Array:
    """Push rectangles that overlap (or nearly) apart, along the axis where that is less."""
    need = (extents[:, None] + extents[None]) / 2 + (GAP, 1.6 * GAP)
    low = at[:, 0].min() - extents[:, 0].max() / 2
    for _ in range(200):
        delta = at[:, None] - at[None]
        gap = need - np.abs(delta)
        close = (gap > 0).all(axis=-1) & ~np.eye(len(at), dtype=bool)
        if not close.any():
            break
        for i, j in np.argwhere(np.triu(close)).tolist():
            axis = int(gap[i, j, 0] > gap[i, j, 1])  # the smaller push
            side = 1.0 if delta[i, j, axis] >= 0 else -1.0
            push = side * (gap[i, j, axis] / 2 + 0.5)
            at[i, axis] += push
            at[j, axis] -= push
        at[:, 0] = np.clip(at[:, 0], low + extents[:, 0] / 2, low + max(width, extents[:, 0].max()) - extents[:, 0] / 2)
    return at


def _rows(alone: Sequence[int], extents: Array, centres: Array, top: float, width: float) -> float:
    """Nodes without edges, in rows; returns where the next row would begin."""
    x, line = GAP, 0.0
    for k in alone:
        w, h = extents[k].tolist()
        if x > GAP and x + w > width - GAP:
            x, top, line = GAP, top + line + 0.6 * GAP, 0.0
        centres[k] = x + w / 2, top + h / 2
        x, line = x + w + 0.8 * GAP, max(line, h)
    return top + line


# ---------------------------------------------------------------- edges


def _edges(
    nodes: Array, edges: Sequence[Edge], label_sizes: Sequence[tuple[float, float]], size: tuple[float, float]
) -> tuple[list[Quadratic], list[Rect]]:
    """A curve from rim to rim for each edge, and a place for its text that hides no name and no other text."""
    centres = (nodes[:, :2] + nodes[:, 2:]) / 2
    nth: dict[frozenset[int], itertools.count[int]] = {}
    curves: list[Quadratic] = []
    placed: list[Rect] = []
    for e, (w, h) in zip(edges, label_sizes, strict=True):
        k = next(nth.setdefault(frozenset((e.subject, e.object)), itertools.count()))
        curve = _curve(centres[e.subject], centres[e.object], nodes[e.subject], nodes[e.object], 0.1 + 0.14 * k)
        spots = []
        for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74):
            for dy in (0.0, -0.55, 0.55, -1.1, 1.1):
                x, y = point_on(curve, t)
                x = min(max(x, w / 2), size[0] - w / 2)
                spots.append((x - w / 2, y + dy * h - h / 2, x + w / 2, y + dy * h + h / 2))
        rects = np.array(spots)
        taken = intersections(rects, np.array(placed).reshape(-1, 4)).sum(axis=1)
        hidden = intersections(rects, nodes).sum(axis=1)
        cost = (4 * taken + 6 * hidden) / max(1.0, w * h) + 0.02 * np.arange(len(rects))
        placed.append(_rect(rects[int(np.argmin(cost))]))
        curves.append(curve)
    return curves, placed


def _curve(a: Array, b: Array, start: Array, end: Array, bend: float) -> Quadratic:
    ax, ay = a.tolist()
    bx, by = b.tolist()
    dx, dy = bx - ax, by - ay
    if math.hypot(dx, dy) < 1:  # to itself
        top = float(start[1])
        return (ax - 12, top), (ax, top - 70), (ax + 12, top)
    middle = ((ax + bx) / 2 + bend * dy, (ay + by) / 2 - bend * dx)
    return _rim(start, middle), middle, _rim(end, middle)


def _rim(rect: Array, towards: Point) -> Point:
    """Where the line from a rectangle's middle to a point leaves it."""
    x1, y1, x2, y2 = rect.tolist()
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    dx, dy = towards[0] - cx, towards[1] - cy
    if dx == dy == 0:
        return cx, y1
    across = (x2 - x1) / 2 / abs(dx) if dx else math.inf
    down = (y2 - y1) / 2 / abs(dy) if dy else math.inf
    t = min(1.0, across, down)
    return cx + t * dx, cy + t * dy
