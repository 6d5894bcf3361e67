"""Pix2Grp's sequences: subject, predicate, object, each entity followed by four bins of 1,000: its centre and its size.

    man [OBJ] 260 490 320 820 [OBJ/] riding [REL] horse [OBJ] 445 645 710 690 [OBJ/] ,
    horse [OBJ] 445 645 710 690 [OBJ/] near [REL] tree [OBJ] 845 305 290 590 [OBJ/]

An entity of one class and box is one object. A sequence without numbers, as the later variant of the model prints it,
has no boxes: a failure.
"""

from __future__ import annotations

import re

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.frames import AnyFrame, BoxFrame, Frame
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_MARKS = re.compile(r"\[(OBJ/?|REL)\]", re.IGNORECASE)
_BIN = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_JOIN = re.compile(r"^(?:[\s,.;]|\[SEP\]|\[CLS\]|and\b)+", re.IGNORECASE)


def _looks(text: str) -> bool:
    return _MARKS.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    pieces = _MARKS.split(answer_of(text, issues))  # text, mark, text, mark, ..., text
    words, marks = pieces[::2], [mark.upper() for mark in pieces[1::2]]
    if "OBJ" not in marks:
        issues.append(Issue("no_json", "no [OBJ]"))
        return None
    draft, known = Draft(), dict[tuple[str, tuple[float, ...]], str]()
    subject, predicate = "", ""
    bare = True
    k = 0
    while k < len(marks):
        if marks[k] == "REL":
            predicate = words[k].strip()
            k += 1
            continue
        if marks[k] != "OBJ":
            k += 1
            continue
        if k + 1 == len(marks) or marks[k + 1] != "OBJ/":
            issues.append(Issue("truncated", "the last [OBJ] is not closed"))
            return None
        label = _JOIN.sub("", words[k]).strip()
        box = tuple(map(float, _BIN.findall(words[k + 1])))
        bare = bare and not box
        name = known.get((label, box))
        if name is None:
            name = known[label, box] = draft.add_object(label, list(box))
        if predicate:
            draft.add_relationship(subject, predicate, name)
            predicate = ""
        subject = name
        k += 2
    if bare:
        issues.append(Issue("wrong_schema", "the entities have no coordinates"))
        return None
    return draft.document()


def _frame(frame: Frame, image: Frame | None) -> AnyFrame:
    return BoxFrame((1000.0, 1000.0), shape="centre")


DIALECT = Dialect(
    name="pix2grp",
    about="Pix2Grp: [OBJ] and [REL], centre and size in 1,000 bins",
    example="man [OBJ] 260 490 320 820 [OBJ/] riding [REL] horse [OBJ] 445 645 710 690 [OBJ/] , "
    "horse [OBJ] 445 645 710 690 [OBJ/] near [REL] tree [OBJ] 845 305 290 590 [OBJ/]",
    marks=("[OBJ]", "[obj]"),
    looks=_looks,
    read=_read,
    frame=_frame,
)
