"""Where things go on a picture of a scene graph: name tags that keep out of each other's way, and curved arrows.

Pure geometry in the pixels of the picture. An arrow runs between dots, one an object, that are moved apart where boxes
share a centre. It knows nothing about truth: a caller that judged the relationships passes their status along.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from r1sgg.drawing.shapes import Point, Quadratic, Rect, part_of, point_on, points_on
from r1sgg.drawing.style import colour_of, display_names, joined
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import intersections

Measure = Callable[[str], tuple[float, float]]
"""Width and height of a tag with this text, in pixels."""
_Rects = npt.NDArray[np.float64]

MAX_OBJECTS = 60
MAX_ARROWS = 60
"""Beyond these (an answer caught in a loop) a picture shows nothing; the rest is not laid out."""
DOT = 5.0
"""Radius of the dots between which arrows run."""
_CROWDED = 0.15  # a predicate's tag that hides so much of others, or is so much hidden, becomes a number


@dataclass(frozen=True, slots=True)
class Tag:
    """A name tag: its text and rectangle."""

    text: str
    rect: Rect


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
        indices: the relationships in the graph.
        curve: start, control point and tip; it ends at the rim of the object's dot.
        status: what the caller said of them ("" if nothing).
        number: its place among the arrows, from 1; `tag` shows it instead of the predicates where those have no room.
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
        """Whether some arrow shows its number instead of its predicates."""
        return any(arrow.tag.text == str(arrow.number) for arrow in self.arrows)

    def colours(self, count: int) -> list[str]:
        """The colours of the first `count` objects."""
        shown = {box.index: box.colour for box in self.boxes}
        return [shown.get(k, colour_of(k)) for k in range(count)]


def lay_out(
    graph: SceneGraph,
    size: tuple[float, float],
    measure: Measure,
    statuses: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    *,
    numbers: bool = False,
) -> Layout:
    """Place boxes, tags and arrows.

    Args:
        graph: what to show; the first `MAX_OBJECTS` objects and the relationships between them are.
        size: width and height of the picture in pixels.
        measure: size of a tag's text, padding included.
        statuses: a word per relationship; relationships of one pair are drawn as one arrow per status.
        colours: a colour per object, "#rrggbb"; by default each object has its own.
        numbers: let a number stand for predicates that have no room (the caller then lists them by number).
    """
    names = display_names(graph)[:MAX_OBJECTS]
    inks = colours or [colour_of(k) for k in range(len(names))]
    rects = [_clip(tuple((box * (*size, *size)).tolist()), size) for box in graph.boxes[:MAX_OBJECTS]]
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rects]
    order = sorted(range(len(rects)), key=areas.__getitem__)
    groups = _groups(graph, statuses)
    used = {end for s, o, _ in groups for end in (s, o)}
    dots = _dots(rects, [k for k in order if k in used])
    small = [r for r, area in zip(rects, areas, strict=True) if area < 0.03 * size[0] * size[1]]
    board = _Board(size, small, [_around(dots[k], (2.4 * DOT, 2.4 * DOT)) for k in sorted(used)])
    for k in order:  # small boxes have the fewest places for a tag
        board.add(("box", k), _spots_at_box(rects[k], measure(names[k])))
    curves: list[list[Quadratic]] = []
    bends: dict[frozenset[int], itertools.count[int]] = {}
    texts = [joined([graph.predicates[i] for i in indices]) for indices in groups.values()]
    for n, (s, o, _) in enumerate(groups):
        nth = next(bends.setdefault(frozenset((s, o)), itertools.count()))
        # A second arrow on a pair bends wider; otherwise the bend that leaves its tag the most room is taken.
        ways = [(sign, bend + 0.12 * nth) for sign, bend in ((1, 0.12), (1, 0.26), (-1, 0.12), (-1, 0.26))]
        curves.append([_curve(dots[s], dots[o], sign * bend, min(size)) for sign, bend in ways])
        board.add(("arrow", n), _spots_on_curves(curves[n], measure(texts[n])))
    board.settle()
    if numbers:
        for key in board.crowded("arrow", _CROWDED):
            texts[key[1]] = str(key[1] + 1)
            board.add(key, _spots_on_curves(curves[key[1]], measure(texts[key[1]])))
    boxes = [
        Box(k, rects[k], inks[k], Tag(names[k], board.rect(("box", k))), dots.get(k, _centre(rects[k])))
        for k in range(len(rects))
    ]
    arrows = []
    for n, ((s, o, status), indices) in enumerate(groups.items()):
        curve = curves[n][board.chosen[("arrow", n)] // (board.count(("arrow", n)) // len(curves[n]))]
        tag = Tag(texts[n], board.rect(("arrow", n)))
        arrows.append(Arrow(s, o, tuple(indices), _trimmed(curve), inks[s], status, tag, n + 1))
    return Layout(tuple(sorted(boxes, key=lambda b: -areas[b.index])), tuple(arrows))


Key = tuple[str, int]


@dataclass(slots=True)
class _Board:
    """Tags on a picture. Each has spots to choose from and takes the one that hides least."""

    size: tuple[float, float]
    objects: list[Rect]
    dots: list[Rect]
    chosen: dict[Key, int] = field(default_factory=dict)
    spots: dict[Key, _Rects] = field(default_factory=dict)
    fixed: dict[Key, npt.NDArray[np.float64]] = field(default_factory=dict)

    def add(self, key: Key, spots: Sequence[Rect]) -> None:
        """Place a tag, or place it anew with other spots; earlier spots win ties."""
        rects = np.array(spots)
        rects[:, [0, 2]] += np.maximum(0, -rects[:, :1]) + np.minimum(0, self.size[0] - rects[:, 2:3])
        rects[:, [1, 3]] += np.maximum(0, -rects[:, 1:2]) + np.minimum(0, self.size[1] - rects[:, 3:])
        area = np.maximum(1.0, np.prod(rects[:, 2:] - rects[:, :2], axis=1))
        here = np.array(self.objects).reshape(-1, 4)
        hidden = _total(rects, here) + 3 * _total(rects, np.array(self.dots).reshape(-1, 4))
        self.spots[key], self.fixed[key] = rects, hidden / area + 0.012 * np.arange(len(rects))
        self._place(key)

    def settle(self, rounds: int = 3) -> None:
        """Let each tag choose again, now that all others stand, until none moves."""
        for _ in range(rounds):
            before = dict(self.chosen)
            for key in self.spots:
                self._place(key)
            if before == self.chosen:
                return

    def crowded(self, kind: str, most: float) -> list[Key]:
        """Tags of this kind that overlap others by more than this share of themselves, until without them none does."""
        out: list[Key] = []
        while True:
            rects = {key: self.spots[key][k] for key, k in self.chosen.items() if key not in out}
            keys = [key for key in rects if key[0] == kind]
            everything = np.array(list(rects.values())).reshape(-1, 4)
            worst, share = None, most
            for key in keys:
                rect = rects[key][None]
                area = float(np.prod(rect[0, 2:] - rect[0, :2])) or 1.0
                if (here := float(_total(rect, everything)[0]) / area - 1) > share:
                    worst, share = key, here
            if worst is None:
                return sorted(out, key=lambda key: key[1])
            out.append(worst)

    def rect(self, key: Key) -> Rect:
        """Where a tag stands."""
        x1, y1, x2, y2 = self.spots[key][self.chosen[key]].tolist()
        return x1, y1, x2, y2

    def count(self, key: Key) -> int:
        """How many spots a tag has."""
        return len(self.spots[key])

    def _place(self, key: Key) -> None:
        spots = self.spots[key]
        others = np.array([self.spots[k][n] for k, n in self.chosen.items() if k != key]).reshape(-1, 4)
        area = np.maximum(1.0, np.prod(spots[:, 2:] - spots[:, :2], axis=1))
        self.chosen[key] = int(np.argmin(self.fixed[key] + 8 * _total(spots, others) / area))


def _total(spots: _Rects, others: _Rects) -> npt.NDArray[np.float64]:
    """Area of each spot that others cover, what two cover counted twice."""
    return np.asarray(intersections(spots, others).sum(axis=1))


def _groups(graph: SceneGraph, statuses: Sequence[str] | None) -> dict[tuple[int, int, str], list[int]]:
    groups: dict[tuple[int, int, str], list[int]] = {}
    for i, (s, o) in enumerate(graph.pairs):
        if s < MAX_OBJECTS and o < MAX_OBJECTS:
            groups.setdefault((s, o, statuses[i] if statuses else ""), []).append(i)
    return dict(itertools.islice(groups.items(), MAX_ARROWS))


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


def _dots(rects: Sequence[Rect], order: Sequence[int]) -> dict[int, Point]:
    """A dot in each box: its centre, or a place near it that keeps off the others' dots and off smaller boxes."""
    dots: dict[int, Point] = {}
    for k in order:
        x1, y1, x2, y2 = rects[k]
        (cx, cy), w, h = _centre(rects[k]), x2 - x1, y2 - y1
        candidates = [(cx, cy)]
        for ring in (0.2, 0.4, 0.6, 0.8):
            turns = [2 * math.pi * n / 12 for n in range(12)]
            candidates += [(cx + ring * w / 2 * math.cos(a), cy + ring * h / 2 * math.sin(a)) for a in turns]
        inner = [rects[j] for j in dots if _contains(rects[k], rects[j])]

        def cost(rank: int, candidates: list[Point] = candidates, inner: list[Rect] = inner) -> float:
            x, y = candidates[rank]
            crowd = sum(max(0.0, 1 - math.hypot(x - a, y - b) / (5 * DOT)) for a, b in dots.values())
            return 4 * crowd + sum(_covers(r, (x, y)) for r in inner) + 0.03 * rank

        dots[k] = candidates[min(range(len(candidates)), key=cost)]
    return dots


def _contains(a: Rect, b: Rect) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a[2] >= b[2] and a[3] >= b[3]


def _covers(rect: Rect, point: Point) -> bool:
    return rect[0] <= point[0] <= rect[2] and rect[1] <= point[1] <= rect[3]


def _curve(start: Point, tip: Point, bend: float, side: float) -> Quadratic:
    """A curve that bows to the left of its direction; a loop leaves its dot sideways and comes back."""
    reach = 0.045 * side
    dx, dy = tip[0] - start[0], tip[1] - start[1]
    length = math.hypot(dx, dy)
    if length < 1:
        return (start[0] - DOT, start[1]), (start[0], start[1] - math.copysign(3 * reach, bend)), (tip[0] + DOT, tip[1])
    offset = math.copysign(max(abs(bend) * length, min(reach, 0.4 * length)), bend) / length
    middle = ((start[0] + tip[0]) / 2, (start[1] + tip[1]) / 2)
    return start, (middle[0] + 2 * offset * dy, middle[1] - 2 * offset * dx), tip


def _trimmed(curve: Quadratic) -> Quadratic:
    """The curve up to the rim of the dot at its end."""
    (ax, ay), (bx, by) = curve[0], curve[2]
    if math.hypot(bx - ax, by - ay) < 4 * DOT:
        return curve
    points = points_on(curve, 100)
    last = next((k for k in range(100, 0, -1) if math.dist(points[k], curve[2]) > DOT + 1), 100)
    return part_of(curve, 0.0, last / 100)


def _spots_at_box(box: Rect, size: tuple[float, float]) -> list[Rect]:
    """Places for a box's tag, the usual ones first: on its top edge, inside it, under it, then along its sides."""
    x1, y1, x2, y2 = box
    w, h = size
    corners = [(x1, y1 - h), (x1, y1), (x2 - w, y1 - h), (x2 - w, y1), (x1, y2), (x1, y2 - h), (x2 - w, y2 - h)]
    corners += [(x2 - w, y2), (x2, y1), (x1 - w, y1), (x2, y2 - h), (x1 - w, y2 - h)]
    along = [((1 - t) * x1 + t * (x2 - w), y) for t in (0.25, 0.5, 0.75) for y in (y1 - h, y1, y2, y2 - h)]
    down = [(x, (1 - t) * y1 + t * (y2 - h)) for t in (0.25, 0.5, 0.75) for x in (x1, x2 - w)]
    return [(x, y, x + w, y + h) for x, y in corners + along + down]


def _spots_on_curves(curves: Sequence[Quadratic], size: tuple[float, float]) -> list[Rect]:
    """Places for a relationship's tag, curve by curve: the middle first, then a little above and below it."""
    spots = []
    for curve in curves:
        along = [point_on(curve, t) for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)]
        spots += [_around((x, y + dy * size[1]), size) for dy in (0, -0.6, 0.6) for x, y in along]
    return spots
