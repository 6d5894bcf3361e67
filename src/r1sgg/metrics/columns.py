"""The evaluator: takes images one by one, keeps a few numbers of each, forgets the rest.

Kept are about 200 bytes an image (its name and digest included), 20 a true triplet, 48 a box
(`r1sgg.metrics.objects`) and 9 a confidence; graphs and texts are not. What the numbers mean is in
`r1sgg.metrics.figures`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from r1sgg.data.base import Example, example_digest, hash_of_digests
from r1sgg.data.predictions import Prediction
from r1sgg.graph.mapping import Change, Level, Similarity, map_graph
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import FAILURES
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.judging.protocol import STRICT, Protocol
from r1sgg.judging.triplets import Judged, TripletMatch, blocks, judge
from r1sgg.metrics.frequency import TrainingStatistics
from r1sgg.metrics.objects import BoxColumns, average_precision
from r1sgg.metrics.tasks import Task, give

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
        example: its annotation; prediction: its line of the predictions, or None.
        truth: the true graph, restricted to the vocabulary.
        graph: the predicted graph after mapping; empty where the prediction is not usable.
        failure: the kind of failure, or None.
        skipped: whether R@K leaves the image out (never under the strict protocol).
        match: which triplets found which.
    """

    example: Example
    prediction: Prediction | None
    truth: SceneGraph
    graph: SceneGraph
    failure: str | None
    skipped: bool
    match: TripletMatch

    @property
    def image_id(self) -> str:
        """The image's name."""
        return self.example.image_id


@dataclass(frozen=True, slots=True)
class Columns:
    """Everything that was kept, in the order of the ground truth.

    Attributes:
        image_ids: N names.
        images: N rows of `IMAGE_COLUMNS`.
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
    "distinct_true",
    "counted",
    "declared_again",
    "claiming",
    "failed",
    "skipped",
)


Numbered = tuple[int, Example, Prediction | None]
"""An image's place in the ground truth, its annotation and its prediction."""

BLOCK = 256
"""Images that are judged at once."""


class _Image(NamedTuple):
    """An image that has been read: the two graphs in the vocabulary's names, and whether claims hold."""

    number: int
    example: Example
    prediction: Prediction | None
    truth: SceneGraph
    graph: SceneGraph
    failure: str | None
    claiming: bool


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

    def add(self, images: Iterable[Numbered]) -> None:
        """Count images: their places in the ground truth, annotations and predictions (None: there is none)."""
        for _ in self.results(images, keep=False):
            pass

    def results(self, images: Iterable[Numbered], *, keep: bool = True) -> Iterator[tuple[int, ImageResult]]:
        """Count images and give each as it was counted, with its place; nothing where `keep` is off.

        Images are judged in blocks, so results come a block later than the images.
        """
        rows = iter(images)
        while block := [self._read(number, example, prediction) for number, example, prediction in islice(rows, BLOCK)]:
            yield from self._count(block, keep=keep)

    def add_graphs(self, images: Iterable[tuple[int, Example, SceneGraph]]) -> None:
        """Count graphs in the vocabulary's names that no model wrote."""
        rows, claiming = iter(images), self.protocol.claiming(completion=False)
        while block := [
            _Image(number, example, None, self.restrict(example.graph), graph, None, claiming)
            for number, example, graph in islice(rows, BLOCK)
        ]:
            for _ in self._count(block, keep=False):
                pass

    def _read(self, number: int, example: Example, prediction: Prediction | None) -> _Image:
        graph, failure = self._parse(prediction)
        truth = self.restrict(example.graph)
        if failure is None and self.task != "sgdet":
            graph = give(graph, truth, self.task)
            failure = None if len(graph) else "nothing_tied"
        if failure is None:
            graph = self._map(graph)
            failure = None if len(graph) else "nothing_in_vocabulary"
        if prediction is not None and prediction.model is not None:
            self._models.add(prediction.model)
        if failure in _EMPTY and not self.protocol.empty_is_failure:
            failure, graph = None, EMPTY
        completion = prediction is not None and prediction.completion is not None
        claiming = self.protocol.claiming(completion=completion)
        return _Image(number, example, prediction, truth, graph if failure is None else EMPTY, failure, claiming)

    def _count(self, images: list[_Image], *, keep: bool) -> Iterator[tuple[int, ImageResult]]:
        for part in blocks([image.truth for image in images], [image.graph for image in images]):
            yield from self._count_block(images[part], keep=keep)

    def _count_block(self, images: list[_Image], *, keep: bool) -> Iterator[tuple[int, ImageResult]]:
        judged = judge(
            [image.truth for image in images],
            [image.graph for image in images],
            self.protocol,
            claiming=[image.claiming for image in images],
            sizes=[(image.example.width, image.example.height) for image in images],
            predicates=self.vocabulary.predicates,
        )
        without = not self.protocol.count_answers_without_relations
        skipped = [bool(without and len(image.graph) and not image.graph.pairs) for image in images]
        self._add_columns(images, judged, skipped)
        for k, image in enumerate(images):
            whole, truth = image.example.graph, image.truth
            self._outside += len(whole) + len(whole.pairs) - len(truth) - len(truth.pairs)
            if image.failure is not None:
                self._failures[image.failure] += 1
            self._digests.append(example_digest(image.example))
            if keep:
                read = (image.example, image.prediction, image.truth, image.graph, image.failure)
                yield image.number, ImageResult(*read, skipped[k], judged.image(k))

    def _add_columns(self, images: list[_Image], judged: Judged, skipped: list[bool]) -> None:
        e, row = judged.evidence, len(self._names)
        self._names += [image.example.image_id for image in images]
        self._numbers.extend([image.number for image in images])
        columns = [
            *(e.true.counts, e.predicted.counts, e.true.triplet_counts, e.predicted.triplet_counts),
            *(judged.true_positives, judged.repeats, judged.self_loops, e.distinct_counts, e.counted),
            *(judged.declared_again, e.claiming),
            *([image.failure is not None for image in images], skipped),
        ]
        self._images.frombytes(np.array(columns, dtype=np.int32).T.tobytes())
        known = self.statistics.triplets if self.statistics is not None else None
        words = [triplet for image in images for triplet in image.truth.triplets]
        names = [self._predicates.setdefault(triplet[1], len(self._predicates)) for triplet in words]
        unseen = [known is not None and triplet not in known for triplet in words]
        triplets = [row + e.true.triplet_owners, names, judged.ranks, judged.ranks_ng, unseen]
        self._triplets.frombytes(np.array(triplets, dtype=np.int32).reshape(5, -1).T.tobytes())
        for k, image in enumerate(images):
            size = (image.example.width, image.example.height)
            self._true_boxes.add(row + k, image.truth, size, self._classes, scored=False)
            self._boxes.add(row + k, image.graph, size, self._classes, scored=self.protocol.use_scores)
        if self.protocol.use_scores:
            self._add_confidences(images, judged)

    def _add_confidences(self, images: list[_Image], judged: Judged) -> None:
        """What has scores, and whether it is right: an object that claims, a triplet with a true one of its own."""
        e = judged.evidence
        claims = np.zeros(len(e.predicted.labels), dtype=np.bool_)
        claims[e.claims.claimant[e.claims.claimant >= 0]] = True
        for name, right, owners in (
            ("objects", claims, e.predicted.owners),
            ("triplets", e.partners >= 0, e.predicted.triplet_owners),
        ):
            values, flags = self._confidences[name]
            graphs = [image.graph for image in images]
            found = [g.object_scores if name == "objects" else g.triplet_scores for g in graphs]
            given = np.array([scores is not None for scores in found], dtype=np.bool_)
            if given.any():
                values.frombytes(np.concatenate([s for s in found if s is not None]).astype(np.float64).tobytes())
                flags.extend(right[given[owners]].tobytes())

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

    def _parse(self, prediction: Prediction | None) -> tuple[SceneGraph, str | None]:
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
