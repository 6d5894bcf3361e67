"""Florence-2's location tokens: four of 1,000 bins behind each name; a bin stands for its middle.

    man<loc_100><loc_80><loc_420><loc_900>horse<loc_90><loc_300><loc_800><loc_990>tree<loc_700><loc_10><loc_990><loc_600>

A name may be followed by several boxes. There are no relationships in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Asking, Dialect, Document
from r1sgg.graph.frames import AnyFrame, BoxFrame, Frame
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_RUN = re.compile(r"(?:<loc_\d{1,3}>)+", re.ASCII)
_BIN = re.compile(r"<loc_(\d{1,3})>", re.ASCII)
_SPECIAL = re.compile(r"</?\w{1,16}>")


def _looks(text: str) -> bool:
    return _RUN.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    body = answer_of(text, issues)
    draft, runs = Draft(), list(_RUN.finditer(body))
    if not runs:
        issues.append(Issue("no_json", "no <loc_0>"))
        return None
    position = 0
    for run in runs:
        label = _SPECIAL.sub("", body[position : run.start()]).strip(" \n,;.")
        position = run.end()
        values = [float(value) for value in _BIN.findall(run.group())]
        if len(values) % 4 and run is runs[-1]:
            issues.append(Issue("truncated", "the last box has fewer than four location tokens"))
            return None
        for k in range(0, len(values), 4):
            draft.add_object(label, values[k : k + 4])
    return draft.document(relations=False)


def _frame(frame: Frame, image: Frame | None) -> AnyFrame:
    return BoxFrame((1000.0, 1000.0), offset=0.5)


def _write(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    rows = zip(names, boxes, strict=True)
    return "".join(name + "".join(f"<loc_{min(999, max(0, round(v)))}>" for v in box) for name, box in rows)


DIALECT = Dialect(
    name="florence",
    about="Florence-2: <loc_0> behind each name",
    example="man<loc_100><loc_80><loc_420><loc_900>horse<loc_90><loc_300><loc_800><loc_990>"
    "tree<loc_700><loc_10><loc_990><loc_600>",
    marks=("<loc_",),
    looks=_looks,
    read=_read,
    frame=_frame,
    relations=False,
    asking=Asking(
        every="<OD>",
        named="<CAPTION_TO_PHRASE_GROUNDING>{names}",
        write=_write,
        last="\n",  # none: a name is followed by its boxes, whose number is not known
        tags=True,
    ),
)
