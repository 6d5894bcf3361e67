"""Claims: which predicted object each true object is, and which predicted objects were declared before.

**Same object.** On either side, an object of the same class as an earlier one that overlaps it by `SAME_OBJECT` or more
is that object, declared again. So is a predicted object that overlaps a true one of its class which another predicted
object claims.

**Claim.** Predicted objects take true ones of their class in turn, the best scored (or first) first: each takes the
free one that it overlaps most, by at least one half, as AP does. A true object that is still free after that is claimed
by the first predicted object of its class that overlaps it by one half. So a true object is claimed by at most one
predicted object; a predicted one may claim several true ones that lie on each other.

The triplets of an object declared again count as those of the first: they can be right, but they are on the same pair.
Without that, a model that declares an object under a fresh id gets another predicate for the same pair past the graph
constraint of R@K.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.batch import Batch, Ints
from r1sgg.judging.boxes import SAME_OBJECT, Array, BoxPairs, Mask, overlapping, pairwise_iou

_DIGITS = 9  # overlaps that differ by less are equal, so that the first of them counts on every machine


class Things(NamedTuple):
    """The objects of a batch without those declared again.

    Attributes:
        first: (N,) the row of the object that each one is (its own row where it is the first of its kind).
        twins: pairs of rows with one class and exactly one box.
    """

    first: Ints
    twins: list[tuple[int, int]]


def things(batch: Batch, plus_one: float = 0.0) -> Things:
    """Find the objects that were declared again, in the order of rank."""
    rows, ranks = np.arange(len(batch.labels)), batch.object_ranks
    key = batch.owners * (int(batch.labels.max(initial=0)) + 1) + batch.labels
    order = np.argsort(key, kind="stable") if batch.object_scores is None else np.lexsort((ranks, key))
    grouped = key[order]
    close: list[tuple[int, int, int, int]] = []  # rank and row of the later, of the earlier
    twins: list[tuple[int, int]] = []
    for lag in range(1, len(order)):  # within a group of equal keys, each object beside the one `lag` places before
        places = np.flatnonzero(grouped[lag:] == grouped[:-lag])
        if not len(places):
            break
        earlier, later = order[places], order[places + lag]
        a, b = batch.boxes[:, earlier], batch.boxes[:, later]
        same = overlapping(BoxPairs(a, b, plus_one).iou, SAME_OBJECT)
        if same.any():
            i, j = earlier[same], later[same]
            close += zip(ranks[j].tolist(), ranks[i].tolist(), j.tolist(), i.tolist(), strict=True)
            exact = (a[:, same] == b[:, same]).all(0)
            twins += zip(i[exact].tolist(), j[exact].tolist(), strict=True)
    first = rows.copy()
    for _, _, later_row, earlier_row in sorted(close):
        if first[later_row] == later_row and first[earlier_row] == earlier_row:  # no chains: only a first one counts
            first[later_row] = earlier_row
    return Things(first, twins)


@dataclass(frozen=True, slots=True)
class Claims:
    """Who claims what, N true and M predicted objects.

    Attributes:
        claimant: (N,) the predicted row that claims each true object, or -1.
        unit: (M,) the row of the predicted object that each one is: its own, or that of the first declaration.
    """

    claimant: Ints
    unit: Ints


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
    unit = predicted.first.copy()
    fresh = (true.first[left] == left) & (predicted.first[right] == right)
    t, p, overlap = left[fresh], right[fresh], np.round(iou[fresh], _DIGITS)
    alone = (np.bincount(t, minlength=len(true.first))[t] == 1) & (
        np.bincount(p, minlength=len(predicted.first))[p] == 1
    )
    claimant[t[alone]] = p[alone]
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
        for one, other in pairs:
            taken.setdefault(one, other)
        for one, other in taken.items():
            claimant[one] = other
        for one, other in reversed(pairs):  # the best one is written last
            if other not in busy:
                unit[other] = taken[one]
    return Claims(claimant[true.first], unit[predicted.first])


def same_objects(first: SceneGraph, second: SceneGraph) -> list[tuple[int, int, float]]:
    """Pairs of objects of one class that overlap by at least one half, as (index, index, IoU)."""
    iou = pairwise_iou(first.boxes, second.boxes)
    found = np.argwhere(overlapping(iou) & equal_labels(first, second))
    return [(i, j, float(iou[i, j])) for i, j in found.tolist()]


def linked_objects(graph: SceneGraph, truth: SceneGraph) -> list[int | None]:
    """For each predicted object the true one that a model was told about: by id, or else by box, whatever the class.

    An object whose id is not a true one takes the free true object that it overlaps most, by at least one half.
    """
    index = {name: k for k, name in enumerate(truth.ids)}
    links = [index.get(name) for name in graph.ids]
    free = set(range(len(truth))) - {t for t in links if t is not None}
    if None in links and free:
        iou = pairwise_iou(graph.boxes, truth.boxes)
        enough = overlapping(iou)
        for k, t in enumerate(links):
            if t is None and free:
                best = max(sorted(free), key=lambda j: iou[k, j])
                if enough[k, best]:
                    links[k] = best
                    free.discard(best)
    return links


def class_overlaps(truth: SceneGraph, graph: SceneGraph) -> Array:
    """For each true object whose class was predicted, the largest IoU with a predicted object of that class."""
    iou, alike = pairwise_iou(truth.boxes, graph.boxes), equal_labels(truth, graph)
    named = alike.any(1)
    return np.asarray(np.where(alike, iou, 0.0)[named].max(1, initial=0.0))


def equal_labels(first: SceneGraph, second: SceneGraph) -> Mask:
    """(N, M) which objects have one class."""
    a, b = np.array(first.labels, dtype=object), np.array(second.labels, dtype=object)
    return np.asarray(a[:, None] == b[None, :], dtype=np.bool_).reshape(len(first), len(second))
