"""The compact answer format: a line per object and per relationship, for less than half the tokens of the JSON.

    objects
    man 120 45 380 990
    man2 400 60 610 980
    traffic_light 700 10 760 150
    relationships
    man standing_next_to man2
    end

Words are separated by one space and lines by "\n"; no word holds a space. `objects`, `relationships` and `end` stand
alone on their lines, always in this order. An object is its id and x1 y1 x2 y2; a relationship is subject, predicate,
object. Ids keep their class's words joined by "_" and their number at the end, 1 left out: "man.1" is `man`, "man.2" is
`man2`, "traffic light.1" is `traffic_light`. An id or predicate that this could not give back ("T_shirt", "room 5.1")
is written as a JSON string without spaces: `"T_shirt"`, `"room\\u00205.1"`.

Reading gives the JSON document that says the same, so every policy of `r1sgg.graph.text` holds for both formats. It
deliberately takes more than it writes (several spaces, blank lines, words of a predicate not joined), as long as the
meaning is plain; a line that is neither is a malformed item.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

OBJECTS, RELATIONSHIPS, END = "objects", "relationships", "end"

_ID = re.compile(r"(.*[^\d])\.(\d+)", re.ASCII | re.DOTALL)
_NUMBERED = re.compile(r"(.*[^\d])(\d+)", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_UNSAFE = re.compile(r'[_{<`]|  |^[ "]| $')  # an underscore is a space; the others begin JSON, tags and fences
_ESCAPED = re.compile(r"[ _{<`]")


def write(
    ids: Sequence[str], boxes: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]], predicates: Sequence[str]
) -> str:
    """The answer; `boxes` are integers x1 y1 x2 y2 of the frame, `pairs` index `ids`."""
    names = [name_of_id(i) for i in ids]
    lines = [OBJECTS]
    lines += [f"{name} {x1} {y1} {x2} {y2}" for name, (x1, y1, x2, y2) in zip(names, boxes, strict=True)]
    lines.append(RELATIONSHIPS)
    lines += [f"{names[s]} {word_of(p)} {names[o]}" for (s, o), p in zip(pairs, predicates, strict=True)]
    return "\n".join([*lines, END])


def name_of_id(identifier: str) -> str:
    """How an id is written: "man.1" -> "man", "street sign.12" -> "street_sign12"."""
    m = _ID.fullmatch(identifier)
    if m is None or not _is_plain(m[1]):
        return _quoted(identifier)
    return m[1].replace(" ", "_") + ("" if m[2] == "1" else m[2])


def id_of_name(name: str) -> str | None:
    """The id that a written name stands for, None for a JSON string that is broken."""
    if name[:1] == '"':
        return _unquoted(name)
    m = _NUMBERED.fullmatch(name)
    stem, number = (m[1], m[2]) if m else (name, "1")
    return f"{stem.replace('_', ' ').rstrip()}.{number}"


def word_of(predicate: str) -> str:
    """How a predicate is written: "in front of" -> "in_front_of"."""
    return predicate.replace(" ", "_") if _is_plain(predicate) else _quoted(predicate)


def predicate_of(word: str) -> str | None:
    """The predicate that a written word stands for, None for a JSON string that is broken."""
    return _unquoted(word) if word[:1] == '"' else word.replace("_", " ")


def _is_plain(text: str) -> bool:
    return text.isprintable() and not _UNSAFE.search(text)


def _quoted(text: str) -> str:
    return _ESCAPED.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(text))


def _unquoted(word: str) -> str | None:
    try:
        value = json.loads(word)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, str) else None


# ---------------------------------------------------------------- finding it in a text

_MARKS = re.compile(rf"^[ \t]*({OBJECTS}|{END})[ \t\r]*$", re.MULTILINE)


class Block(NamedTuple):
    """Where a compact answer stands in a text: its first character, the one behind `end`, and whether it has one."""

    start: int
    end: int
    whole: bool


def find_block(text: str) -> Block | None:
    """The first compact answer of a text: from a line `objects` to the next line `end`, or to the text's end.

    Of several lines `objects` before an `end` the last counts: the others were given up. Without an `end` it is prose
    unless the first line under `objects` is an object, or is cut off.
    """
    start: int | None = None
    for m in _MARKS.finditer(text):
        if m[1] == OBJECTS:
            start = m.start(1)
        elif start is not None:
            return Block(start, m.end(1), True)
    if start is None:
        return None
    block = Block(start, len(text), False)
    first, second = (*lines_of(text, block), None, None)[:2]
    is_answer = (
        first is None or second is None or all(isinstance(_number(word), float | int) for word in first.words[-4:])
    )
    return block if is_answer else None


class Line(NamedTuple):
    """One line of a compact answer: its words, where they begin, and whether it stands under `relationships`."""

    words: list[str]
    starts: list[int]
    relationship: bool


def lines_of(text: str, block: Block) -> Iterator[Line | None]:
    """The lines of a block that hold an item, blank ones left out; None stands for the line `relationships`."""
    relationship = False
    position = block.start
    for line in text[block.start : block.end].split("\n"):
        words = line.split()
        if words == [RELATIONSHIPS]:
            relationship = True
            yield None
        elif words not in ([], [OBJECTS], [END]):
            starts = []
            at = 0
            for word in words:
                at = line.index(word, at)
                starts.append(position + at)
                at += len(word)
            yield Line(words, starts, relationship)
        position += len(line) + 1


def document_of(text: str, block: Block) -> dict[str, Any]:
    """The JSON document that says the same, malformed lines in it as malformed rows.

    An answer that is cut off has no last line: nobody knows where that would have ended.
    """
    objects: list[Any] = []
    relationships: list[Any] = []
    document: dict[str, Any] = {"objects": objects}
    rows = list(lines_of(text, block))
    for row in rows if block.whole else rows[:-1]:
        if row is None:
            document["relationships"] = relationships
        elif row.relationship:
            relationships.append(_relationship_of(row.words))
        else:
            objects.append(_object_of(row.words))
    return document


def _object_of(words: list[str]) -> Any:
    """`man 1 2 3 4` as a row; a line without five words as itself."""
    if len(words) < 5:
        return " ".join(words)
    return {"id": id_of_name("_".join(words[:-4])), "bbox": [_number(word) for word in words[-4:]]}


def _relationship_of(words: list[str]) -> Any:
    """`man on horse` as a row; a line without three words as itself."""
    if len(words) < 3:
        return " ".join(words)
    predicate = predicate_of("_".join(words[1:-1]))
    return {"subject": id_of_name(words[0]), "predicate": predicate, "object": id_of_name(words[-1])}


def _number(word: str) -> float | str:
    if not _NUMBER.fullmatch(word):
        return word
    return int(word) if len(word) < 16 and word.lstrip("-").isdigit() else float(word)
