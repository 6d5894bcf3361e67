"""Predictions as JSON Lines: a model's completion, or a detector's rows. The format is in `r1sgg.data.base`.

A line may have both: the text, and the rows that were read from it (or from several samples) with their scores. Rows
are a model's output like the text, so both are read by the tolerant parser: what is wrong becomes an issue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from r1sgg.data.jsonl import add_image_id, frame_of, image_id_of, read_jsonl
from r1sgg.errors import InputError, short
from r1sgg.graph.records import check_keys
from r1sgg.graph.scene import EMPTY, Boxes, score_column
from r1sgg.graph.text import Frame, Parsed, parse, parse_document

PREDICTION_KEYS = frozenset(
    (
        *("image_id", "frame", "completion", "completions", "objects", "relationships", "error", "model", "meta"),
        *("logprobs", "finish_reason", "seconds", "tokens", "passes", "scores"),
    )
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's output for one image: a completion to parse, rows with boxes and relationships, or both."""

    image_id: str
    frame: Frame
    completion: str | None = None
    document: Mapping[str, Any] | None = None
    error: str | None = None
    model: str | None = None
    whole: bool = False
    """Whether the score of a relationship is that of its triplet (`"scores": "triplet"`); else it is multiplied by those
    of its two objects when it is read, as detectors' are."""

    def read(self, *, repair: bool = False) -> Parsed:
        """Return the graph and its issues.

        Rows keep their scores if all objects (or all relationships) have one. If the line has a completion beside its
        rows, failure and issues are those of the completion.
        """
        if self.document is None:
            return parse(self.completion or "", self.frame, repair=repair)
        rows = parse_document(dict(self.document), self.frame)
        graph = replace(
            rows.graph,
            object_scores=_scores(self.document["objects"], rows.object_rows),
            relationship_scores=_scores(self.document.get("relationships"), rows.relationship_rows),
        )
        if not self.whole and graph.pairs and graph.relationship_scores is not None and graph.object_scores is not None:
            ends = graph.object_scores[np.array(graph.pairs)].prod(1)
            graph = replace(graph, relationship_scores=graph.relationship_scores * ends)
        issues = rows.issues
        if self.completion is not None:
            text = parse(self.completion, self.frame, repair=repair)
            graph, issues = (EMPTY if text.failure else graph), text.issues
        return Parsed(graph, issues, rows.object_rows, rows.relationship_rows)


def _scores(rows: Any, kept: Sequence[int]) -> Boxes | None:
    """The scores of the rows that were kept, or None where one has none."""
    given = [rows[k].get("score") for k in kept]
    return score_column([v if type(v) in (int, float) and math.isfinite(v) else None for v in given])


def _check_scores(rows: Sequence[Any], where: str) -> None:
    """See that scores are probabilities: thresholds and calibration read them as such."""
    for k, row in enumerate(rows):
        score = row.get("score") if isinstance(row, dict) else None
        if score is not None and (type(score) not in (int, float) or not 0 <= score <= 1):
            hint = "divide percentages by 100, and apply the sigmoid to logits"
            raise InputError(f"{where}[{k}].score", expected="a number from 0 to 1", found=short(score), hint=hint)


def read_predictions(path: Path | str) -> Iterator[Prediction]:
    """Yield the predictions of a file in its order.

    Raises:
        InputError: an unknown or missing key, a frame that is not two positive numbers, or a repeated image_id.
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
    frame = frame_of(row.get("frame"), f"{where}: frame")
    completion, objects, relationships = (row.get(key) for key in ("completion", "objects", "relationships"))
    for key, rows in (("objects", objects), ("relationships", relationships)):
        if rows is not None and not isinstance(rows, list):
            raise InputError(f"{where}: {key}", expected="a list", found=short(rows))
        _check_scores(rows or (), f"{where}: {key}")
    scores = row.get("scores")
    if scores not in (None, "triplet", "relationship"):
        expected = '"triplet" or "relationship": what the score of a relationship is about'
        raise InputError(f"{where}: scores", expected=expected, found=short(scores))
    if objects is not None:
        document = {"objects": objects, "relationships": relationships or []}
        return Prediction(image_id, frame, completion, document, model=model, whole=scores == "triplet")
    if not isinstance(completion, str):
        raise InputError(f"{where}: completion", expected='a string (or "objects")', found=short(completion))
    return Prediction(image_id, frame, completion, model=model)
