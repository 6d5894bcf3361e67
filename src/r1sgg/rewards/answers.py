"""A batch of answers as flat columns: what `parse` gives, faster for answers that nothing is wrong with.

An answer is read in columns if every check on whole columns passes; any doubt sends it to `parse`, whose word counts.
Deliberately no policy of its own: the two ways agree on every text (tested).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, cast

import numpy as np
import orjson

from r1sgg.graph.compact import id_of_name, name_of_id, predicate_of, word_of
from r1sgg.graph.scene import Boxes, label_of_id, normalize_name
from r1sgg.graph.text import Frame, Issue, Parsed, parse
from r1sgg.judging.assignment import Ints
from r1sgg.rewards.formats import format_of


@dataclass(frozen=True, slots=True)
class Answers:
    """B answers. Objects (N) and triplets (T) of all answers lie one after the other.

    Attributes:
        counts: B numbers of objects; boxes: (N, 4) fractions; labels: N.
        triplets: B numbers of triplets; subjects, objects: T indices into their own answer's objects; predicates: T.
        formats: B format marks; issues: B.
    """

    counts: list[int]
    boxes: Boxes
    labels: list[str]
    triplets: list[int]
    subjects: Ints
    objects: Ints
    predicates: list[str]
    formats: list[float]
    issues: list[tuple[Issue, ...]]


_Columns = tuple[
    Sequence[str], Sequence[float], Sequence[int], Sequence[int], Sequence[str], float, tuple[Issue, ...], Frame
]
"""One answer: labels, coordinates (four a box, in units of the frame), subjects, objects, predicates, format mark,
issues, frame."""


def read_answers(texts: Sequence[str], frames: Sequence[Frame]) -> Answers:
    """Read a batch as `parse` does."""
    rows = [_columns(text, frame) for text, frame in zip(texts, frames, strict=True)]
    doubtful = [k for k, row in enumerate(rows) if row is None]
    while True:
        for k in doubtful:
            rows[k] = _columns_of(texts[k], parse(texts[k], frames[k]))
        answers, doubtful = _flat(cast("list[_Columns]", rows))
        if answers is not None:
            return answers


def answers_of(texts: Sequence[str], parsed: Sequence[Parsed]) -> Answers:
    """Answers that have been parsed already."""
    answers, _ = _flat([_columns_of(text, p) for text, p in zip(texts, parsed, strict=True)])
    return cast("Answers", answers)


_PARSED: Frame = (1.0, 1.0)  # this very object marks columns that `parse` made: nothing about them is in doubt


def _columns_of(text: str, parsed: Parsed) -> _Columns:
    graph = parsed.graph
    subjects, objects = zip(*graph.pairs, strict=True) if graph.pairs else ((), ())
    mark = format_of(text, parsed)
    boxes = graph.boxes.ravel().tolist()
    return graph.labels, boxes, subjects, objects, graph.predicates, mark, parsed.issues, _PARSED


def _flat(rows: Sequence[_Columns]) -> tuple[Answers | None, list[int]]:
    """Lay columns flat; or, where a check on all of them fails, name the answers that `parse` has to read."""
    if not rows:
        none = np.zeros(0, np.intp)
        return Answers([], np.zeros((0, 4)), [], [], none, none, [], [], []), []
    labels, boxes, subjects, objects, predicates, marks, issues, frames = zip(*rows, strict=True)
    all_labels, all_predicates = list(chain.from_iterable(labels)), list(chain.from_iterable(predicates))
    numbers = list(chain.from_iterable(boxes))
    if not (all(all_labels) and all(all_predicates) and _NUMBERS.issuperset(map(type, numbers))) and (
        doubtful := [k for k, row in enumerate(rows) if frames[k] is not _PARSED and not _regular(row)]
    ):
        return None, doubtful
    counts, triplets = list(map(len, labels)), list(map(len, predicates))
    scale = np.array(frames, np.float64)
    boxes_N4 = np.array(numbers, np.float64).reshape(-1, 4)
    boxes_N4 /= np.repeat(np.concatenate((scale, scale), axis=1), counts, axis=0)
    ends = np.array((list(chain.from_iterable(subjects)), list(chain.from_iterable(objects))), np.intp)
    outside = ~((boxes_N4[:, :2] >= 0) & (boxes_N4[:, :2] < boxes_N4[:, 2:]) & (boxes_N4[:, 2:] <= 1)).all(1)
    loops = ends[0] == ends[1]
    if outside.any() or loops.any():
        owners = np.arange(len(rows))
        suspects = {*np.repeat(owners, counts)[outside].tolist(), *np.repeat(owners, triplets)[loops].tolist()}
        if doubtful := [k for k in suspects if frames[k] is not _PARSED]:
            return None, doubtful
    answers = Answers(
        counts, boxes_N4, all_labels, triplets, ends[0], ends[1], all_predicates, list(marks), list(issues)
    )
    return answers, []


# ---------------------------------------------------------------- reading in columns

_LONGEST_NAME = 256
_CACHE = 1 << 16


class _Names(dict[str, str]):
    """Remembers a function of a name; "" where only `parse` may judge (too long, spaces around it)."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self.function = function

    def __missing__(self, name: str) -> str:
        if len(self) >= _CACHE:
            self.clear()
        plain = len(name) <= _LONGEST_NAME and name == name.strip()
        self[name] = value = self.function(name) if plain else ""
        return value


_LABELS, _PREDICATES = _Names(label_of_id), _Names(normalize_name)
_NUMBERS = frozenset((int, float))
_FOUR = {4}


def _columns(text: str, frame: Frame) -> _Columns | None:
    """One answer whose layout and keys are as asked for, values not judged yet; None where that is in doubt."""
    body, mark = _body(text)
    if body[:1] != "{":
        return _compact_columns(body, mark, frame) if body else None
    try:
        document: dict[str, Any] = orjson.loads(body)
        rows, relations = document["objects"], document["relationships"]
        if type(rows) is not list or type(relations) is not list:
            return None
        ids = [row["id"] for row in rows]
        boxes = [row["bbox"] for row in rows]
        numbers = list(chain.from_iterable(boxes))
        labels = [_LABELS[i] for i in ids]
        index = dict(zip(ids, count(), strict=False))
        subjects = [index[row["subject"]] for row in relations]
        objects = [index[row["object"]] for row in relations]
        predicates = [_PREDICATES[row["predicate"]] for row in relations]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None  # an item of another shape: `parse` names it
    if not len(index) == len(ids) > 0 or len(set(zip(subjects, predicates, objects, strict=False))) < len(subjects):
        return None  # empty, or something stands there twice
    if set(map(len, boxes)) != _FOUR:
        return None
    return labels, numbers, subjects, objects, predicates, mark, (), frame


def _compact_label(name: str) -> str:
    """The class of an object by its written name; "" for one that the format would write in another way."""
    identifier = id_of_name(name) or ""
    return label_of_id(identifier) if len(identifier) <= _LONGEST_NAME and name_of_id(identifier) == name else ""


def _compact_predicate(word: str) -> str:
    predicate = predicate_of(word) or ""
    return normalize_name(predicate) if word_of(predicate) == word else ""


_COMPACT_LABELS, _COMPACT_PREDICATES = _Names(_compact_label), _Names(_compact_predicate)


def _compact_columns(body: str, mark: float, frame: Frame) -> _Columns | None:
    """The same for an answer in the compact format, which every line of it must be to the letter."""
    rows, _, rest = body[len("objects\n") : -len("\nend")].partition("\nrelationships")
    words = [row.split(" ") for row in rows.split("\n")]
    relations = [row.split(" ") for row in rest[1:].split("\n")] if rest else []
    if rest[:1] not in ("", "\n") or set(map(len, words)) != {5} or not {3}.issuperset(map(len, relations)):
        return None
    digits = list(chain.from_iterable(row[1:] for row in words))
    joined = "".join(digits)
    if not (all(digits) and joined.isascii() and joined.isdigit() and max(map(len, digits)) < 16):
        return None
    index = {row[0]: k for k, row in enumerate(words)}
    ends = [(index.get(row[0], -1), row[1], index.get(row[2], -1)) for row in relations]
    subjects, targets = [s for s, _, _ in ends], [o for _, _, o in ends]
    if len(index) < len(words) or len(set(ends)) < len(ends) or -1 in subjects or -1 in targets:
        return None
    labels, predicates = [_COMPACT_LABELS[name] for name in index], [_COMPACT_PREDICATES[row[1]] for row in relations]
    if not (all(labels) and all(predicates)):
        return None
    return labels, list(map(int, digits)), subjects, targets, predicates, mark, (), frame


def _regular(row: _Columns) -> bool:
    """The checks of `_flat` on one answer."""
    labels, numbers, _, _, predicates, *_ = row
    return all(labels) and all(predicates) and _NUMBERS.issuperset(map(type, numbers))


def _body(text: str) -> tuple[str, float]:
    """The answer in a text of one of the plain layouts, and its format mark; or "" for any other text."""
    text = text.strip()
    if text[:1] == "{":
        return (text, 0.5) if "<" not in text else ("", 0.0)
    if text[:8] == "objects\n":
        return (text, 0.5) if "<" not in text and text[-4:] == "\nend" else ("", 0.0)
    middle = text.find("</think>")
    start = text.find("<answer>", middle)
    if not (middle > 0 < start and text[:7] == "<think>" and text[-9:] == "</answer>" and text.count("<") == 4):
        return "", 0.0
    body = text[start + 8 : -9].strip()
    plain = body[:1] == "{" or (body[:8] == "objects\n" and body[-4:] == "\nend")
    plain = plain and not text[middle + 8 : start].strip() and "object" in body and "relationships" in body
    return (body, 1.0) if plain else ("", 0.0)
