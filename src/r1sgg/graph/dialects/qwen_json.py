"""Qwen's detections: a list of objects with `bbox_2d` and `label`, and whoever writes the like (`bbox`, `box`).

    [{"bbox_2d": [100, 80, 420, 900], "label": "man"}, {"bbox_2d": [90, 300, 800, 990], "label": "horse"},
     {"bbox_2d": [700, 10, 990, 600], "label": "tree"}]

Asked for a graph, such a model writes the same objects under "objects", with relationships beside them, which are read
too. Qwen2.5-VL writes pixels of the resized image, Qwen3-VL thousandths: the frame of the file decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Asking, Dialect, Document, number
from r1sgg.graph.jsontext import json_values
from r1sgg.graph.policies import POLICIES, Issue
from r1sgg.graph.references import RELATION_KEYS
from r1sgg.graph.tags import answer_of

_BOXES = ("bbox_2d", "bbox", "box", "bounding_box")
_LABELS = ("label", "class", "name", "category")
_FRESH = re.compile(r"```\w+|<\|im_start\|>assistant|^assistant\b", re.MULTILINE)
_PLAIN = re.compile(r'"(?:label|name|category|class)"\s*:')


def _looks(text: str) -> bool:
    if '"bbox_2d"' in text:
        return True
    return '"objects"' not in text and _PLAIN.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    return read_detections(text, issues, _BOXES)


def read_detections(text: str, issues: list[Issue], boxes: Sequence[str]) -> Document | None:
    """Read a list of objects, or a graph with such objects, as JSON.

    Args:
        text: a completion.
        issues: gets what is wrong.
        boxes: the keys that a box may have.
    """
    body = answer_of(text, issues)
    scan = json_values(body)
    # what follows something broken is a piece of it, unless a new fence or turn begins between
    begins = scan.broken if scan.broken < 0 else _fresh(body, scan.broken)
    values = [found.value for found in scan.values if found.start >= begins >= 0 or scan.broken < 0]
    rows = [value for value in values if _box(value, boxes) is not None]  # one object a line
    documents = [d for value in values if not _is_row(value) and (d := _document(value, boxes)) is not None]
    if rows and not documents:
        documents = [d] if (d := _document(rows, boxes)) is not None else []
    if not documents:
        failure = scan.failure or "wrong_schema"
        issues.append(Issue(failure, f'no list of objects with "{boxes[0]}": {POLICIES[failure].partition(";")[0]}'))
        return None
    if len(documents) > 1:
        issues.append(Issue("several_graphs", f"{len(documents)} lists of objects"))
    return documents[-1]


def _fresh(body: str, start: int) -> int:
    """Return where the last code fence or turn after `start` begins, -1 if there is none."""
    opened = [m.start() for m in _FRESH.finditer(body, start)]
    return opened[-1] if opened else -1


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and "objects" not in value


def _document(value: Any, boxes: Sequence[str]) -> Document | None:
    rows, relations = value, None
    if isinstance(value, dict):
        rows = value.get("objects")
        relations = next((value[key] for key in RELATION_KEYS if isinstance(value.get(key), list)), None)
    if not isinstance(rows, list) or not any(_box(row, boxes) is not None for row in rows):
        return None
    draft = Draft()
    for row in rows:
        if not isinstance(row, dict):
            draft.add_broken_object(row)
            continue
        label = next((row[key] for key in _LABELS if isinstance(row.get(key), str)), None)
        draft.add_object(label if label is not None else row.get("id"), _box(row, boxes), row.get("id"))
    for row in relations or ():
        if isinstance(row, dict):
            draft.add_relationship_row(row)
        else:
            draft.add_broken_relationship(row)
    return draft.document(relations=relations is not None)


def _box(row: Any, keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if key in row), None) if isinstance(row, dict) else None


def write_detections(names: Sequence[str], boxes: Sequence[Sequence[float]], key: str) -> str:
    """Write objects as a list of JSON, one object a line, in a code fence, with the box under `key`."""
    rows = [
        f'\t{{"{key}": [{", ".join(map(number, box))}], "label": {json.dumps(name, ensure_ascii=False)}}}'
        for name, box in zip(names, boxes, strict=True)
    ]
    return "```json\n[\n" + ",\n".join(rows) + "\n]\n```"


def _write(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    return write_detections(names, boxes, "bbox_2d")


DIALECT = Dialect(
    name="qwen-json",
    about="Qwen2.5-VL, Qwen3-VL and others: JSON lists with bbox_2d and label",
    example="""```json
[
\t{"bbox_2d": [100, 80, 420, 900], "label": "man"},
\t{"bbox_2d": [90, 300, 800, 990], "label": "horse"},
\t{"bbox_2d": [700, 10, 990, 600], "label": "tree"}
]
```""",
    marks=('"bbox_2d"', '"bbox"', '"box"', '"bounding_box"'),
    looks=_looks,
    read=_read,
    relations=False,
    asking=Asking(
        every="Detect every object in the image, each instance by itself. Report the bbox coordinates and the label of "
        'each in JSON format, as a list of {"bbox_2d": [x1, y1, x2, y2], "label": "name"}.',
        named="Locate every instance that belongs to one of the following categories: {names}. Report the bbox "
        'coordinates and the label of each in JSON format, as a list of {"bbox_2d": [x1, y1, x2, y2], '
        '"label": "name"}.',
        write=_write,
        last="}",
        closing=("]", "]}"),
        key="bbox_2d",
    ),
)
