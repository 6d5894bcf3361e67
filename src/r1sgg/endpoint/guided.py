"""Guided completions from servers with JSON schemas or without: objects first, then relationships between them.

A schema can't require that a relationship names a declared object, so the declared ids become the enum of a second
request. What no schema can require is enforced afterwards by one rule, and the graph is rendered again as JSON:

- an object is dropped if its name is unusable or not in the vocabulary, if its box is not four numbers with x1 < x2 and
  y1 < y2 (after rounding and clipping to the frame), if it repeats an id with its box, or if it exceeds `max_objects`;
- the others are numbered per class in order (`person.1`, `person.2`);
- a relationship is dropped if it names an object that was not declared, or the same object twice, if its predicate is
  unusable or not in the vocabulary, if it is a duplicate, or if it exceeds `max_relationships`.

Nothing is added, and no box or name is replaced by another. A server that ignores the schema shows in the numbers:
boxes that are all fractions, or all thousandths beyond the frame, are brought into the frame (`unit_of`), and ends that
name the only object of a class are that object. What was left out is counted, and the replies are kept beside the
graph.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from r1sgg.endpoint.wire import Reply, cut
from r1sgg.graph.frames import Frame
from r1sgg.graph.records import are_numbers
from r1sgg.graph.scene import NUMBER_SUFFIX, label_of_id, normalize_name
from r1sgg.graph.text import number_ids
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Piece

# ---------------------------------------------------------------- schemas

Schema = dict[str, Any]
_OPEN = "[A-Za-z][A-Za-z0-9 '_-]{0,39}"  # same length limit as in `r1sgg.guiding`
_ESCAPED = re.compile(r"[.^$*+?()\[\]{}|\\/]")  # not re.escape: regular expressions of JSON schemas have no "\ "


def objects_schema(spec: GuideSpec) -> Schema:
    """{"objects": [{"id", "bbox"}, ...]}; the frame's longer side bounds all four numbers."""
    return _object({"objects": _objects(spec)})


def listing_schema(spec: GuideSpec) -> Schema:
    """{"objects": [{KEY: box, "label"}, ...]} with the key of `GuideSpec.listing`: the answer of a list of objects."""
    number = {"type": "integer", "minimum": 0, "maximum": int(max(spec.frame))}
    box = {"type": "array", "items": number, "minItems": 4, "maxItems": 4}
    named = {"enum": list(spec.objects)} if spec.objects else {"pattern": f"^{_OPEN}$"}
    rows = _object({spec.listing: box, "label": {"type": "string", **named}})
    return _object({"objects": {"type": "array", "items": rows, "minItems": 1, "maxItems": spec.max_objects}})


def relationships_schema(spec: GuideSpec, ids: Sequence[str]) -> Schema:
    """{"relationships": [{"subject", "predicate", "object"}, ...]} between the declared ids."""
    return _object({"relationships": _relationships(spec, {"type": "string", "enum": list(ids)})})


def graph_schema(spec: GuideSpec) -> Schema:
    """Both lists in one; this schema can't restrict subjects and objects to declared ids."""
    return _object({"objects": _objects(spec), "relationships": _relationships(spec, _identifier(spec))})


def _objects(spec: GuideSpec) -> Schema:
    number = {"type": "integer", "minimum": 0, "maximum": int(max(spec.frame))}
    box = {"type": "array", "items": number, "minItems": 4, "maxItems": 4}
    rows = _object({"id": _identifier(spec), "bbox": box})
    return {"type": "array", "items": rows, "minItems": 1, "maxItems": spec.max_objects}


def _relationships(spec: GuideSpec, end: Schema) -> Schema:
    listed = {"enum": list(spec.predicates)} if spec.predicates else {"pattern": f"^{_OPEN}$"}
    predicate: Schema = {"type": "string", **listed}
    rows = _object({"subject": end, "predicate": predicate, "object": end})
    return {"type": "array", "items": rows, "maxItems": spec.max_relationships}


def _identifier(spec: GuideSpec) -> Schema:
    """A name and its number, with a limited number of digits: some models never stop writing digits."""
    names = "|".join(_ESCAPED.sub(r"\\\g<0>", name) for name in spec.objects) or _OPEN
    digits = "[0-9]?" * (len(str(spec.max_objects)) - 1)
    return {"type": "string", "pattern": rf"^({names})\.[1-9]{digits}$"}


def _object(properties: Mapping[str, Schema]) -> Schema:
    """An object with exactly these keys, as strict schemas require."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


# ---------------------------------------------------------------- prompts

OBJECTS_FIRST = (
    'First give the objects only, as one JSON object of the shape {"objects": [{"id": "object_name.number", "bbox": '
    "[x1, y1, x2, y2]}, ...]}."
)
THEN_RELATIONSHIPS = (
    'Now give the relationships between these objects, as one JSON object of the shape {"relationships": [{"subject": '
    '"object_name.number", "predicate": "relation", "object": "object_name.number"}, ...]}. Subject and object are ids '
    "from your list. No object relates to itself, and no relationship is given twice."
)

# ---------------------------------------------------------------- reading with positions


class Value(NamedTuple):
    """A value of a row, and its position in the text."""

    value: Any
    start: int
    end: int


Row = dict[str, Value]
_READER = json.JSONDecoder(parse_int=float)  # float: a run of 5,000 digits is infinity, not an error
_SPACE = re.compile(r"\s*")


def read_rows(text: str, name: str) -> list[Row] | None:
    """Read the rows of the list `name` up to the first syntax error; None if there is no such list."""
    found = re.compile(rf'"{name}"\s*:\s*\[').search(text, max(0, text.rfind("</think>")))
    if found is None:
        return None
    rows: list[Row] = []
    position = found.end()
    try:
        while text[(position := _skip(text, position)) : position + 1] not in ("]", ""):
            row, position = _row(text, position)
            rows.append(row)
            position = _skip(text, position)
            if text[position : position + 1] != ",":
                break
            position += 1
    except (json.JSONDecodeError, RecursionError):
        pass  # the rows before the error are kept
    return rows


def _row(text: str, position: int) -> tuple[Row, int]:
    """Read the object at a position; return it (any other value as an empty row) and the position after it."""
    _, end = _READER.raw_decode(text, position)
    row: Row = {}
    if text[position] != "{":
        return row, end
    position = _skip(text, position + 1)
    while text[position] == '"':
        key, position = _READER.raw_decode(text, position)
        start = _skip(text, _skip(text, position) + 1)  # after the colon
        value, position = _READER.raw_decode(text, start)
        row[key] = Value(value, start, position)
        position = _skip(text, position)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return row, end


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


# ---------------------------------------------------------------- the rule


class Part(NamedTuple):
    """JSON of the final completion, and the characters of the model's text that it comes from."""

    text: str
    start: int
    end: int


class KeptObject(NamedTuple):
    """An object that is kept: its final id, the id in the model's text, and both parts."""

    id: str
    written_id: str
    parts: tuple[Part, Part]


KeptRelationship = tuple[Part, Part, Part]
"""A relationship that is kept: subject, predicate, object."""


def unit_of(rows: Iterable[Row], spec: GuideSpec) -> Frame | None:
    """Return the frame that boxes are written in if it is not that of the spec, which a schema would have enforced."""
    boxes = [row["bbox"].value for row in rows if "bbox" in row and are_numbers(row["bbox"].value, 4)]
    values = [v for box in boxes for v in box]
    if not values or min(values) < 0 or min(spec.frame) < _LARGE_FRAME:
        return None
    if max(values) <= 1 and any(v % 1 for v in values):
        return 1.0, 1.0
    beyond = sum(box[2] > spec.frame[0] + 1 or box[3] > spec.frame[1] + 1 for box in boxes)
    return (1000.0, 1000.0) if max(values) <= 1000 and beyond > len(boxes) / 2 else None


_LARGE_FRAME = 50


def keep_objects(rows: Iterable[Row], spec: GuideSpec, unit: Frame | None = None) -> list[KeptObject]:
    """Return the objects that the rule keeps, numbered per class; `unit`: see `unit_of`."""
    written = {normalize_name(name): name for name in spec.objects}
    numbers: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    things: list[KeptObject] = []
    for row in rows:
        name, box = row.get("id"), row.get("bbox")
        if name is None or box is None or not isinstance(name.value, str) or len(things) == spec.max_objects:
            continue
        written_id = name.value.strip()
        stem = NUMBER_SUFFIX.sub("", written_id)
        if written:
            stem = written.get(normalize_name(stem), "")
        corners = _corners(box.value, spec, unit or spec.frame)
        coded = json.dumps(corners, separators=_separators(spec))
        if corners is None or len(stem) > _LONGEST or not label_of_id(f"{stem}.1") or (written_id, coded) in seen:
            continue
        seen.add((written_id, coded))
        numbers[stem] = numbers.get(stem, 0) + 1
        identifier = f"{stem}.{numbers[stem]}"
        parts = (Part(_json(identifier), name.start, name.end), Part(coded, box.start, box.end))
        things.append(KeptObject(identifier, written_id, parts))
    return things


def given_objects(spec: GuideSpec) -> list[KeptObject]:
    """Return the objects that a prompt gives with their names, numbered per class; they come from no reply."""
    names = number_ids([str(name) for name, *_ in spec.given])
    things = []
    for identifier, (_, *box) in zip(names, spec.given, strict=True):
        coded = json.dumps([int(side) for side in box], separators=_separators(spec))
        things.append(KeptObject(identifier, identifier, (Part(_json(identifier), 0, 0), Part(coded, 0, 0))))
    return things


def keep_relationships(rows: Iterable[Row], spec: GuideSpec, ids: Mapping[str, str]) -> list[KeptRelationship]:
    """Return the relationships that the rule keeps; `ids` maps ids in the model's text to final ids."""
    written = {normalize_name(name): name for name in spec.predicates}
    seen: set[tuple[str, str, str]] = set()
    links: list[KeptRelationship] = []
    for row in rows:
        values = [row.get(key) for key in ("subject", "predicate", "object")]
        if len(links) == spec.max_relationships:
            break
        if not all(v is not None and isinstance(v.value, str) for v in values):
            continue
        (subject, predicate, target) = (v for v in values if v is not None)
        s, o = (ids.get(end) or ids.get(normalize_name(end)) for end in (subject.value.strip(), target.value.strip()))
        name = predicate.value.strip()
        form = normalize_name(name)
        if written:
            name = written.get(form, "")
        if s is None or o is None or s == o or not form or not name or len(name) > _LONGEST or (s, form, o) in seen:
            continue
        seen.add((s, form, o))
        words = zip((s, name, o), (subject, predicate, target), strict=True)
        first, second, third = (Part(_json(word), v.start, v.end) for word, v in words)
        links.append((first, second, third))
    return links


_LONGEST = 240  # characters of a name; `parse` reads 256 of an id


def ends_of(things: Sequence[KeptObject], *, by_id: bool) -> dict[str, str]:
    """Return what relationships may call the objects, with their ids: ids, and classes that only one object has.

    Args:
        things: the objects.
        by_id: they were told the final ids; else they use those that they wrote, of equal ones the first.
    """
    names = {thing.id if by_id else thing.written_id: thing.id for thing in reversed(things)}
    classes = [label_of_id(thing.id) for thing in things]
    alone = {name: thing.id for name, thing in zip(classes, things, strict=True) if classes.count(name) == 1}
    return {**alone, **names}


def _corners(box: Any, spec: GuideSpec, unit: Frame) -> list[int] | None:
    """Bring a box into the frame, round and clip it to integers with x1 < x2 and y1 < y2, or return None."""
    if type(box) is not list or len(box) != 4 or not all(type(v) is float and math.isfinite(v) for v in box):
        return None
    scaled = [v * spec.frame[k % 2] / unit[k % 2] for k, v in enumerate(box)]
    x1, y1, x2, y2 = (min(max(round(v), 0), int(spec.frame[k % 2])) for k, v in enumerate(scaled))
    return [x1, y1, x2, y2] if x1 < x2 and y1 < y2 else None


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _separators(spec: GuideSpec) -> tuple[str, str]:
    return (",", ":") if spec.minify else (", ", ": ")


# ---------------------------------------------------------------- writing

Answer = list[str | tuple[Part, int]]
"""The final text in order: strings written here, and parts with the number of the reply they come from."""


def objects_text(things: Sequence[KeptObject], spec: GuideSpec) -> str:
    """Render the objects alone, for the second request."""
    comma, colon = _separators(spec)
    return joined([f'{{"objects"{colon}[', *_rows([thing.parts for thing in things], _OBJECT, 0, comma, colon), "]}"])


def write(things: Sequence[KeptObject], links: Sequence[KeptRelationship], spec: GuideSpec) -> Answer:
    """Render the whole graph; joined, it equals `r1sgg.graph.text.render` of the graph."""
    comma, colon = _separators(spec)
    return [
        f'{"<think></think><answer>" if spec.think else ""}{{"objects"{colon}[',
        *_rows([thing.parts for thing in things], _OBJECT, 0, comma, colon),
        f']{comma}"relationships"{colon}[',
        *_rows(links, _RELATIONSHIP, 1, comma, colon),
        f"]}}{'</answer>' if spec.think else ''}",
    ]


_OBJECT, _RELATIONSHIP = ("id", "bbox"), ("subject", "predicate", "object")


def _rows(rows: Sequence[Sequence[Part]], keys: Sequence[str], reply: int, comma: str, colon: str) -> Answer:
    out: Answer = []
    for k, parts in enumerate(rows):
        for n, (key, part) in enumerate(zip(keys, parts, strict=True)):
            before = comma if n else (comma if k else "") + "{"
            out += [f'{before}"{key}"{colon}', (part, reply)]
        out.append("}")
    return out


def joined(answer: Answer) -> str:
    """Return the text of an answer."""
    return "".join(item if isinstance(item, str) else item[0].text for item in answer)


def pieces_of(answer: Answer, replies: Sequence[Reply]) -> tuple[Piece, ...] | None:
    """Return the pieces of an answer: parts keep the log-probabilities of their tokens, all other text has 0.

    None if a reply has no pieces. A part whose text was changed (renumbered, clipped, spaced) is one piece.
    """
    pieces: list[Piece] = []
    for item in answer:
        if isinstance(item, str):
            pieces.append(Piece(item, 0.0))
            continue
        part, reply = item[0], replies[min(item[1], len(replies) - 1)]
        if reply.pieces is None:
            return None
        own = cut(reply.pieces, part.start, part.end)
        if reply.text[part.start : part.end] != part.text:
            own = (Piece(part.text, sum(piece.logprob for piece in own)),)
        pieces += own
    return tuple(pieces) if all(reply.pieces is not None for reply in replies) else None
