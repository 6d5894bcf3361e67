"""Predictions as JSON Lines: what a model wrote about an image, or what a detector found. Format: `r1sgg.data.base`."""

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
from r1sgg.graph.scene import SceneGraph, normalize_name
from r1sgg.graph.text import Frame, Issue, Parsed, graph_of_document, parse

PREDICTION_KEYS = frozenset(
    [
        "image_id",
        "completion",
        "frame",
        "model",
        "logprobs",
        "finish_reason",
        "seconds",
        "tokens",
        "error",
        "objects",
        "relationships",
        "meta",
    ]
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said about an image: a text to parse, or the boxes and relations of a detector."""

    image_id: str
    frame: Frame
    completion: str | None = None
    document: Mapping[str, Any] | None = None
    error: str | None = None
    model: str | None = None

    def read(self, *, repair: bool = False) -> Parsed:
        """The graph and its issues; a detector's scores are kept where all its objects (or relationships) have one."""
        if self.document is not None:
            issues: list[Issue] = []
            graph = graph_of_document(dict(self.document), self.frame, issues)
            return Parsed(_with_scores(graph, self.document, self.frame), tuple(issues))
        return parse(self.completion or "", self.frame, repair=repair)


def _with_scores(graph: SceneGraph, document: Mapping[str, Any], frame: Frame) -> SceneGraph:
    """Add the scores of the rows that `graph_of_document` kept. It keeps their order, so they are found in one pass."""
    objects: list[Any] = []
    said: dict[str, Any] = {}
    boxes = graph.boxes.tolist()
    for row in document["objects"]:
        name, box = (row.get("id"), row.get("bbox")) if isinstance(row, dict) else (None, None)
        if len(objects) == len(graph) or not isinstance(name, str) or not _is_box(box, frame, boxes[len(objects)]):
            continue
        name = name.strip()
        if name in said:
            if said[name] == box:
                continue  # a duplicate that was dropped
        elif name != graph.ids[len(objects)]:
            continue
        said.setdefault(name, box)
        objects.append(row.get("score"))
    index = {name: k for k, name in enumerate(graph.ids)}
    rows = document.get("relationships")
    relationships = [
        row.get("score")
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
        and all(isinstance(row.get(key), str) for key in ("subject", "predicate", "object"))
        and normalize_name(row["predicate"])
        and row["subject"].strip() in index
        and row["object"].strip() in index
    ]
    return replace(
        graph,
        object_scores=_score_array(objects, len(graph)),
        relationship_scores=_score_array(relationships, len(graph.pairs)),
    )


def _is_box(box: Any, frame: Frame, expected: Sequence[float]) -> bool:
    """Whether a written box is the one that was read as `expected`."""
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(type(v) in (int, float) for v in box)
        and [v / frame[k % 2] for k, v in enumerate(box)] == list(expected)
    )


def _score_array(values: Sequence[Any], count: int) -> npt.NDArray[np.float64] | None:
    """Scores as an array, or None where a row has none: a mixture can't be ranked."""
    numbers = [float(v) for v in values if type(v) in (int, float) and math.isfinite(v)]
    return np.array(numbers) if numbers and len(numbers) == count == len(values) else None


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
