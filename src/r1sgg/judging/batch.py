"""A batch of graphs laid flat: the objects of all graphs one after the other, and so their triplets.

Whole arrays are compared at once, and graphs of any size cost what their own sizes cost. Rows are global: row k of
`boxes` is an object of graph `owners[k]`, and a triplet's subject is such a row.

    graph            0        1     2 (empty)     3
    objects        0 1 2     3 4                  5 6 7       counts 3 2 0 3, first 0 3 5 5
    triplets    (0,on,2)    (4,near,3)            (5,on,6)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from r1sgg.graph.parsed import Parsed
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import Array
from r1sgg.judging.labels import LabelTable

Ints = npt.NDArray[np.intp]


def offsets(counts: Ints) -> Ints:
    """Where each group begins when groups of these sizes lie one after the other: (B,) -> (B,)."""
    return np.asarray(np.cumsum(counts) - counts)


def ragged_pairs(n: Ints, m: Ints) -> tuple[Ints, Ints]:
    """All pairs (i, j) of B groups of n x m members, as (width, right).

    `width` says per left row how many pairs it has, so that np.repeat(column, width) gives each pair its left value;
    `right` is each pair's right row (flat), so that column[right] gives its right value.

        n = [2], m = [3]:   width 3 3   right 0 1 2 0 1 2
    """
    width = np.repeat(m, n)
    shift = np.repeat(offsets(m), n) - offsets(width)
    return width, np.asarray(np.arange(int(width.sum())) + np.repeat(shift, width))


@dataclass(frozen=True)
class Batch:
    """B graphs, flat: N objects and T triplets.

    Attributes:
        counts: (B,) objects of each graph.
        boxes: (4, N) x1, y1, x2, y2.
        labels: (N,) numbers of the classes in the `LabelTable`.
        triplet_counts: (B,) triplets of each graph.
        subjects, objects: (T,) rows of the objects.
        predicates: (T,) numbers of the predicates.
        object_scores, triplet_scores: (N,) and (T,), or None where no graph has scores. A graph without scores has
            equal ones, which keeps the order in which it was written.
    """

    counts: Ints
    boxes: Array
    labels: Ints
    triplet_counts: Ints
    subjects: Ints
    objects: Ints
    predicates: Ints
    object_scores: Array | None = None
    triplet_scores: Array | None = None

    @cached_property
    def first(self) -> Ints:
        """(B,) the graph's first object."""
        return offsets(self.counts)

    @cached_property
    def owners(self) -> Ints:
        """(N,) the graph of each object."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def triplet_owners(self) -> Ints:
        """(T,) the graph of each triplet."""
        return np.repeat(np.arange(len(self.triplet_counts)), self.triplet_counts)

    @cached_property
    def object_ranks(self) -> Ints:
        """(N,) the place of each object among all, best scored first within its graph."""
        return _ranks(self.owners, self.object_scores)

    @cached_property
    def triplet_ranks(self) -> Ints:
        """(T,) the place of each triplet among all, best scored first within its graph."""
        return _ranks(self.triplet_owners, self.triplet_scores)


def _ranks(owners: Ints, scores: Array | None) -> Ints:
    if scores is None:
        return np.arange(len(owners))
    ranks = np.empty(len(owners), dtype=np.intp)
    ranks[np.lexsort((-scores, owners))] = np.arange(len(owners))  # a stable sort: equal scores keep their order
    return ranks


def batch_of_graphs(graphs: Sequence[SceneGraph], table: LabelTable, *, scores: bool = False) -> Batch:
    """Lay graphs flat; their scores are kept where `scores` is set."""
    ends = chain.from_iterable(chain.from_iterable([g.pairs for g in graphs]))
    subjects, objects = np.array(list(ends), dtype=np.intp).reshape(-1, 2).T
    object_scores = triplet_scores = None
    if scores:
        object_scores = _joined([g.object_scores for g in graphs], list(map(len, graphs)))
        triplet_scores = _joined([g.triplet_scores for g in graphs], [len(g.pairs) for g in graphs])
    return _batch(
        [len(g.labels) for g in graphs],
        np.concatenate([g.boxes for g in graphs]) if graphs else np.zeros((0, 4)),
        chain.from_iterable([g.labels for g in graphs]),
        [len(g.predicates) for g in graphs],
        (subjects, objects),
        chain.from_iterable([g.predicates for g in graphs]),
        table,
        (object_scores, triplet_scores),
    )


def batch_of_parsed(parsed: Sequence[Parsed], table: LabelTable) -> Batch:
    """Lay what was parsed flat, without a graph for each."""
    columns = [p.columns for p in parsed]
    counts = [len(c.labels) for c in columns]
    boxes = np.array(list(chain.from_iterable([c.boxes for c in columns])), dtype=np.float64).reshape(-1, 4)
    frames = np.array([c.frame for c in columns], dtype=np.float64).reshape(-1, 2)
    boxes /= np.repeat(np.concatenate((frames, frames), axis=1), counts, axis=0)
    subjects = np.array(list(chain.from_iterable([c.subjects for c in columns])), dtype=np.intp)
    objects = np.array(list(chain.from_iterable([c.objects for c in columns])), dtype=np.intp)
    return _batch(
        counts,
        boxes,
        chain.from_iterable([c.labels for c in columns]),
        [len(c.predicates) for c in columns],
        (subjects, objects),
        chain.from_iterable([c.predicates for c in columns]),
        table,
    )


def _batch(
    counts: Sequence[int],
    boxes_N4: Array,
    labels: Iterable[str],
    triplet_counts: Sequence[int],
    ends: tuple[Ints, Ints],
    predicates: Iterable[str],
    table: LabelTable,
    scores: tuple[Array | None, Array | None] = (None, None),
) -> Batch:
    """`ends` index the objects of their own graph here."""
    sizes, triplets = np.array(counts, dtype=np.intp), np.array(triplet_counts, dtype=np.intp)
    shift = np.repeat(offsets(sizes), triplets)
    boxes = np.ascontiguousarray(boxes_N4.T)
    numbers, names = table.numbers(labels), table.numbers(predicates)
    return Batch(sizes, boxes, numbers, triplets, ends[0] + shift, ends[1] + shift, names, *scores)


def _joined(scores: Sequence[Array | None], counts: Sequence[int]) -> Array | None:
    if all(s is None for s in scores):
        return None
    parts = [np.zeros(n) if s is None else np.asarray(s) for s, n in zip(scores, counts, strict=True)]
    return np.asarray(np.concatenate(parts), dtype=np.float64)
