"""The original's arrow strings: our JSON, with each relationship as one string.

    {"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]},
    {"id": "tree.1", "bbox": [700, 10, 990, 600]}],
    "relationships": ["man.1 -> riding -> horse.1", "horse.1 -> near -> tree.1"]}

Relationships as JSON objects among them are read as ours.
"""

from __future__ import annotations

import re
from typing import Any

from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.document import find_document
from r1sgg.graph.policies import Issue

# one that never ends goes to the end of the text, so that the search does not begin again inside it
_STRING = re.compile(r'"((?:[^"\\]++|\\.?)*+)("?)', re.DOTALL)
_ARROW = re.compile(r"->|→")
_KEYS = ("relationships", "relations")


def _looks(text: str) -> bool:
    return any(m[2] and len(_ARROW.findall(m[1])) == 2 for m in _STRING.finditer(text))


def _read(text: str, issues: list[Issue]) -> Document | None:
    document = find_document(text, issues)
    if document is None:
        return None
    return {
        key: [_row(row) for row in value] if key in _KEYS and isinstance(value, list) else value
        for key, value in document.items()
    }


def _row(row: Any) -> Any:
    words = [word.strip(" -") for word in _ARROW.split(row)] if isinstance(row, str) else []
    if len(words) != 3 or not all(words):
        return row
    return {"subject": words[0], "predicate": words[1], "object": words[2]}


DIALECT = Dialect(
    name="arrows",
    about='the original R1-SGG: relationships as "man.1 -> riding -> horse.1"',
    example='{"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, '
    '990]}, {"id": "tree.1", "bbox": [700, 10, 990, 600]}], "relationships": ["man.1 -> riding -> horse.1", '
    '"horse.1 -> near -> tree.1"]}',
    marks=("->", "→"),
    looks=_looks,
    read=_read,
)
