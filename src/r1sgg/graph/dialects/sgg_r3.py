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

Relationships in one plain list, and lists by kind without the key "relations", are read too. The tag CATEGORY holds
nothing that the objects do not.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.dialects.tagged import parts
from r1sgg.graph.jsontext import json_values
from r1sgg.graph.policies import POLICIES, Issue
from r1sgg.graph.tags import answer_of

_TAGS = re.compile(r"<(?P<closing>/?)(?P<name>OBJECT|RELATION)S?>")
_KEYS = {"OBJECT": ("objects",), "RELATION": ("relations", "relationships")}


def _looks(text: str) -> bool:
    return _TAGS.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    document: Document = {}
    for tag, part in _parts(answer_of(text, issues), issues).items():
        scan = json_values(part)
        if scan.failure is not None:  # what follows something broken may be a part of it
            issues.append(Issue(scan.failure, f"<{tag}>: {POLICIES[scan.failure].partition(';')[0]}"))
            return None
        for found in scan.values:
            if (rows := _rows(found.value, _KEYS[tag])) is not None:
                document["objects" if tag == "OBJECT" else "relationships"] = rows
    if "objects" not in document:
        issues.append(Issue("wrong_schema", "no list of objects in <OBJECT>"))
        return None
    if "relationships" not in document:
        issues.append(Issue("truncated", "no list of relationships in a <RELATION> after the last <OBJECT>"))
        return None
    return document


def _parts(text: str, issues: list[Issue]) -> dict[str, str]:
    """Return the last <OBJECT> and the <RELATION> after it, each up to the next tag or to the end of the text."""
    found: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for part in parts(text, _TAGS):
        if part.name == "OBJECT":
            found.clear()  # what stood before is a prompt's example, or a draft
            counts["RELATION"] = 0
        counts[part.name] += 1
        found[part.name] = part.content
    for name, count in counts.items():
        if count > 1:
            issues.append(Issue("several_graphs", f"{count} <{name}> blocks"))
    return found


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
    kinds = [rows for name, rows in value.items() if name.endswith("_relations") and isinstance(rows, list)]
    return [row for rows in kinds for row in rows] if kinds else None


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
