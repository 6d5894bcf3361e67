"""The frequency baselines of Neural Motifs (Zellers et al. 2018): relations from the classes of two objects alone.

    FREQ            every ordered pair of objects
    FREQ+OVERLAP    pairs whose boxes overlap, in training and here

Every predicate of a pair is scored:

    share = relations of the class pair with this predicate / (its relations + its pairs of objects + 1)
    score = (share + 0.001) / (1 + 0.001 (predicates + 1))  x  the scores of both objects

which is the softmax of the logarithms that Motifs adds: of the predicates' smoothed shares and that of "no relation".
Pairs of objects are those on one training image, related or not. No image is looked at. On a model's own objects the
rows say what reading relations adds to finding objects; on true ones (PREDCLS), what classes alone tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from r1sgg.graph.scene import Boxes, SceneGraph
from r1sgg.judging.boxes import touching
from r1sgg.judging.protocol import CUTOFFS
from r1sgg.metrics.frequency import TrainingStatistics

EPSILON = 1e-3
NAMES = {False: "FREQ", True: "FREQ+OVERLAP"}


class FrequencyBaseline:
    """Predicts relations between the objects of a graph.

    Args:
        statistics: of the training set.
        predicates: those to score; all of the training set where there are none.
        overlap: only pairs whose boxes overlap (FREQ+OVERLAP).
    """

    def __init__(
        self, statistics: TrainingStatistics, predicates: Sequence[str] = (), *, overlap: bool = False
    ) -> None:
        self.name = NAMES[overlap]
        self.predicates = tuple(predicates) or tuple(sorted(statistics.predicates))
        self._statistics, self._overlap = statistics, overlap
        self._known: dict[tuple[str, str], Boxes] = {}

    def scores(self, subject: str, target: str) -> Boxes:
        """Return the score of each predicate between two classes, (P,), their objects' scores left out."""
        words = (subject, target)
        if (found := self._known.get(words)) is None:
            counts: Mapping[str, int] = self._statistics.pairs.get(words, {})
            pairs = (self._statistics.overlapping if self._overlap else self._statistics.together)[words]
            own = np.array([counts.get(name, 0) for name in self.predicates], dtype=np.float64)
            shares = own / (own.sum() + pairs + 1)
            found = self._known[words] = (shares + EPSILON) / (1 + EPSILON * (len(self.predicates) + 1))
        return found

    def __call__(self, graph: SceneGraph) -> SceneGraph:
        """Return the graph's objects with the baseline's relations, best first.

        So many as the figures can see: the best predicate of each of the 100 best pairs, and the 100 best of all. Equal
        scores are in the order of subjects, objects and predicates.
        """
        left, right = np.nonzero(~np.eye(len(graph), dtype=np.bool_))
        if self._overlap:
            meeting = touching(graph.boxes[left], graph.boxes[right])
            left, right = left[meeting], right[meeting]
        bare = replace(graph, pairs=(), predicates=(), relationship_scores=None)
        if not len(left) or not self.predicates:
            return bare
        ends = zip(left.tolist(), right.tolist(), strict=True)
        scores_LP = np.stack([self.scores(graph.labels[s], graph.labels[o]) for s, o in ends])
        if graph.object_scores is not None:
            scores_LP = scores_LP * (graph.object_scores[left] * graph.object_scores[right])[:, None]
        best_L = scores_LP.argmax(1)
        most = CUTOFFS[-1]
        pairs = np.argsort(-scores_LP.max(1), kind="stable")[:most]
        chosen = {int(k) * len(self.predicates) + int(best_L[k]) for k in pairs}
        flat = scores_LP.ravel()
        chosen.update(np.argsort(-flat, kind="stable")[:most].tolist())
        order = sorted(chosen, key=lambda k: (-flat[k], k))
        rows = [divmod(k, len(self.predicates)) for k in order]
        return replace(
            bare,
            pairs=tuple((int(left[pair]), int(right[pair])) for pair, _ in rows),
            predicates=tuple(self.predicates[p] for _, p in rows),
            relationship_scores=flat[order],
        )
