"""What every reward term reads: answers parsed once, matched once, their relationships paired once, as flat arrays.

Deliberately no scores here: `terms.py` turns evidence into scores, one function per term.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Frame
from r1sgg.judging.assignment import Array, Ints, MatchCost, Side, match, ragged_pairs, side_of, side_of_graphs
from r1sgg.judging.boxes import IOU_SLACK, IOU_THRESHOLD
from r1sgg.judging.labels import LabelTable
from r1sgg.rewards.answers import Answers

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Triplets:
    """The relationships of one side, flat: (B,) counts, then (T,) columns.

    Attributes:
        subjects, objects: indices into the objects of the graph.
        predicates: numbers of the labels; owners: the graphs; first_object: the graph's first row in its `Side`.
    """

    counts: Ints
    subjects: Ints
    objects: Ints
    predicates: Ints
    owners: Ints
    first_object: Ints

    def code(self, side: Side, names: int) -> Ints:
        """(T,) one number for the three labels; `names` is above every label's number."""
        subjects, objects = (
            side.labels[self.first_object + self.subjects],
            side.labels[self.first_object + self.objects],
        )
        return np.asarray((subjects * names + self.predicates) * names + objects)


@dataclass(frozen=True)
class TripletPairs:
    """All (true, predicted) triplet pairs of each answer; (P,) columns.

    Attributes:
        width: (T,) how many pairs each true triplet has; they lie one after the other.
        right: rows of the predicted `Triplets`.
        boxes_found: both IoUs reach `IOU_THRESHOLD`.
        ends_matched: subject and object are matched to each other.
        same_labels: all three labels are equal.
        product: product of the three cosines (each clamped at 0 if asked for).
    """

    width: Ints
    right: Ints
    boxes_found: Mask
    ends_matched: Mask
    same_labels: Mask
    product: Array

    @cached_property
    def left(self) -> Ints:
        """Rows of the true `Triplets`."""
        return np.repeat(np.arange(len(self.width)), self.width)


class Evidence:
    """A batch of B answers beside their truths."""

    def __init__(
        self,
        texts: Sequence[str],
        answers: Answers,
        truths: Sequence[SceneGraph],
        frames: Sequence[Frame],
        table: LabelTable,
        *,
        cost: MatchCost,
        clamp: bool,
        last_predicate: bool = False,
    ) -> None:
        """Match the objects; relationships are paired when a term first asks for them."""
        self.texts, self.answers, self.truths, self.frames = texts, answers, truths, frames
        self._table, self._clamp, self._last_predicate = table, clamp, last_predicate
        predicted = side_of(answers.counts, answers.boxes, answers.labels, table)
        self.matched = match(side_of_graphs(truths, table), predicted, table, cost)

    def __len__(self) -> int:
        return len(self.texts)

    def cosines(self, values: Array) -> Array:
        """Cosines as they count: clamped at 0 unless that is switched off."""
        return np.maximum(values, 0.0) if self._clamp else values

    @cached_property
    def truth_triplets(self) -> Triplets:
        """The true relationships."""
        ends = chain.from_iterable(chain.from_iterable([g.pairs for g in self.truths]))
        subject, target = np.array(list(ends), dtype=np.intp).reshape(-1, 2).T
        predicates = chain.from_iterable([g.predicates for g in self.truths])
        return self._triplets([len(g.predicates) for g in self.truths], subject, target, predicates, self.matched.truth)

    @cached_property
    def predicted_triplets(self) -> Triplets:
        """The predicted relationships."""
        a = self.answers
        return self._triplets(a.triplets, a.subjects, a.objects, a.predicates, self.matched.predicted)

    def _triplets(
        self, counts: Sequence[int], subjects: Ints, objects: Ints, predicates: Iterable[str], side: Side
    ) -> Triplets:
        sizes = np.array(counts, dtype=np.intp)
        owners = np.repeat(np.arange(len(sizes)), sizes)
        return Triplets(sizes, subjects, objects, self._table.numbers(predicates), owners, side.first[owners])

    @cached_property
    def repeats(self) -> Mask:
        """(T,) which predicted triplets stand in the same answer already: the same objects and predicate."""
        t = self.predicted_triplets
        size = int(self.matched.predicted.counts.sum()) + 1
        key = (t.first_object + t.subjects) * size + t.first_object + t.objects
        key = key * (int(t.predicates.max(initial=0)) + 1) + t.predicates
        mask = np.ones(len(key), dtype=np.bool_)
        mask[np.unique(key, return_index=True)[1]] = False
        return mask

    @cached_property
    def pairs(self) -> TripletPairs:
        """Every true triplet beside every predicted one."""
        m, t, p = self.matched, self.truth_triplets, self.predicted_triplets
        width, right = ragged_pairs(t.counts, p.counts)
        columns, row = m.predicted.counts[t.owners], m.first[t.owners]
        subject_cells = np.repeat(row + t.subjects * columns, width) + p.subjects[right]
        object_cells = np.repeat(row + t.objects * columns, width) + p.objects[right]
        found = m.ious >= IOU_THRESHOLD - IOU_SLACK
        cosines = self.cosines(m.cosines)
        product = self.cosines(self._table.cosines(np.repeat(t.predicates, width), p.predicates[right]))
        product *= cosines[subject_cells]
        product *= cosines[object_cells]
        ends_matched = m.assigned[subject_cells] & m.assigned[object_cells]
        if self._last_predicate:
            ends_matched &= self._last_on_pair[right]
        names = len(self._table)
        same = np.repeat(t.code(m.truth, names), width) == p.code(m.predicted, names)[right]
        return TripletPairs(width, right, found[subject_cells] & found[object_cells], ends_matched, same, product)

    @property
    def _last_on_pair(self) -> Mask:
        """(T,) whether a predicted triplet is its answer's last on its ordered pair of objects."""
        t = self.predicted_triplets
        size = int(self.matched.predicted.counts.sum()) + 1
        key = (t.first_object + t.subjects) * size + t.first_object + t.objects
        mask = np.zeros(len(key), dtype=np.bool_)
        mask[len(key) - 1 - np.unique(key[::-1], return_index=True)[1]] = True
        return mask
