"""Find the character spans of names, coordinates and predicates in a completion, row by row.

Confidences and highlighting need them. The text is read as `parse` reads it, so the rows are those of
`Parsed.object_rows` and `Parsed.relationship_rows`. Nothing is validated here.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from r1sgg.graph.compact import Block, Line, lines_of
from r1sgg.graph.document import Found, find_answer, without_surrogates
from r1sgg.graph.scene import NUMBER_SUFFIX

Span = tuple[int, int]
"""Start and end (exclusive) in the text."""


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Spans of an object: its class (the id without the number) and the coordinates x1 y1 x2 y2."""

    label: Span
    box: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class RelationshipPlace:
    """Spans of a relationship: subject id, predicate, object id."""

    subject: Span
    predicate: Span
    object: Span


@dataclass(frozen=True, slots=True)
class Places:
    """Spans by row of the document; incomplete rows are left out."""

    objects: dict[int, ObjectPlace]
    relationships: dict[int, RelationshipPlace]


def places_of(text: str) -> Places:
    """Return the spans of the items in a completion; none if no graph can be read.

    In a truncated or broken completion, the complete items have spans.
    """
    found = find_answer(text, [], repair=True)
    start = -1 if found is None else without_surrogates(text).rfind(found.body)
    if found is None or start < 0:  # <think> inside the graph: body is no substring of the text
        return Places({}, {})
    return _json_places(found, start) if found.block is None else _compact_places(found.body, found.block, start)


def _compact_places(body: str, block: Block, start: int) -> Places:
    objects: dict[int, ObjectPlace] = {}
    relationships: dict[int, RelationshipPlace] = {}
    rows = {False: 0, True: 0}
    for line in lines_of(body, block):
        if line is None:
            continue
        row = rows[line.relationship]
        rows[line.relationship] += 1
        spans = [(start + at, start + at + len(word)) for word, at in zip(line.words, line.starts, strict=True)]
        if line.relationship and len(spans) >= 3:
            relationships[row] = RelationshipPlace(spans[0], (spans[1][0], spans[-2][1]), spans[-1])
        elif not line.relationship and len(spans) >= 5:
            objects[row] = ObjectPlace(_class_of(line, spans), tuple(spans[-4:]))
    return Places(objects, relationships)


def _class_of(line: Line, spans: list[Span]) -> Span:
    """Return the span of the name in a compact object line, without the number."""
    first, last = spans[0][0], spans[-5][1]
    return first, max(first + 1, last - (len(line.words[-5]) - len(line.words[-5].rstrip("0123456789"))))


_KEYS = {"objects": ("id", "bbox"), "relationships": ("subject", "predicate", "object")}


def _json_places(found: Found, start: int) -> Places:
    """Find the spans in JSON. Of a repeated key the last value counts, as in every JSON reader."""
    scalars = list(_scalars(found.body, *found.json)) if found.json else []
    counts = dict.fromkeys(_KEYS, 0)
    for span in found.items:
        inside = list(_scalars(found.body, *span))
        kind = "objects" if any(path[0] == "id" for path, _ in inside) else "relationships"
        scalars += [((kind, counts[kind], *path), at) for path, at in inside]
        counts[kind] += 1
    values: dict[tuple[str, int], dict[tuple[str | int, ...], Span]] = defaultdict(dict)
    for (key, *rest), (first, last) in scalars:
        if key in _KEYS and len(rest) > 1 and isinstance(rest[0], int):
            values[str(key), rest[0]][tuple(rest[1:])] = (start + first, start + last)
    objects: dict[int, ObjectPlace] = {}
    relationships: dict[int, RelationshipPlace] = {}
    for (kind, row), spans in values.items():
        if kind == "objects" and ("id",) in spans and all(("bbox", k) in spans for k in range(4)):
            first, last = spans["id",][0] + 1, spans["id",][1] - 1
            number = NUMBER_SUFFIX.search(found.body[first - start : last - start].rstrip())
            box = tuple(spans["bbox", k] for k in range(4))
            objects[row] = ObjectPlace((first, first + number.start() if number else last), box)
        elif kind == "relationships" and all((key,) in spans for key in _KEYS[kind]):
            subject, predicate, target = ((spans[key,][0] + 1, spans[key,][1] - 1) for key in _KEYS[kind])
            relationships[row] = RelationshipPlace(subject, predicate, target)
    return Places(objects, relationships)


_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|[^\s{}\[\]:,"]++', re.DOTALL)


def _scalars(text: str, start: int, end: int) -> Iterator[tuple[tuple[str | int, ...], Span]]:
    """Yield the strings and numbers of valid JSON, each with its path of keys and positions, and its span.

    If a key of the outermost object is repeated, both values are yielded; later rows overwrite earlier ones.
    """
    path: list[str | int | None] = []  # None: inside an object, before a key
    for m in _TOKEN.finditer(text, start, end):
        token = m[0]
        if token in "{[":
            path.append(None if token == "{" else 0)
        elif token in "}]":
            path.pop()
        elif token == ",":
            path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None
        elif path and path[-1] is None:
            path[-1] = json.loads(token)
        elif token != ":":
            yield tuple(key for key in path if key is not None), m.span()
