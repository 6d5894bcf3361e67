"""The verdicts on the triplets of images under a protocol: what R@K, precision and every picture of an image read.

A block of images is judged at once (`judge`); `match_triplets` is the block of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.batch import Ints, batch_of_graphs, offsets
from r1sgg.judging.evidence import NEVER, Evidence, Rules
from r1sgg.judging.labels import ExactSimilarity, LabelTable
from r1sgg.judging.protocol import CUTOFFS, STRICT, Protocol

_MOST_CELLS = 1_000_000  # pairs of objects or of triplets in one go: bounds memory whatever the graphs hold


@dataclass(frozen=True, slots=True)
class TripletMatch:
    """What the predictions of one image found.

    Attributes:
        ranks: for each of G true triplets the place (from 0) of the first prediction that finds it, in the list that
            R@K reads (with the graph constraint under the strict protocol); `NEVER` if none does.
        ranks_ng: the same for the list without graph constraint.
        partners: for each of R predicted triplets the true one that it is paired with one to one, or -1.
        repeats: predicted triplets that repeat another one, more often than the annotation does.
        forgiven: predicted triplets that repeat another one as the annotation does; they count in no ratio.
        distinct_true: true triplets without repeated ones.
        declared_again: predicted objects that are an earlier one again.
    """

    ranks: tuple[int, ...]
    ranks_ng: tuple[int, ...]
    partners: tuple[int, ...]
    repeats: int
    forgiven: int
    distinct_true: int
    declared_again: int

    @property
    def true_positives(self) -> int:
        """Predicted triplets that have a true one of their own."""
        return sum(p >= 0 for p in self.partners)

    @property
    def counted(self) -> int:
        """Predicted triplets that count in precision: all but the forgiven ones."""
        return len(self.partners) - self.forgiven


class Judged:
    """A block of B images under a protocol.

    Attributes:
        evidence: the verdicts on objects and triplets.
        ranks, ranks_ng: (T,) see `TripletMatch`; the true triplets of all images one after the other.
    """

    def __init__(self, evidence: Evidence, ranks: Ints, ranks_ng: Ints) -> None:
        self.evidence, self.ranks, self.ranks_ng = evidence, ranks, ranks_ng

    @cached_property
    def true_positives(self) -> Ints:
        """(B,) predicted triplets that have a true one of their own."""
        e = self.evidence
        return e.per_graph(e.predicted.triplet_owners[e.partners >= 0])

    @cached_property
    def repeats(self) -> Ints:
        """(B,) predicted triplets that repeat another one."""
        return self.evidence.per_graph(self.evidence.predicted.triplet_owners[self.evidence.repeats])

    @cached_property
    def declared_again(self) -> Ints:
        """(B,) predicted objects that are an earlier one again."""
        return self.evidence.per_graph(self.evidence.predicted.owners[self.evidence.declared_again])

    @cached_property
    def self_loops(self) -> Ints:
        """(B,) predicted triplets whose subject is their object."""
        p = self.evidence.predicted
        return self.evidence.per_graph(p.triplet_owners[p.subjects == p.objects])

    def image(self, k: int) -> TripletMatch:
        """The verdicts on image `k` of the block."""
        e = self.evidence
        true = _rows(e.true.triplet_counts, k)
        predicted = _rows(e.predicted.triplet_counts, k)
        partners = e.partners[predicted]
        return TripletMatch(
            ranks=tuple(self.ranks[true].tolist()),
            ranks_ng=tuple(self.ranks_ng[true].tolist()),
            partners=tuple(np.where(partners < 0, -1, partners - true.start).tolist()),
            repeats=int(self.repeats[k]),
            forgiven=int(e.predicted.triplet_counts[k] - e.counted[k]),
            distinct_true=int(e.distinct_counts[k]),
            declared_again=int(self.declared_again[k]),
        )


def _rows(counts: Ints, k: int) -> slice:
    start = int(counts[:k].sum())
    return slice(start, start + int(counts[k]))


def blocks(truths: Sequence[SceneGraph], graphs: Sequence[SceneGraph], most: int = _MOST_CELLS) -> list[slice]:
    """Cut images into blocks whose pairs of objects and triplets fit into memory."""
    parts: list[slice] = []
    start = cells = 0
    for k, (truth, graph) in enumerate(zip(truths, graphs, strict=True)):
        own = len(truth) * len(graph) + len(truth.pairs) * len(graph.pairs)
        if k > start and cells + own > most:
            parts.append(slice(start, k))
            start, cells = k, 0
        cells += own
    return [*parts, slice(start, len(truths))] if truths else []


def judge(
    truths: Sequence[SceneGraph],
    graphs: Sequence[SceneGraph],
    protocol: Protocol = STRICT,
    *,
    claiming: Sequence[bool] | None = None,
    sizes: Sequence[tuple[float, float]] | None = None,
    predicates: Sequence[str] = (),
) -> Judged:
    """Judge a block of images.

    Args:
        truths: B true graphs.
        graphs: B predicted graphs.
        protocol: which conventions hold.
        claiming: for which images claims hold; by default as the protocol says of completions.
        sizes: widths and heights in pixels; they matter only for `pixel_plus_one`.
        predicates: the vocabulary's predicates; they matter only for `pad_without_constraint`.
    """
    table = LabelTable(ExactSimilarity())
    true = batch_of_graphs(truths, table)
    predicted = batch_of_graphs(graphs, table, scores=protocol.use_scores)
    rules = Rules(claims=protocol.claiming(completion=True))
    if protocol.pixel_plus_one:
        scale = np.array(sizes or [(1.0, 1.0)] * len(truths), dtype=np.float64).reshape(-1, 2)
        for side in (true, predicted):
            side.boxes[...] *= np.tile(scale[side.owners].T, (2, 1))
        rules = Rules(claims=rules.claims, plus_one=1.0)
    evidence = Evidence(true, predicted, table, rules, claiming)
    free = evidence.found_at(constraint=False)
    ranks = evidence.found_at(constraint=True) if protocol.graph_constraint else free
    if protocol.pad_without_constraint:
        free = _padded(evidence, free, table.numbers(predicates))
    return Judged(evidence, ranks, free)


def match_triplets(
    truth: SceneGraph,
    graph: SceneGraph,
    protocol: Protocol = STRICT,
    *,
    size: tuple[float, float] = (1.0, 1.0),
    predicates: Sequence[str] = (),
    completion: bool = True,
) -> TripletMatch:
    """Judge the triplets of one image; `completion`: the graph was written by a model as text. See `judge`."""
    claiming = [protocol.claiming(completion=completion)]
    return judge([truth], [graph], protocol, claiming=claiming, sizes=[size], predicates=predicates).image(0)


def _padded(evidence: Evidence, ranks: Ints, predicates: Ints) -> Ints:
    """The ranks in lists that are filled up with every other predicate on the predicted pairs, pair by pair."""
    ranks = ranks.copy()
    true, predicted = evidence.true, evidence.predicted
    room = CUTOFFS[-1]
    first = offsets(predicted.triplet_counts)
    ends = np.flatnonzero(evidence.ends_claimed)
    for g, r in zip(evidence.left[ends].tolist(), evidence.right[ends].tolist(), strict=True):
        graph = int(predicted.triplet_owners[r])
        said = int(predicted.triplet_counts[graph])
        wanted, own = int(true.predicates[g]), int(predicted.predicates[r])
        place = np.flatnonzero(predicates == wanted)
        if said >= room or wanted == own or not len(place):
            continue
        # the predicates of the pairs before this one, each pair's own left out, then those before `wanted`
        order = int(predicted.triplet_ranks[r] - first[graph])
        before = predicted.predicates[first[graph] : first[graph] + said][
            np.argsort(predicted.triplet_ranks[first[graph] : first[graph] + said])[:order]
        ]
        listed = np.isin(before, predicates).sum()
        filled = order * len(predicates) - int(listed) + int(place[0]) - int(own in predicates[: place[0]])
        if said + filled < room:
            ranks[g] = min(int(ranks[g]), said + filled)
    # beyond the first hundred nothing is listed under this convention
    return np.where(ranks < room, ranks, NEVER)
