"""The evaluator: takes images one by one, keeps a few numbers of each, forgets the rest.

Kept are about 200 bytes an image (its name and digest included), 20 a true triplet, 48 a box
(`r1sgg.metrics.objects`) and 9 a confidence; graphs and texts are not. What the numbers mean is in
`r1sgg.metrics.figures`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r1sgg.data.base import Example, example_digest, hash_of_digests
from r1sgg.data.predictions import Prediction
from r1sgg.graph.mapping import Change, Level, Similarity, map_graph
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import FAILURES
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.metrics.calibration import right_objects
from r1sgg.metrics.frequency import TrainingStatistics
from r1sgg.metrics.objects import BoxColumns, average_precision
from r1sgg.metrics.protocol import STRICT, Protocol
from r1sgg.metrics.tasks import Task, tie
from r1sgg.metrics.triplets import TripletMatch, match_triplets

Ints = npt.NDArray[np.int64]

FAILURE_KINDS = (*FAILURES, "nothing_tied", "nothing_in_vocabulary", "missing", "error")
"""Why an image has no usable prediction. Beside those of `parse`: no object stands for a true one (SGCLS, PREDCLS), no
class is in the vocabulary, no line in the file, and a line that says that the model failed."""

_MALFORMED = ("bad_object", "bad_id", "bad_box", "bad_relationship")
_EMPTY = ("empty", "nothing_tied", "nothing_in_vocabulary")


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image as it was counted.

    Attributes:
        image_id: its name.
        truth: the true graph, restricted to the vocabulary.
        graph: the predicted graph after mapping; empty where the prediction is not usable.
        failure: the kind of failure, or None.
        skipped: whether R@K leaves the image out (never under the strict protocol).
        match: which triplets found which.
    """

    image_id: str
    truth: SceneGraph
    graph: SceneGraph
    failure: str | None
    skipped: bool
    match: TripletMatch


@dataclass(frozen=True, slots=True)
class Columns:
    """Everything that was kept, in the order of the ground truth.

    Attributes:
        image_ids: N names.
        images: N rows: true objects, objects, true relations, relations, true positives, repeats, self-loops,
            failed, skipped.
        triplets: T rows, one a true triplet: image, predicate, rank, rank without constraint, unseen in training.
        predicates: names that `triplets` numbers.
        failures: images of each kind of failure.
        changes: how often each mapping was made.
        outside: true objects and relations left out because the vocabulary lacks their names.
        precision: AP, AP50 and AP75.
        confidences: "objects" and "triplets" of graphs that have scores: those, and which were right.
        data_hash: see `r1sgg.data.base.data_hash`.
        models: names that the predictions state.
    """

    image_ids: tuple[str, ...]
    images: Ints
    triplets: Ints
    predicates: tuple[str, ...]
    failures: dict[str, int]
    changes: Counter[Change]
    outside: int
    precision: dict[str, float | None]
    confidences: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]
    data_hash: str
    models: tuple[str, ...]


IMAGE_COLUMNS = (
    "true_objects",
    "objects",
    "true_relations",
    "relations",
    "true_positives",
    "repeats",
    "self_loops",
    "failed",
    "skipped",
)


class Evaluator:
    """Counts predictions against ground truth under one protocol."""

    def __init__(
        self,
        vocabulary: Vocabulary = OPEN,
        protocol: Protocol = STRICT,
        *,
        mapping: Level = "normal",
        similarity: Similarity | None = None,
        repair: bool = False,
        task: Task = "sgdet",
        statistics: TrainingStatistics | None = None,
    ) -> None:
        """Start with no images.

        Args:
            vocabulary: names outside it are mapped or dropped; open: every name counts.
            protocol: the conventions.
            mapping: how open names are mapped (see `r1sgg.graph.mapping`).
            similarity: label similarity for `mapping="full"`.
            repair: keep the whole items of truncated answers.
            task: what the model was told (see `r1sgg.metrics.tasks`).
            statistics: of the training set, to know which triplets are unseen.
        """
        self.vocabulary, self.protocol, self.task = vocabulary, protocol, task
        self.mapping, self.similarity, self.repair, self.statistics = mapping, similarity, repair, statistics
        self._names: list[str] = []
        self._numbers = array("q")
        self._images = array("i")
        self._triplets = array("i")
        self._predicates: dict[str, int] = dict(vocabulary.predicate_index)
        self._classes: dict[str, int] = {}
        self._true_boxes, self._boxes = BoxColumns(), BoxColumns()
        self._confidences = {"objects": (array("d"), bytearray()), "triplets": (array("d"), bytearray())}
        self._failures: Counter[str] = Counter()
        self._changes: Counter[Change] = Counter()
        self._outside = 0
        self._digests: list[bytes] = []
        self._models: set[str] = set()

    def add(self, number: int, example: Example, prediction: Prediction | None) -> ImageResult:
        """Count one image; `number` is its place in the ground truth."""
        graph, failure = self._read(prediction)
        if failure is None and self.task != "sgdet":
            graph = tie(graph, self.restrict(example.graph), self.task)
            failure = None if len(graph) else "nothing_tied"
        if failure is None:
            graph = self._map(graph)
            failure = None if len(graph) else "nothing_in_vocabulary"
        if prediction is not None and prediction.model is not None:
            self._models.add(prediction.model)
        return self.add_graph(number, example, graph if failure is None else EMPTY, failure)

    def add_graph(self, number: int, example: Example, graph: SceneGraph, failure: str | None = None) -> ImageResult:
        """Count one image whose prediction is a graph of the vocabulary already."""
        truth = self.restrict(example.graph)
        self._outside += len(example.graph) + len(example.graph.pairs) - len(truth) - len(truth.pairs)
        if failure in _EMPTY and not self.protocol.empty_is_failure:
            failure = None
        size = (example.width, example.height)
        match = match_triplets(truth, graph, self.protocol, size=size, predicates=self.vocabulary.predicates)
        skipped = bool(not self.protocol.count_answers_without_relations and len(graph) and not graph.pairs)
        row = len(self._names)
        self._names.append(example.image_id)
        self._numbers.append(number)
        self._images.extend(
            (
                len(truth),
                len(graph),
                len(truth.pairs),
                len(graph.pairs),
                match.true_positives,
                match.repeats,
                sum(s == o for s, o in graph.pairs),
                failure is not None,
                skipped,
            )
        )
        known = self.statistics.triplets if self.statistics is not None else None
        for words, rank, rank_ng in zip(truth.triplets, match.ranks, match.ranks_ng, strict=True):
            predicate = self._predicates.setdefault(words[1], len(self._predicates))
            self._triplets.extend((row, predicate, rank, rank_ng, known is not None and words not in known))
        if failure is not None:
            self._failures[failure] += 1
        self._true_boxes.add(row, truth, size, self._classes, scored=False)
        self._boxes.add(row, graph, size, self._classes, scored=self.protocol.use_scores)
        if self.protocol.use_scores:
            self._add_confidences(truth, graph, match)
        self._digests.append(example_digest(example))
        return ImageResult(example.image_id, truth, graph, failure, skipped, match)

    def _add_confidences(self, truth: SceneGraph, graph: SceneGraph, match: TripletMatch) -> None:
        if graph.object_scores is not None:
            scores, right = self._confidences["objects"]
            scores.extend(graph.object_scores.tolist())
            right.extend(right_objects(truth, graph).tobytes())
        if (products := graph.triplet_scores) is not None:
            scores, right = self._confidences["triplets"]
            scores.extend(products.tolist())
            right.extend(partner >= 0 for partner in match.partners)

    def finish(self) -> Columns:
        """All that was counted, AP included."""
        order = np.argsort(np.frombuffer(self._numbers, dtype=np.int64), kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        images = np.frombuffer(self._images, dtype=np.int32).reshape(-1, len(IMAGE_COLUMNS)).astype(np.int64)
        triplets = np.frombuffer(self._triplets, dtype=np.int32).reshape(-1, 5).astype(np.int64)
        triplets[:, 0] = place[triplets[:, 0]]
        triplets = triplets[np.argsort(triplets[:, 0], kind="stable")]
        by_name = np.empty_like(order)
        by_name[sorted(range(len(self._names)), key=self._names.__getitem__)] = np.arange(len(order))
        hidden = None if self.protocol.first_box_counts else self._first_box(order)
        return Columns(
            image_ids=tuple(self._names[k] for k in order.tolist()),
            images=images[order],
            triplets=triplets,
            predicates=tuple(self._predicates),
            failures={kind: self._failures[kind] for kind in FAILURE_KINDS if self._failures[kind]}
            | {kind: n for kind, n in self._failures.items() if kind not in FAILURE_KINDS},
            changes=self._changes,
            outside=self._outside,
            precision=average_precision(self._true_boxes, self._boxes, by_name, hidden),
            confidences={
                kind: (np.frombuffer(scores, dtype=np.float64), np.frombuffer(right, dtype=np.bool_))
                for kind, (scores, right) in self._confidences.items()
            },
            data_hash=hash_of_digests(self._digests),
            models=tuple(sorted(self._models)),
        )

    def _first_box(self, order: Ints) -> int | None:
        """Index, among the true boxes as they came, of the first of the ground truth."""
        images = self._true_boxes.arrays()[2]
        for row in order.tolist():
            if len(boxes := np.flatnonzero(images == row)):
                return int(boxes[0])
        return None

    def _read(self, prediction: Prediction | None) -> tuple[SceneGraph, str | None]:
        if prediction is None:
            return EMPTY, "missing"
        if prediction.error is not None:
            return EMPTY, "error"
        parsed = prediction.read(repair=self.repair)
        if parsed.failure is not None:
            return EMPTY, parsed.failure
        if self.protocol.one_bad_item_fails:
            for issue in parsed.issues:
                if issue.kind in _MALFORMED:
                    return EMPTY, issue.kind
        return parsed.graph, None

    def _map(self, graph: SceneGraph) -> SceneGraph:
        """The predicted graph in the vocabulary's names; counts the changes."""
        if self.vocabulary.covers(graph):
            return graph
        mapped = map_graph(graph, self.vocabulary, self.mapping, self.similarity)
        self._changes.update(mapped.changes)
        return mapped.graph

    def restrict(self, truth: SceneGraph) -> SceneGraph:
        """The true graph without names that the vocabulary lacks."""
        if self.vocabulary.covers(truth):
            return truth
        return map_graph(truth, self.vocabulary, "none").graph
