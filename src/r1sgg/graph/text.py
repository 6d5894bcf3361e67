"""Scene graphs as text: `parse` reads what a model wrote, `render` writes what a model should write.

`parse` is total: any string gives a graph (perhaps empty) and named issues, in time linear in its length, and never
raises on the text. Malformed items are dropped one by one. It deliberately does not repair broken or truncated JSON
unless asked to: an answer that no JSON reader accepts is a failure. Every decision is a row of `POLICIES`, which the
documentation prints and the tests walk through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from r1sgg.graph.scene import EMPTY, SceneGraph, label_of_id, normalize_name

Frame = tuple[float, float]
"""Width and height that coordinates are relative to: (1000, 1000) for Qwen2-VL, pixels for Qwen2.5-VL."""

FAILURES = ("no_json", "invalid_json", "truncated", "wrong_schema", "empty")
"""Issue kinds after which no graph is left. Evaluation adds "nothing_in_vocabulary"."""

POLICIES: dict[str, str] = {
    # the document
    "no_json": "failure: the answer holds no JSON object",
    "invalid_json": "failure: the JSON is broken (quotes, commas, comments); not repaired unless `repair=True`",
    "truncated": "failure: the JSON ends too early; with `repair=True` the items that were complete are kept",
    "wrong_schema": 'failure: the JSON is not an object with a list under "objects"',
    "empty": "failure: no valid object is left",
    "unclosed_tag": "an <answer> or <think> that is never closed: the text after it is read all the same",
    "surrounding_text": "text around the JSON is ignored; of several JSON objects the first that looks like a graph counts",
    "several_answers": "of several <answer> blocks outside <think> the last counts",
    "no_relationships": '"relationships" is missing or not a list: the graph has objects only',
    # objects
    "bad_object": "an entry of objects that is not a JSON object: dropped",
    "bad_id": "an id that is not a string, or names no class (empty, only a number): the object is dropped",
    "bad_box": "a box that is not four finite numbers (strings and booleans are not numbers), or lies a million frames "
    "away: the object is dropped",
    "inverted_box": "x1 > x2 or y1 > y2: the object is dropped",
    "empty_box": "no area (x1 = x2 or y1 = y2): the object is kept, its box overlaps nothing",
    "box_out_of_frame": "a box that reaches outside the frame by more than a unit: kept as written, not clipped",
    "duplicate_id": "a later object with the id of an earlier one: dropped where the box is the same too, otherwise kept "
    "under a fresh id; relationships refer to the first",
    # relationships
    "bad_relationship": "an entry of relationships that is not a JSON object, or lacks a subject, predicate or object "
    "that is a string: dropped",
    "bad_predicate": "a predicate without a letter or digit: dropped",
    "dangling": "a relationship that names an undeclared (or dropped) id: dropped",
    "self_loop": "a relationship of an object with itself: kept, counted",
    "repeated_triplet": "a relationship that stands there twice: kept, counted",
}
"""What is done about each named issue."""


class Issue(NamedTuple):
    """One thing wrong with an answer: `kind` is a key of `POLICIES`, `detail` says where and what."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What `parse` found: a graph that is always usable, and what was wrong with the text."""

    graph: SceneGraph
    issues: tuple[Issue, ...] = ()

    @property
    def failure(self) -> str | None:
        """The kind of failure if no object could be read, else None."""
        if len(self.graph):
            return None
        return next((i.kind for i in self.issues if i.kind in FAILURES), "empty")


def parse(text: str, frame: Frame, *, repair: bool = False) -> Parsed:
    """Read a completion.

    Args:
        text: anything a model wrote: bare JSON, fenced, in <answer> tags, in prose.
        frame: width and height that the text's boxes are relative to, both positive.
        repair: close truncated JSON and keep its complete items, instead of counting a failure.

    Returns:
        The graph (boxes divided by the frame, outside [0, 1] where the text says so) and its issues; it is empty if and only if `Parsed.failure` is set.
    """
    issues: list[Issue] = []
    document = _document(text, repair, issues)
    if document is None:
        return Parsed(EMPTY, tuple(issues))
    graph = graph_of_document(document, frame, issues)
    if not len(graph) and not any(i.kind in FAILURES for i in issues):
        issues.append(Issue("empty", "no valid object"))
    return Parsed(graph, tuple(issues))


# ---------------------------------------------------------------- the document


_TAGS = re.compile(r"<(/?)(think|answer)>", re.IGNORECASE)
_FENCE = re.compile(r"```[A-Za-z0-9_+-]*\s")
_CANDIDATES = 8  # JSON objects tried in prose; bounds the time on hostile text
_MAX_NESTING = 200  # a graph needs 4 levels


def _document(text: str, repair: bool, issues: list[Issue]) -> dict[str, Any] | None:
    """The JSON object of an answer, or None after adding the failure to `issues`."""
    body = _answer(text, issues).strip()
    if body[:1] == "{":
        document, error = _load(body)
        if isinstance(document, dict):
            return document
    elif body[:1] == "[":
        document, error = _load(body)
        if document is not None:
            issues.append(Issue("wrong_schema", "a JSON array where an object was expected"))
            return None
    return _search(body, repair, issues)


def _answer(text: str, issues: list[Issue]) -> str:
    """The part of a completion that should hold the JSON: the last answer block outside <think>, or all after it."""
    if "<" not in text or not (tags := list(_TAGS.finditer(text))):
        return text
    thinking = False
    start: int | None = None
    blocks: list[tuple[int, int]] = []
    think_end = 0
    has_close = {m.group(2).lower() for m in tags if m.group(1)}
    for m in tags:
        closing, name = bool(m.group(1)), m.group(2).lower()
        if name == "think":
            if closing:
                thinking, think_end = False, m.end()
                start = None if start is not None and start < m.start() and not blocks else start
            elif "think" in has_close:
                thinking = start is None
            else:
                issues.append(Issue("unclosed_tag", "<think> is never closed"))
        elif not thinking:
            if not closing:
                start = m.end()
            elif start is not None:
                blocks.append((start, m.start()))
                start = None
    if blocks:
        if len(blocks) > 1:
            issues.append(Issue("several_answers", f"{len(blocks)} answer blocks"))
        return text[slice(*blocks[-1])]
    if start is not None:
        issues.append(Issue("unclosed_tag", "<answer> is never closed"))
        return text[start:]
    return text[think_end:]


def _load(body: str) -> tuple[Any, str | None]:
    """JSON, as a value or an error kind. NaN and Infinity are read (and make bad boxes), as Python's reader does."""
    try:
        return orjson.loads(body), None
    except orjson.JSONDecodeError:
        pass
    except UnicodeEncodeError:  # lone surrogates: not text, but a position to drop
        body = body.encode("utf-8", "replace").decode("utf-8")
    if _nesting(body) > _MAX_NESTING:
        return None, "invalid_json"
    try:
        return _READER.decode(body), None
    except json.JSONDecodeError as error:
        return None, "truncated" if error.pos >= len(body) or _cut_in_string(error) else "invalid_json"


_READER = json.JSONDecoder(parse_int=float)  # float: a run of 5,000 digits is infinity, not an error


def _cut_in_string(error: json.JSONDecodeError) -> bool:
    return error.msg.startswith("Unterminated string")


def _nesting(body: str) -> int:
    """An upper bound of the depth of brackets."""
    depth = deepest = 0
    for m in _BRACKETS.finditer(body):
        depth += 1 if m.group() in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


_BRACKETS = re.compile(r"[\[\]{}]")


def _search(body: str, repair: bool, issues: list[Issue]) -> dict[str, Any] | None:
    """Find the graph in prose or a code fence; failing that, name the failure."""
    failure = "no_json"
    position = body.find("{")
    tries = 0
    not_graph = False
    while position >= 0 and tries < _CANDIDATES:
        tries += 1
        rest = body[position:]
        if _nesting(rest) > _MAX_NESTING:
            failure = "invalid_json"
            break
        try:
            value, end = _READER.raw_decode(rest)
        except json.JSONDecodeError as error:
            truncated = error.pos >= len(rest.rstrip("` \n\r\t")) or _cut_in_string(error)
            if failure != "truncated":
                failure = "truncated" if truncated else "invalid_json"
            if repair and truncated and (document := _close(rest)) is not None:
                issues.append(Issue("truncated", "repaired: complete items kept"))
                return document
            position = body.find("{", position + max(1, error.pos))
            continue
        if isinstance(value, dict) and ("objects" in value or "relationships" in value):
            if _FENCE.sub("", body[:position]).strip() or rest[end:].replace("```", "").strip():
                issues.append(Issue("surrounding_text", "text around the JSON"))
            return value
        not_graph = True
        position = body.find("{", position + end)
    if (not_graph and failure == "no_json") or (
        failure == "no_json" and _load(_FENCE.sub("", body).replace("```", "").strip())[0] is not None
    ):
        failure = "wrong_schema"
    issues.append(Issue(failure, POLICIES[failure].removeprefix("failure: ")))
    return None


def _close(text: str) -> dict[str, Any] | None:
    """Close the brackets of truncated JSON after its last complete item; None if that gives no JSON object."""
    stack: list[str] = []
    cut: tuple[int, str] | None = None
    in_string = escaped = False
    for k, c in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                in_string = False
        elif c == '"':
            in_string = True
        elif c in "[{":
            stack.append("]" if c == "[" else "}")
        elif c in "]}":
            if not stack or stack.pop() != c:
                return None
            if len(stack) <= 2:  # an entry of objects or relationships, or a list of them, has ended
                cut = (k + 1, "".join(reversed(stack)))
    if cut is None:
        return None
    document, _ = _load(text[: cut[0]] + cut[1])
    return document if isinstance(document, dict) else None


# ---------------------------------------------------------------- its items


def graph_of_document(document: dict[str, Any], frame: Frame, issues: list[Issue]) -> SceneGraph:
    """Turn the JSON object of an answer into a graph, dropping malformed items into `issues`."""
    rows = document.get("objects")
    if not isinstance(rows, list):
        issues.append(Issue("wrong_schema", f'"objects" is {_kind(rows)}, expected a list'))
        return EMPTY
    ids: list[str] = []
    index: dict[str, int] = {}
    flat: list[float] = []
    width, height = frame
    for k, row in enumerate(rows):
        if type(row) is not dict:
            issues.append(Issue("bad_object", f"objects[{k}] is {_kind(row)}"))
            continue
        name, box = row.get("id"), row.get("bbox")
        if type(name) is not str or not label_of_id(name):
            issues.append(Issue("bad_id", f"objects[{k}].id is {_kind(name)}"))
            continue
        if type(box) is not list or len(box) != 4:
            issues.append(Issue("bad_box", f"objects[{k}].bbox is {_kind(box)}"))
            continue
        x1, y1, x2, y2 = box
        if not (type(x1) in _NUMBERS and type(y1) in _NUMBERS and type(x2) in _NUMBERS and type(y2) in _NUMBERS):
            issues.append(Issue("bad_box", f"objects[{k}].bbox holds something that is not a number"))
            continue
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height) and (fault := _box_fault(box, frame)):
            issues.append(Issue(fault, f"objects[{k}].bbox"))
            if fault not in _KEPT_BOXES:
                continue
        name = name.strip()
        if name in index:
            first = index[name]
            same = box == flat[4 * first : 4 * first + 4]
            issues.append(Issue("duplicate_id", f"objects[{k}].id {name[:40]!r}"))
            if same:
                continue
            name = _fresh(name, index)
        index[name] = len(ids)
        ids.append(name)
        flat += box
    boxes = np.array(flat, dtype=np.float64).reshape(-1, 4)
    boxes /= (width, height, width, height)
    pairs, predicates = _relations(document.get("relationships"), index, issues)
    return SceneGraph(tuple(ids), tuple(map(label_of_id, ids)), boxes, pairs, predicates)


_NUMBERS = frozenset((int, float))
_FARTHEST = 1e6  # frames; beyond it a coordinate is noise, and areas would overflow
_KEPT_BOXES = ("empty_box", "box_out_of_frame")


def _relations(
    rows: Any, index: dict[str, int], issues: list[Issue]
) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """The relationships between declared objects, as pairs of indices and predicates."""
    if type(rows) is not list:
        issues.append(Issue("no_relationships", f'"relationships" is {_kind(rows)}'))
        return (), ()
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    seen: set[tuple[int, str, int]] = set()
    for k, row in enumerate(rows):
        if type(row) is not dict:
            issues.append(Issue("bad_relationship", f"relationships[{k}] is {_kind(row)}"))
            continue
        subject, predicate, target = row.get("subject"), row.get("predicate"), row.get("object")
        if type(subject) is not str or type(predicate) is not str or type(target) is not str:
            issues.append(Issue("bad_relationship", f"relationships[{k}] lacks a subject, predicate or object"))
            continue
        predicate = normalize_name(predicate)
        if not predicate:
            issues.append(Issue("bad_predicate", f"relationships[{k}].predicate"))
            continue
        s, o = index.get(subject.strip()), index.get(target.strip())
        if s is None or o is None:
            issues.append(Issue("dangling", f"relationships[{k}] names {(subject if s is None else target)[:40]!r}"))
            continue
        if s == o:
            issues.append(Issue("self_loop", f"relationships[{k}]"))
        triplet = (s, predicate, o)
        if triplet in seen:
            issues.append(Issue("repeated_triplet", f"relationships[{k}]"))
        seen.add(triplet)
        pairs.append((s, o))
        predicates.append(predicate)
    return tuple(pairs), tuple(predicates)


def _box_fault(box: Sequence[float], frame: Frame) -> str | None:
    """Which policy a box falls under that does not lie inside the frame with x1 < x2 and y1 < y2."""
    x1, y1, x2, y2 = box
    if not all(abs(v) <= _FARTHEST * frame[k % 2] for k, v in enumerate(box)):  # also true for NaN
        return "bad_box"
    if x1 > x2 or y1 > y2:
        return "inverted_box"
    if x1 == x2 or y1 == y2:
        return "empty_box"
    outside = max(-x1, -y1, x2 - frame[0], y2 - frame[1])
    return "box_out_of_frame" if outside > 1 else None  # up to one unit is rounding


def _fresh(name: str, taken: dict[str, int]) -> str:
    """An id of the same class that is not taken."""
    stem = re.sub(r"[._\- ]\d+$", "", name)
    number = len(taken) + 1
    while f"{stem}.{number}" in taken:
        number += 1
    return f"{stem}.{number}"


def _kind(value: Any) -> str:
    """A JSON value in words."""
    if value is None:
        return "missing or null"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return {dict: "an object", str: "a string", bool: "a boolean", float: "a number", int: "a number"}.get(
        type(value), type(value).__name__
    )


# ---------------------------------------------------------------- writing


def number_ids(labels: Sequence[str]) -> tuple[str, ...]:
    """Ids for classes, numbered per class in order: ("man", "dog", "man") -> ("man.1", "dog.1", "man.2")."""
    count: dict[str, int] = {}
    ids = []
    for label in labels:
        count[label] = count.get(label, 0) + 1
        ids.append(f"{label}.{count[label]}")
    return tuple(ids)


def render(graph: SceneGraph, frame: Frame, *, minify: bool = False, think: bool = False) -> str:
    """Write a graph as the paper's JSON, boxes as integers of `frame`.

    Coordinates are rounded to the nearest integer (off by half a unit at most); a side that rounds to nothing becomes
    one unit long. `parse(render(g, frame), frame)` gives back ids, labels and relationships exactly.

    Args:
        graph: what to write.
        frame: width and height of the written coordinates.
        minify: no spaces after commas and colons.
        think: wrap in an empty <think> and an <answer>, as the RL template asks for.
    """
    boxes = np.rint(graph.boxes * (*frame, *frame)).astype(np.int64)
    limit = np.array([int(frame[0]), int(frame[1])])
    flat = boxes[:, :2] >= boxes[:, 2:]
    if flat.any():
        low = np.minimum(boxes[:, :2], limit - 1)
        boxes[:, :2] = np.where(flat, low, boxes[:, :2])
        boxes[:, 2:] = np.where(flat, low + 1, boxes[:, 2:])
    document = {
        "objects": [{"id": i, "bbox": b} for i, b in zip(graph.ids, boxes.tolist(), strict=True)],
        "relationships": [
            {"subject": graph.ids[s], "predicate": p, "object": graph.ids[o]}
            for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)
        ],
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":") if minify else None)
    return f"<think></think><answer>{text}</answer>" if think else text
