"""Predictions as JSON Lines: a model's completion, or a detector's rows. The format is in `r1sgg.data.base`.

A line may have both: the text, and the rows that were read from it (or from several samples) with their scores. Text is
read by the tolerant parser; rows are checked first (`r1sgg.data.detections`), because a program wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from r1sgg.data.detections import BY_INDEX, Detections, detections_of
from r1sgg.data.jsonl import add_image_id, image_id_of, read_jsonl
from r1sgg.errors import InputError, short
from r1sgg.graph.dialects.registry import AUTO, OURS, Choice, check_dialect, choose_dialect
from r1sgg.graph.frames import AnyFrame, frame_of_value
from r1sgg.graph.given import TASKS, Task
from r1sgg.graph.ledger import Ledger, OpenedAs
from r1sgg.graph.policies import FAILURES
from r1sgg.graph.records import check_keys
from r1sgg.graph.scene import EMPTY, Boxes, SceneGraph, score_column
from r1sgg.graph.text import Frame, Parsed, parse, parse_rows

_FRAME = "[width, height], the size that boxes are relative to"

PREDICTION_KEYS = frozenset(
    (
        *("image_id", "frame", "completion", "completions", "objects", "relationships", "error", "model", "meta"),
        *(
            "logprobs",
            "finish_reason",
            "seconds",
            "tokens",
            "passes",
            "replies",
            "left_out",
            "written_in",
            "scores",
            "task",
            "ask",
            "exchanges",
            "fault",
            BY_INDEX,
        ),
    )
)


Ask = Literal["paper", "native"]
"""How a model is asked for a graph: by one prompt, or by two questions in its own format (`r1sgg.inference.native`)."""

_MEANT = {
    **dict.fromkeys(("response", "answer", "text", "output", "prediction", "content"), "completion"),
    **dict.fromkeys(("relations", "triplets", "rels"), "relationships"),
    **dict.fromkeys(("detections", "instances", "boxes"), "objects"),
    **dict.fromkeys(("box_scale", "size", "image_size"), "frame"),
    **dict.fromkeys(("id", "img_id", "image", "file_name"), "image_id"),
}
"""What other tools call the keys of a line."""

AskedFrame = AnyFrame | Callable[[Frame], AnyFrame]
"""A frame, or a function that returns it for the width and height of an image."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's output for one image: a completion to parse, rows with boxes and relationships, or both.

    Attributes:
        frame: what the boxes are relative to; None for pixels of the image. If it depends on the size of the image,
            `read` is told that.
        dialect: how the completion is written.
        left_out: how many objects and relationships of the model's reply are not in the completion.
        unread: why one of the answers that the completion was made of is missing or could not be read; "" if all were.
    """

    image_id: str
    frame: AskedFrame | None
    completion: str | None = None
    rows: Detections | None = None
    error: str | None = None
    model: str | None = None
    whole: bool = False
    """Whether the score of a relationship is that of its triplet (`"scores": "triplet"`); else it is multiplied by
    those of its two objects when it is read, as detectors' are."""

    task: Task | None = None
    """What the prompt gave, where the line says so."""

    ask: Ask = "paper"
    """See `Ask`."""

    dialect: str = OURS
    left_out: Mapping[str, int] = field(default_factory=dict)
    unread: str = ""

    def read(self, *, repair: bool = False, image: Frame | None = None, given: SceneGraph | None = None) -> Parsed:
        """Return the graph and its issues.

        If the line has a completion beside its rows, failure and issues are those of the completion.

        Args:
            repair: see `parse`.
            image: width and height of the image, for frames that depend on it.
            given: objects that the prompt gave, for a completion with relationships alone.

        Raises:
            InputError: the frame depends on the size of the image, and `image` is None.
        """
        frame: AnyFrame | None = image
        if self.frame is not None and (image is not None or not callable(self.frame)):
            frame = self.frame(cast("Frame", image)) if callable(self.frame) else self.frame
        if frame is None:
            where = f"image_id {self.image_id!r}: frame"
            raise InputError(where, expected=_FRAME, found="nothing", hint="add it, or give the ground truth")
        reading: dict[str, Any] = {"repair": repair, "dialect": self.dialect, "image": image}
        if self.rows is None:
            return parse(self.completion or "", frame, given=given, **reading)
        parsed = _parse_rows(self.rows, frame, whole=self.whole)
        if self.completion is None:
            return parsed
        text = parse(self.completion, frame, given=given, **reading)
        rows = parsed.object_rows, parsed.relationship_rows
        if text.failure:
            return Parsed(EMPTY, text.issues, *rows, listed=text.listed)
        return Parsed(parsed.graph, text.issues, *rows, parsed.columns, parsed.inverted, text.listed)


def _parse_rows(rows: Detections, frame: AnyFrame, *, whole: bool) -> Parsed:
    """Return the graph of rows, with the labels and scores of those that were kept."""
    parsed = parse_rows(rows.document, frame)
    kept, related = parsed.object_rows, parsed.relationship_rows
    labels = tuple(rows.labels[k] or label for k, label in zip(kept, parsed.graph.labels, strict=True))
    graph = replace(
        parsed.graph,
        labels=labels,
        object_scores=_taken(rows.object_scores, kept),
        relationship_scores=_taken(rows.relationship_scores, related),
    )
    if not whole and graph.pairs and graph.relationship_scores is not None and graph.object_scores is not None:
        ends = graph.object_scores[np.array(graph.pairs)].prod(1)
        graph = replace(graph, relationship_scores=graph.relationship_scores * ends)
    columns = parsed.columns._replace(labels=labels)
    return Parsed(graph, parsed.issues, kept, related, columns, parsed.inverted, parsed.listed)


def _taken(scores: Sequence[float] | None, kept: Sequence[int]) -> Boxes | None:
    return None if scores is None else score_column([scores[k] for k in kept])


class Predictions(Iterable[Prediction]):
    """Predictions in the order of their file; they can be read several times.

    Attributes:
        where: the file, for messages.
        choice: which dialect their completions are read in, and why.
        layout: which tool's files they are from (`r1sgg.data.importers.registry`); "jsonl" is ours.
        notes: sentences about the whole file, such as what was assumed; complete once it was read.
        opened_as: how another tool's file was named, for messages about its options; None for ours.
    """

    def __init__(
        self,
        records: Callable[[], Iterable[Prediction]],
        where: str,
        dialect: str = AUTO,
        *,
        layout: str = "jsonl",
        notes: Sequence[str] = (),
        opened_as: OpenedAs | None = None,
    ) -> None:
        """Decide the dialect; for "auto" all completions are read once.

        Args:
            records: yields the predictions anew at each call.
            where: the file, for messages.
            dialect: "auto", or the name of a dialect.
            layout: see the class.
            notes: see the class.
            opened_as: see the class.

        Raises:
            ConfigError: there is no such dialect.
            InputError: as `records` raises.
        """
        self.where, self._records = where, records
        self.layout, self.notes, self.opened_as = layout, notes, opened_as
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
        InputError: an unknown or missing key, a wrong frame, wrong rows (see `r1sgg.data.detections`), or a repeated
            image_id.
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
        add_to(ledger, prediction)
    return ledger


def add_to(ledger: Ledger, prediction: Prediction) -> None:
    """Read a prediction and count what the reading dropped; one with an error does not count."""
    if prediction.error is None and prediction.frame is not None:
        rows_alone = prediction.completion is None
        ledger.add(
            prediction.read(), prediction.image_id, prediction.left_out, prediction.unread, detections=rows_alone
        )


_NOT_PREDICTIONS: Mapping[str, frozenset[str]] = {
    "a record of `r1sgg predict`": frozenset(("width", "height", "objects", "relationships", "completion")),
    "ground truth (it has width, height and no completion)": frozenset(("width", "height", "objects", "relationships")),
    "ground truth (psg.json)": frozenset(("data", "thing_classes", "predicate_classes")),
}
"""What is taken for predictions by mistake, and its keys."""


def refuse_truth(keys: Collection[str], where: str) -> None:
    """Refuse a record whose keys are those of ground truth, or of `r1sgg predict`.

    Raises:
        InputError: it says what a predictions line looks like.
    """
    for found, its in _NOT_PREDICTIONS.items():
        if its.issubset(keys) and "frame" not in keys:
            expected = 'predictions, lines like {"image_id": "2", "completion": "...", "frame": [1000, 1000]}'
            hint = "give the file that `r1sgg generate` wrote, or another tool's (docs/others.md)"
            raise InputError(where, expected=expected, found=found, hint=hint)


def prediction_of_record(row: Mapping[str, Any], where: str) -> Prediction:
    """Check one line of predictions and return it.

    Raises:
        InputError: see `read_predictions`.
    """
    if not row.keys() <= PREDICTION_KEYS:
        refuse_truth(row, where)
    check_keys(row, PREDICTION_KEYS, ("image_id",), where, _MEANT)
    image_id = image_id_of(row, where)
    error = row.get("error")
    if error is not None:
        return Prediction(image_id, (1.0, 1.0), "", error=str(error))
    model = row.get("model")
    if model is not None and not isinstance(model, str):
        raise InputError(f"{where}: model", expected="a name", found=short(model))
    if (task := row.get("task")) not in (None, *TASKS):
        raise InputError(f"{where}: task", expected=f"one of {', '.join(TASKS)}", found=short(task))
    if (ask := row.get("ask", "paper")) not in get_args(Ask):
        raise InputError(f"{where}: ask", expected=f"one of {', '.join(get_args(Ask))}", found=short(ask))
    completion, frame, left_out = row.get("completion"), None, row.get("left_out") or {}
    if row.get("objects") is None or completion is not None or row.get("frame") is not None:
        if row.get("frame") is None:
            hint = 'add it to each line, such as "frame": [1000, 1000] for thousandths, or the image\'s size for pixels'
            raise InputError(f"{where}: frame", expected=_FRAME, found="nothing", hint=hint)
        frame = frame_of_value(row["frame"], f"{where}: frame")
    if not isinstance(left_out, dict) or not all(type(n) is int for n in left_out.values()):
        raise InputError(f"{where}: left_out", expected='{"objects": number, ...}', found=short(left_out))
    made: dict[str, Any] = {"model": model, "left_out": left_out, "task": task, "ask": ask}
    made["unread"] = _unread(row, where)
    if row.get("objects") is not None:
        if (scores := row.get("scores")) not in (None, "triplet", "relationship"):
            expected = '"triplet" or "relationship": what the score of a relationship is about'
            raise InputError(f"{where}: scores", expected=expected, found=short(scores))
        rows = detections_of(row, where)
        return Prediction(image_id, frame, completion, rows, whole=scores == "triplet", **made)
    if not isinstance(completion, str):
        raise InputError(f"{where}: completion", expected='a string (or "objects")', found=short(completion))
    return Prediction(image_id, frame, completion, **made)


def _unread(row: Mapping[str, Any], where: str) -> str:
    """Return why one of a line's answers is missing or could not be read: its fault, or the first failure of such one.

    Raises:
        InputError: `fault` or `exchanges` are not as `r1sgg.data.base` says.
    """
    if (fault := row.get("fault")) is not None:
        if not isinstance(fault, str):
            raise InputError(f"{where}: fault", expected="a sentence", found=short(fault))
        return fault
    try:
        unread = [each for each in row.get("exchanges") or () if each.get("read") is False]
        issues = [(issue["kind"], issue["detail"]) for each in unread for issue in each["issues"]]
    except (TypeError, KeyError, AttributeError) as error:
        expected = '[{"prompt", "reply", "issues": [{"kind", "detail"}], "dropped", "read"}]'
        raise InputError(f"{where}: exchanges", expected=expected, found=short(row["exchanges"])) from error
    return next((f"{kind}: {detail}" for kind, detail in issues if kind in FAILURES), "")
