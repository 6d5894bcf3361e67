"""Scene graphs as text: `parse` reads what a model wrote, `render` writes what a model should write.

`parse` is total: any string gives a graph (perhaps empty) and named issues, in time linear in its length, and never
raises on the text. Malformed items are dropped one by one. Every decision is a row of
`r1sgg.graph.policies.POLICIES`. It bounds nothing but time: 64 KB of text can hold 2,000 objects, and whoever matches
them against each other must be ready for that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from r1sgg.graph import compact
from r1sgg.graph.document import find_document
from r1sgg.graph.policies import FAILURES, POLICIES, Issue
from r1sgg.graph.scene import EMPTY, NUMBER_SUFFIX, SceneGraph, label_of_id, normalize_name

__all__ = [
    "FAILURES",
    "POLICIES",
    "AnswerFormat",
    "Frame",
    "Issue",
    "Parsed",
    "graph_of_document",
    "number_ids",
    "parse",
    "read_document",
    "render",
]

Frame = tuple[float, float]
"""Width and height that coordinates are relative to: (1000, 1000) for Qwen2-VL, pixels for Qwen2.5-VL."""


AnswerFormat = Literal["json", "compact"]
"""The paper's JSON, or a line per object and relationship (`r1sgg.graph.compact`)."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What `parse` found: a graph that is always usable, and what was wrong with the text.

    `object_rows` and `relationship_rows` say which row of the answer (from 0, dropped ones counted) each is.
    """

    graph: SceneGraph
    issues: tuple[Issue, ...] = ()
    object_rows: tuple[int, ...] = ()
    relationship_rows: tuple[int, ...] = ()

    @property
    def failure(self) -> str | None:
        """The kind of failure if no object could be read, else None."""
        if len(self.graph):
            return None
        return next((i.kind for i in self.issues if i.kind in FAILURES), "empty")


def parse(text: str, frame: Frame, *, repair: bool = False, given: SceneGraph | None = None) -> Parsed:
    """Read a completion in either answer format.

    Args:
        text: anything a model wrote: a bare answer, fenced, in <answer> tags, in prose.
        frame: width and height that the text's boxes are relative to, both positive.
        repair: keep the whole items of a broken or truncated answer, instead of counting a failure.
        given: objects that the prompt gave; an answer with "relationships" and without "objects" refers to them.

    Returns:
        The graph (boxes divided by the frame, outside [0, 1] where the text says so) and its issues; the graph is
        empty if and only if `Parsed.failure` is set.
    """
    issues: list[Issue] = []
    document = find_document(text, issues, repair=repair)
    if document is None:
        return Parsed(EMPTY, tuple(issues))
    objects: tuple[int, ...] = ()
    if given is not None and "relationships" in document and not document.get("objects"):
        pairs, predicates, rows = _relations(document["relationships"], {i: k for k, i in enumerate(given.ids)}, issues)
        graph = SceneGraph(given.ids, given.labels, given.boxes, pairs, predicates)
    else:
        graph, objects, rows = read_document(document, frame, issues)
    if not len(graph) and not any(i.kind in FAILURES for i in issues):
        issues.append(Issue("empty", "no valid object"))
    return Parsed(graph, tuple(issues), objects, rows)


# ---------------------------------------------------------------- reading items

_NUMBERS = frozenset((int, float))
_FARTHEST = 1e6  # frames; beyond it a coordinate is noise, and areas would overflow
_KEPT_BOXES = ("empty_box", "box_out_of_frame")
_LONGEST_NAME = 256
_MOST_ISSUES = 1000


def graph_of_document(document: dict[str, Any], frame: Frame, issues: list[Issue]) -> SceneGraph:
    """Turn the JSON object of an answer into a graph, dropping malformed items into `issues`."""
    return read_document(document, frame, issues)[0]


def read_document(
    document: dict[str, Any], frame: Frame, issues: list[Issue]
) -> tuple[SceneGraph, tuple[int, ...], tuple[int, ...]]:
    """The same, with the rows of the document that the graph's objects and relationships are."""
    rows = document.get("objects")
    if not isinstance(rows, list):
        issues.append(Issue("wrong_schema", f'"objects" is {_kind(rows)}, expected a list'))
        return EMPTY, (), ()
    kept: list[int] = []
    ids: list[str] = []
    labels: list[str] = []
    flat: list[float] = []
    index: dict[str, int] = {}
    again: dict[tuple[Any, ...], int] = {}  # (id, box) of later objects with the id of an earlier one
    width, height = frame
    for k, row in enumerate(rows):
        if type(row) is not dict:
            _note(issues, "bad_object", f"objects[{k}] is {_kind(row)}")
            continue
        name, box = row.get("id"), row.get("bbox")
        if type(name) is not str or len(name) > _LONGEST_NAME or not (label := label_of_id(name)):
            _note(issues, "bad_id", f"objects[{k}].id is {_kind(name)}")
            continue
        if type(box) is not list or len(box) != 4:
            _note(issues, "bad_box", f"objects[{k}].bbox is {_kind(box)}")
            continue
        x1, y1, x2, y2 = box
        if not (type(x1) in _NUMBERS and type(y1) in _NUMBERS and type(x2) in _NUMBERS and type(y2) in _NUMBERS):
            _note(issues, "bad_box", f"objects[{k}].bbox holds something that is not a number")
            continue
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height) and (fault := _box_fault(box, frame)):
            _note(issues, fault, f"objects[{k}].bbox")
            if fault not in _KEPT_BOXES:
                continue
        name = name.strip()
        if name in index:
            _note(issues, "duplicate_id", f"objects[{k}].id {name[:40]!r}")
            first = 4 * index[name]
            if box == flat[first : first + 4] or (name, *box) in again:
                continue
            again[(name, *box)] = len(ids)
        else:
            index[name] = len(ids)
        kept.append(k)
        ids.append(name)
        labels.append(label)
        flat += box
    if again:
        _rename(ids, again.values(), index)
    boxes = np.array(flat, dtype=np.float64).reshape(-1, 4)
    boxes /= (width, height, width, height)
    pairs, predicates, relations = _relations(document.get("relationships"), index, issues)
    return SceneGraph(tuple(ids), tuple(labels), boxes, pairs, predicates), tuple(kept), relations


def _rename(ids: list[str], positions: Iterable[int], declared: Collection[str]) -> None:
    """Give the ids at `positions` the lowest numbers of their class that are not taken, in linear time."""
    taken = set(declared)
    numbers: dict[str, int] = {}
    for position in positions:
        stem = NUMBER_SUFFIX.sub("", ids[position])
        number = numbers.get(stem, 1)
        while (name := f"{stem}.{number}") in taken:
            number += 1
        numbers[stem] = number + 1
        taken.add(name)
        ids[position] = name


def _relations(
    rows: Any, index: dict[str, int], issues: list[Issue]
) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...], tuple[int, ...]]:
    """The relationships between declared objects: pairs of indices, predicates, and which rows they are."""
    if type(rows) is not list:
        _note(issues, "no_relationships", f'"relationships" is {_kind(rows)}')
        return (), (), ()
    kept: list[int] = []
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    seen: set[tuple[int, str, int]] = set()
    for k, row in enumerate(rows):
        if type(row) is not dict:
            _note(issues, "bad_relationship", f"relationships[{k}] is {_kind(row)}")
            continue
        subject, predicate, target = row.get("subject"), row.get("predicate"), row.get("object")
        if type(subject) is not str or type(predicate) is not str or type(target) is not str:
            _note(issues, "bad_relationship", f"relationships[{k}] lacks a subject, predicate or object")
            continue
        if len(predicate) > _LONGEST_NAME or not (predicate := normalize_name(predicate)):
            _note(issues, "bad_predicate", f"relationships[{k}].predicate")
            continue
        s, o = index.get(subject.strip()), index.get(target.strip())
        if s is None or o is None:
            _note(issues, "dangling", f"relationships[{k}] names {(subject if s is None else target)[:40]!r}")
            continue
        if s == o:
            _note(issues, "self_loop", f"relationships[{k}]")
        triplet = (s, predicate, o)
        if triplet in seen:
            _note(issues, "repeated_triplet", f"relationships[{k}]")
        seen.add(triplet)
        kept.append(k)
        pairs.append((s, o))
        predicates.append(predicate)
    return tuple(pairs), tuple(predicates), tuple(kept)


def _box_fault(box: Sequence[float], frame: Frame) -> str | None:
    """Which policy a box falls under that does not lie inside the frame with x1 < x2 and y1 < y2."""
    x1, y1, x2, y2 = box
    if not all(abs(v) <= _FARTHEST * frame[k % 2] for k, v in enumerate(box)):  # also true for NaN
        return "bad_box"
    if x1 > x2 or y1 > y2:
        return "inverted_box"
    if x1 == x2 or y1 == y2:
        return "empty_box"
    unit_x, unit_y = min(1.0, frame[0] / 100), min(1.0, frame[1] / 100)  # off by so much is rounding
    inside = -unit_x <= x1 and x2 <= frame[0] + unit_x and -unit_y <= y1 and y2 <= frame[1] + unit_y
    return None if inside else "box_out_of_frame"


def _note(issues: list[Issue], kind: str, detail: str) -> None:
    """Add an issue; a text of thousands of malformed items must not fill the memory."""
    if len(issues) < _MOST_ISSUES:
        issues.append(Issue(kind, detail))
    elif issues[-1].kind != "many_issues":
        issues.append(Issue("many_issues", f"more than {_MOST_ISSUES}"))


_KINDS = {dict: "an object", str: "a string", bool: "a boolean", float: "a number", int: "a number"}


def _kind(value: Any) -> str:
    """A JSON value in words."""
    if value is None:
        return "missing or null"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return _KINDS.get(type(value), type(value).__name__)


# ---------------------------------------------------------------- writing


def number_ids(labels: Sequence[str]) -> tuple[str, ...]:
    """Ids for classes, numbered per class in order: ("man", "dog", "man") -> ("man.1", "dog.1", "man.2")."""
    count: dict[str, int] = {}
    ids = []
    for label in labels:
        count[label] = count.get(label, 0) + 1
        ids.append(f"{label}.{count[label]}")
    return tuple(ids)


def render(
    graph: SceneGraph,
    frame: Frame,
    *,
    minify: bool = False,
    think: bool = False,
    answer_format: AnswerFormat = "json",
) -> str:
    """Write a graph as the paper's JSON or in the compact format, boxes as integers of `frame`.

    Coordinates are rounded to the nearest integer (off by half a unit at most); a side that rounds to nothing becomes
    one unit long (off by a unit at most), a box that reaches outside the frame is clipped. `parse(render(g, frame),
    frame)` gives back ids and relationships exactly, and labels as far as the ids say them (`label_of_id`).

    Args:
        graph: what to write.
        frame: width and height of the written coordinates.
        minify: JSON without spaces after commas and colons.
        think: wrap in an empty <think> and an <answer>, as the RL template asks for.
        answer_format: see `AnswerFormat`.
    """
    limit_2 = np.array([int(frame[0]), int(frame[1])])
    exact_N4 = graph.boxes.clip(0, 1) * (*frame, *frame)
    boxes = np.rint(exact_N4).astype(np.int64).clip(0, np.tile(limit_2, 2))
    flat = boxes[:, :2] >= boxes[:, 2:]
    if flat.any():
        middle = np.floor((exact_N4[:, :2] + exact_N4[:, 2:]) / 2).astype(np.int64)
        low = np.minimum(middle, limit_2 - 1)
        boxes[:, :2] = np.where(flat, low, boxes[:, :2])
        boxes[:, 2:] = np.where(flat, low + 1, boxes[:, 2:])
    if answer_format == "compact":
        text = compact.write(graph.ids, boxes.tolist(), graph.pairs, graph.predicates)
    else:
        document = {
            "objects": [{"id": i, "bbox": b} for i, b in zip(graph.ids, boxes.tolist(), strict=True)],
            "relationships": [
                {"subject": graph.ids[s], "predicate": p, "object": graph.ids[o]}
                for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)
            ],
        }
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":") if minify else None)
    return f"<think></think><answer>{text}</answer>" if think else text
