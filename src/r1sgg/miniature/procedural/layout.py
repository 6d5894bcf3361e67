"""The layout of a scene: groups are built from recipes and placed until the scene has the wanted number of objects.

The layout only proposes. `rules` decides whether a proposal is clear, and an unclear one is drawn again.
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
"""Positions that are tried for a group."""
_MISSES = 14
"""A scene is taken as it is once so many groups have found no position."""
_FRESH_STARTS = 200


@dataclass(frozen=True, slots=True)
class Canvas:
    """What the layout needs to know of an image.

    Attributes:
        size: width and height in pixels.
        ground: the highest ground line, in pixels.
        step: box edges are multiples of it.
        zoom: factor on every size.
        smallest: no side is shorter (pixels), except of an object that has to fit under another.
        classes: classes that may be drawn.
        overlap: probability that a group is proposed so that it hides, or is hidden by, another.
        alone: probability that a group starts as a single object.
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


def arrange(rng: random.Random, canvas: Canvas, fewest: int, target: int) -> tuple[list[Part], list[Link]] | None:
    """Return a scene's parts in painter's order and all relations (at least one), or None if no clear scene is found.

    Args:
        rng: the only source of randomness.
        canvas: the image.
        fewest: smallest number of objects.
        target: wanted number of objects.
    """
    for _ in range(_FRESH_STARTS):
        parts: list[Part] = []
        links: list[Link] = []
        misses = 0
        while len(parts) < target and misses < _MISSES:
            group = _build(rng, canvas, target - len(parts), number=len(parts))
            placed = group and _place(rng, canvas, group, parts, links)
            if placed:
                parts, links = placed
            else:
                misses += 1
        if len(parts) >= fewest:
            try:
                found = relations(parts, links, canvas.side)
            except Unclear:
                continue
            if found or fewest == 1:
                return parts, found
    return None


# ---------------------------------------------------------------- groups


def _build(rng: random.Random, canvas: Canvas, room: int, number: int) -> Group | None:
    """Return a group of at most `room` parts, or None if the one that was drawn is not clear."""
    possible = _possible(canvas) if room > 1 else []
    if not possible or rng.random() < canvas.alone:
        label = _choose_weighted(rng, sorted(canvas.classes - ONLY_JOINED))
        airborne = label in AIRBORNE or (label == "bird" and rng.random() < 0.6)
        pose = "fly" if airborne and label == "bird" else "stand"
        group = Group([_part(rng, canvas, label, pose, number, airborne)], [])
    else:
        predicate = _choose_weighted(rng, sorted({r.predicate for r, _, _ in possible}))
        recipe, base, added = _choose(rng, [p for p in possible if p[0].predicate == predicate])
        label = _choose_weighted(rng, base)
        group = Group([_part(rng, canvas, label, recipe.base_pose or "stand", number, False)], [])
        _join(rng, canvas, group, 0, recipe, _choose_weighted(rng, added))
    _grow(rng, canvas, group, room)
    if rng.random() < 0.5:
        group.parts = [replace(p, flip=True, box=(-p.box[2], p.box[1], -p.box[0], p.box[3])) for p in group.parts]
    base_line = max(p.box[3] for p in group.parts)
    group.parts = [replace(p, base=base_line) for p in group.parts]
    try:
        relations(group.parts, group.links, canvas.side)
    except Unclear:
        return None
    return group


def _possible(canvas: Canvas) -> list[tuple[Recipe, list[str], list[str]]]:
    """Return the recipes that can be drawn, with their classes for base and added object."""
    rows = [
        (r, [c for c in r.base if c in canvas.classes], [c for c in r.added if c in canvas.classes]) for r in RECIPES
    ]
    return [row for row in rows if row[1] and row[2]]


def _grow(rng: random.Random, canvas: Canvas, group: Group, room: int) -> None:
    """Add a hat, more things on the table, a flower in the vase ..."""
    for recipe, _, added in _possible(canvas):
        for k in range(len(group.parts)):
            part = group.parts[k]
            if len(group.parts) >= room:
                return
            fits = part.label in recipe.base and not part.airborne and recipe.base_pose in ("", part.pose)
            taken = any({k} & {s, o} and p == recipe.predicate for s, p, o in group.links)
            if fits and rng.random() < recipe.grow and (not taken or part.label in ("table", "bench")):
                _join(rng, canvas, group, k, recipe, _choose_weighted(rng, added))


def _join(rng: random.Random, canvas: Canvas, group: Group, k: int, recipe: Recipe, label: str) -> None:
    """Add a new part to part `k`, so that the recipe's anchors meet."""
    base = group.parts[k]
    x1, y1, x2, y2 = base.box
    low, high, share = pictogram(base.label, base.pose, base.variant).anchors[recipe.base_anchor]
    at_x = x1 + (low + rng.random() * (high - low)) * (x2 - x1)
    at_y = y1 + share * (y2 - y1)
    highest = math.inf
    if recipe.predicate == "under":
        highest = (1 - pictogram(base.label, base.pose, base.variant).anchors["cover"][2]) * (y2 - y1)
    airborne = label == "kite"
    new = _part(rng, canvas, label, recipe.added_pose, base.group, airborne, highest)
    width, height = new.box[2], new.box[3]
    anchors = pictogram(label, new.pose, new.variant).anchors
    own_x, _, own_y = anchors.get(recipe.added_anchor, (0.5, 0.5, 1.0))
    left = _snap(at_x - own_x * width, canvas.step)
    top = y2 - height if recipe.predicate == "under" else _snap(at_y - own_y * height, canvas.step)
    new = replace(new, box=(left, top, left + width, top + height))
    at = len(group.parts) if recipe.over else k
    if not recipe.over:  # painted before its base: part k and all later ones move up by one place
        group.links = [(s + (s >= k), p, o + (o >= k)) for s, p, o in group.links]
        k += 1
    group.parts.insert(at, new)
    if recipe.predicate != "under":
        group.links.append((at, recipe.predicate, k) if recipe.added_is_subject else (k, recipe.predicate, at))


def _part(
    rng: random.Random,
    canvas: Canvas,
    label: str,
    pose: str,
    group: int,
    airborne: bool,
    highest: float = math.inf,
) -> Part:
    """Return a part at the origin, of a random size near the size of its class."""
    drawing = pictogram(label, pose, 0)
    scale = UNIT_SIZE[label] * canvas.zoom * canvas.side / 100 * (0.92 + 0.16 * rng.random())
    scale = max(scale, canvas.smallest / min(drawing.width, drawing.height))
    scale = min(scale, highest / drawing.height)
    width, height = (max(canvas.step, _snap(scale * length, canvas.step)) for length in (drawing.width, drawing.height))
    if height > highest:
        height -= canvas.step
    variant = int(rng.random() * VARIANTS)
    return Part(label, pose, variant, False, (0, 0, width, height), group, height, airborne)


# ---------------------------------------------------------------- places


def _place(
    rng: random.Random, canvas: Canvas, group: Group, parts: list[Part], links: list[Link]
) -> tuple[list[Part], list[Link]] | None:
    """Return the scene with the group in it, in painter's order, or None if no clear position was found."""
    boxes = [p.box for p in group.parts]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
    free_x, free_y = canvas.size[0] - (right - left), canvas.size[1] - (bottom - top)
    if free_x < 0 or free_y < 0:
        return None
    flies = group.parts[0].airborne
    for _ in range(_PLACES):
        x, y, overlaps = _propose(rng, canvas, (right - left, bottom - top), flies, parts)
        dx, dy = _snap(x, canvas.step) - left, _snap(y, canvas.step) - top
        if not (0 <= left + dx <= free_x and 0 <= top + dy <= free_y):
            continue
        moved = [
            replace(p, box=(p.box[0] + dx, p.box[1] + dy, p.box[2] + dx, p.box[3] + dy), base=bottom + dy)
            for p in group.parts
        ]
        if not flies and bottom + dy < canvas.ground:
            continue
        if not overlaps and any(overlap(p.box, q.box) for p in moved for q in parts):
            continue
        at = sum(p.base <= bottom + dy for p in parts)  # painter's order is that of the ground lines
        together = parts[:at] + moved + parts[at:]
        count = len(moved)  # the group goes between parts: links behind it move up by its size, its own by its place
        shifted = [(s + count * (s >= at), p, o + count * (o >= at)) for s, p, o in links]
        joined = shifted + [(s + at, p, o + at) for s, p, o in group.links]
        try:
            relations(together, joined, canvas.side)
        except Unclear:
            continue
        return together, joined
    return None


def _propose(
    rng: random.Random, canvas: Canvas, extent: tuple[int, int], flies: bool, parts: Sequence[Part]
) -> tuple[float, float, bool]:
    """Return a top left corner for a group: anywhere, beside another group, or (True) partly over or behind it."""
    width, height = extent
    if flies:
        return rng.random() * (canvas.size[0] - width), rng.random() * max(0.0, 0.55 * canvas.size[1] - height), False
    ground = [p for p in parts if not p.airborne and p.box[3] == p.base]
    kind = rng.random()
    if ground and kind < canvas.overlap + 0.3:
        other = ground[int(rng.random() * len(ground))]
        sign = 1 if rng.random() < 0.5 else -1
        if kind < canvas.overlap:
            common = (0.2 + 0.5 * rng.random()) * min(width, other.box[2] - other.box[0])
            depth = sign * canvas.side * (DEPTH_STEPS[0] + rng.random() * (DEPTH_STEPS[1] - DEPTH_STEPS[0]))
        else:
            common = -rng.random() * NEAR * canvas.side
            depth = (rng.random() - 0.5) * 0.1 * canvas.side
        on_the_right = rng.random() < 0.5
        x = other.box[2] - common if on_the_right else other.box[0] + common - width
        return x, other.base + depth - height, kind < canvas.overlap
    line = canvas.ground + rng.random() * (canvas.size[1] - canvas.ground)
    return rng.random() * (canvas.size[0] - width), max(line - height, 0), False


def _snap(value: float, step: int) -> int:
    return step * math.floor(value / step + 0.5)


def _choose(rng: random.Random, items: Sequence[_T]) -> _T:
    """Do as `random.choice`, but with `random()` only: its stream is the one that Python promises not to change."""
    return items[int(rng.random() * len(items))]


def _choose_weighted(rng: random.Random, names: Sequence[str]) -> str:
    """Return one of the names, drawn by their weights."""
    left = rng.random() * sum(WEIGHTS.get(name, 1.0) for name in names)
    for name in names:
        left -= WEIGHTS.get(name, 1.0)
        if left < 0:
            return name
    return names[-1]
