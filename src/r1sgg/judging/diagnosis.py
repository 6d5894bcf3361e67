"""What is wrong with a whole file of predictions: one sentence for each systematic finding, with what to do.

Evaluation, scoring, the report, generation and the guards of training all ask here. Systematic is what concerns a tenth
or more of the images; what happens now and then is in the JSON alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

from r1sgg.graph.dialects.registry import AUTO, OURS, dialect_of_name
from r1sgg.graph.frames import BoxFrame, Frame
from r1sgg.graph.ledger import BOX_ISSUES, LOST_OBJECTS, LOST_RELATIONS, Ledger
from r1sgg.graph.policies import FAILURES, POLICIES
from r1sgg.graph.vocabulary import Vocabulary
from r1sgg.judging.frames import FRACTIONS, FrameEvidence, Reading, Verdict

SYSTEMATIC = 0.1
"""Share of the images from which a finding is reported."""


class SystematicFinding(NamedTuple):
    """One thing that concerns a tenth or more of the images.

    Attributes:
        kind: a kind of issue, or "frame", "truth_frame", "same_graph", "prompt_example", "lost_relations",
            "no_relations_written", "unread", "left_out", "outside_vocabulary", "no_common_class", "dialect", "error".
        share: of the images (of the relationships for "lost_relations").
        found: what was seen.
        do: what to do about it.
    """

    kind: str
    share: float
    found: str
    do: str

    def __str__(self) -> str:
        return f"{self.found}; {self.do}"


_DO: dict[str, str] = {
    "no_json": "look at a few completions; if they hold graphs in a layout of their own, convert them",
    "invalid_json": "look at a few completions; --repair keeps the complete items",
    "truncated": "raise the limit of new tokens; --repair keeps the complete items",
    "wrong_schema": 'a graph is {"objects": [...], "relationships": [...]}: convert other layouts, or look at the '
    "prompt",
    "other_dialect": "pass its name with --dialect if all are so (arrows and qwen-json read ours, too), or split the "
    "file",
    "prompt_echo": "cut the prompt off before writing the completions",
    "empty": "look at their other issues",
    "several_answers": "the last one counts; if another is meant, keep that one alone",
    "several_graphs": "the last one counts; if another is meant, keep that one alone",
    "prompt_text": "its example was skipped: cut the prompt off the completions",
    "split_graph": "they were read as one graph (docs/answers.md)",
    "closed_early": "they were read (docs/answers.md)",
    "duplicate_key": "of a repeated key only the last value could be read: the other items are lost",
    "other_key": "it was read (docs/answers.md)",
    "wrong_count": "the rows were read; the model counts wrongly",
    "much_broken": "look at a few completions: most of their text is broken JSON",
    "bad_object": "they were dropped",
    "bad_id": 'they were dropped: give objects an "id" like "man.1", or a "label"',
    "bad_box": 'these objects were dropped: a "bbox" is four numbers',
    "inverted_box": "these objects were dropped; if boxes are [x, y, width, height], ",
    "empty_box": "they overlap nothing: look at how coordinates are rounded, and at the frame",
    "box_out_of_frame": "they are kept as written: check ",
    "duplicate_id": "relationships refer to the first object of an id: number the objects of a class",
    "class_key": "check that this is the class that is meant",
    "odd_id": "check that the number is not a part of the name",
    "end_by_class": "they were linked where only one object has the class",
    "end_by_index": "places were counted from 0, and from 1 in completions that have no 0 and name the last place: "
    "write ids if the model counts from 1",
}
"""What to do about issues that many completions have; the kinds that are not here change no number by themselves.

Two end with where the frame is written, see `_do`.
"""


def findings(
    ledger: Ledger, evidence: FrameEvidence | None = None, vocabulary: Vocabulary | None = None
) -> list[SystematicFinding]:
    """Return what concerns a tenth or more of the images, the most important first.

    Args:
        ledger: of the file.
        evidence: of its boxes, where there is ground truth.
        vocabulary: in which names outside are looked up for the nearest ones.
    """
    found = [*_errors(ledger)]
    if not ledger.texts:
        return found
    found += [*_dialect(ledger), *_frame(ledger, evidence), *_graphs(ledger), *_relations(ledger)]
    for kind in (*FAILURES, *(kind for kind in POLICIES if kind not in FAILURES)):
        failed = kind in FAILURES
        count = ledger.failures[kind] if failed else ledger.texts_with[kind]
        if kind not in _DO or count < SYSTEMATIC * ledger.texts or (kind in LOST_RELATIONS):
            continue
        said = f"{_share(count, ledger.texts)} of the {ledger.called} {'fail with' if failed else 'have'} {kind}"
        boxes = _boxes(ledger, kind) if kind in BOX_ISSUES else ""
        found.append(
            SystematicFinding(kind, count / ledger.texts, f"{said}{boxes}{_first(ledger, kind)}", _do(ledger, kind))
        )
    return found + (_outside(ledger, vocabulary) or _classes(ledger, evidence))


def _do(ledger: Ledger, kind: str) -> str:
    """Say what to do about a kind of issue."""
    if kind == "inverted_box":
        return _DO[kind] + _write_frame(ledger, Reading("", shape="size"))
    if kind == "box_out_of_frame":
        key = '"frame", which boxes are relative to (where a line has none, they are pixels of the image)'
        option = "what they are relative to (docs/others.md, The frame)"
        return _DO[kind] + (key if ledger.opened_as is None else option)
    return _DO[kind]


def diagnosis(
    ledger: Ledger, evidence: FrameEvidence | None = None, vocabulary: Vocabulary | None = None
) -> dict[str, Any]:
    """Return everything as JSON values: the counts of the ledger, the evidence on the frame, and the findings."""
    return {
        **ledger.as_json(),
        "frame": None if evidence is None else evidence.as_json(),
        "findings": [{**finding._asdict(), "said": str(finding)} for finding in findings(ledger, evidence, vocabulary)],
    }


# ---------------------------------------------------------------- the parts


def _errors(ledger: Ledger) -> list[SystematicFinding]:
    images = ledger.texts + ledger.errors
    if ledger.errors < max(1, SYSTEMATIC * images):
        return []
    said = f"{_share(ledger.errors, images)} of the images have an error in place of a prediction"
    do = "they count as failures: generate them again"
    return [SystematicFinding("error", ledger.errors / images, said + _first(ledger, "error"), do)]


_READ_OURS = ("arrows", "qwen-json")  # ours is a part of these dialects


def _dialect(ledger: Ledger) -> list[SystematicFinding]:
    choice = ledger.dialect
    if choice is None or not choice.texts:
        return []
    name, texts = choice.dialect, choice.texts
    read = (name, OURS) if name in _READ_OURS else (name,)
    others = {k: n for k, n in choice.looks.items() if k not in read and n >= SYSTEMATIC * texts}
    found = []
    if choice.asked == AUTO and name != OURS:
        said = f"read as dialect {name!r} ({dialect_of_name(name).about}), which {choice.looks[name]:,} of {texts:,} "
        do = f"pass --dialect {name} to fix it, or another name"
        found.append(SystematicFinding("dialect", choice.looks[name] / texts, f"{said}completions look like", do))
    for other, count in others.items():
        said = f"{_share(count, texts)} of the completions look like dialect {other!r} and were read as {name!r}"
        found.append(SystematicFinding("dialect", count / texts, said, "a file has one dialect: split the file"))
    return found


def _frame(ledger: Ledger, evidence: FrameEvidence | None) -> list[SystematicFinding]:
    if ledger.truth_corner >= max(1, SYSTEMATIC * ledger.texts):
        said = (
            f"all true boxes lie within one pixel of the corner in {_share(ledger.truth_corner, ledger.texts)} of the "
        )
        do = "the ground truth is not in pixels: run `r1sgg data check`"
        return [SystematicFinding("truth_frame", ledger.truth_corner / ledger.texts, f"{said}images", do)]
    if ledger.corner_texts >= max(1, SYSTEMATIC * ledger.graphs):
        return [
            SystematicFinding(
                "frame",
                ledger.corner_texts / ledger.texts,
                f"{ledger.corner_boxes:,} of {ledger.objects:,} boxes lie within one unit of the frame's corner: they "
                "look like fractions (0 to 1)",
                _write_frame(ledger, Reading(FRACTIONS)),
            )
        ]
    verdict = None if evidence is None else evidence.verdict()
    if evidence is None or verdict is None or not (verdict.wrong or verdict.partly_wrong):
        return []
    share = 1.0 if verdict.wrong else verdict.votes
    said, convention = frame_found(verdict), evidence.convention
    if convention is not None and convention.axes == "yx":
        said = said.replace("y before x", "x before y")
    declared = None if evidence.varied else evidence.declared
    return [SystematicFinding("frame", share, said, _write_frame(ledger, verdict.best, declared, convention))]


def _write_frame(
    ledger: Ledger, reading: Reading, declared: Frame | None = None, convention: BoxFrame | None = None
) -> str:
    """Say where to write a frame: in each of our lines, or among the options of another tool's file."""
    key = f'write "frame": {reading.value(declared, convention)}'
    if ledger.opened_as is None:
        return key
    options = reading.options(convention)
    if options is None or (spec := ledger.opened_as.spec(options)) is None:
        return f"its options have no such frame: make our lines of it (docs/others.md) and {key}"
    return f"evaluate it as {spec}"


def frame_found(verdict: Verdict) -> str:
    """Say which reading explains the boxes better than the declared frame."""
    part = "" if verdict.wrong else f", much better in {verdict.votes:.0%} of the images"
    return (
        f"boxes overlap the true ones of their class by {verdict.overlap:.2f} (mean IoU of {verdict.named:,} objects), "
        f"and by {verdict.better:.2f} if they are read as {verdict.best}{part}"
    )


def _graphs(ledger: Ledger) -> list[SystematicFinding]:
    found = []
    same, graphs = ledger.same_graph, ledger.graphs
    if same >= 3 and (same == graphs or same >= max(10, SYSTEMATIC * graphs)):
        said = f"all {graphs:,}" if same == graphs else f"{same:,} of {graphs:,}"
        echo = "" if ledger.detections else ", and that the completion is not its prompt"
        do = f"check that the image reaches the model{echo}"
        found.append(
            SystematicFinding("same_graph", same / ledger.texts, f"{said} {ledger.called} hold the same graph", do)
        )
    if ledger.examples >= max(1, SYSTEMATIC * ledger.texts):
        said = f"{_share(ledger.examples, ledger.texts)} of the completions are the worked example of a prompt"
        do = "cut the prompt off the completions, or look whether the model copies it"
        found.append(SystematicFinding("prompt_example", ledger.examples / ledger.texts, said, do))
    return found


def _relations(ledger: Ledger) -> list[SystematicFinding]:
    found = []
    lost = ledger.lost_relations
    written = lost + ledger.relations
    if lost and lost >= SYSTEMATIC * written:
        kinds = {kind: ledger.issues[kind] for kind in LOST_RELATIONS if ledger.issues[kind]}
        listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        where = _first(ledger, max(kinds, key=kinds.__getitem__))
        found.append(
            SystematicFinding(
                "lost_relations",
                lost / written,
                f"{lost:,} of {written:,} relationships were lost: {listed}{where}",
                _do_about_lost(ledger, kinds),
            )
        )
    wanted = ledger.true_relations or not ledger.truths
    explained = ledger.texts_with["no_relationships"] or ledger.left_out_texts or ledger.unread
    if ledger.graphs >= 3 and wanted and not written and not explained:
        said = f"none of {ledger.graphs:,} graphs has a relationship"
        do = "recall is 0" if ledger.detections else "recall is 0: ask the model for them"
        found.append(SystematicFinding("no_relations_written", 1.0, said, do))
    if ledger.unread >= max(1, SYSTEMATIC * ledger.texts):
        said = (
            f"{_share(ledger.unread, ledger.texts)} of the completions have objects alone, because the second answer, "
            f"for relationships, is missing or unreadable{_first(ledger, 'unread')}"
        )
        do = 'look at "fault" or "exchanges" in the file: the model may refuse the question or not follow its format'
        found.append(SystematicFinding("unread", ledger.unread / ledger.texts, said, do))
    if ledger.left_out_texts >= max(1, SYSTEMATIC * ledger.texts):
        listed = ", ".join(f"{count:,} {name}" for name, count in ledger.left_out.items())
        share = _share(ledger.left_out_texts, ledger.texts)
        said = f"{share} of the completions leave out {listed} of the model's replies"
        do = 'look at "replies" or "exchanges" in the file: the server may ignore the schema, or answers repeat objects'
        found.append(SystematicFinding("left_out", ledger.left_out_texts / ledger.texts, said, do))
    missing = ledger.texts_with["no_relationships"]
    if missing >= max(1, SYSTEMATIC * ledger.texts):
        dialect = None if ledger.dialect is None else dialect_of_name(ledger.dialect.dialect)
        where = "" if dialect is None or dialect.relations else f": dialect {dialect.name!r} has none"
        said = f"{_share(missing, ledger.texts)} of the {ledger.called} have no list of relationships{where}"
        do = "recall is 0 where there are none: ask the model for relationships" if where else 'write "relationships"'
        found.append(SystematicFinding("no_relations_written", missing / ledger.texts, said, do))
    return found


def _do_about_lost(ledger: Ledger, kinds: dict[str, int]) -> str:
    """Say what to do about lost relationships: an end is also lost where its object was."""
    most = max(kinds, key=kinds.__getitem__)
    if most == "dangling" and sum(ledger.texts_with[kind] for kind in LOST_OBJECTS) >= SYSTEMATIC * ledger.texts:
        return "their objects were dropped: see the other issues"
    if most == "dangling":
        return 'write ends as ids of the "objects" (docs/answers.md, Relationships)'
    return 'write {"subject": ID, "predicate": NAME, "object": ID} (docs/answers.md, Relationships)'


def _classes(ledger: Ledger, evidence: FrameEvidence | None) -> list[SystematicFinding]:
    if evidence is None or evidence.named or evidence.objects < 20 or not evidence.classes:
        return []
    listed = ", ".join(map(repr, evidence.classes[:3]))
    said = f"no predicted object has the class of a true one in its image; predicted are {listed}"
    return [SystematicFinding("no_common_class", 1.0, said, "compare the names with the ground truth's")]


def _outside(ledger: Ledger, vocabulary: Vocabulary | None) -> list[SystematicFinding]:
    if ledger.outside_texts < max(1, SYSTEMATIC * ledger.texts):
        return []
    names = []
    for (kind, name), count in ledger.outside.most_common(3):
        near = nearest(name, kind, vocabulary)
        names.append(f"{name!r} {count:,}" + (f" (nearest {', '.join(map(repr, near))})" if near else ""))
    share = _share(ledger.outside_texts, ledger.texts)
    said = f"{share} of the {ledger.called} have names outside the vocabulary, which "
    do = "use --mapping full, a vocabulary that has them, or a prompt that lists the names"
    of_texts = ledger.outside_texts / ledger.texts
    return [SystematicFinding("outside_vocabulary", of_texts, f"{said}were dropped: {', '.join(names)}", do)]


def nearest(name: str, kind: str, vocabulary: Vocabulary | None) -> Sequence[str]:
    """Return up to two names of a vocabulary that are spelt most like one that it does not have."""
    if vocabulary is None:
        return ()
    known = vocabulary.objects if kind == "object" else vocabulary.predicates
    return difflib.get_close_matches(name, known, 2, 0.7)


def _boxes(ledger: Ledger, kind: str) -> str:
    """Say how many boxes have an issue: a tenth of the predictions may be one box of each, or all of them."""
    return f": {ledger.issues[kind]:,} of {ledger.listed:,} boxes"


def _first(ledger: Ledger, kind: str) -> str:
    image_id, detail = ledger.first.get(kind, ("", ""))
    if not detail:
        return ""
    return f" (first in image {image_id}: {detail})" if image_id else f" (first: {detail})"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.0f} %"
