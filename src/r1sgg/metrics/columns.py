"""The evaluator: judges images as a stream and keeps a few numbers of each.

It keeps about 200 bytes per image (with its id and digest), 20 per true triplet, 48 per box (`r1sgg.metrics.objects`)
and 9 per confidence, but no graphs and no texts. The figures are computed from these numbers in
`r1sgg.metrics.figures`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from r1sgg.data.base import Example, example_digest, hash_of_digests
from r1sgg.data.predictions import Prediction
from r1sgg.graph.mapping import Change, Level, Similarity
from r1sgg.graph.open_vocabulary import novelty
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import OPEN, VG150, Vocabulary
from r1sgg.judging.protocol import STRICT, Protocol
from r1sgg.judging.triplets import Judged, TripletMatch, blocks, judge
from r1sgg.metrics.frequency import TrainingStatistics
from r1sgg.metrics.objects import BoxColumns, average_precision
from r1sgg.metrics.ratios import COUNTS, image_columns
from r1sgg.metrics.reading import FAILURE_KINDS, ImageReader, ReadImage
from r1sgg.metrics.tasks import Task

Ints = npt.NDArray[np.int64]

UNKNOWN = 4
"""Bit beside those of `r1sgg.graph.open_vocabulary`: VG150 lacks a name of it, so it is neither base nor novel."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The verdicts on one image.

    Attributes:
        example: its annotation.
        prediction: its prediction, or None.
        truth: the true graph, restricted to the vocabulary.
        graph: the predicted graph after mapping; empty if the prediction is not usable.
        failure: the kind of failure, or None.
        skipped: whether R@K leaves the image out (never under the strict protocol).
        match: the verdicts on its triplets.
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
        """The id of the image."""
        return self.example.image_id


@dataclass(frozen=True, slots=True)
class Columns:
    """The numbers kept by an evaluator, in the order of the ground truth.

    Attributes:
        image_ids: ids of N images.
        count_names: names of the columns of `images` (see `r1sgg.metrics.ratios.image_columns`).
        images: N rows, one per image.
        triplets: T rows, one per true triplet: image, predicate, rank, rank without constraint, unseen in training,
            and what is novel in it (bits of `r1sgg.graph.open_vocabulary` and `UNKNOWN`).
        predicates: names of the predicates in `triplets`.
        failures: number of images by kind of failure.
        changes: number of images by change of a name.
        outside: number of true objects and relations whose names are not in the vocabulary.
        precision: AP, AP50 and AP75.
        confidences: for "objects" and "triplets" the scores, and whether each item is right.
        data_hash: see `r1sgg.data.base.data_hash`.
        models: names of the models in the predictions.
    """

    image_ids: tuple[str, ...]
    count_names: tuple[str, ...]
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

    def counts(self) -> dict[str, Ints]:
        """Return the columns of `images` by name, (N,) each."""
        return dict(zip(self.count_names, self.images.T, strict=True))


Numbered = tuple[int, Example, Prediction | None]
"""Position of an image in the ground truth, its annotation and its prediction."""

BLOCK = 256
"""Images that are judged together."""


class Evaluator(ImageReader):
    """Judges predictions against ground truth under one protocol, and keeps the counts."""

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
        zero_shot: frozenset[tuple[str, str, str]] | None = None,
        groups: str | None = None,
        threshold: float | None = None,
        rewrite: Callable[[SceneGraph], SceneGraph] | None = None,
    ) -> None:
        """Create an evaluator without images.

        Args:
            vocabulary: names outside it are mapped or dropped; the open vocabulary keeps every name.
            protocol: the conventions.
            mapping: how open names are mapped (see `r1sgg.graph.mapping`).
            similarity: label similarity for `mapping="full"`.
            repair: keep the complete items of broken or truncated completions.
            task: what the model was given (see `r1sgg.metrics.tasks`).
            statistics: of the training set, for zero-shot recall.
            zero_shot: a published list of unseen triplets, which then counts instead.
            groups: name of the grouping of predicates (see `r1sgg.metrics.groups`).
            threshold: leave out objects and relationships with lower scores.
            rewrite: what is judged instead of each predicted graph, made of it; a baseline on its objects.
        """
        super().__init__(
            vocabulary,
            protocol,
            mapping=mapping,
            similarity=similarity,
            repair=repair,
            task=task,
            threshold=threshold,
            rewrite=rewrite,
        )
        self.statistics, self.zero_shot, self.groups = statistics, zero_shot, groups
        self._count_names = image_columns()
        self._names: list[str] = []
        self._numbers = array("q")
        self._images = array("i")
        self._triplets = array("i")
        self._predicates: dict[str, int] = dict(vocabulary.predicate_index)
        self._classes: dict[str, int] = {}
        self._true_boxes, self._boxes = BoxColumns(), BoxColumns()
        self._confidences = {"objects": (array("d"), bytearray()), "triplets": (array("d"), bytearray())}
        self._failures: Counter[str] = Counter()
        self._outside = 0
        self._digests: list[bytes] = []

    def add(self, images: Iterable[Numbered]) -> None:
        """Judge images: positions in the ground truth, annotations and predictions (None if missing)."""
        for _ in self.results(images, keep=False):
            pass

    def results(self, images: Iterable[Numbered], *, keep: bool = True) -> Iterator[tuple[int, ImageResult]]:
        """Judge images and, if `keep`, yield each position with its result.

        Images are judged in blocks, so results lag up to a block behind the images.
        """
        rows = iter(images)
        while block := [
            self.read_image(number, example, prediction) for number, example, prediction in islice(rows, BLOCK)
        ]:
            yield from self._count(block, keep=keep)

    def add_graphs(self, images: Iterable[tuple[int, Example, SceneGraph]]) -> None:
        """Judge graphs that are not completions, in the names of the vocabulary."""
        rows, claiming = iter(images), self.protocol.claiming(completion=False)
        while block := [
            ReadImage(number, example, None, self.restrict(example.graph), graph, None, claiming)
            for number, example, graph in islice(rows, BLOCK)
        ]:
            for _ in self._count(block, keep=False):
                pass

    def _count(self, images: list[ReadImage], *, keep: bool) -> Iterator[tuple[int, ImageResult]]:
        for part in blocks([image.truth for image in images], [image.graph for image in images]):
            yield from self._count_block(images[part], keep=keep)

    def _count_block(self, images: list[ReadImage], *, keep: bool) -> Iterator[tuple[int, ImageResult]]:
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

    def _add_columns(self, images: list[ReadImage], judged: Judged, skipped: list[bool]) -> None:
        e, row = judged.evidence, len(self._names)
        self._names += [image.example.image_id for image in images]
        self._numbers.extend([image.number for image in images])
        counts = [COUNTS[name](judged) for name in self._count_names[:-2]]
        columns = [*counts, [image.failure is not None for image in images], skipped]
        self._images.frombytes(np.array(columns, dtype=np.int32).T.tobytes())
        known = self.statistics.triplets if self.statistics is not None else None
        words = [triplet for image in images for triplet in image.truth.triplets]
        names = [self._predicates.setdefault(triplet[1], len(self._predicates)) for triplet in words]
        if self.zero_shot is not None:
            unseen = [triplet in self.zero_shot for triplet in words]
        else:
            unseen = [known is not None and triplet not in known for triplet in words]
        novel = [novelty(triplet) | _unknown(triplet) for triplet in words]
        triplets = [row + e.true.triplet_owners, names, judged.ranks, judged.ranks_ng, unseen, novel]
        self._triplets.frombytes(np.array(triplets, dtype=np.int32).reshape(6, -1).T.tobytes())
        for k, image in enumerate(images):
            size = (image.example.width, image.example.height)
            self._true_boxes.add(row + k, image.truth, size, self._classes, scored=False)
            self._boxes.add(row + k, image.graph, size, self._classes, scored=self.protocol.use_scores)
        if self.protocol.use_scores:
            self._add_confidences(images, judged)

    def _add_confidences(self, images: list[ReadImage], judged: Judged) -> None:
        """Keep scores and whether they are right: of objects that claim, of triplets paired one to one."""
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
        """Return everything that was kept, with AP."""
        order = np.argsort(np.frombuffer(self._numbers, dtype=np.int64), kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        images = np.frombuffer(self._images, dtype=np.int32).reshape(-1, len(self._count_names)).astype(np.int64)
        triplets = np.frombuffer(self._triplets, dtype=np.int32).reshape(-1, 6).astype(np.int64)
        triplets[:, 0] = place[triplets[:, 0]]
        triplets = triplets[np.argsort(triplets[:, 0], kind="stable")]
        by_name = np.empty_like(order)
        by_name[sorted(range(len(self._names)), key=self._names.__getitem__)] = np.arange(len(order))
        hidden = None if self.protocol.first_box_counts else self._first_box(order)
        return Columns(
            image_ids=tuple(self._names[k] for k in order.tolist()),
            count_names=self._count_names,
            images=images[order],
            triplets=triplets,
            predicates=tuple(self._predicates),
            failures={kind: self._failures[kind] for kind in FAILURE_KINDS if self._failures[kind]}
            | {kind: n for kind, n in self._failures.items() if kind not in FAILURE_KINDS},
            changes=self.changes,
            outside=self._outside,
            precision=average_precision(self._true_boxes, self._boxes, by_name, hidden),
            confidences={
                kind: (np.frombuffer(scores, dtype=np.float64), np.frombuffer(right, dtype=np.bool_))
                for kind, (scores, right) in self._confidences.items()
            },
            data_hash=hash_of_digests(self._digests),
            models=tuple(sorted(self.models)),
        )

    def _first_box(self, order: Ints) -> int | None:
        """Return the index, in the order of judging, of the first true box of the ground truth."""
        images = self._true_boxes.arrays()[2]
        for row in order.tolist():
            if len(boxes := np.flatnonzero(images == row)):
                return int(boxes[0])
        return None


def _unknown(triplet: tuple[str, str, str]) -> int:
    subject, predicate, target = triplet
    classes, predicates = VG150.object_index, VG150.predicate_index
    return 0 if subject in classes and target in classes and predicate in predicates else UNKNOWN
