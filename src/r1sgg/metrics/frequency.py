"""Statistics of the training set: the frequency baseline, unseen triplets, and predicates by frequency.

The baseline (Zellers et al., Neural Motifs, 2018) gives each ordered pair of true objects the most frequent predicate
of their two classes in training. It uses no image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from r1sgg.data.base import Example
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import VG150, Vocabulary

VG150_BY_FREQUENCY = (
    "on",
    "has",
    "wearing",
    "of",
    "in",
    "near",
    "with",
    "holding",
    "behind",
    "above",
    "sitting on",
    "wears",
    "riding",
    "under",
    "in front of",
    "standing on",
    "at",
    "carrying",
    "attached to",
    "walking on",
    "for",
    "over",
    "laying on",
    "looking at",
    "hanging from",
    "belonging to",
    "parked on",
    "eating",
    "using",
    "and",
    "covering",
    "part of",
    "covered in",
    "between",
    "along",
    "lying on",
    "watching",
    "on back of",
    "to",
    "walking in",
    "mounted on",
    "against",
    "across",
    "from",
    "growing on",
    "painted on",
    "made of",
    "playing",
    "says",
    "flying in",
)
"""VG150's predicates by their number of training relations, most frequent first."""

GROUPS = ("head", "body", "tail")


@dataclass(frozen=True, slots=True)
class TrainingStatistics:
    """Counts over a training set.

    Attributes:
        triplets: every (subject class, predicate, object class) that occurs.
        predicates: relations of each predicate.
        pairs: relations of each predicate, for each ordered pair of classes.
        together: number of object pairs of each ordered pair of classes on the same image, related or not.
    """

    triplets: frozenset[tuple[str, str, str]] = frozenset()
    predicates: Counter[str] = field(default_factory=Counter)
    pairs: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    together: Counter[tuple[str, str]] = field(default_factory=Counter)


def collect(examples: Iterable[Example]) -> TrainingStatistics:
    """Count a training set, one example at a time."""
    statistics = TrainingStatistics()
    triplets: set[tuple[str, str, str]] = set()
    for example in examples:
        graph = example.graph
        triplets.update(graph.triplets)
        statistics.predicates.update(graph.predicates)
        statistics.together.update((a, b) for a in graph.labels for b in graph.labels)
        statistics.together.subtract((label, label) for label in graph.labels)  # an object is no pair with itself
        for subject, predicate, target in graph.triplets:
            statistics.pairs.setdefault((subject, target), Counter())[predicate] += 1
    return replace(statistics, triplets=frozenset(triplets))


def most_frequent(truth: SceneGraph, statistics: TrainingStatistics) -> SceneGraph:
    """Return the baseline's prediction: the true objects, and for each ordered pair the most frequent predicate.

    The score is the share of object pairs of these classes in training, related or not, that have this predicate. Of
    equally frequent predicates the alphabetically first is taken.
    """
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    scores: list[float] = []
    for s, o in product(range(len(truth)), repeat=2):
        words = (truth.labels[s], truth.labels[o])
        if s == o or (counts := statistics.pairs.get(words)) is None:
            continue
        predicate = min(counts, key=lambda name: (-counts[name], name))
        pairs.append((s, o))
        predicates.append(predicate)
        scores.append(counts[predicate] / max(1, statistics.together[words]))
    return replace(
        truth,
        pairs=tuple(pairs),
        predicates=tuple(predicates),
        object_scores=None,
        relationship_scores=np.array(scores) if scores else None,
    )


def predicate_groups(vocabulary: Vocabulary, statistics: TrainingStatistics | None) -> dict[str, tuple[str, ...]]:
    """Return head, body and tail: thirds of the vocabulary's predicates by training frequency (17, 17, 16 of 50).

    Equal counts keep the order of the vocabulary. Without statistics, VG150 uses its published frequencies, and other
    vocabularies have no groups.
    """
    order: Sequence[str]
    if statistics is not None and vocabulary.predicates:
        order = sorted(vocabulary.predicates, key=lambda name: -statistics.predicates[name])
    elif vocabulary.predicates == VG150.predicates:
        order = VG150_BY_FREQUENCY
    else:
        return {}
    parts = np.array_split(np.arange(len(order)), len(GROUPS))
    return {group: tuple(order[k] for k in part) for group, part in zip(GROUPS, parts, strict=True)}
