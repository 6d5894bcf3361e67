"""DeepSeek-VL2's grounding tags: a name, and its boxes from 0 to 999.

    <|ref|>man<|/ref|><|det|>[[100, 80, 420, 899]]<|/det|>
    <|ref|>horse<|/ref|><|det|>[[90, 300, 799, 989]]<|/det|>
    <|ref|>tree<|/ref|><|det|>[[699, 10, 989, 599]]<|/det|>

There are no relationships in it.
"""

from __future__ import annotations

import re

from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.dialects.tagged import labelled_boxes
from r1sgg.graph.frames import AnyFrame, Frame
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_TAGS = re.compile(r"<\|(?P<closing>/?)(?P<name>ref|det)\|>")


def _looks(text: str) -> bool:
    return "<|det|>" in text


def _read(text: str, issues: list[Issue]) -> Document | None:
    return labelled_boxes(answer_of(text, issues), _TAGS, ("ref", "det"), "<|{}|>", issues)


def _frame(frame: Frame, image: Frame | None) -> AnyFrame:
    return 999.0, 999.0


DIALECT = Dialect(
    name="det-tags",
    about="DeepSeek-VL2: <|ref|> and <|det|>, 0 to 999",
    example="<|ref|>man<|/ref|><|det|>[[100, 80, 420, 899]]<|/det|>\n<|ref|>horse<|/ref|><|det|>[[90, 300, 799, 989]]"
    "<|/det|>\n<|ref|>tree<|/ref|><|det|>[[699, 10, 989, 599]]<|/det|>",
    marks=("<|det|>",),
    looks=_looks,
    read=_read,
    frame=_frame,
    relations=False,
)
