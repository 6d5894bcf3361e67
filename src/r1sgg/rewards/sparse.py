"""The reward for incomplete ground truth: positive-unlabelled triplets.

A caption mentions two or three relations of an image. What it does not mention is not wrong, so an F1 against a graph
that was made of captions punishes true relations. Here an unmatched triplet costs what it would probably have found if
everything that is true had been annotated as densely as this image is:

    triplet_pu = 2 S / (T + K + C)

    S   the sum of `triplet_f1`: predicate similarity of the pairs of true and predicted triplets, one to one
    T   true triplets;  K   predicted triplets in those pairs
    C   the cost of all others, each 1 but for one on each unlabelled pair:

    both ends are true objects, and no true triplet relates these two          d
    the same pair again, with another predicate                               1
    the annotation relates the two, but otherwise                             1
    an end is no true object; a repeated triplet; an object with itself       1

`d` is the density of the annotation, rho = (related pairs) / (all pairs of true objects), of this image. With class
statistics it is that of the two classes: (m + 5 rho) / (n + 5), where `n` images show both and `m` of them relate them;
and 1 if these classes were related at least 10 times but never by this predicate. With d = 1 the term is `triplet_f1`.

A relation that is true with probability q is annotated with probability d q and costs d (1 - q), so it pays to name it
from about the same q as under `triplet_f1` with a complete annotation. All other pairs of N objects together cost at
most twice as much as the related pairs, whatever N is: listing all pairs does not pay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from r1sgg.data.base import read_ground_truth
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.batch import Ints
from r1sgg.judging.boxes import Array, Mask
from r1sgg.rewards.evidence import CompletionEvidence

PRIOR = 5
"""Images that the density of the image itself counts for, beside those of the class pair."""
ENOUGH = 10
"""Relations of two classes from which on a predicate that is never among them is taken to be false."""


def triplet_pu(evidence: CompletionEvidence) -> Array:
    """Positive-unlabelled soft F1 of triplets: an unmatched one costs as densely as its image is annotated.

    It does not apply to an image without true triplets, which says nothing about any relation.
    """
    return _triplet_pu(evidence, None)


@dataclass(frozen=True)
class ClassDensity:
    """How densely pairs of classes are annotated in a training set.

    Attributes:
        shown: images that show both classes, by (subject, object).
        related: images that relate them.
        predicates: relations by (subject, predicate, object).
    """

    shown: Counter[tuple[str, str]] = field(default_factory=Counter)
    related: Counter[tuple[str, str]] = field(default_factory=Counter)
    predicates: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    relations: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def of_graphs(cls, graphs: Iterable[SceneGraph]) -> ClassDensity:
        """Count a training set."""
        found = cls()
        for graph in graphs:
            many = Counter(graph.labels)
            classes = sorted(many)
            found.shown.update((a, b) for a in classes for b in classes if a != b or many[a] > 1)
            triplets = set(graph.triplets)
            found.related.update({(a, b) for a, _, b in triplets})
            found.predicates.update(triplets)
            found.relations.update((a, b) for a, _, b in triplets)
        return found

    @classmethod
    def read(cls, path: Path) -> ClassDensity:
        """Count a ground-truth file.

        Raises:
            InputError: see `r1sgg.data.base.read_ground_truth`.
        """
        return cls.of_graphs(example.graph for example in read_ground_truth(path))

    def cost(self, subject: str, predicate: str, target: str, rho: float) -> float:
        """Return the cost of an unmatched triplet on an unlabelled pair of an image with density `rho`."""
        pair = subject, target
        if self.relations[pair] >= ENOUGH and not self.predicates[subject, predicate, target]:
            return 1.0
        return min(1.0, (self.related[pair] + PRIOR * rho) / (self.shown[pair] + PRIOR))

    def __call__(self, evidence: CompletionEvidence) -> Array:
        """Return `triplet_pu` with these statistics."""
        return _triplet_pu(evidence, self)


def _triplet_pu(evidence: CompletionEvidence, statistics: ClassDensity | None) -> Array:
    true, predicted = evidence.true.predicates[evidence.left], evidence.predicted.predicates[evidence.right]
    values = evidence.table.above_chance(true, predicted, VG150.predicates)
    left, right, worth = evidence.pair_up(evidence.ends_claimed, values)
    sums = evidence.sum_per_graph(evidence.true.triplet_owners[left], worth)
    paired = np.zeros(len(evidence.predicted.predicates), dtype=np.bool_)
    paired[right] = True
    costs = _costs(evidence, paired, statistics)
    owners = evidence.predicted.triplet_owners
    total = evidence.distinct_counts + evidence.per_graph(owners[paired]) + evidence.sum_per_graph(owners, costs)
    applies = evidence.true.triplet_counts > 0
    return np.asarray(np.divide(2 * sums, total, out=np.full(len(sums), np.nan), where=applies & (total > 0)))


def density(evidence: CompletionEvidence) -> Array:
    """(B,) related pairs of true objects over all pairs of them; 1 where there is no pair."""
    first, owners = evidence.true_things.first, evidence.true.owners
    objects = evidence.per_graph(owners[first == np.arange(len(first))])
    low, high = _ends(first[evidence.true.subjects], first[evidence.true.objects])
    keys = np.unique(low * (len(first) + 1) + high)
    keys = keys[keys // (len(first) + 1) != keys % (len(first) + 1)]
    related = evidence.per_graph(owners[keys // (len(first) + 1)])
    pairs = objects * (objects - 1) / 2
    return np.asarray(np.divide(related, pairs, out=np.ones(len(pairs)), where=pairs > 0))


def _costs(evidence: CompletionEvidence, paired: Mask, statistics: ClassDensity | None) -> Array:
    """(R,) the cost of each predicted triplet: 0 where it is paired or forgiven."""
    p, claims, first = evidence.predicted, evidence.claims, evidence.true_things.first
    costs = np.where(paired | evidence.forgiven, 0.0, 1.0)
    true_of = np.full(len(p.labels) + 1, -1, dtype=np.intp)  # of a predicted object, the true one that it claims
    claimed = np.flatnonzero(claims.claimant >= 0)[::-1]  # the first one is written last
    true_of[claims.claimant[claimed]] = first[claimed]
    subjects, objects = claims.unit[p.subjects], claims.unit[p.objects]
    ends = true_of[subjects], true_of[objects]
    size = len(first) + 1
    low, high = _ends(first[evidence.true.subjects], first[evidence.true.objects])
    labelled = np.isin(_key(ends, size), low * size + high)
    open_ = (costs > 0) & ~evidence.repeats & (ends[0] >= 0) & (ends[1] >= 0) & (subjects != objects) & ~labelled
    rows = np.flatnonzero(open_)
    if not len(rows):
        return costs
    rho = density(evidence)[p.triplet_owners[rows]]
    cheap = rho if statistics is None else _by_class(evidence, rows, rho, statistics)
    pair = subjects[rows] * (len(p.labels) + 1) + objects[rows]
    order = np.lexsort((cheap, pair))  # of several predicates on one pair the cheapest is the one that may be true
    opens = np.concatenate(([True], pair[order][1:] != pair[order][:-1]))
    costs[rows[order[opens]]] = cheap[order[opens]]
    return costs


def _by_class(evidence: CompletionEvidence, rows: Ints, rho: Array, statistics: ClassDensity) -> Array:
    costs = np.empty(len(rows))
    graphs = {k: evidence.parsed[k].graph for k in np.unique(evidence.predicted.triplet_owners[rows]).tolist()}
    starts = np.concatenate(([0], np.cumsum(evidence.predicted.triplet_counts)))
    for place, row in enumerate(rows.tolist()):
        owner = int(evidence.predicted.triplet_owners[row])
        subject, predicate, target = graphs[owner].triplets[row - int(starts[owner])]
        costs[place] = statistics.cost(subject, predicate, target, float(rho[place]))
    return costs


def _ends(a: Ints, b: Ints) -> tuple[Ints, Ints]:
    return np.minimum(a, b), np.maximum(a, b)


def _key(ends: tuple[Ints, Ints], size: int) -> Ints:
    low, high = _ends(*ends)
    return np.asarray(low * size + high)
