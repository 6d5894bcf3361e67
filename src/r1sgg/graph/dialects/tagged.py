"""Text with tags, as several dialects write it: the parts of it, and the boxes in a part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Document
from r1sgg.graph.policies import Issue

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


def labelled_boxes(
    text: str, tags: re.Pattern[str], names: tuple[str, str], written: str, issues: list[Issue]
) -> Document | None:
    """Read a text in which each name, in a tag, is followed by its boxes, in another.

    Args:
        text: the answer.
        tags: see `parts`.
        names: of the tag with a name and of the tag with boxes.
        written: how an opening tag is written, with {} for its name.
        issues: gets what is wrong.

    Returns:
        The objects; None where a tag is not closed or there is no box.
    """
    draft, label, count = Draft(), "", 0
    for part in parts(text, tags):
        if not part.closed:
            issues.append(Issue("truncated", f"{written.format(part.name)} is not closed"))
            return None
        if part.name == names[0]:
            label = part.content
            continue
        for box in boxes_of(part.content):
            draft.add_object(label, box)
            count += 1
    if not count:
        issues.append(Issue("no_json", f"no {written.format(names[1])}"))
        return None
    return draft.document(relations=False)


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
