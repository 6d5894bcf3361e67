"""InternVL's grounding tags: a name in <ref>, its boxes in <box>. MiniCPM-V writes the numbers without brackets.

    <ref>man</ref><box>[[100, 80, 420, 900]]</box> on a <ref>horse</ref><box>[[90, 300, 800, 990]]</box>, a
    <ref>tree</ref><box>[[700, 10, 990, 600]]</box>

There are no relationships in it: a text with <pred> is ASMv2's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from r1sgg.graph.dialects.dialect import Asking, Dialect, Document, number
from r1sgg.graph.dialects.tagged import labelled_boxes
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_TAGS = re.compile(r"<(?P<closing>/?)(?P<name>ref|box)>")


def _looks(text: str) -> bool:
    return "<box>" in text and "<pred>" not in text


def _read(text: str, issues: list[Issue]) -> Document | None:
    body = answer_of(text, issues)
    if "<pred>" in body:
        issues.append(Issue("wrong_schema", "a text with <pred>, which is ASMv2's"))
        return None
    return labelled_boxes(body, _TAGS, ("ref", "box"), "<{}>", issues)


def _write(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    rows = zip(names, boxes, strict=True)
    return "\n".join(f"<ref>{name}</ref><box>[[{', '.join(map(number, box))}]]</box>" for name, box in rows)


DIALECT = Dialect(
    name="internvl",
    about="InternVL, MiniCPM-V: <ref> and <box>",
    example="<ref>man</ref><box>[[100, 80, 420, 900]]</box> on a <ref>horse</ref><box>[[90, 300, 800, 990]]</box>, a "
    "<ref>tree</ref><box>[[700, 10, 990, 600]]</box>",
    marks=("<box>",),
    looks=_looks,
    read=_read,
    relations=False,
    asking=Asking(
        every="Please detect and label all objects in the image and mark their positions.",
        named="Please detect and label all of these objects in the image and mark their positions: {names}.",
        write=_write,
        last="</box>",
        tags=True,
    ),
)
