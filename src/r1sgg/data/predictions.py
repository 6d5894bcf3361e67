"""Predictions as JSON Lines: a model's completion, or a detector's rows. The format is in `r1sgg.data.base`.

A line may have both: the text, and the rows that were read from it (or from several samples) with their scores. Text is
read by the tolerant parser; rows are checked first (`r1sgg.data.detections`), because a program wrote them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from r1sgg.data.detections import BY_INDEX, Detections, detections_of
from r1sgg.data.jsonl import add_image_id, frame_of, image_id_of, read_jsonl
from r1sgg.errors import InputError, short
from r1sgg.graph.given import TASKS, Task
from r1sgg.graph.records import check_keys
from r1sgg.graph.scene import EMPTY, Boxes, SceneGraph, score_column
from r1sgg.graph.text import Frame, Parsed, parse, parse_document

PREDICTION_KEYS = frozenset(
    (
        *("image_id", "frame", "completion", "completions", "objects", "relationships", "error", "model", "meta"),
        *("logprobs", "finish_reason", "seconds", "tokens", "passes", "scores", "task", BY_INDEX),
    )
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's output for one image: a completion to parse, rows with boxes and relationships, or both.

    `frame` is None for rows whose boxes are pixels of an image that the line does not describe (see `of_size`).
    """

    image_id: str
    frame: Frame | None
    completion: str | None = None
    rows: Detections | None = None
    error: str | None = None
    model: str | None = None
    whole: bool = False
    """Whether the score of a relationship is that of its triplet (`"scores": "triplet"`); else it is multiplied by
    those of its two objects when it is read, as detectors' are."""

    task: Task | None = None
    """What the prompt gave, where the line says so."""

    def of_size(self, width: float, height: float) -> Prediction:
        """Return the prediction with a frame: its own, or the size of its image."""
        return self if self.frame is not None else replace(self, frame=(width, height))

    def read(self, *, repair: bool = False, given: SceneGraph | None = None) -> Parsed:
        """Return the graph and its issues.

        If the line has a completion beside its rows, failure and issues are those of the completion.

        Args:
            repair: keep the complete items of broken or truncated text.
            given: objects that the prompt gave, for a completion with relationships alone.

        Raises:
            InputError: there is no frame.
        """
        if self.frame is None:
            expected, hint = "[width, height], the size that boxes are relative to", "add it, or give the ground truth"
            raise InputError(f"image {self.image_id!r}: frame", expected=expected, found="nothing", hint=hint)
        if self.rows is None:
            return parse(self.completion or "", self.frame, repair=repair, given=given)
        parsed = _parse_rows(self.rows, self.frame, whole=self.whole)
        if self.completion is None:
            return parsed
        text = parse(self.completion, self.frame, repair=repair, given=given)
        graph = EMPTY if text.failure else parsed.graph
        return Parsed(graph, text.issues, parsed.object_rows, parsed.relationship_rows)


def _parse_rows(rows: Detections, frame: Frame, *, whole: bool) -> Parsed:
    """Return the graph of rows, with the labels and scores of those that were kept."""
    parsed = parse_document(rows.document, frame)
    kept, related = parsed.object_rows, parsed.relationship_rows
    graph = replace(
        parsed.graph,
        labels=tuple(rows.labels[k] or label for k, label in zip(kept, parsed.graph.labels, strict=True)),
        object_scores=_taken(rows.object_scores, kept),
        relationship_scores=_taken(rows.relationship_scores, related),
    )
    if not whole and graph.pairs and graph.relationship_scores is not None and graph.object_scores is not None:
        ends = graph.object_scores[np.array(graph.pairs)].prod(1)
        graph = replace(graph, relationship_scores=graph.relationship_scores * ends)
    return parsed.with_graph(graph)


def _taken(scores: Sequence[float] | None, kept: Sequence[int]) -> Boxes | None:
    return None if scores is None else score_column([scores[k] for k in kept])


def read_predictions(path: Path | str) -> Iterator[Prediction]:
    """Yield the predictions of a file in its order.

    Raises:
        InputError: an unknown or missing key, a frame that is not two positive numbers, wrong rows (see
            `r1sgg.data.detections`), or a repeated image_id.
    """
    path = Path(path)
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        prediction = prediction_of_record(row, f"{path}:{number}")
        add_image_id(prediction.image_id, seen, f"{path}:{number}")
        yield prediction


def prediction_of_record(row: Mapping[str, Any], where: str) -> Prediction:
    """Check one line of predictions and return it.

    Raises:
        InputError: see `read_predictions`.
    """
    check_keys(row, PREDICTION_KEYS, ("image_id",), where)
    image_id = image_id_of(row, where)
    error = row.get("error")
    if error is not None:
        return Prediction(image_id, (1.0, 1.0), "", error=str(error))
    model = row.get("model")
    if model is not None and not isinstance(model, str):
        raise InputError(f"{where}: model", expected="a name", found=short(model))
    if (task := row.get("task")) not in (None, *TASKS):
        raise InputError(f"{where}: task", expected=f"one of {', '.join(TASKS)}", found=short(task))
    completion = row.get("completion")
    if row.get("objects") is not None:
        frame = (
            None if row.get("frame") is None and completion is None else frame_of(row.get("frame"), f"{where}: frame")
        )
        if (scores := row.get("scores")) not in (None, "triplet", "relationship"):
            expected = '"triplet" or "relationship": what the score of a relationship is about'
            raise InputError(f"{where}: scores", expected=expected, found=short(scores))
        rows = detections_of(row, where)
        return Prediction(image_id, frame, completion, rows, model=model, whole=scores == "triplet", task=task)
    frame = frame_of(row.get("frame"), f"{where}: frame")
    if not isinstance(completion, str):
        raise InputError(f"{where}: completion", expected='a string (or "objects")', found=short(completion))
    return Prediction(image_id, frame, completion, model=model, task=task)
