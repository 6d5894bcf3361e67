"""JSON inside a text: every object and list that stands in it, or how the last one is broken.

Linear in the length of the text for any nesting or repetition. What the values mean is not decided here.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from typing import Any, NamedTuple

READER = json.JSONDecoder(parse_int=float)  # float: a run of 5,000 digits is infinity, not an error

MOST_BROKEN = 256
"""Broken values after which the search ends: each costs a pass over the text, for the reader's message."""

_START = re.compile(r"""\{\s*+(?:["'{}[“”]|\w++\s*+:|/[/*]|\Z)|\[\s*+(?:["{\[]|\Z)""")
_CUT = re.compile(
    r"""[`\s]*  |  (?<=\d)(?:\.|[eE][+-]?)  |  (?<=\\)u[0-9a-fA-F]{0,4}
    |  -|t|tr|tru|f|fa|fal|fals|n|nu|nul|N|Na|-?(?:I|In|Inf|Infi|Infin|Infini|Infinit)""",
    re.VERBOSE,
)


class JsonValue(NamedTuple):
    """An object or list, and its span in the text."""

    value: Any
    start: int
    end: int


class JsonScan(NamedTuple):
    """What `json_values` found.

    Attributes:
        values: in their order. What follows something broken may be a part of it.
        failure: "no_json" if there is nothing; "invalid_json" or "truncated" if something is broken; else None.
        broken: where the first broken value begins, -1 if none is.
    """

    values: list[JsonValue]
    failure: str | None
    broken: int = -1


def json_values(text: str, position: int = 0) -> JsonScan:
    """Find the outermost JSON objects and lists of a text.

    After a broken value the search continues at its error, so every character is read about once.
    """
    values: list[JsonValue] = []
    failure: str | None = None
    if is_deep(text):
        return JsonScan([], "invalid_json", 0)
    broken, first = 0, -1
    candidate = _START.search(text, position)
    while candidate is not None and broken < MOST_BROKEN:
        start = candidate.start()
        try:
            value, end = READER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            broken += 1
            first = start if first < 0 else first
            failure = "truncated" if failure == "truncated" or is_cut(text, error) else "invalid_json"
            candidate = _START.search(text, max(start + 1, error.pos))
            continue
        except RecursionError:  # a stray quote hid the nesting from `is_deep`
            return JsonScan(values, "invalid_json", start)
        values.append(JsonValue(value, start, end))
        candidate = _START.search(text, end)
    return JsonScan(values, failure if values or failure else "no_json", first)


def is_cut(text: str, error: json.JSONDecodeError) -> bool:
    """Return whether JSON fails only because the text ends: the rest after the error could be continued."""
    return error.msg.startswith("Unterminated string") or _CUT.fullmatch(text, error.pos) is not None


_DEPTH = 200  # a graph needs 4; the limit of Python's reader depends on its version and on the stack
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|([\[{])|[\]}]', re.DOTALL)


def is_deep(text: str) -> bool:
    """Return whether brackets outside strings nest deeper than `_DEPTH`; an unclosed string extends to the end."""
    if text.count("{") + text.count("[") <= _DEPTH:
        return False
    depth = 0
    for m in _BRACKETS.finditer(text):
        if m.group(1):
            depth += 1
            if depth > _DEPTH:
                return True
        elif m.group() in "]}":
            depth = max(0, depth - 1)
    return False


def repeated_keys(text: str) -> Counter[str]:
    """Return the keys that stand again in one JSON object, and how often, of a text that begins with JSON."""
    found: Counter[str] = Counter()

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            found.update(Counter(key for key, _ in pairs) - Counter(row.keys()))
        return row

    with contextlib.suppress(json.JSONDecodeError, RecursionError):
        json.JSONDecoder(object_pairs_hook=count, parse_int=float).raw_decode(text)
    return found
