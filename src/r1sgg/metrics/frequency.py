"""Counts over a training set: for the frequency baselines, unseen triplets, and predicates by frequency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from r1sgg.data.base import Example
from r1sgg.judging.boxes import touching


@dataclass(frozen=True, slots=True)
class TrainingStatistics:
    """Counts over a training set.

    Attributes:
        triplets: every (subject class, predicate, object class) that occurs.
        predicates: relations of each predicate.
        pairs: relations of each predicate, for each ordered pair of classes.
        together: number of object pairs of each ordered pair of classes on the same image, related or not.
        overlapping: the same of the pairs whose boxes overlap.
    """

    triplets: frozenset[tuple[str, str, str]] = frozenset()
    predicates: Counter[str] = field(default_factory=Counter)
    pairs: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    together: Counter[tuple[str, str]] = field(default_factory=Counter)
    overlapping: Counter[tuple[str, str]] = field(default_factory=Counter)


def collect(examples: Iterable[Example]) -> TrainingStatistics:
    """Count a training set, one example at a time."""
    statistics = TrainingStatistics()
    triplets: set[tuple[str, str, str]] = set()
    for example in examples:
        graph = example.graph
        triplets.update(graph.triplets)
        statistics.predicates.update(graph.predicates)
        left, right = np.nonzero(~np.eye(len(graph), dtype=np.bool_))
        ends = [(graph.labels[a], graph.labels[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
        statistics.together.update(ends)
        meeting = touching(graph.boxes[left], graph.boxes[right])
        statistics.overlapping.update(pair for pair, meet in zip(ends, meeting.tolist(), strict=True) if meet)
        for subject, predicate, target in graph.triplets:
            statistics.pairs.setdefault((subject, target), Counter())[predicate] += 1
    return replace(statistics, triplets=frozenset(triplets))
