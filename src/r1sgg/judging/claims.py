"""Claims: which predicted object each true object is, and which predicted objects were declared before.

**Same object.** An object of the same class as an earlier one that overlaps it by 0.9 or more is that object, declared
again. Among true objects 0.85 is enough: coordinates are rounded in completions, and the ground truth must not lose.
A predicted object that overlaps a true one of its class which another predicted object claims is declared again, too.

**Claim.** Predicted objects take true ones of their class in turn, the best scored (or first) first: each takes the
free one that it overlaps most, by at least one half, as AP does. A true object that is still free after that is claimed
by the first predicted object of its class that overlaps it by one half. So a true object is claimed by at most one
predicted object; a predicted one may claim several true ones that lie on each other. Where two true objects are the
same, two predicted ones may take them: the second is the first, declared again.

The triplets of an object declared again count as those of the first: they can be right, but they are on the same pair.
Without that, a model that declares an object under a fresh id gets another predicate for the same pair past the graph
constraint of R@K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.batch import Batch, Ints
from r1sgg.judging.boxes import SAME_OBJECT, Array, BoxPairs, Mask, overlapping, pairwise_iou

_LARGE = 32  # objects of one class and graph that are compared pair by pair
_DIGITS = 9  # overlaps that differ by less are equal, so that the first of them counts on every machine


class Things(NamedTuple):
    """The objects of a batch without those declared again.

    Attributes:
        first: (N,) the row of the object that each one is (its own row where it is the first of its kind).
        twins: pairs of rows with one class and exactly one box.
    """

    first: Ints
    twins: list[tuple[int, int]]


def things(batch: Batch, threshold: float = SAME_OBJECT, plus_one: float = 0.0) -> Things:
    """Find the objects that were declared again, in the order of rank."""
    rows, ranks = np.arange(len(batch.labels)), batch.object_ranks
    key = batch.owners * (int(batch.labels.max(initial=0)) + 1) + batch.labels
    order = np.argsort(key, kind="stable") if batch.object_scores is None else np.lexsort((ranks, key))
    grouped = key[order]
    first, twins = rows.copy(), list[tuple[int, int]]()
    starts = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1]))) if len(order) else rows
    sizes = np.diff(np.append(starts, len(order)))
    for start in starts[sizes > _LARGE].tolist():  # completions in a loop; the rest is compared all at once
        members = order[start : start + int(sizes[np.searchsorted(starts, start)])]
        _declared_in_turn(batch, members, first, twins, (threshold, plus_one))
    small = np.repeat(sizes <= _LARGE, sizes)
    close: list[tuple[int, int, int, int]] = []  # rank and row of the later, of the earlier
    for lag in range(1, int(sizes[sizes <= _LARGE].max(initial=0))):  # each object, and the one `lag` places before it
        places = np.flatnonzero((grouped[lag:] == grouped[:-lag]) & small[lag:])
        earlier, later = order[places], order[places + lag]
        a, b = batch.boxes[:, earlier], batch.boxes[:, later]
        same = overlapping(BoxPairs(a, b, plus_one).iou, threshold)
        if same.any():
            i, j = earlier[same], later[same]
            close += zip(ranks[j].tolist(), ranks[i].tolist(), j.tolist(), i.tolist(), strict=True)
            exact = (a[:, same] == b[:, same]).all(0)
            twins += zip(i[exact].tolist(), j[exact].tolist(), strict=True)
    for _, _, later_row, earlier_row in sorted(close):
        if first[later_row] == later_row and first[earlier_row] == earlier_row:  # no chains: only a first one counts
            first[later_row] = earlier_row
    return Things(first, twins)


def _declared_in_turn(
    batch: Batch, members: Ints, first: Ints, twins: list[tuple[int, int]], settings: tuple[float, float]
) -> None:
    """Do the same for a large group: compare each object with the first declarations before it only.

    Args:
        batch: the objects.
        members: rows of one class and graph, best ranked first.
        first: is filled in.
        twins: gets a pair for each object whose very box an earlier one has.
        settings: the threshold, and `plus_one` (see `BoxPairs`).
    """
    threshold, plus_one = settings
    kept = np.empty(len(members), dtype=np.intp)
    count = 0
    seen: dict[bytes, int] = {}
    for row in members.tolist():
        box = batch.boxes[:, row]
        if (twin := seen.setdefault(box.tobytes(), row)) != row:
            twins.append((twin, row))
            first[row] = first[twin]
            continue
        iou = BoxPairs(batch.boxes[:, kept[:count]], box[:, None], plus_one).iou
        same = np.flatnonzero(overlapping(iou, threshold))
        if len(same):
            first[row] = kept[same[0]]
        else:
            kept[count] = row
            count += 1


@dataclass(frozen=True, slots=True)
class Claims:
    """Who claims what, N true and M predicted objects.

    Attributes:
        claimant: (N,) the predicted row that claims each true object, or -1.
        unit: (M,) the row of the predicted object that each one is: its own, or that of the first declaration.
        taker: (N,) the predicted row that took each true object, one to one, or -1: two that are the same object, too.
    """

    claimant: Ints
    unit: Ints
    taker: Ints


def claim(true: Things, predicted: Things, ranks: Ints, left: Ints, right: Ints, iou: Array) -> Claims:
    """Settle the claims of a batch.

    Args:
        true: the true objects.
        predicted: the predicted ones.
        ranks: (M,) of the predicted objects.
        left: (K,) true rows of the pairs with one class and enough overlap.
        right: (K,) their predicted rows.
        iou: (K,) their overlaps.
    """
    claimant = np.full(len(true.first), -1, dtype=np.intp)
    taker = claimant.copy()
    unit = predicted.first.copy()
    fresh = predicted.first[right] == right
    t, p, overlap = left[fresh], right[fresh], np.round(iou[fresh], _DIGITS)
    thing = true.first[t]
    alone = (np.bincount(thing, minlength=len(true.first))[thing] == 1) & (
        np.bincount(p, minlength=len(predicted.first))[p] == 1
    )
    claimant[thing[alone]] = taker[t[alone]] = p[alone]
    if not alone.all():
        t, p, overlap = t[~alone], p[~alone], overlap[~alone]
        order = np.lexsort((t, -overlap, ranks[p]))  # each predicted object in turn, its best true one first
        pairs = list(zip(t[order].tolist(), p[order].tolist(), strict=True))
        taken: dict[int, int] = {}
        busy: set[int] = set()
        for one, other in pairs:
            if one not in taken and other not in busy:
                taken[one] = other
                busy.add(other)
        first = true.first.tolist()
        claimed: dict[int, int] = {}
        for one, other in taken.items():  # what the truth declares again can be declared again
            unit[other] = claimed.setdefault(first[one], other)
            taker[one] = other
        for one, other in pairs:
            claimed.setdefault(first[one], int(unit[other]))
        for one, other in claimed.items():
            claimant[one] = other
        for one, other in reversed(pairs):  # the best one is written last
            if other not in busy:
                unit[other] = claimed[first[one]]
    return Claims(claimant[true.first], unit[predicted.first], taker)


def same_objects(first: SceneGraph, second: SceneGraph) -> list[tuple[int, int, float]]:
    """Pairs of objects of one class that overlap by at least one half, as (index, index, IoU)."""
    iou = pairwise_iou(first.boxes, second.boxes)
    found = np.argwhere(overlapping(iou) & equal_labels(first, second))
    return [(i, j, float(iou[i, j])) for i, j in found.tolist()]


def linked_objects(graph: SceneGraph, truth: SceneGraph, told: Sequence[str] = ()) -> list[int | None]:
    """Return for each predicted object the true one that the prompt gave: by id, or else by box, whatever the class.

    Args:
        graph: the prediction.
        truth: the true graph.
        told: the ids that the prompt told, in the order of the true objects; none if it told boxes alone.

    Returns:
        Places of true objects, each once at most. By box: pairs from the largest IoU down, at least one half, and of
        equal ones those at the same place in both lists first.
    """
    index = {name: k for k, name in enumerate(told)}
    links = [index.get(name) for name in graph.ids]
    free = set(range(len(truth))) - {t for t in links if t is not None}
    if None in links and free:
        iou = pairwise_iou(graph.boxes, truth.boxes)
        pairs = [(k, t) for k, t in np.argwhere(overlapping(iou)).tolist() if links[k] is None and t in free]
        for k, t in sorted(pairs, key=lambda pair: (-round(float(iou[pair]), _DIGITS), pair[0] != pair[1], pair)):
            if links[k] is None and t in free:
                links[k] = t
                free.discard(t)
    return links


def equal_labels(first: SceneGraph, second: SceneGraph) -> Mask:
    """(N, M) which objects have one class."""
    a, b = np.array(first.labels, dtype=object), np.array(second.labels, dtype=object)
    return np.asarray(a[:, None] == b[None, :], dtype=np.bool_).reshape(len(first), len(second))
