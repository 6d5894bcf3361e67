"""ASMv2's relation conversation: names and predicates in tags, each predicate followed by the boxes of its two ends.

    A <ref>man</ref><box>[[100, 80, 420, 899]]</box> is <pred>riding</pred><box>[[100, 80, 420, 899]]</box>
    <box>[[90, 300, 799, 989]]</box> a <ref>horse</ref><box>[[90, 300, 799, 989]]</box>, <pred>near</pred>
    <box>[[90, 300, 799, 989]]</box><box>[[699, 10, 989, 599]]</box> a <ref>tree</ref>
    <box>[[699, 10, 989, 599]]</box>.

Coordinates run from 0 to 999 over a square with the image in its middle. One box at one end and several at the other
are several relationships. A box after <pred> that no <ref> has is dangling.
"""

from __future__ import annotations

import re

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.dialects.tagged import boxes_of, parts
from r1sgg.graph.frames import AnyFrame, BoxFrame, Frame
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_TAGS = re.compile(r"<(?P<closing>/?)(?P<name>ref|pred|box)>")
_Box = list[float | str]


def _looks(text: str) -> bool:
    return "<pred>" in text and "<box>" in text


def _read(text: str, issues: list[Issue]) -> Document | None:
    draft = Draft()
    relations: list[tuple[str, list[list[_Box]]]] = []  # a predicate and the boxes in each <box> after it
    kind = label = ""
    seen: set[tuple[str, tuple[float | str, ...]]] = set()
    for part in parts(answer_of(text, issues), _TAGS):
        if not part.closed:
            issues.append(Issue("truncated", f"<{part.name}> is not closed"))
            return None
        if part.name == "box" and kind == "ref":
            for box in boxes_of(part.content):
                if (label, tuple(box)) not in seen:  # the text may mention an object again
                    seen.add((label, tuple(box)))
                    draft.add_object(label, box, tuple(box))
        elif part.name == "box" and kind == "pred":
            relations[-1][1].append(boxes_of(part.content))
        elif part.name != "box":
            kind, label = part.name, part.content.strip()
            if kind == "pred":
                relations.append((label, []))
    if not relations:
        issues.append(Issue("wrong_schema", "no <pred>: boxes without relationships are InternVL's, not ASMv2's"))
        return None
    for predicate, groups in relations:
        _relate(draft, predicate, groups)
    return draft.document()


def _relate(draft: Draft, predicate: str, groups: list[list[_Box]]) -> None:
    """Add the relationships of a predicate: its boxes come as subject, object, subject, object, ..."""
    for k in range(0, len(groups), 2):
        subjects, objects = groups[k], groups[k + 1] if k + 1 < len(groups) else []
        count = max(len(subjects), len(objects))
        if len(subjects) not in (1, count) or len(objects) not in (1, count):
            draft.add_broken_relationship(f"{predicate}: {len(subjects)} subjects, {len(objects)} objects")
            continue
        for n in range(count):
            subject, target = subjects[n % len(subjects)], objects[n % len(objects)]
            draft.add_relationship(tuple(subject), predicate, tuple(target))
    if not groups:
        draft.add_broken_relationship(f"{predicate}: no boxes")


def _frame(frame: Frame, image: Frame | None) -> AnyFrame:
    return BoxFrame.padded(999.0, image or (1.0, 1.0))


DIALECT = Dialect(
    name="asmv2",
    about="ASMv2: <ref>, <pred> and <box>, 0 to 999 of the padded square",
    example="A <ref>man</ref><box>[[100, 80, 420, 899]]</box> is <pred>riding</pred><box>[[100, 80, 420, 899]]</box>"
    "<box>[[90, 300, 799, 989]]</box> a <ref>horse</ref><box>[[90, 300, 799, 989]]</box>, <pred>near</pred>"
    "<box>[[90, 300, 799, 989]]</box><box>[[699, 10, 989, 599]]</box> a <ref>tree</ref>"
    "<box>[[699, 10, 989, 599]]</box>.",
    marks=("<pred>",),
    looks=_looks,
    read=_read,
    frame=_frame,
)
