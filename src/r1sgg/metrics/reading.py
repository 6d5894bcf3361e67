"""Both graphs of an image as they are judged: what was read, above the threshold, with what the task gives, in the
names of the vocabulary.

    completion -> parse -> threshold -> task -> vocabulary -> rewrite (a baseline)
    annotation ----------------------------> vocabulary

A prediction that ends up without an object is a failure, named after the step that emptied it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from r1sgg.data.base import Example
from r1sgg.data.predictions import Prediction
from r1sgg.errors import InputError
from r1sgg.graph.given import renumbered
from r1sgg.graph.ledger import Ledger
from r1sgg.graph.mapping import Change, Level, Similarity, map_graph
from r1sgg.graph.parsed import Parsed
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import FAILURES
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.judging.frames import FrameEvidence
from r1sgg.judging.protocol import STRICT, Protocol
from r1sgg.metrics.tasks import Ids, Task, apply_task

FAILURE_KINDS = (*FAILURES, "below_threshold", "nothing_tied", "nothing_in_vocabulary", "missing", "error")
"""Why an image has no usable prediction: the failures of `parse`, no score at the threshold, no object linked to a true
one (SGCLS, PREDCLS), no class in the vocabulary, no line in the file, a line with an error of the model."""

_MALFORMED = ("bad_object", "bad_id", "bad_box", "bad_relationship")
_EMPTY = ("empty", "below_threshold", "nothing_tied", "nothing_in_vocabulary")


class ReadImage(NamedTuple):
    """An image that has been read: both graphs in the names of the vocabulary, and whether claims apply."""

    number: int
    example: Example
    prediction: Prediction | None
    truth: SceneGraph
    graph: SceneGraph
    failure: str | None
    claiming: bool


class ImageReader:
    """Reads annotations and predictions as they are judged, and keeps what was lost on the way.

    Attributes:
        ledger, evidence: what reading dropped, and what speaks for each frame of the boxes.
        changes: number of images by change of a name.
        models: names of the models in the predictions.
    """

    def __init__(
        self,
        vocabulary: Vocabulary = OPEN,
        protocol: Protocol = STRICT,
        *,
        mapping: Level = "normal",
        similarity: Similarity | None = None,
        repair: bool = False,
        task: Task = "sgdet",
        threshold: float | None = None,
        rewrite: Callable[[SceneGraph], SceneGraph] | None = None,
    ) -> None:
        """Choose how images are read; see `r1sgg.metrics.columns.Evaluator`."""
        self.vocabulary, self.protocol, self.task = vocabulary, protocol, task
        self.mapping, self.similarity, self.repair = mapping, similarity, repair
        self.threshold, self.rewrite = threshold, rewrite
        self.ledger, self.evidence = Ledger(), FrameEvidence()
        self.changes: Counter[Change] = Counter()
        self.models: set[str] = set()
        self.ask: str | None = None  # how the predictions were asked for, once there is one

    def read(self, prediction: Prediction, example: Example) -> Parsed:
        """Return what was read in a prediction; in PREDCLS one with relationships alone refers to the given objects."""
        given = renumbered(example.graph) if self.task == "predcls" else None
        return prediction.read(repair=self.repair, image=(example.width, example.height), given=given)

    def restrict(self, truth: SceneGraph) -> SceneGraph:
        """Return the true graph without objects and relations whose names are not in the vocabulary."""
        if self.vocabulary.covers(truth):
            return truth
        return map_graph(truth, self.vocabulary, "none").graph

    def read_image(self, number: int, example: Example, prediction: Prediction | None) -> ReadImage:
        """Read an image.

        Args:
            number: its position in the ground truth.
            example: its annotation.
            prediction: its prediction, if there is one.

        Raises:
            InputError: the line says another task or another way of asking, or has no scores for the threshold.
        """
        self._check_task(prediction)
        self._check_ask(prediction)
        graph, failure = self._parse(prediction, example)
        truth = self.restrict(example.graph)
        if failure is None and self.threshold is not None:
            graph = _above(graph, self.threshold, example.image_id)
            failure = None if len(graph) else "below_threshold"
        if failure is None and self.task != "sgdet":
            graph = apply_task(graph, example.graph, self.task, _ids_of(prediction))
            failure = None if len(graph) else "nothing_tied"
        if failure is None:
            graph = self._map(graph)
            failure = None if len(graph) else "nothing_in_vocabulary"
        if failure is None and self.rewrite is not None:
            graph = self.rewrite(graph)
        if prediction is not None and prediction.model is not None:
            self.models.add(prediction.model)
        if failure in _EMPTY and not self.protocol.empty_is_failure:
            failure, graph = None, EMPTY
        completion = prediction is not None and prediction.completion is not None
        claiming = self.protocol.claiming(completion=completion)
        return ReadImage(number, example, prediction, truth, graph if failure is None else EMPTY, failure, claiming)

    def _check_task(self, prediction: Prediction | None) -> None:
        """See that what the prompt gave is what is scored.

        Raises:
            InputError: the line says another task.
        """
        if prediction is not None and prediction.task is not None and prediction.task != self.task:
            hint = f"evaluate it with --task {prediction.task}"
            found, expected = f"answers to {prediction.task}", f"answers to {self.task}"
            raise InputError(f"image_id {prediction.image_id!r}", expected=expected, found=found, hint=hint)

    def _check_ask(self, prediction: Prediction | None) -> None:
        """See that all predictions were asked for in the same way.

        Raises:
            InputError: an earlier one was asked for in another way.
        """
        if prediction is None or prediction.error is not None:
            return
        if self.ask is None:
            self.ask = prediction.ask
        elif prediction.ask != self.ask:
            found = f"one of --ask {prediction.ask} among those of --ask {self.ask}"
            hint = "evaluate the two runs as two files"
            where = f"image_id {prediction.image_id!r}"
            raise InputError(where, expected="predictions that were asked for in one way", found=found, hint=hint)

    def _parse(self, prediction: Prediction | None, example: Example) -> tuple[SceneGraph, str | None]:
        if prediction is None:
            return EMPTY, "missing"
        if prediction.error is not None:
            self.ledger.add_error(prediction.error, example.image_id)
            return EMPTY, "error"
        size = (example.width, example.height)
        parsed = self.read(prediction, example)
        rows_alone = prediction.completion is None
        self.ledger.add(parsed, example.image_id, prediction.left_out, prediction.unread, detections=rows_alone)
        self.ledger.add_truth(example.graph, size)
        self.evidence.add(parsed, example.graph, size)
        if parsed.failure is not None:
            return EMPTY, parsed.failure
        if self.protocol.one_bad_item_fails:
            for issue in parsed.issues:
                if issue.kind in _MALFORMED:
                    return EMPTY, issue.kind
        return parsed.graph, None

    def _map(self, graph: SceneGraph) -> SceneGraph:
        """Map the predicted graph to the names of the vocabulary, and count the changes."""
        if self.vocabulary.covers(graph):
            return graph
        mapped = map_graph(graph, self.vocabulary, self.mapping, self.similarity)
        self.changes.update(mapped.changes)
        self.ledger.add_outside((change.kind, change.name) for change in mapped.changes if change.to is None)
        return mapped.graph


def _ids_of(prediction: Prediction | None) -> Ids:
    """Return whose ids the objects of a prediction have."""
    if prediction is not None and prediction.task is not None:
        return "prompt"
    numbered = prediction is not None and prediction.rows is not None and prediction.rows.numbered
    return "none" if numbered else "truth"


def _above(graph: SceneGraph, threshold: float, image_id: str) -> SceneGraph:
    """Return what is scored at the threshold or higher.

    Raises:
        InputError: the graph has no scores.
    """
    if len(graph) and graph.triplet_scores is None:
        hint = "generate with --scores, --guide or --samples, or leave --threshold away"
        raise InputError(f"image_id {image_id!r}", expected="scores to compare", found="none", hint=hint)
    return graph.above(threshold)
