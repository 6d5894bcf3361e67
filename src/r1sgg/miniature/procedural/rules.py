"""The relations of a drawn scene. Every pair of objects is judged, so a scene's graph is complete.

A pair that was drawn joined has the predicate of its drawing and no other. For any other pair the first rule below that
applies states its relations. Lengths are fractions of the image's shorter side.

| predicate | subject -> object | rule |
|---|---|---|
| riding | people -> horse, elephant, bike, skateboard | joined: seat on the back or saddle, or feet on the deck |
| sitting on | people, cat -> chair, bench | joined: seat (the cat's feet) on the seat |
| standing on | bird, dog, child -> roof, back, table, bench ... | joined: feet on the upper edge |
| on | cup, bottle, vase, laptop, book, lamp, bag, hat -> table, bench | joined: foot on the upper surface |
| in | flower -> vase, bird -> tree | joined: stem behind the vase's wall, bird inside the crown |
| holding | people -> umbrella, kite, cup, bottle, book, flower | joined: its grip at a raised hand |
| carrying | people -> bag | joined: its handle at a hanging hand |
| wearing | people -> hat | joined: its brim on the forehead |
| under | anything on the ground -> tree, table, umbrella | shelter: see below |
| in front of, behind | both directions | overlap: one covers 15 % of the smaller one's pixels |
| above | free bird, kite, clock -> anything; part raised in a group -> its lower parts | column: see below |
| near | left -> right, one direction only | side by side: gap 0 to 0.075, half of the lower one's height in common |

Shelter: top below the cover's underside, 70 % of the width within the cover's box, ground lines within 0.04.
Overlap: what is drawn later is in front. Column: bottom not below the other's top, 50 % of the narrower one's width in
common; a hat on a head is not above what its wearer is on or carries.

A group is what is joined, directly or in a chain (hat, rider, horse). The ground line of a group is its lowest edge. A
pair between "applies" and "clearly does not apply" makes a scene unclear, and unclear scenes are never drawn: a gap
between 0.075 and 0.125, a cover of 0 to 15 %, a common width of 25 to 50 %, two overlapping objects of the same class,
and so on. So no relation depends on one pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from r1sgg.miniature.procedural.pictograms import Mask, mask, pictogram

Box = tuple[int, int, int, int]
Link = tuple[int, str, int]
"""Index of the subject, predicate, index of the object."""

COVERS = frozenset(("tree", "table", "umbrella"))
HIDDEN_SHARE = 0.15
VISIBLE_SHARE = 0.5
NEAR, FAR = 0.075, 0.125
SAME_GROUND = 0.04
DEPTH_STEPS = (0.03, 0.085)
"""Smallest and largest distance of the ground lines of two groups of which one hides part of the other."""
RAISED = 0.03
"""A part this far above its group's ground line is not on the ground."""
CLEARANCE = 0.05
"""Smallest distance of a flying part from other groups."""


@dataclass(frozen=True, slots=True)
class Part:
    """A pictogram at its position.

    Attributes:
        box: x1, y1, x2, y2 in pixels.
        group: number of its group.
        base: y of the group's ground line, in pixels.
        airborne: it flies or hangs, alone or on a string.
    """

    label: str
    pose: str
    variant: int
    flip: bool
    box: Box
    group: int
    base: int
    airborne: bool

    @property
    def mask(self) -> Mask:
        """The pixels of the box that the pictogram covers, (height, width)."""
        x1, y1, x2, y2 = self.box
        return mask(self.label, self.pose, self.flip, x2 - x1, y2 - y1)


class Unclear(Exception):
    """A pair is between two rules. The layout catches it and draws again, so that no caller of `arrange` sees it."""


def relations(parts: Sequence[Part], links: Sequence[Link], side: int) -> list[Link]:
    """Return every relation of a scene.

    Args:
        parts: in painter's order, the farthest first.
        links: the pairs that were drawn joined.
        side: the image's shorter side in pixels.

    Raises:
        Unclear: a pair is between two rules, or less than half of a part is visible.
    """
    joined = {frozenset((s, o)) for s, _, o in links}
    found = list(links)
    for back in range(len(parts)):
        for front in range(back + 1, len(parts)):
            if frozenset((back, front)) not in joined:
                found += [
                    ((back, p, front) if forward else (front, p, back))
                    for forward, p in pair_relations(parts[back], parts[front], side)
                ]
    if min(visible_shares(parts), default=1.0) < VISIBLE_SHARE:
        raise Unclear
    return found


def pair_relations(back: Part, front: Part, side: int) -> list[tuple[bool, str]]:
    """Return the relations of two parts that are not joined; True means from `back` to `front`.

    Raises:
        Unclear: the pair is between two rules.
    """
    same = back.group == front.group
    if not same and (back.airborne or front.airborne) and _close(back.box, front.box, CLEARANCE * side):
        raise Unclear
    hidden = hidden_share(back, front)
    for a, b, forward in ((back, front, True), (front, back, False)):
        if _is_under(a, b, hidden, side):
            return [(forward, "under")]
    if _close(back.box, front.box, 0):
        if back.label == front.label:
            raise Unclear
        if not same and not DEPTH_STEPS[0] * side <= front.base - back.base <= DEPTH_STEPS[1] * side:
            raise Unclear
        if hidden >= HIDDEN_SHARE:
            return [(True, "behind"), (False, "in front of")]
        if hidden > 0 or not same:
            raise Unclear
    for a, b, forward in ((back, front, True), (front, back, False)):
        if _is_above(a, b, same, side):
            return [(forward, "above")]
    return [(back.box[0] < front.box[0], "near")] if _is_near(back.box, front.box, side) else []


def hidden_share(back: Part, front: Part) -> float:
    """Return the number of pixels of `back` that `front` covers, as a share of the smaller one's pixels."""
    x1, y1 = max(back.box[0], front.box[0]), max(back.box[1], front.box[1])
    x2, y2 = min(back.box[2], front.box[2]), min(back.box[3], front.box[3])
    if x1 >= x2 or y1 >= y2:
        return 0.0
    masks = [p.mask for p in (back, front)]
    cuts = [
        m[y1 - p.box[1] : y2 - p.box[1], x1 - p.box[0] : x2 - p.box[0]]
        for p, m in zip((back, front), masks, strict=True)
    ]
    return int(np.count_nonzero(cuts[0] & cuts[1])) / min(int(np.count_nonzero(m)) for m in masks)


def visible_shares(parts: Sequence[Part]) -> list[float]:
    """Return for each part the share of its pixels that no later part covers."""
    shares = []
    for k, part in enumerate(parts):
        x1, y1, x2, y2 = part.box
        over = [p for p in parts[k + 1 :] if _close(p.box, part.box, 0)]
        if not over:
            shares.append(1.0)
            continue
        seen = part.mask.copy()
        total = int(np.count_nonzero(seen))
        for other in over:  # masks start at their own corner: cut both to the area in common
            u1, v1, u2, v2 = other.box
            left, top, right, bottom = max(x1, u1), max(y1, v1), min(x2, u2), min(y2, v2)
            seen[top - y1 : bottom - y1, left - x1 : right - x1] &= ~other.mask[
                top - v1 : bottom - v1, left - u1 : right - u1
            ]
        shares.append(int(np.count_nonzero(seen)) / total)
    return shares


def cover_line(part: Part) -> float:
    """Return the y of a cover's underside in pixels."""
    _, y1, _, y2 = part.box
    anchors: Mapping[str, tuple[float, float, float]] = pictogram(part.label, part.pose, part.variant).anchors
    return y1 + anchors["cover"][2] * (y2 - y1)


def _is_under(a: Part, b: Part, hidden: float, side: int) -> bool:
    if b.label not in COVERS or a.airborne:
        return False
    line = cover_line(b)
    if a.box[1] < line - 0.02 * side or a.box[3] <= line:
        return False
    width = a.box[2] - a.box[0]
    common = _common(a.box, b.box, 0) / width
    if common < 0.35:
        return False
    if common >= 0.7 and abs(a.base - b.base) <= SAME_GROUND * side:
        return True
    if hidden >= HIDDEN_SHARE:  # it is clearly in front of or behind the cover
        return False
    raise Unclear


def _is_above(a: Part, b: Part, same: bool, side: int) -> bool:
    raised = a.airborne or (same and a.label != "hat" and a.box[3] < a.base - RAISED * side)
    if not raised or a.box[1] >= b.box[1]:
        return False
    common = _common(a.box, b.box, 0) / min(a.box[2] - a.box[0], b.box[2] - b.box[0])
    sunk = (a.box[3] - b.box[1]) / (b.box[3] - b.box[1])
    if common <= 0.25 or sunk >= 0.25:
        return False
    if common < 0.5 or sunk > 0:
        raise Unclear
    return True


def _is_near(a: Box, b: Box, side: int) -> bool:
    gap = -_common(a, b, 0)
    if gap < 0 or gap >= FAR * side:
        return False
    common = _common(a, b, 1) / min(a[3] - a[1], b[3] - b[1])
    if common <= 0.25:
        return False
    if common < 0.5 or gap > NEAR * side:
        raise Unclear
    return True


def _common(a: Box, b: Box, axis: int) -> int:
    """Return the length that two boxes have in common along an axis; if negative, it is their gap."""
    return min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis])


def overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes have area in common."""
    return _close(a, b, 0)


def _close(a: Box, b: Box, distance: float) -> bool:
    """Return whether two boxes overlap if one of them is enlarged by a distance."""
    return _common(a, b, 0) > -distance and _common(a, b, 1) > -distance
