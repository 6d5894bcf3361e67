"""Where things are put: groups are built from recipes and placed until the scene has as many objects as asked.

It only proposes; `rules` decides whether a proposal is clear, and an unclear one is drawn again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from r1sgg.miniature.procedural.pictograms import UNIT_SIZE, VARIANTS, pictogram
from r1sgg.miniature.procedural.recipes import AIRBORNE, ONLY_JOINED, RECIPES, WEIGHTS, Recipe
from r1sgg.miniature.procedural.rules import DEPTH_STEPS, NEAR, Link, Part, Unclear, overlap, relations

_T = TypeVar("_T")

_PLACES = 24
"""Places that are tried for a group."""
_MISSES = 14
"""Groups that find no place before a scene is taken as it is."""
_FRESH_STARTS = 200


@dataclass(frozen=True, slots=True)
class Frame:
    """What the layout needs to know of a picture.

    Attributes:
        size: width and height in pixels.
        ground: the highest ground line, in pixels.
        step: boxes lie on multiples of it.
        zoom: factor on every size.
        smallest: no side is shorter (pixels), except of what has to fit under something.
        classes: what may be drawn.
        overlap: chance that a group is proposed so that it hides, or is hidden by, another.
        alone: chance that a group starts as a single object.
    """

    size: tuple[int, int]
    ground: int
    step: int
    zoom: float
    smallest: int
    classes: frozenset[str]
    overlap: float
    alone: float

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.size)


@dataclass(slots=True)
class Group:
    """Parts that belong together, in painter's order, with coordinates of their own."""

    parts: list[Part]
    links: list[Link]


def arrange(rng: random.Random, frame: Frame, fewest: int, target: int) -> tuple[list[Part], list[Link]] | None:
    """A scene's parts in painter's order with all relations (at least one), or None where no clear one is found.

    Args:
        rng: the only source of chance.
        frame: the picture.
        fewest: a scene with fewer objects is not taken.
        target: how many objects are tried for.
    """
    for _ in range(_FRESH_STARTS):
        parts: list[Part] = []
        links: list[Link] = []
        misses = 0
        while len(parts) < target and misses < _MISSES:
            group = _build(rng, frame, target - len(parts), number=len(parts))
            placed = group and _place(rng, frame, group, parts, links)
            if placed:
                parts, links = placed
            else:
                misses += 1
        if len(parts) >= fewest:
            try:
                found = relations(parts, links, frame.side)
            except Unclear:
                continue
            if found or fewest == 1:
                return parts, found
    return None


# ---------------------------------------------------------------- groups


def _build(rng: random.Random, frame: Frame, room: int, number: int) -> Group | None:
    """A group of at most `room` parts; None where chance chose one that does not come out clear."""
    possible = _possible(frame) if room > 1 else []
    if not possible or rng.random() < frame.alone:
        label = _choose_weighted(rng, sorted(frame.classes - ONLY_JOINED))
        airborne = label in AIRBORNE or (label == "bird" and rng.random() < 0.6)
        pose = "fly" if airborne and label == "bird" else "stand"
        group = Group([_part(rng, frame, label, pose, number, airborne)], [])
    else:
        predicate = _choose_weighted(rng, sorted({r.predicate for r, _, _ in possible}))
        recipe, base, added = _choose(rng, [p for p in possible if p[0].predicate == predicate])
        label = _choose_weighted(rng, base)
        group = Group([_part(rng, frame, label, recipe.base_pose or "stand", number, False)], [])
        _join(rng, frame, group, 0, recipe, _choose_weighted(rng, added))
    _grow(rng, frame, group, room)
    if rng.random() < 0.5:
        group.parts = [replace(p, flip=True, box=(-p.box[2], p.box[1], -p.box[0], p.box[3])) for p in group.parts]
    base_line = max(p.box[3] for p in group.parts)
    group.parts = [replace(p, base=base_line) for p in group.parts]
    try:
        relations(group.parts, group.links, frame.side)
    except Unclear:
        return None
    return group


def _possible(frame: Frame) -> list[tuple[Recipe, list[str], list[str]]]:
    """Recipes with the classes of this picture."""
    rows = [(r, [c for c in r.base if c in frame.classes], [c for c in r.added if c in frame.classes]) for r in RECIPES]
    return [row for row in rows if row[1] and row[2]]


def _grow(rng: random.Random, frame: Frame, group: Group, room: int) -> None:
    """Add a hat, more things on the table, a flower in the vase ..."""
    for recipe, _, added in _possible(frame):
        for k in range(len(group.parts)):
            part = group.parts[k]
            if len(group.parts) >= room:
                return
            fits = part.label in recipe.base and not part.airborne and recipe.base_pose in ("", part.pose)
            taken = any({k} & {s, o} and p == recipe.predicate for s, p, o in group.links)
            if fits and rng.random() < recipe.grow and (not taken or part.label in ("table", "bench")):
                _join(rng, frame, group, k, recipe, _choose_weighted(rng, added))


def _join(rng: random.Random, frame: Frame, group: Group, k: int, recipe: Recipe, label: str) -> None:
    """Put a new part to part `k` so that the recipe's anchors meet."""
    base = group.parts[k]
    x1, y1, x2, y2 = base.box
    low, high, share = pictogram(base.label, base.pose, base.variant).anchors[recipe.base_anchor]
    at_x = x1 + (low + rng.random() * (high - low)) * (x2 - x1)
    at_y = y1 + share * (y2 - y1)
    highest = math.inf
    if recipe.predicate == "under":
        highest = (1 - pictogram(base.label, base.pose, base.variant).anchors["cover"][2]) * (y2 - y1)
    airborne = label == "kite"
    new = _part(rng, frame, label, recipe.added_pose, base.group, airborne, highest)
    width, height = new.box[2], new.box[3]
    anchors = pictogram(label, new.pose, new.variant).anchors
    own_x, _, own_y = anchors.get(recipe.added_anchor, (0.5, 0.5, 1.0))
    left = _snap(at_x - own_x * width, frame.step)
    top = y2 - height if recipe.predicate == "under" else _snap(at_y - own_y * height, frame.step)
    new = replace(new, box=(left, top, left + width, top + height))
    at = len(group.parts) if recipe.over else k
    if not recipe.over:
        group.links = [(s + (s >= k), p, o + (o >= k)) for s, p, o in group.links]
        k += 1
    group.parts.insert(at, new)
    if recipe.predicate != "under":
        group.links.append((at, recipe.predicate, k) if recipe.added_is_subject else (k, recipe.predicate, at))


def _part(
    rng: random.Random,
    frame: Frame,
    label: str,
    pose: str,
    group: int,
    airborne: bool,
    highest: float = math.inf,
) -> Part:
    """A part at the origin, its size drawn around its class's own."""
    drawing = pictogram(label, pose, 0)
    scale = UNIT_SIZE[label] * frame.zoom * frame.side / 100 * (0.92 + 0.16 * rng.random())
    scale = max(scale, frame.smallest / min(drawing.width, drawing.height))
    scale = min(scale, highest / drawing.height)
    width, height = (max(frame.step, _snap(scale * length, frame.step)) for length in (drawing.width, drawing.height))
    if height > highest:
        height -= frame.step
    variant = int(rng.random() * VARIANTS)
    return Part(label, pose, variant, False, (0, 0, width, height), group, height, airborne)


# ---------------------------------------------------------------- places


def _place(
    rng: random.Random, frame: Frame, group: Group, parts: list[Part], links: list[Link]
) -> tuple[list[Part], list[Link]] | None:
    """The scene with the group in it, in painter's order; None where no clear place was found."""
    boxes = [p.box for p in group.parts]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
    free_x, free_y = frame.size[0] - (right - left), frame.size[1] - (bottom - top)
    if free_x < 0 or free_y < 0:
        return None
    flies = group.parts[0].airborne
    for _ in range(_PLACES):
        x, y, overlaps = _propose(rng, frame, (right - left, bottom - top), flies, parts)
        dx, dy = _snap(x, frame.step) - left, _snap(y, frame.step) - top
        if not (0 <= left + dx <= free_x and 0 <= top + dy <= free_y):
            continue
        moved = [
            replace(p, box=(p.box[0] + dx, p.box[1] + dy, p.box[2] + dx, p.box[3] + dy), base=bottom + dy)
            for p in group.parts
        ]
        if not flies and bottom + dy < frame.ground:
            continue
        if not overlaps and any(overlap(p.box, q.box) for p in moved for q in parts):
            continue
        at = sum(p.base <= bottom + dy for p in parts)
        together = parts[:at] + moved + parts[at:]
        count = len(moved)
        shifted = [(s + count * (s >= at), p, o + count * (o >= at)) for s, p, o in links]
        joined = shifted + [(s + at, p, o + at) for s, p, o in group.links]
        try:
            relations(together, joined, frame.side)
        except Unclear:
            continue
        return together, joined
    return None


def _propose(
    rng: random.Random, frame: Frame, extent: tuple[int, int], flies: bool, parts: Sequence[Part]
) -> tuple[float, float, bool]:
    """A left upper corner for a group: anywhere, beside another group, or (True) partly over or behind it."""
    width, height = extent
    if flies:
        return rng.random() * (frame.size[0] - width), rng.random() * max(0.0, 0.55 * frame.size[1] - height), False
    ground = [p for p in parts if not p.airborne and p.box[3] == p.base]
    kind = rng.random()
    if ground and kind < frame.overlap + 0.3:
        other = ground[int(rng.random() * len(ground))]
        sign = 1 if rng.random() < 0.5 else -1
        if kind < frame.overlap:
            common = (0.2 + 0.5 * rng.random()) * min(width, other.box[2] - other.box[0])
            depth = sign * frame.side * (DEPTH_STEPS[0] + rng.random() * (DEPTH_STEPS[1] - DEPTH_STEPS[0]))
        else:
            common = -rng.random() * NEAR * frame.side
            depth = (rng.random() - 0.5) * 0.1 * frame.side
        on_the_right = rng.random() < 0.5
        x = other.box[2] - common if on_the_right else other.box[0] + common - width
        return x, other.base + depth - height, kind < frame.overlap
    line = frame.ground + rng.random() * (frame.size[1] - frame.ground)
    return rng.random() * (frame.size[0] - width), max(line - height, 0), False


def _snap(value: float, step: int) -> int:
    return step * math.floor(value / step + 0.5)


def _choose(rng: random.Random, items: Sequence[_T]) -> _T:
    """`random.choice` by `random()` alone, the one method whose stream Python promises to keep."""
    return items[int(rng.random() * len(items))]


def _choose_weighted(rng: random.Random, names: Sequence[str]) -> str:
    """One of the names, by their weights."""
    left = rng.random() * sum(WEIGHTS.get(name, 1.0) for name in names)
    for name in names:
        left -= WEIGHTS.get(name, 1.0)
        if left < 0:
            return name
    return names[-1]
