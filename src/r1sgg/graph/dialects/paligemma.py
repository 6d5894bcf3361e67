"""PaliGemma's location tokens: four of 1,024 bins before each name, y before x.

    <loc0082><loc0102><loc0922><loc0430> man ; <loc0307><loc0092><loc1014><loc0819> horse ;
    <loc0010><loc0717><loc0614><loc1014> tree

There are no relationships in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Asking, Dialect, Document
from r1sgg.graph.frames import AnyFrame, BoxFrame, Frame
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_RUN = re.compile(r"(?:<loc\d{4}>)+", re.ASCII)
_BIN = re.compile(r"<loc(\d{4})>", re.ASCII)
_NAME = re.compile(r"""\s*([^;<>\n,="]{1,256}+)""")


def _looks(text: str) -> bool:
    return _RUN.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    body = answer_of(text, issues)
    draft, runs = Draft(), list(_RUN.finditer(body))
    if not runs:
        issues.append(Issue("no_json", "no <loc0000>"))
        return None
    for run in runs:
        name = _NAME.match(body, run.end())
        if name is None and run is runs[-1]:
            issues.append(Issue("truncated", "the last location tokens have no name"))
            return None
        box = [float(value) for value in _BIN.findall(run.group())]
        draft.add_object(name[1].rstrip(" '") if name else "", box)
    return draft.document(relations=False)


def _frame(frame: Frame, image: Frame | None) -> AnyFrame:
    return BoxFrame((1024.0, 1024.0), axes="yx")


def _write(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    rows = zip(names, boxes, strict=True)
    return " ; ".join("".join(f"<loc{min(1023, round(v)):04}>" for v in box) + f" {name}" for name, box in rows)


DIALECT = Dialect(
    name="paligemma",
    about="PaliGemma: <loc0000> before each name, y first",
    example="<loc0082><loc0102><loc0922><loc0430> man ; <loc0307><loc0092><loc1014><loc0819> horse ; "
    "<loc0010><loc0717><loc0614><loc1014> tree",
    marks=("<loc",),
    looks=_looks,
    read=_read,
    frame=_frame,
    relations=False,
    asking=Asking(
        every="detect all objects",
        named="detect {names}",
        write=_write,
        last=";",
        between=" ; ",
        tags=True,
    ),
)
