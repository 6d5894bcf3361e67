"""Ours: the paper's JSON, or the same as compact lines (`r1sgg.graph.compact`); the reader tells them apart.

{"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]},
{"id": "tree.1", "bbox": [700, 10, 990, 600]}],
"relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"},
{"subject": "horse.1", "predicate": "near", "object": "tree.1"}]}
"""

from __future__ import annotations

import re

from r1sgg.graph.dialects.dialect import Dialect
from r1sgg.graph.document import find_document

_SHAPE = re.compile(r'"bbox"\s*:|^[ \t]*objects[ \t\r]*$', re.MULTILINE)


def _looks(text: str) -> bool:
    return _SHAPE.search(text) is not None


DIALECT = Dialect(
    name="ours",
    about="the paper's JSON, or compact lines",
    example='{"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, '
    '990]}, {"id": "tree.1", "bbox": [700, 10, 990, 600]}], "relationships": [{"subject": "man.1", '
    '"predicate": "riding", "object": "horse.1"}, {"subject": "horse.1", "predicate": "near", "object": "tree.1"}]}',
    marks=("objects",),
    looks=_looks,
    read=find_document,
)
