"""The evidence: a batch of predicted graphs with their ground truth, and every verdict on it, as flat arrays.

    claim    the one predicted object that a true object is (see `r1sgg.judging.claims`)
    hit      a predicted triplet whose predicate is that of a true triplet, and whose ends claim its ends
    repeat   a predicted triplet between the same objects and with the same predicate as another one

Reward terms (`r1sgg.rewards.terms`), figures (`r1sgg.metrics`), explanations and pictures read these arrays and test
nothing themselves, so they agree. Each array is computed when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from r1sgg.judging.assignment import Cells, Matched, match, one_to_one
from r1sgg.judging.batch import Batch, Ints, ragged_pairs
from r1sgg.judging.boxes import SAME_TRUE_OBJECT, Array, Mask, overlapping
from r1sgg.judging.claims import Claims, Things, claim, things
from r1sgg.judging.labels import LabelTable
from r1sgg.judging.twins import Pairs, settle

NEVER = 1 << 30
"""The rank of a true triplet that no prediction finds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How evidence is read; the defaults are ours.

    Attributes:
        claims: whether a hit needs claims, or only equal classes and enough overlap.
        clamp: a negative cosine counts 0, so that the product of two wrong labels earns nothing.
        giou: the matching cost takes GIoU in place of IoU.
        last_predicate: of several predictions on one ordered pair the last one counts in `ends_matched`.
        settle_twins: objects of one class and box are matched as their relationships earn most (see `ends_matched`).
        plus_one: 1 for IoU of pixel boxes whose sides are x2 - x1 + 1 (boxes are in pixels then).
    """

    claims: bool = True
    clamp: bool = True
    giou: bool = False
    last_predicate: bool = False
    settle_twins: bool = True
    plus_one: float = 0.0


OURS = Rules()


class Evidence:
    """B predicted graphs with their ground truth: N true and M predicted objects, T true and R predicted triplets.

    Attributes:
        true, predicted: the two sides.
        table: numbers and cosines of the names.
        claiming: (B,) for which graphs a hit needs claims.
    """

    def __init__(
        self,
        true: Batch,
        predicted: Batch,
        table: LabelTable,
        rules: Rules = OURS,
        claiming: Sequence[bool] | None = None,
    ) -> None:
        """Combine two sides; `claiming` replaces `rules.claims`, graph by graph."""
        self.true, self.predicted, self.table, self.rules = true, predicted, table, rules
        wanted = [rules.claims] * len(true.counts) if claiming is None else claiming
        self.claiming = np.array(wanted, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.true.counts)

    # ---------------------------------------------------------------- objects

    @cached_property
    def cells(self) -> Cells:
        """All pairs of a true and a predicted object of one graph."""
        return Cells(self.true, self.predicted, self.rules.plus_one)

    @cached_property
    def matched(self) -> Matched:
        """The matching of Eq. 3."""
        return match(self.cells, self.table, giou=self.rules.giou)

    def cosines(self, values: Array) -> Array:
        """Cosines as they count: clamped at 0 unless that is switched off."""
        return np.maximum(values, 0.0) if self.rules.clamp else values

    @cached_property
    def boxes_overlap(self) -> Mask:
        """(K,) whether the boxes of a cell overlap by at least one half."""
        return overlapping(self.cells.boxes.iou)

    @cached_property
    def same_object(self) -> Mask:
        """(K,) the same, and the classes are equal."""
        c = self.cells
        return np.asarray(self.boxes_overlap & (np.repeat(self.true.labels, c.width) == self.predicted.labels[c.right]))

    @cached_property
    def true_things(self) -> Things:
        """The true objects, those that the annotation holds twice as one."""
        return things(self.true, SAME_TRUE_OBJECT, self.rules.plus_one)

    @cached_property
    def predicted_things(self) -> Things:
        """The predicted objects, those declared again as one."""
        return things(self.predicted, plus_one=self.rules.plus_one)

    @cached_property
    def claims(self) -> Claims:
        """Which predicted object each true one is."""
        places, c = np.flatnonzero(self.same_object), self.cells
        left, right, iou = c.left[places], c.right[places], c.boxes.iou[places]
        return claim(self.true_things, self.predicted_things, self.predicted.object_ranks, left, right, iou)

    @cached_property
    def declared_again(self) -> Mask:
        """(M,) which predicted objects are an earlier one again, beyond those that the annotation holds twice too."""
        unit, claimant = self.claims.unit, self.claims.claimant
        again = unit != np.arange(len(unit))
        if not again.any():
            return np.asarray(again)
        held = claimant[self.true_things.first != np.arange(len(claimant))]
        allowed = np.bincount(held[held >= 0], minlength=len(unit))
        return np.asarray(again & (_count_before(unit, self.predicted.object_ranks, again) >= allowed[unit]))

    # ---------------------------------------------------------------- pairs of triplets

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints, Ints]:
        width, right = ragged_pairs(self.true.triplet_counts, self.predicted.triplet_counts)
        return width, np.repeat(np.arange(len(width)), width), right

    @property
    def width(self) -> Ints:
        """(T,) the number of pairs of each true triplet; its pairs are consecutive."""
        return self._pairs[0]

    @property
    def left(self) -> Ints:
        """(P,) the true triplet of each (true, predicted) pair of triplets."""
        return self._pairs[1]

    @property
    def right(self) -> Ints:
        """(P,) the predicted triplet of each pair."""
        return self._pairs[2]

    @cached_property
    def _end_cells(self) -> tuple[Ints, Ints]:
        t, p = self.true, self.predicted
        return tuple(
            self.cells.cell(np.repeat(a, self.width), b[self.right])
            for a, b in ((t.subjects, p.subjects), (t.objects, p.objects))
        )  # type: ignore[return-value]

    @cached_property
    def ends_overlap(self) -> Mask:
        """(P,) both ends' boxes overlap by one half, whatever the classes."""
        subjects, objects = self._end_cells
        return self.boxes_overlap[subjects] & self.boxes_overlap[objects]

    @cached_property
    def ends_matched(self) -> Mask:
        """(P,) subject and object are matched with each other (Eq. 6).

        Objects of one class and one box can be matched either way at the same cost; what earns most is taken.
        """
        assigned = self.matched.assigned
        twins = self.true_things.twins, self.predicted_things.twins
        if self.rules.settle_twins and any(twins):
            assigned = settle(self.cells, *twins, Pairs(self.left, self.right, self.products), assigned)
        subjects, objects = self._end_cells
        ends = assigned[subjects] & assigned[objects]
        return ends & self._last_on_pair[self.right] if self.rules.last_predicate else ends

    @cached_property
    def products(self) -> Array:
        """(P,) product of the three cosines."""
        cosines = self.cosines(self.matched.cosines)
        subjects, objects = self._end_cells
        return self.predicate_cosines * cosines[subjects] * cosines[objects]

    @cached_property
    def predicate_cosines(self) -> Array:
        """(P,) similarity of the predicates."""
        true, predicted = np.repeat(self.true.predicates, self.width), self.predicted.predicates[self.right]
        return self.cosines(self.table.cosines(true, predicted))

    @cached_property
    def ends_claimed(self) -> Mask:
        """(P,) the predicted ends claim the true ends; without claims: they have their classes and overlap them."""
        t, p, c = self.true, self.predicted, self.claims
        claimed = np.ones(len(self.right), dtype=np.bool_)
        for ends, others in ((t.subjects, p.subjects), (t.objects, p.objects)):
            claimed &= np.repeat(c.claimant[ends], self.width) == c.unit[others][self.right]
        if self.claiming.all():
            return claimed
        subjects, objects = self._end_cells
        alike = self.same_object[subjects] & self.same_object[objects]
        return np.where(self.claiming[t.triplet_owners[self.left]], claimed, alike)

    @cached_property
    def hits(self) -> Mask:
        """(P,) the predicted triplet is right, and this is the true one that it finds."""
        same = np.repeat(self.true.predicates, self.width) == self.predicted.predicates[self.right]
        return np.asarray(self.ends_claimed & same)

    # ---------------------------------------------------------------- repeats

    @cached_property
    def true_keys(self) -> Ints:
        """(T,) equal numbers for true triplets with equal content: those that the annotation repeats."""
        t, first = self.true, self.true_things.first
        return _keys(first[t.subjects], t.predicates, first[t.objects])

    @cached_property
    def distinct_true(self) -> Mask:
        """(T,) the true triplets without repeated ones."""
        return _firsts(self.true_keys)

    @cached_property
    def _repeated(self) -> tuple[Mask, Mask, Ints]:
        """(R,) predicted triplets that repeat another one, those the annotation repeats too, and which one counts.

        Of triplets with equal content one counts: the first that is right, or else the first. As often as the
        annotation repeats what they find, the others are forgiven: they count neither as right nor as predicted.
        """
        p = self.predicted
        unit = self.claims.unit
        keys = _keys(unit[p.subjects], p.predicates, unit[p.objects])
        none = np.zeros(len(keys), dtype=np.bool_)
        if not len(keys) or int(np.bincount(keys).max()) == 1:
            return none, none, np.arange(len(keys))
        right = none.copy()
        right[self.right[self.hits]] = True
        order = np.lexsort((p.triplet_ranks, ~right, keys))
        repeats = np.ones(len(keys), dtype=np.bool_)
        repeats[order[_firsts(keys[order])]] = False
        again = np.bincount(self.true_keys, minlength=1)[self.true_keys] - 1
        allowed = np.zeros(int(keys.max()) + 1, dtype=np.intp)
        np.maximum.at(allowed, keys[self.right[self.hits]], again[self.left[self.hits]])
        forgiven = repeats & (_count_before(keys, p.triplet_ranks, repeats) < allowed[keys])
        keeper = np.empty(int(keys.max()) + 1, dtype=np.intp)
        keeper[keys[~repeats]] = np.flatnonzero(~repeats)
        return repeats & ~forgiven, forgiven, keeper[keys]

    @property
    def repeats(self) -> Mask:
        """(R,) predicted triplets that repeat another one, more often than the annotation does."""
        return self._repeated[0]

    @property
    def forgiven(self) -> Mask:
        """(R,) predicted triplets that repeat another one, as the annotation does."""
        return self._repeated[1]

    @property
    def _keeper(self) -> Ints:
        """(R,) of the triplets with equal content the one that counts."""
        return self._repeated[2]

    @cached_property
    def counted(self) -> Ints:
        """(B,) predicted triplets, repeats included, forgiven ones not."""
        return self.predicted.triplet_counts - self.per_graph(self.predicted.triplet_owners[self.forgiven])

    @cached_property
    def distinct_counts(self) -> Ints:
        """(B,) true triplets without repeated ones."""
        return self.per_graph(self.true.triplet_owners[self.distinct_true])

    @cached_property
    def partners(self) -> Ints:
        """(R,) the true triplet that each predicted one is paired with, one to one, or -1.

        A largest pairing of hits. Repeats, on either side, have no partner; otherwise repeating every triplet would
        raise precision.
        """
        chosen = self.pair_up(self.hits, np.ones(len(self.right)))
        partners = np.full(len(self.predicted.predicates), -1, dtype=np.intp)
        partners[chosen[1]] = chosen[0]
        return partners

    def pair_up(self, allowed: Mask, values: Array) -> tuple[Ints, Ints, Array]:
        """Pair triplets, those with equal content as one, so that the values' sum is largest.

        Args:
            allowed: (P,) pairs that may be taken.
            values: (P,) what each is worth; pairs worth 0 or less are left out.

        Returns:
            True rows, predicted rows and values of the pairs taken.
        """
        places = np.flatnonzero(allowed & (values > 0))
        first = np.full(int(self.true_keys.max(initial=-1)) + 1, -1, dtype=np.intp)
        first[self.true_keys[self.distinct_true]] = np.flatnonzero(self.distinct_true)
        left, right = first[self.true_keys[self.left[places]]], self._keeper[self.right[places]]
        # triplets with equal content are one row, on either side: keep the pair that is worth most
        order = np.lexsort((-values[places], right, left))
        best = order[_firsts(left[order] * (len(self.predicted.predicates) + 1) + right[order])]
        left, right, worth = left[best], right[best], values[places[best]]
        chosen = one_to_one(left, right, worth, self.true.triplet_owners[left])
        return left[chosen], right[chosen], worth[chosen]

    # ---------------------------------------------------------------- ranks

    @cached_property
    def _last_on_pair(self) -> Mask:
        """(R,) whether a predicted triplet is the last one on its ordered pair of objects."""
        p = self.predicted
        keys = _keys(p.subjects, np.zeros_like(p.subjects), p.objects)
        return _firsts(keys[::-1])[::-1]

    @cached_property
    def _kept(self) -> Mask:
        """(R,) the triplets that the graph constraint keeps: the best ranked of each ordered pair of objects."""
        p = self.predicted
        unit = np.where(self.claiming[p.owners], self.claims.unit, np.arange(len(p.labels)))
        keys = _keys(unit[p.subjects], np.zeros_like(p.subjects), unit[p.objects])
        order = np.argsort(p.triplet_ranks)
        kept = np.zeros(len(keys), dtype=np.bool_)
        kept[order[_firsts(keys[order])]] = True
        return kept

    def found_at(self, *, constraint: bool) -> Ints:
        """(T,) the place (from 0) of the first prediction that finds each true triplet, `NEVER` if none does.

        Args:
            constraint: in the list with one predicate for each ordered pair of objects, the best ranked.
        """
        p = self.predicted
        kept = self._kept if constraint else np.ones(len(p.predicates), dtype=np.bool_)
        order = np.argsort(p.triplet_ranks)
        places = np.empty(len(order), dtype=np.intp)
        places[order] = np.cumsum(kept[order]) - 1  # among all graphs; then from each graph's own beginning
        starts = np.concatenate(([0], np.cumsum(self.per_graph(p.triplet_owners[kept]))))[:-1]
        places = np.where(kept, places - starts[p.triplet_owners], NEVER)
        found = np.full(len(self.width), NEVER, dtype=np.intp)
        if self.hits.any():
            np.minimum.at(found, self.left[self.hits], places[self.right[self.hits]])
        return found

    # ---------------------------------------------------------------- sums

    def per_graph(self, owners: Ints) -> Ints:
        """(B,) how many of `owners` are each graph."""
        return np.asarray(np.bincount(owners, minlength=len(self)), dtype=np.intp)

    def sum_per_graph(self, owners: Ints, values: Array) -> Array:
        """(B,) the sum of the values of each graph."""
        return np.asarray(np.bincount(owners, weights=values, minlength=len(self)), dtype=np.float64)


def _keys(subjects: Ints, predicates: Ints, objects: Ints) -> Ints:
    """Small equal numbers for equal triplets."""
    size, names = int(max(subjects.max(initial=0), objects.max(initial=0))) + 1, int(predicates.max(initial=0)) + 1
    return np.asarray(np.unique((subjects * names + predicates) * size + objects, return_inverse=True)[1]).reshape(-1)


def _firsts(keys: Ints) -> Mask:
    """Which keys are the first of their kind."""
    mask = np.zeros(len(keys), dtype=np.bool_)
    mask[np.unique(keys, return_index=True)[1]] = True
    return mask


def _count_before(keys: Ints, ranks: Ints, members: Mask) -> Ints:
    """For each member how many members with its key have a better rank; 0 for others."""
    counts = np.zeros(len(keys), dtype=np.intp)
    rows = np.flatnonzero(members)
    rows = rows[np.lexsort((ranks[rows], keys[rows]))]
    grouped = keys[rows]
    starts = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1]))) if len(rows) else rows
    sizes = np.diff(np.append(starts, len(rows)))
    counts[rows] = np.arange(len(rows)) - np.repeat(starts, sizes)
    return counts
