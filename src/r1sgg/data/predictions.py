"""Predictions as JSON Lines: a model's completion, or a detector's rows. The format is in `r1sgg.data.base`.

A line may have both: the text, and the rows that were read from it (or from several samples) with their scores. Rows
are a model's output like the text, so both are read by the tolerant parser: what is wrong becomes an issue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r1sgg.data.jsonl import add_image_id, image_id_of, read_jsonl
from r1sgg.errors import InputError, short
from r1sgg.graph.dialects.registry import AUTO, OURS, Choice, check_dialect, choose_dialect
from r1sgg.graph.frames import AnyFrame, frame_of_value
from r1sgg.graph.ledger import Ledger
from r1sgg.graph.records import check_keys
from r1sgg.graph.scene import EMPTY, Boxes, score_column
from r1sgg.graph.text import Frame, Parsed, parse, parse_rows

PREDICTION_KEYS = frozenset(
    (
        *("image_id", "frame", "completion", "completions", "objects", "relationships", "error", "model", "meta"),
        *("logprobs", "finish_reason", "seconds", "tokens", "passes", "replies", "left_out", "written_in"),
    )
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's output for one image: a completion to parse, rows with boxes and relationships, or both.

    Attributes:
        frame: what the boxes are relative to; None for pixels of the image, whose size `read` is then told.
        dialect: how the completion is written.
        left_out: how many objects and relationships of the model's reply are not in the completion.
    """

    image_id: str
    frame: AnyFrame | None
    completion: str | None = None
    document: Mapping[str, Any] | None = None
    error: str | None = None
    model: str | None = None
    dialect: str = OURS
    left_out: Mapping[str, int] = field(default_factory=dict)

    def read(self, *, repair: bool = False, image: Frame | None = None) -> Parsed:
        """Return the graph and its issues.

        Rows keep their scores if all objects (or all relationships) have one. If the line has a completion beside its
        rows, failure and issues are those of the completion.

        Args:
            repair: see `parse`.
            image: width and height of the image, for frames that depend on it.

        Raises:
            InputError: the frame is that of the image, and `image` is None.
        """
        frame = image if self.frame is None else self.frame
        if frame is None:
            where = f"image_id {self.image_id!r}: frame"
            raise InputError(where, expected="a frame, or the size of the image", found="neither")
        reading: dict[str, Any] = {"repair": repair, "dialect": self.dialect, "image": image}
        if self.document is None:
            return parse(self.completion or "", frame, **reading)
        rows = parse_rows(dict(self.document), frame)
        graph = replace(
            rows.graph,
            object_scores=_scores(self.document["objects"], rows.object_rows),
            relationship_scores=_scores(self.document.get("relationships"), rows.relationship_rows),
        )
        issues = rows.issues
        if self.completion is not None:
            text = parse(self.completion, frame, **reading)
            issues = text.issues
            if text.failure:
                return Parsed(EMPTY, issues, rows.object_rows, rows.relationship_rows)
        return Parsed(graph, issues, rows.object_rows, rows.relationship_rows, rows.columns, rows.inverted)


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


class Predictions(Iterable[Prediction]):
    """Predictions in the order of their file; they can be read several times.

    Attributes:
        where: the file, for messages.
        choice: which dialect their completions are read in, and why.
    """

    def __init__(self, records: Callable[[], Iterable[Prediction]], where: str, dialect: str = AUTO) -> None:
        """Decide the dialect; for "auto" all completions are read once.

        Args:
            records: yields the predictions anew at each call.
            where: the file, for messages.
            dialect: "auto", or the name of a dialect.

        Raises:
            ConfigError: there is no such dialect.
            InputError: as `records` raises.
        """
        self.where, self._records = where, records
        self.choice = Choice(dialect, dialect)
        check_dialect(dialect)
        if dialect == AUTO:
            self.choice = choose_dialect(p.completion for p in records() if p.completion)

    def __iter__(self) -> Iterator[Prediction]:
        if self.choice.dialect == OURS:
            yield from self._records()
        else:
            for prediction in self._records():
                yield replace(prediction, dialect=self.choice.dialect)


def read_predictions(path: Path | str, dialect: str = AUTO) -> Predictions:
    """Return the predictions of a file in its order.

    Args:
        path: JSON Lines.
        dialect: how completions are written: a name of `r1sgg.graph.dialects.registry.DIALECTS`, or "auto", which
            decides from all completions of the file.

    Raises:
        InputError: an unknown or missing key, a frame that is not two positive numbers, or a repeated image_id.
        ConfigError: there is no such dialect.
    """
    path = Path(path)

    def records() -> Iterator[Prediction]:
        seen: set[str] = set()
        for number, row in read_jsonl(path):
            prediction = prediction_of_record(row, f"{path}:{number}")
            add_image_id(prediction.image_id, seen, f"{path}:{number}")
            yield prediction

    return Predictions(records, str(path), dialect)


def ledger_of(predictions: Predictions) -> Ledger:
    """Read all predictions and return what the reading dropped; lines with an error do not count."""
    ledger = Ledger(dialect=predictions.choice)
    for prediction in predictions:
        if prediction.error is None and prediction.frame is not None:
            ledger.add(prediction.read(), prediction.image_id, prediction.left_out)
    return ledger


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
    frame = frame_of_value(row.get("frame"), f"{where}: frame")
    completion, objects, relationships = (row.get(key) for key in ("completion", "objects", "relationships"))
    for key, rows in (("objects", objects), ("relationships", relationships)):
        if rows is not None and not isinstance(rows, list):
            raise InputError(f"{where}: {key}", expected="a list", found=short(rows))
        _check_scores(rows or (), f"{where}: {key}")
    left_out = row.get("left_out") or {}
    if not isinstance(left_out, dict) or not all(type(n) is int for n in left_out.values()):
        raise InputError(f"{where}: left_out", expected='{"objects": number, ...}', found=short(left_out))
    if objects is not None:
        document = {"objects": objects, "relationships": relationships or []}
        return Prediction(image_id, frame, completion, document, model=model, left_out=left_out)
    if not isinstance(completion, str):
        raise InputError(f"{where}: completion", expected='a string (or "objects")', found=short(completion))
    return Prediction(image_id, frame, completion, model=model, left_out=left_out)
