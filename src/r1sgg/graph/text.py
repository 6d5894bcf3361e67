"""Scene graphs as text: `parse` reads a completion, `render` writes the text that a model should generate.

`parse` is total: any string gives a graph, possibly empty, and a list of issues, in linear time, and no text raises an
error. Every decision is a row of `r1sgg.graph.policies.POLICIES`. The size of the graph is not limited: 64 KB of text
can hold 2,000 objects, and code that compares them pairwise must handle that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from r1sgg.graph import compact
from r1sgg.graph.dialects.registry import OURS, dialect_of, dialect_of_name
from r1sgg.graph.document import find_document
from r1sgg.graph.frames import AnyFrame, BoxFrame, Frame, size_of
from r1sgg.graph.items import parse_document, read_relations
from r1sgg.graph.parsed import GraphColumns, Parsed
from r1sgg.graph.policies import FAILURES, POLICIES, Issue
from r1sgg.graph.records import are_numbers
from r1sgg.graph.references import Ends
from r1sgg.graph.scene import EMPTY, SceneGraph

__all__ = [
    "FAILURES",
    "POLICIES",
    "AnswerFormat",
    "AnyFrame",
    "BoxFrame",
    "Frame",
    "GraphColumns",
    "Issue",
    "Parsed",
    "number_ids",
    "parse",
    "parse_document",
    "parse_rows",
    "render",
]

AnswerFormat = Literal["json", "compact"]
"""The paper's JSON, or one line per object and relationship (`r1sgg.graph.compact`)."""


def parse(
    text: str,
    frame: AnyFrame,
    *,
    repair: bool = False,
    given: SceneGraph | None = None,
    dialect: str = OURS,
    image: Frame | None = None,
) -> Parsed:
    """Read a completion.

    Args:
        text: any string: a graph alone, in a code fence, in <answer> tags, or inside prose.
        frame: width and height that the text's boxes are relative to, both positive; or a `BoxFrame` for boxes that are
            not x1 y1 x2 y2.
        repair: keep the complete items of a broken or truncated completion, instead of counting a failure.
        given: objects that the prompt gave; a completion with "relationships" but no "objects" refers to them.
        dialect: a name of `r1sgg.graph.dialects.registry.DIALECTS`. Ours is JSON or compact lines, detected by itself;
            a text in another dialect is then a failure that names it.
        image: width and height of the image, which frames of padded images need (the text's boxes are otherwise taken
            to be relative to a square image).

    Returns:
        The graph (boxes divided by the frame, not clipped to [0, 1]) and the issues; the graph is empty if and only if
        `Parsed.failure` is set.

    Raises:
        ConfigError: there is no such dialect.
    """
    issues: list[Issue] = []
    if dialect == OURS:
        document = find_document(text, issues, repair=repair)
    else:
        spoken = dialect_of_name(dialect)
        document = spoken.read(text, issues)
        if not isinstance(frame, BoxFrame):
            frame = spoken.frame(frame, image)
    if document is None or not _has_relations(document):
        other = dialect_of(text)
        if other not in (None, dialect):
            detail = f"it looks like {other!r}: pass that dialect, or auto"
            issues = [Issue("other_dialect", detail), *(i for i in issues if i.kind not in FAILURES)]
            document = None
    if document is None:
        return Parsed(EMPTY, issues)
    size = size_of(frame)
    if isinstance(frame, BoxFrame):
        document = _with_corners(document, frame)
    if given is not None and "relationships" in document and not document.get("objects"):
        ends = Ends({name: k for k, name in enumerate(given.ids)}, given.labels, given.ids)
        subjects, objects, predicates, rows = read_relations(document["relationships"], ends, issues)
        pairs = tuple(zip(subjects, objects, strict=True))
        graph = SceneGraph(given.ids, given.labels, given.boxes, pairs, tuple(predicates))
        if not len(graph):
            issues.append(Issue("empty", "no valid object"))
        return Parsed(graph, issues, (), rows)
    parsed = parse_document(document, size, issues)
    parsed.convention = frame if isinstance(frame, BoxFrame) else None
    return parsed


def _has_relations(document: dict[str, Any]) -> bool:
    """Return whether a document has a relationship that can be read, or a list of none."""
    rows = document.get("relationships", document.get("relations"))
    return isinstance(rows, list) and (not rows or any(isinstance(row, dict) for row in rows))


def parse_rows(document: dict[str, Any], frame: AnyFrame) -> Parsed:
    """Read the objects and relationships of a document, with boxes in any frame; see `parse_document`."""
    if isinstance(frame, BoxFrame):
        document = _with_corners(document, frame)
    return parse_document(document, size_of(frame))


def _with_corners(document: dict[str, Any], frame: BoxFrame) -> dict[str, Any]:
    """Return a document with its boxes as x1 y1 x2 y2 in units of the frame's size."""
    rows = document.get("objects")
    if not isinstance(rows, list):
        return document
    places = [k for k, row in enumerate(rows) if type(row) is dict and are_numbers(row.get("bbox"), 4)]
    boxes = frame.corners(np.array([rows[k]["bbox"] for k in places], dtype=np.float64)).tolist()
    changed = list(rows)
    for k, box in zip(places, boxes, strict=True):
        changed[k] = {**rows[k], "bbox": box}
    return {**document, "objects": changed}


# ---------------------------------------------------------------- writing


def number_ids(labels: Sequence[str]) -> tuple[str, ...]:
    """Number classes in order to get ids: ("man", "dog", "man") -> ("man.1", "dog.1", "man.2")."""
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
    """Write a graph as the paper's JSON or in the compact format, with integer boxes in units of `frame`.

    Coordinates are rounded to the nearest integer (error at most half a unit). A side that rounds to zero becomes one
    unit long (error at most one unit), and boxes are clipped to the frame. `parse(render(g, frame), frame)` restores
    ids and relationships exactly, and the labels that follow from the ids (`label_of_id`).

    Args:
        graph: the graph to write.
        frame: width and height of the written coordinates.
        minify: JSON without spaces after commas and colons.
        think: wrap the text in <answer>, after an empty <think>, as the RL prompt requires.
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
