"""Text with tags, as several dialects write it: the parts of it, and the boxes in a part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BRACKETED = re.compile(r"\[([^\[\]]*+)\]")
_WORD = re.compile(r"[^\s,;()<>\[\]]+")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)


class Part(NamedTuple):
    """What a tag holds: the text up to the next tag; `closed` if that tag closes it."""

    name: str
    content: str
    closed: bool


def parts(text: str, tags: re.Pattern[str]) -> Iterator[Part]:
    """Yield what the tags of a text hold.

    Args:
        text: any text.
        tags: matches opening and closing tags; the group "name" is the name, the group "closing" is empty or None for
            an opening tag.
    """
    found = list(tags.finditer(text))
    for k, m in enumerate(found):
        if m["closing"]:
            continue
        after = found[k + 1] if k + 1 < len(found) else None
        closed = after is not None and bool(after["closing"]) and after["name"] == m["name"]
        yield Part(m["name"], text[m.end() : len(text) if after is None else after.start()], closed)


def boxes_of(content: str) -> list[list[float | str]]:
    """Return the boxes of a text: [x1, y1, x2, y2] each in its brackets, or numbers in groups of four.

    A box may hold more or fewer than four values, and text in place of a number.
    """
    inner = _BRACKETED.findall(content)
    if inner:
        return [numbers_of(part) for part in inner]
    values = numbers_of(content)
    return [values[k : k + 4] for k in range(0, len(values), 4)] or [[]]


def numbers_of(content: str) -> list[float | str]:
    """Return the words of a text, as numbers where they are numbers."""
    return [float(word) if _NUMBER.fullmatch(word) else word for word in _WORD.findall(content)]
