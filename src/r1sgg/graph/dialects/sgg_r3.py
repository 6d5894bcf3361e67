"""SGG-R3: categories, objects and relationships in three tags; relationships in lists by kind, to be merged.

    <CATEGORY>
    {"categories": [{"id": "man"}, {"id": "horse"}, {"id": "tree"}]}
    </CATEGORY>
    <OBJECT>
    {"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]},
    {"id": "tree.1", "bbox": [700, 10, 990, 600]}]}
    </OBJECT>
    <RELATION>
    {"relations": {"spatial_relations": [{"subject": "horse.1", "predicate": "near", "object": "tree.1"}],
    "interaction_relations": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}]}}
    </RELATION>

Relationships in one plain list are read too. The tag CATEGORY holds nothing that the objects do not.
"""

from __future__ import annotations

import re
from typing import Any

from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.jsontext import json_values
from r1sgg.graph.policies import POLICIES, Issue

_TAGS = re.compile(r"<(OBJECT|RELATION)S?>")
_KEYS = {"OBJECT": ("objects",), "RELATION": ("relations", "relationships")}


def _looks(text: str) -> bool:
    return _TAGS.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    document: Document = {}
    failure = "wrong_schema"
    for tag, part in _parts(text).items():
        scan = json_values(part)
        if scan.failure is not None:
            failure = scan.failure
        for found in scan.values:
            if (rows := _rows(found.value, _KEYS[tag])) is not None:
                document["objects" if tag == "OBJECT" else "relationships"] = rows
    if "objects" not in document:
        issues.append(Issue(failure, f"<OBJECT>: {POLICIES[failure].removeprefix('failure: ')}"))
        return None
    if "relationships" not in document and failure in ("truncated", "invalid_json"):
        issues.append(Issue(failure, "<RELATION> is broken"))
        return None
    return document


def _parts(text: str) -> dict[str, str]:
    """Return the last <OBJECT> and <RELATION>, each up to its end tag or to the end of the text."""
    parts: dict[str, str] = {}
    for m in _TAGS.finditer(text):
        end = text.find(f"</{m[1]}", m.end())
        parts[m[1]] = text[m.end() : end if end >= 0 else len(text)]
    return parts


def _rows(value: Any, keys: tuple[str, ...]) -> list[Any] | None:
    """Return the rows of a value: a list under one of the keys, lists by kind merged in their order, or a bare list."""
    if isinstance(value, list):
        return value
    for key in keys:
        rows = value.get(key)
        if isinstance(rows, list):
            return rows
        if isinstance(rows, dict):
            return [row for kind in rows.values() if isinstance(kind, list) for row in kind]
    return None


DIALECT = Dialect(
    name="sgg-r3",
    about="SGG-R3: objects and relationships in tags",
    example="""<CATEGORY>
{"categories": [{"id": "man"}, {"id": "horse"}, {"id": "tree"}]}
</CATEGORY>
<OBJECT>
{"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]}, \
{"id": "tree.1", "bbox": [700, 10, 990, 600]}]}
</OBJECT>
<RELATION>
{"relations": {"spatial_relations": [{"subject": "horse.1", "predicate": "near", "object": "tree.1"}], \
"interaction_relations": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}]}}
</RELATION>""",
    marks=("<OBJECT", "<RELATION"),
    looks=_looks,
    read=_read,
)
