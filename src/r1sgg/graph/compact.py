"""The compact answer format: one line per object and per relationship, in less than half the tokens of the JSON.

    objects
    man 120 45 380 990
    man2 400 60 610 980
    traffic_light 700 10 760 150
    relationships
    man standing_next_to man2
    end

Words are separated by one space and lines by "\n"; words contain no spaces. `objects`, `relationships` and `end` are
lines of their own, always in this order. An object is its id and x1 y1 x2 y2; a relationship is subject, predicate,
object. In an id the words of the class are joined by "_", followed by the number, except 1: "man.1" is `man`, "man.2"
is `man2`, "traffic light.1" is `traffic_light`. An id or predicate that could not be restored ("T_shirt", "room 5.1")
is written as a JSON string without spaces: `"T_shirt"`, `"room\\u00205.1"`.

Reading gives the equivalent JSON document, so all policies of `r1sgg.graph.policies` apply to both formats. The reader
accepts more than is written (several spaces, blank lines, predicates of several words) if the meaning is clear; any
other line is a malformed item.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from r1sgg.graph.examples import is_prompt_example
from r1sgg.graph.policies import Issue

OBJECTS, RELATIONSHIPS, END = "objects", "relationships", "end"

_ID = re.compile(r"(.*[^\d])\.(\d+)", re.ASCII | re.DOTALL)
_NUMBERED = re.compile(r"(.*[^\d])(\d+)", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_UNSAFE = re.compile(r'[_{<`]|  |^[ "]| $')  # "_" means a space; the others begin JSON, tags and code fences
_ESCAPED = re.compile(r"[ _{<`]")


def write(
    ids: Sequence[str], boxes: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]], predicates: Sequence[str]
) -> str:
    """Write a graph; `boxes` are integers x1 y1 x2 y2 in units of the frame, `pairs` index `ids`."""
    names = [name_of_id(i) for i in ids]
    lines = [OBJECTS]
    lines += [f"{name} {x1} {y1} {x2} {y2}" for name, (x1, y1, x2, y2) in zip(names, boxes, strict=True)]
    lines.append(RELATIONSHIPS)
    lines += [f"{names[s]} {word_of(p)} {names[o]}" for (s, o), p in zip(pairs, predicates, strict=True)]
    return "\n".join([*lines, END])


def name_of_id(identifier: str) -> str:
    """Encode an id: "man.1" -> "man", "street sign.12" -> "street_sign12"."""
    m = _ID.fullmatch(identifier)
    if m is None or not _is_plain(m[1]):
        return _quoted(identifier)
    return m[1].replace(" ", "_") + ("" if m[2] == "1" else m[2])


def id_of_name(name: str) -> str | None:
    """Decode an id; None for a broken JSON string."""
    if name[:1] == '"':
        return _unquoted(name)
    m = _NUMBERED.fullmatch(name)
    stem, number = (m[1], m[2]) if m else (name, "1")
    return f"{stem.replace('_', ' ').rstrip()}.{number}"


def word_of(predicate: str) -> str:
    """Encode a predicate: "in front of" -> "in_front_of"."""
    return predicate.replace(" ", "_") if _is_plain(predicate) else _quoted(predicate)


def predicate_of(word: str) -> str | None:
    """Decode a predicate; None for a broken JSON string."""
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


PROMPT_WORDS = "object_name"
"""In the shape that prompts show: a text with these words holds a prompt."""


class Block(NamedTuple):
    """The span of compact lines in a text, and whether they have a line `end` (`whole`).

    `echo`: there is no other block than the shape and the example of a prompt.
    """

    start: int
    end: int
    whole: bool
    echo: bool = False


def find_block(text: str, issues: list[Issue] | None = None) -> Block | None:
    """Find the last compact graph of a text: from a line `objects` to the next line `end`, or to the end of the text.

    Of several lines `objects` before an `end` the last counts, because the model started over. Without an `end` the
    text is taken for prose unless the first line under `objects` is an object, or is truncated.
    """
    start: int | None = None
    blocks: list[Block] = []
    for m in _MARKS.finditer(text):
        if m[1] == OBJECTS:
            start = m.start(1)
        elif start is not None:
            blocks.append(Block(start, m.end(1), True))
            start = None
    if start is not None:
        block = Block(start, len(text), False)
        first, second = (*lines_of(text, block), None, None)[:2]
        if first is None or second is None or all(isinstance(_number(word), float | int) for word in first.words[-4:]):
            blocks.append(block)
    own = blocks
    if PROMPT_WORDS in text:
        own = [block for block in blocks if not (block.whole and is_prompt_example(document_of(text, block)))]
        if blocks and not own:
            return blocks[-1]._replace(echo=True)
        if len(own) < len(blocks) and issues is not None:
            issues.append(Issue("prompt_text", "the example of a prompt stands before the graph"))
    if len(own) > 1 and issues is not None:
        issues.append(Issue("several_graphs", f"{len(own)} blocks of compact lines"))
    return own[-1] if own else None


class Line(NamedTuple):
    """One line of a compact graph: its words, their positions, and whether it is in the part `relationships`."""

    words: list[str]
    starts: list[int]
    relationship: bool


def lines_of(text: str, block: Block) -> Iterator[Line | None]:
    """Yield the lines of a block that hold an item, and None for the line `relationships`; skip blank lines."""
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
    """Convert a block to the equivalent JSON document; malformed lines become malformed rows.

    The last line of a truncated block is dropped, because it may be incomplete.
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
    """Convert `man 1 2 3 4` to a row; a line of fewer than five words is returned as text."""
    if len(words) < 5:
        return " ".join(words)
    return {"id": id_of_name("_".join(words[:-4])), "bbox": [_number(word) for word in words[-4:]]}


def _relationship_of(words: list[str]) -> Any:
    """Convert `man on horse` to a row; a line of fewer than three words is returned as text."""
    if len(words) < 3:
        return " ".join(words)
    predicate = predicate_of("_".join(words[1:-1]))
    return {"subject": id_of_name(words[0]), "predicate": predicate, "object": id_of_name(words[-1])}


def _number(word: str) -> float | str:
    if not _NUMBER.fullmatch(word):
        return word
    return int(word) if len(word) < 16 and word.lstrip("-").isdigit() else float(word)
