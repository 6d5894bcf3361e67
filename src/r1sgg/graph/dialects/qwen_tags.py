"""Qwen2-VL's grounding tags: a name, then the corners of each of its boxes. Rex-Omni writes <12> in place of 12.

    <|object_ref_start|>man<|object_ref_end|><|box_start|>(100,80),(420,900)<|box_end|>
    <|object_ref_start|>horse<|object_ref_end|><|box_start|>(90,300),(800,990)<|box_end|>
    <|object_ref_start|>tree<|object_ref_end|><|box_start|>(700,10),(990,600)<|box_end|>

There are no relationships in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from r1sgg.graph.dialects.dialect import Asking, Dialect, Document, number
from r1sgg.graph.dialects.tagged import labelled_boxes
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_TAGS = re.compile(r"<\|(?P<name>object_ref|box)_(?:start|(?P<closing>end))\|>")


def _looks(text: str) -> bool:
    return "<|object_ref_start|>" in text or "<|box_start|>" in text


def _read(text: str, issues: list[Issue]) -> Document | None:
    return labelled_boxes(answer_of(text, issues), _TAGS, ("object_ref", "box"), "<|{}_start|>", issues)


def _write(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    written = []
    for name, box in zip(names, boxes, strict=True):
        x1, y1, x2, y2 = map(number, box)
        corners = f"<|box_start|>({x1},{y1}),({x2},{y2})<|box_end|>"
        written.append(f"<|object_ref_start|>{name}<|object_ref_end|>{corners}")
    return "\n".join(written)


DIALECT = Dialect(
    name="qwen-tags",
    about="Qwen2-VL: <|object_ref_start|> and <|box_start|>",
    example="<|object_ref_start|>man<|object_ref_end|><|box_start|>(100,80),(420,900)<|box_end|>"
    "<|object_ref_start|>horse<|object_ref_end|><|box_start|>(90,300),(800,990)<|box_end|>"
    "<|object_ref_start|>tree<|object_ref_end|><|box_start|>(700,10),(990,600)<|box_end|>",
    marks=("<|object_ref_start|>", "<|box_start|>"),
    looks=_looks,
    read=_read,
    relations=False,
    asking=Asking(
        every="Detect all objects in the image. Write the name of each between <|object_ref_start|> and "
        "<|object_ref_end|>, followed by its bounding box.",
        named="Detect all of these objects in the image: {names}. Write the name of each between <|object_ref_start|> "
        "and <|object_ref_end|>, followed by its bounding box.",
        write=_write,
        last="<|box_end|>",
        tags=True,
    ),
)
