"""Predictions as JSON Lines: what a model wrote about an image, or what a detector found. Format: `r1sgg.data.base`.

A line may hold both: the text, and the rows that were read from it (or from several samples) with their scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r1sgg.data.jsonl import check_keys, frame_of, image_id_of, read_jsonl, short
from r1sgg.errors import InputError
from r1sgg.graph.scene import EMPTY
from r1sgg.graph.text import Frame, Issue, Parsed, parse, read_document

PREDICTION_KEYS = frozenset(
    [
        "image_id",
        "completion",
        "completions",
        "frame",
        "model",
        "logprobs",
        "finish_reason",
        "seconds",
        "tokens",
        "passes",
        "error",
        "objects",
        "relationships",
        "meta",
    ]
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said about an image: a text to parse, rows with boxes and relations, or both."""

    image_id: str
    frame: Frame
    completion: str | None = None
    document: Mapping[str, Any] | None = None
    error: str | None = None
    model: str | None = None

    def read(self, *, repair: bool = False) -> Parsed:
        """The graph and its issues.

        Rows are taken as they stand, with their scores where all objects (or all relationships) have one. Where a line
        holds a completion beside them, failure and issues are those of the completion.
        """
        if self.document is None:
            return parse(self.completion or "", self.frame, repair=repair)
        issues: list[Issue] = []
        graph, objects, relationships = read_document(dict(self.document), self.frame, issues)
        graph = replace(
            graph,
            object_scores=_scores(self.document["objects"], objects),
            relationship_scores=_scores(self.document.get("relationships"), relationships),
        )
        if self.completion is None:
            return Parsed(graph, tuple(issues), objects, relationships)
        said = parse(self.completion, self.frame, repair=repair)
        return Parsed(EMPTY if said.failure else graph, said.issues, objects, relationships)


def _scores(rows: Any, kept: Sequence[int]) -> npt.NDArray[np.float64] | None:
    """The scores of the rows that were kept, or None where one has none: a mixture can't be ranked."""
    numbers = [rows[k].get("score") for k in kept]
    if not numbers or not all(type(v) in (int, float) and math.isfinite(v) for v in numbers):
        return None
    return np.array(numbers, dtype=np.float64)


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Predictions of a file, in its order.

    Raises:
        InputError: an unknown or missing key, a frame that is not two positive numbers, an image_id twice.
    """
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        prediction = prediction_of_record(row, f"{path}:{number}")
        if prediction.image_id in seen:
            raise InputError(
                f"{path}:{number}", expected="one line an image", found=f"image_id {prediction.image_id!r} again"
            )
        seen.add(prediction.image_id)
        yield prediction


def prediction_of_record(row: Mapping[str, Any], where: str) -> Prediction:
    """Check one prediction line.

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
    if objects is not None:
        document = {"objects": objects, "relationships": relationships or []}
        return Prediction(image_id, frame, completion, document, model=model)
    if not isinstance(completion, str):
        raise InputError(f"{where}: completion", expected='a string (or "objects")', found=short(completion))
    return Prediction(image_id, frame, completion, model=model)
