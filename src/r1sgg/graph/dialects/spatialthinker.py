"""SpatialThinker: our JSON in <scene>, between an observation and the thoughts; <answer> holds the reply to a question.

<observe>A man rides a horse near a tree.</observe>
<scene>{"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]},
{"id": "tree.1", "bbox": [700, 10, 990, 600]}],
"relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"},
{"subject": "horse.1", "predicate": "near", "object": "tree.1"}]}</scene>
<think>The man is on the horse.</think>
<answer>(B) the horse</answer>
"""

from __future__ import annotations

import re

from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.document import find_document
from r1sgg.graph.policies import Issue

_SCENE = re.compile(r"<(/?)scene>", re.IGNORECASE)


def _looks(text: str) -> bool:
    return _SCENE.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    tags = list(_SCENE.finditer(text))
    opening = [m for m in tags if not m[1]]
    if not opening:
        issues.append(Issue("no_json", "no <scene>"))
        return None
    if len(opening) > 1:
        issues.append(Issue("several_answers", f"{len(opening)} <scene> blocks"))
    start = opening[-1].end()
    end = next((m.start() for m in tags if m[1] and m.start() >= start), len(text))
    return find_document(text[start:end], issues)


DIALECT = Dialect(
    name="spatialthinker",
    about="SpatialThinker: our JSON in <scene>",
    example="""<observe>A man rides a horse near a tree.</observe>
<scene>
{"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]}, \
{"id": "tree.1", "bbox": [700, 10, 990, 600]}], "relationships": [{"subject": "man.1", "predicate": "riding", \
"object": "horse.1"}, {"subject": "horse.1", "predicate": "near", "object": "tree.1"}]}
</scene>
<think>The man is on the horse.</think>
<answer>(B) the horse</answer>""",
    marks=("<scene>", "<SCENE>"),
    looks=_looks,
    read=_read,
)
