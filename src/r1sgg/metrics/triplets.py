"""Matching of predicted with true triplets on one image: the test under R@K, precision and the hard-recall reward.

A predicted triplet finds a true one when subject class, predicate and object class are equal and both boxes overlap
with an IoU of at least 1/2. Labels are compared first (one look-up a triplet), so an IoU is computed only where they
agree. It deliberately knows nothing of files, vocabularies or averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import IOU_SLACK, IOU_THRESHOLD
from r1sgg.metrics.protocol import CUTOFFS, STRICT, Protocol

NEVER = 1 << 30
"""The rank of a true triplet that no prediction finds."""

Box = Sequence[float]


@dataclass(frozen=True, slots=True)
class TripletMatch:
    """What the predictions of one image found.

    Attributes:
        ranks: for each of G true triplets the place (from 0) of the first prediction that finds it, in the list that
            R@K reads (with the graph constraint under the strict protocol); `NEVER` if none does.
        ranks_ng: the same for the list without graph constraint.
        partners: for each of R predicted triplets the true one that it is matched with one to one, or -1.
        repeats: predicted triplets that repeat an earlier one (same predicate, subjects and objects of same class and
            box).
    """

    ranks: tuple[int, ...]
    ranks_ng: tuple[int, ...]
    partners: tuple[int, ...]
    repeats: int

    @property
    def true_positives(self) -> int:
        """Predicted triplets that have a true one of their own."""
        return sum(p >= 0 for p in self.partners)


def overlap(a: Box, b: Box, plus_one: float = 0.0) -> bool:
    """Whether two xyxy boxes have an IoU of at least 1/2; `plus_one` = 1.0 for the old pixel convention."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + plus_one
    h = min(a[3], b[3]) - max(a[1], b[1]) + plus_one
    if w <= 0 or h <= 0:
        return False
    intersection = w * h
    area_a = (a[2] - a[0] + plus_one) * (a[3] - a[1] + plus_one)
    area_b = (b[2] - b[0] + plus_one) * (b[3] - b[1] + plus_one)
    return bool(intersection >= (IOU_THRESHOLD - IOU_SLACK) * (area_a + area_b - intersection))


def match_triplets(
    truth: SceneGraph,
    graph: SceneGraph,
    protocol: Protocol = STRICT,
    *,
    size: tuple[float, float] = (1.0, 1.0),
    predicates: Sequence[str] = (),
) -> TripletMatch:
    """Match the triplets of one image.

    Args:
        truth: the true graph.
        graph: the predicted graph.
        protocol: which conventions hold.
        size: width and height in pixels; matters only for `pixel_plus_one`.
        predicates: the vocabulary's predicates; matters only for `pad_without_constraint`.
    """
    finder = _Finder(truth, graph, protocol, size)
    hits = [finder.find(s, p, o) for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    order = _ranking(graph, protocol)
    found = [hits[k] for k in order]
    total = len(truth.pairs)
    without = found
    if protocol.pad_without_constraint:
        without = found[: CUTOFFS[-1]] + _padding(graph, order, predicates, CUTOFFS[-1] - len(order), finder)
    kept = found
    if protocol.graph_constraint:
        best: dict[tuple[int, int], int] = {}
        for k in order:
            best.setdefault(graph.pairs[k], k)
        kept = [hits[k] for k in best.values()]
    partners, repeats = _one_to_one(truth, graph, order, hits)
    return TripletMatch(_first(kept, total), _first(without, total), partners, repeats)


class _Finder:
    """Looks up which true triplets a predicted one finds; remembers which boxes overlap."""

    def __init__(self, truth: SceneGraph, graph: SceneGraph, protocol: Protocol, size: tuple[float, float]) -> None:
        self.truth, self.graph = truth, graph
        self.plus_one = 1.0 if protocol.pixel_plus_one else 0.0
        scale = np.array(size * 2) if protocol.pixel_plus_one else 1.0
        self.true_boxes: list[list[float]] = (truth.boxes * scale).tolist()
        self.boxes: list[list[float]] = (graph.boxes * scale).tolist() if len(graph.pairs) else []
        self.by_words: dict[tuple[str, str, str], list[int]] = {}
        for k, words in enumerate(truth.triplets):
            self.by_words.setdefault(words, []).append(k)
        self.known: dict[tuple[int, int], bool] = {}

    def find(self, subject: int, predicate: str, target: int) -> tuple[int, ...]:
        labels = self.graph.labels
        candidates = self.by_words.get((labels[subject], predicate, labels[target]))
        if candidates is None:
            return ()
        pairs = self.truth.pairs
        return tuple(k for k in candidates if self._same(subject, pairs[k][0]) and self._same(target, pairs[k][1]))

    def _same(self, predicted: int, true: int) -> bool:
        key = (predicted, true)
        if (answer := self.known.get(key)) is None:
            answer = self.known[key] = overlap(self.boxes[predicted], self.true_boxes[true], self.plus_one)
        return answer


def _ranking(graph: SceneGraph, protocol: Protocol) -> Sequence[int]:
    """Indices of the predicted triplets, best first; equal scores keep the order of the file."""
    count = len(graph.pairs)
    found = graph.triplet_scores if protocol.use_scores else None
    if found is None:
        return range(count)
    scores = found.tolist()
    return sorted(range(count), key=lambda k: -scores[k])


def _padding(
    graph: SceneGraph, order: Sequence[int], predicates: Sequence[str], room: int, finder: _Finder
) -> list[tuple[int, ...]]:
    """What every other predicate on the predicted pairs would find, pair by pair, until `room` places are used."""
    extra: list[tuple[int, ...]] = []
    for k in order:
        for predicate in predicates:
            if len(extra) >= room:
                return extra
            if predicate != graph.predicates[k]:
                extra.append(finder.find(graph.pairs[k][0], predicate, graph.pairs[k][1]))
    return extra


def _first(found: Sequence[tuple[int, ...]], total: int) -> tuple[int, ...]:
    """For each true triplet the first place of a list that finds it."""
    ranks = [NEVER] * total
    for place, hits in enumerate(found):
        for k in hits:
            if ranks[k] == NEVER:
                ranks[k] = place
    return tuple(ranks)


def _one_to_one(
    truth: SceneGraph, graph: SceneGraph, order: Sequence[int], hits: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], int]:
    """A largest matching of predicted with true triplets (augmenting paths), and the number of repeated predictions.

    A repetition, on either side, can't be matched: else saying everything twice would raise precision.
    """
    identity = _identities(graph)
    said: set[tuple[int, str, int]] = set()
    first_true: dict[tuple[int, str, int], int] = {}
    for k, ((s, o), p) in enumerate(zip(truth.pairs, truth.predicates, strict=True)):
        first_true.setdefault((s, p, o), k)
    unique = set(first_true.values())
    edges: dict[int, list[int]] = {}
    repeats = 0
    for k in order:
        (s, o), p = graph.pairs[k], graph.predicates[k]
        key = (identity[s], p, identity[o])
        if key in said:
            repeats += 1
            continue
        said.add(key)
        if hits[k]:
            edges[k] = [g for g in hits[k] if g in unique]
    owner: dict[int, int] = {}
    held: dict[int, int] = {}
    for k in edges:
        _augment(k, edges, owner, held)
    return tuple(held.get(k, -1) for k in range(len(graph.pairs))), repeats


def _identities(graph: SceneGraph) -> list[int]:
    """For each object the index of the first with the same class and box."""
    if not graph.pairs:
        return []
    first: dict[tuple[str, bytes], int] = {}
    return [
        first.setdefault((label, box.tobytes()), k)
        for k, (label, box) in enumerate(zip(graph.labels, graph.boxes, strict=True))
    ]


def _augment(start: int, edges: dict[int, list[int]], owner: dict[int, int], held: dict[int, int]) -> None:
    """Give `start` a true triplet, moving earlier owners along an alternating path (breadth first) if need be."""
    came_from: dict[int, int] = {}
    queue = [start]
    for k in queue:
        for g in edges[k]:
            if g in came_from:
                continue
            came_from[g] = k
            if g in owner:
                queue.append(owner[g])
                continue
            free: int | None = g
            while free is not None:
                taker = came_from[free]
                given_up = held.get(taker)
                owner[free], held[taker] = taker, free
                free = given_up
            return
