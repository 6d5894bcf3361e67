"""Where things go on a picture of a scene graph: name tags that keep out of each other's way, and curved arrows.

Pure geometry in the pixels of the picture. An arrow runs between dots, one for each object, which are moved apart where
boxes share a centre. It knows nothing about truth: a caller that has judged the relationships passes their statuses.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r1sgg.drawing.shapes import Point, Quadratic, Rect, cut_off, points_on, text_width
from r1sgg.drawing.style import colour_of, display_names, joined
from r1sgg.drawing.tags import SPOTS_ON_CURVE, Board, around, spots_at_box, spots_on_curve
from r1sgg.graph.scene import SceneGraph

MAX_OBJECTS = 60
MAX_ARROWS = 60
"""A picture shows no more than these (the completion of a model that repeats itself has hundreds)."""
DOT = 5.0
"""Radius of the dots between which arrows run."""
_CROWDED = 0.002  # a predicate's tag of which others cover more than this share becomes a number, or has no room
_BENDS = ((1, 0.12), (1, 0.26), (-1, 0.12), (-1, 0.26))  # side and height of the curves that an arrow can take


@dataclass(frozen=True, slots=True)
class Tag:
    """A name tag: its text and rectangle; a `crowded` one has no room, and would hide others where it is."""

    text: str
    rect: Rect
    crowded: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """An object: its index in the graph, rectangle (clipped to the picture), colour, tag, and the dot of its arrows."""

    index: int
    rect: Rect
    colour: str
    tag: Tag
    dot: Point


@dataclass(frozen=True, slots=True)
class Arrow:
    """Relationships of one ordered pair that share a status, as a quadratic curve.

    Attributes:
        subject, object: the pair, as indices of objects.
        indices: the relationships in the graph.
        curve: start, control point and tip; it ends at the rim of the object's dot.
        colour: the subject's.
        status: of these relationships, as the caller gave it ("" for none).
        tag: shows `number` instead of the predicates where those have no room.
        number: its place among the arrows, from 1.
    """

    subject: int
    object: int
    indices: tuple[int, ...]
    curve: Quadratic
    colour: str
    status: str
    tag: Tag
    number: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything on the picture, in painting order (large boxes first)."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]

    @property
    def numbered(self) -> bool:
        """Return whether some arrow shows its number instead of its predicates."""
        return any(arrow.tag.text == str(arrow.number) for arrow in self.arrows)


def lay_out(
    graph: SceneGraph,
    size: tuple[float, float],
    font: float,
    statuses: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    *,
    numbers: bool = False,
) -> Layout:
    """Place boxes, tags and arrows.

    Args:
        graph: what to show: the first `MAX_OBJECTS` objects and the relationships between them.
        size: width and height of the picture in pixels.
        font: height of the tags' letters in pixels.
        statuses: a word for each relationship; relationships of one pair are drawn as one arrow for each status.
        colours: a colour for each object, "#rrggbb"; by default all differ.
        numbers: let a number replace predicates that have no room (the caller then lists them by number).
    """
    names = display_names(graph)[:MAX_OBJECTS]
    inks = colours or [colour_of(k) for k in range(len(names))]
    rects = [_clip(box, size) for box in graph.boxes[:MAX_OBJECTS].tolist()]
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rects]
    order = sorted(range(len(rects)), key=areas.__getitem__)
    groups = _groups(graph, statuses)
    used = {end for s, o, _ in groups for end in (s, o)}
    dots = _dots(rects, [k for k in order if k in used])
    small = [r for r, area in zip(rects, areas, strict=True) if area < 0.03 * size[0] * size[1]]
    board = Board(size, small, [around(dot, (2.4 * DOT, 2.4 * DOT)) for dot in dots.values()])

    def extent(text: str) -> tuple[float, float]:
        return text_width(text, font) + 0.7 * font, 1.25 * font

    for k in order:  # small boxes have the fewest places for a tag
        board.put(("box", k), spots_at_box(rects[k], extent(names[k])))
    texts = [joined([graph.predicates[i] for i in indices]) for indices in groups.values()]
    curves: list[list[Quadratic]] = []  # for each arrow the ways that it can take
    pairs: Counter[frozenset[int]] = Counter()

    def place(n: int) -> None:
        board.put(("arrow", n), [spot for c in curves[n] for spot in spots_on_curve(c, extent(texts[n]))])

    for n, (s, o, _) in enumerate(groups):
        # A second arrow on a pair bends more; otherwise the bend that leaves its tag the most room is taken.
        more = 0.12 * pairs[frozenset((s, o))]
        pairs[frozenset((s, o))] += 1
        curves.append([_curve(dots[s], dots[o], side * (bend + more), min(size)) for side, bend in _BENDS])
        place(n)
    board.settle()
    if numbers and (crowded := board.crowded("arrow", _CROWDED)):
        for _, n in crowded:
            texts[n] = str(n + 1)
            place(n)
        board.settle()
    no_room = {*board.crowded("arrow", _CROWDED)}
    no_room |= {*board.crowded("box", _CROWDED, without=no_room)}

    def tag_of(kind: str, n: int, text: str) -> Tag:
        return Tag(text, board.rect((kind, n)), (kind, n) in no_room)

    boxes = [
        Box(k, rect, inks[k], tag_of("box", k, names[k]), dots.get(k, _centre(rect))) for k, rect in enumerate(rects)
    ]
    arrows = []
    for n, ((s, o, status), indices) in enumerate(groups.items()):
        curve = curves[n][board.chosen["arrow", n] // SPOTS_ON_CURVE]
        tag = tag_of("arrow", n, texts[n])
        arrows.append(Arrow(s, o, tuple(indices), _to_rim(curve), inks[s], status, tag, n + 1))
    return Layout(tuple(sorted(boxes, key=lambda b: -areas[b.index])), tuple(arrows))


def _groups(graph: SceneGraph, statuses: Sequence[str] | None) -> dict[tuple[int, int, str], list[int]]:
    """Return the relationships of each arrow, by subject, object and status."""
    groups: dict[tuple[int, int, str], list[int]] = {}
    for i, (s, o) in enumerate(graph.pairs):
        if s < MAX_OBJECTS and o < MAX_OBJECTS:
            groups.setdefault((s, o, statuses[i] if statuses else ""), []).append(i)
    return dict(itertools.islice(groups.items(), MAX_ARROWS))


def _clip(box: Sequence[float], size: tuple[float, float]) -> Rect:
    """Return the part of a box in [0, 1] that is on the picture, in pixels.

    It is at least a pixel wide and high: a predicted box may lie outside the picture, or have no area.
    """
    width, height = size
    x1, y1, x2, y2 = np.clip(np.multiply(box, (*size, *size)), 0, (*size, *size)).tolist()
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _centre(rect: Rect) -> Point:
    return (rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2


def _dots(rects: Sequence[Rect], order: Sequence[int]) -> dict[int, Point]:
    """Return a dot in each box: its centre, or a place near it, away from other dots and from smaller boxes inside."""
    dots: dict[int, Point] = {}
    for k in order:
        x1, y1, x2, y2 = rects[k]
        (cx, cy), w, h = _centre(rects[k]), x2 - x1, y2 - y1
        turns = [2 * math.pi * n / 12 for n in range(12)]
        rings = [(r * w / 2, r * h / 2, a) for r in (0.2, 0.4, 0.6, 0.8) for a in turns]
        candidates = [(cx, cy), *((cx + rx * math.cos(a), cy + ry * math.sin(a)) for rx, ry, a in rings)]
        inner = [r for r in (rects[j] for j in dots) if x1 <= r[0] and y1 <= r[1] and x2 >= r[2] and y2 >= r[3]]

        def cost(rank: int, candidates: list[Point] = candidates, inner: list[Rect] = inner) -> float:
            x, y = candidates[rank]
            crowd = sum(max(0.0, 1 - math.hypot(x - a, y - b) / (5 * DOT)) for a, b in dots.values())
            return 4 * crowd + sum(r[0] <= x <= r[2] and r[1] <= y <= r[3] for r in inner) + 0.03 * rank

        dots[k] = candidates[min(range(len(candidates)), key=cost)]
    return dots


def _curve(start: Point, tip: Point, bend: float, side: float) -> Quadratic:
    """Return a curve that bows to the left of its direction; a loop leaves its dot sideways and comes back."""
    reach = 0.045 * side
    dx, dy = tip[0] - start[0], tip[1] - start[1]
    length = math.hypot(dx, dy)
    if length < 1:
        return (start[0] - DOT, start[1]), (start[0], start[1] - math.copysign(3 * reach, bend)), (tip[0] + DOT, tip[1])
    offset = math.copysign(max(abs(bend) * length, min(reach, 0.4 * length)), bend) / length
    middle = ((start[0] + tip[0]) / 2, (start[1] + tip[1]) / 2)
    return start, (middle[0] + 2 * offset * dy, middle[1] - 2 * offset * dx), tip


def _to_rim(curve: Quadratic) -> Quadratic:
    """Return the curve up to the rim of the dot at its end."""
    if math.dist(curve[0], curve[2]) < 4 * DOT:
        return curve
    points = points_on(curve, 100)
    return cut_off(curve, max(k for k in range(101) if math.dist(points[k], curve[2]) > DOT + 1) / 100)
