"""Where things go on a picture of a scene graph: colours, name tags that keep out of each other's way, curved arrows.

Pure geometry in the pixels of the picture: `r1sgg.viz.draw` paints it with PIL and the report writes it as SVG, so that
both look the same. It knows nothing about truth: a caller that judged the relationships passes their status along.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from r1sgg.graph.scene import SceneGraph

Point = tuple[float, float]
Rect = tuple[float, float, float, float]
Measure = Callable[[str], tuple[float, float]]
"""Width and height of a text in pixels."""

# Okabe and Ito's colours, told apart with any colour vision (without black and pale yellow), then six between them.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc5a9a",
    "#e69f00",
    "#56b4e9",
    "#7b4fb5",
    "#b3233a",
    "#5c8a00",
    "#8c6239",
    "#1f8a9e",
    "#5b6cc9",
)

_NUMBER = re.compile(r"[._\- ](\d{1,4})$")

MAX_OBJECTS = 60
MAX_ARROWS = 60
"""Beyond these (an answer caught in a loop) a picture shows nothing; the rest is not laid out."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A name tag: its text and rectangle."""

    text: str
    rect: Rect


@dataclass(frozen=True, slots=True)
class Box:
    """An object: its index in the graph, rectangle (clipped to the picture), colour and tag."""

    index: int
    rect: Rect
    colour: str
    tag: Tag


@dataclass(frozen=True, slots=True)
class Arrow:
    """Relationships of one ordered pair that share a status, as a quadratic curve.

    Attributes:
        indices: the relationships in the graph.
        curve: start, control point and tip.
        status: what the caller said of them ("" if nothing).
    """

    subject: int
    object: int
    indices: tuple[int, ...]
    curve: tuple[Point, Point, Point]
    colour: str
    status: str
    tag: Tag


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything on the picture, in painting order (large boxes first)."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def lay_out(
    graph: SceneGraph,
    size: tuple[float, float],
    measure: Measure,
    statuses: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
) -> Layout:
    """Place boxes, tags and arrows.

    Args:
        graph: what to show; the first `MAX_OBJECTS` objects and the relationships between them are.
        size: width and height of the picture in pixels.
        measure: size of a tag's text, padding included.
        statuses: a word per relationship; relationships of one pair are drawn as one arrow per status.
        colours: a colour per object, "#rrggbb"; by default each object has its own.
    """
    names = display_names(graph)[:MAX_OBJECTS]
    inks = colours or [colour_of(k) for k in range(len(names))]
    rects = [_clip(tuple((box * (*size, *size)).tolist()), size) for box in graph.boxes[:MAX_OBJECTS]]
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rects]
    small = [r for r, area in zip(rects, areas, strict=True) if area < 0.03 * size[0] * size[1]]
    placed: list[Rect] = []
    tags: dict[int, Tag] = {}
    for k in sorted(range(len(rects)), key=areas.__getitem__):  # small boxes have the fewest places for a tag
        spots = _spots_at_box(rects[k], measure(names[k]))
        others = [r for r in small if r != rects[k]]
        tags[k] = Tag(names[k], _inside(spots[_best(spots, placed, others, size)], size))
        placed.append(tags[k].rect)
    boxes = [Box(k, rects[k], inks[k], tags[k]) for k in range(len(rects))]
    arrows: list[Arrow] = []
    bends: dict[frozenset[int], itertools.count[int]] = {}
    for (s, o, status), indices in _groups(graph, statuses).items():
        nth = next(bends.setdefault(frozenset((s, o)), itertools.count()))
        text = _joined([graph.predicates[i] for i in indices])
        # A second arrow on a pair bends wider; otherwise the bend that leaves its tag the most room is taken.
        curves = [
            _curve(_centre(rects[s]), _centre(rects[o]), sign * (bend + 0.12 * nth), min(size))
            for sign, bend in ((1, 0.16), (1, 0.3), (-1, 0.16), (-1, 0.3))
        ]
        spots = [spot for curve in curves for spot in _spots_on_curve(curve, measure(text))]
        chosen = _best(spots, placed, small, size)
        curve = curves[chosen // (len(spots) // len(curves))]
        tag = Tag(text, _inside(spots[chosen], size))
        placed.append(tag.rect)
        arrows.append(Arrow(s, o, tuple(indices), curve, inks[s], status, tag))
    return Layout(tuple(sorted(boxes, key=lambda b: -areas[b.index])), tuple(arrows))


def display_names(graph: SceneGraph) -> list[str]:
    """The class where it is alone in the graph, else class and number: "dog", "man 1", "man 2"."""
    counts: dict[str, int] = {}
    for label in graph.labels:
        counts[label] = counts.get(label, 0) + 1
    seen: dict[str, int] = {}
    names = []
    for identifier, label in zip(graph.ids, graph.labels, strict=True):
        seen[label] = seen.get(label, 0) + 1
        number = _NUMBER.search(identifier)  # the number that the text uses, where it has one
        which = number.group(1) if number else str(seen[label])
        names.append(f"{shorten(label)} {which}" if counts[label] > 1 else shorten(label))
    return names


def colour_of(index: int) -> str:
    """Colour of the object with this index, "#rrggbb"."""
    return PALETTE[index % len(PALETTE)]


def class_colours(*graphs: SceneGraph) -> list[list[str]]:
    """For each graph a colour per object, the same for a class in all of them: for pictures that are compared."""
    classes = {label: k for k, label in enumerate(dict.fromkeys(label for g in graphs for label in g.labels))}
    return [[colour_of(classes[label]) for label in g.labels] for g in graphs]


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on the colour (WCAG relative luminance)."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"


def shorten(text: str, limit: int = 28) -> str:
    """The text, cut with an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def points_on(curve: tuple[Point, Point, Point], steps: int = 24) -> list[Point]:
    """The quadratic curve as steps + 1 points."""
    return [_point(curve, k / steps) for k in range(steps + 1)]


def head_of(before: Point, tip: Point, length: float) -> list[Point]:
    """The triangle of an arrow that arrives at `tip` from `before`, a little beyond the tip."""
    angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
    x, y = tip[0] + 0.25 * length * math.cos(angle), tip[1] + 0.25 * length * math.sin(angle)
    wings = (angle + math.pi - 0.42, angle + math.pi + 0.42)
    return [(x, y), *((x + length * math.cos(a), y + length * math.sin(a)) for a in wings)]


def _groups(graph: SceneGraph, statuses: Sequence[str] | None) -> dict[tuple[int, int, str], list[int]]:
    groups: dict[tuple[int, int, str], list[int]] = {}
    for i, (s, o) in enumerate(graph.pairs):
        if s < MAX_OBJECTS and o < MAX_OBJECTS:
            groups.setdefault((s, o, statuses[i] if statuses else ""), []).append(i)
    return dict(itertools.islice(groups.items(), MAX_ARROWS))


def _joined(predicates: Sequence[str]) -> str:
    """Distinct predicates in their order, a repeated one with its count."""
    counts: dict[str, int] = {}
    for p in predicates:
        counts[p] = counts.get(p, 0) + 1
    return shorten(", ".join(p if n == 1 else f"{p} x{n}" for p, n in counts.items()), 40)


def _clip(rect: Rect, size: tuple[float, float]) -> Rect:
    """The part inside the picture, at least a pixel in size (an answer's box may lie outside, or have no area)."""
    width, height = size
    x1, x2 = (float(np.clip(v, 0, width)) for v in (rect[0], rect[2]))
    y1, y2 = (float(np.clip(v, 0, height)) for v in (rect[1], rect[3]))
    return min(x1, width - 1), min(y1, height - 1), max(x2, min(x1, width - 1) + 1), max(y2, min(y1, height - 1) + 1)


def _centre(rect: Rect) -> Point:
    return (rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2


def _around(point: Point, size: tuple[float, float]) -> Rect:
    return point[0] - size[0] / 2, point[1] - size[1] / 2, point[0] + size[0] / 2, point[1] + size[1] / 2


def _point(curve: tuple[Point, Point, Point], t: float) -> Point:
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
    return (
        a * curve[0][0] + b * curve[1][0] + c * curve[2][0],
        a * curve[0][1] + b * curve[1][1] + c * curve[2][1],
    )


def _curve(start: Point, tip: Point, bend: float, side: float) -> tuple[Point, Point, Point]:
    """A curve that bows to the left of its direction; nested boxes share a centre, so it bows by a least amount."""
    reach = 0.045 * side
    dx, dy = tip[0] - start[0], tip[1] - start[1]
    length = math.hypot(dx, dy)
    if length < reach:  # (nearly) the same centre, or a loop: leave the centre sideways and come back from above
        start = (start[0] - reach, start[1])
        tip = (start[0] + 2 * reach, start[1])
        dx, dy, length = 2 * reach, 0.0, 2 * reach
    offset = max(bend * length, reach) / length
    middle = ((start[0] + tip[0]) / 2, (start[1] + tip[1]) / 2)
    return start, (middle[0] + 2 * offset * dy, middle[1] - 2 * offset * dx), tip


def _spots_at_box(box: Rect, size: tuple[float, float]) -> list[Rect]:
    """Places for a box's tag, the usual ones first: on its top edge, inside it, under it, then along its sides."""
    x1, y1, x2, y2 = box
    w, h = size
    corners = [(x1, y1 - h), (x1, y1), (x2 - w, y1 - h), (x2 - w, y1), (x1, y2), (x1, y2 - h), (x2 - w, y2 - h)]
    corners += [(x2 - w, y2), (x2, y1), (x1 - w, y1), (x2, y2 - h), (x1 - w, y2 - h)]
    along = [((1 - t) * x1 + t * (x2 - w), y) for t in (0.25, 0.5, 0.75) for y in (y1 - h, y1, y2, y2 - h)]
    down = [(x, (1 - t) * y1 + t * (y2 - h)) for t in (0.25, 0.5, 0.75) for x in (x1, x2 - w)]
    return [(x, y, x + w, y + h) for x, y in corners + along + down]


def _spots_on_curve(curve: tuple[Point, Point, Point], size: tuple[float, float]) -> list[Rect]:
    """Places for a relationship's tag: along its curve, the middle first, then a little above and below it."""
    along = [_point(curve, t) for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)]
    return [_around((x, y + dy * size[1]), size) for dy in (0, -0.6, 0.6) for x, y in along]


def _best(spots: Sequence[Rect], placed: Sequence[Rect], objects: Sequence[Rect], size: tuple[float, float]) -> int:
    """Which spot, pushed into the picture, hides the least; earlier spots win ties."""

    def cost(rank: int) -> float:
        spot = _inside(spots[rank], size)
        area = (spot[2] - spot[0]) * (spot[3] - spot[1]) or 1.0
        tags = sum(_overlap(spot, other) for other in placed)
        return (8 * tags + sum(_overlap(spot, other) for other in objects)) / area + 0.02 * rank

    return min(range(len(spots)), key=cost)


def _inside(rect: Rect, size: tuple[float, float]) -> Rect:
    dx = max(0.0, -rect[0]) or min(0.0, size[0] - rect[2])
    dy = max(0.0, -rect[1]) or min(0.0, size[1] - rect[3])
    return rect[0] + dx, rect[1] + dy, rect[2] + dx, rect[3] + dy


def _overlap(a: Rect, b: Rect) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
