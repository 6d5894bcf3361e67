"""The fixed parts of an answer, for each answer format: what stands between names and numbers.

Both are written as `r1sgg.graph.text.render` writes them. It deliberately decides nothing about order: that is
`r1sgg.guiding.script`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from r1sgg.graph import compact
from r1sgg.guiding.names import Style
from r1sgg.guiding.spec import AnswerFormat

THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"


class Word(NamedTuple):
    """How a class is written in ids: "traffic light" as `traffic_light`, perhaps in quotes that a number must close."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Layout:
    """The fixed parts.

    Attributes:
        start: up to the first object's name.
        comma: between coordinates.
        box_ends: behind a box: before another object, before the first relationship, at the end without any.
        before_predicate: behind a subject.
        before_object: behind a predicate.
        pair_ends: behind a relationship: before another one, at the end.
        no_more: what stands where another object's name would, if no object follows; then box_ends has one form.
        no_pair: what stands where another subject would, if no relationship follows; then pair_ends has one form.
        object_style, predicate_style: names of an open vocabulary, and what may follow any name.
        after_id: behind an object's id, before its box.
        word: how a class is written.
        number: the number of an id, behind a word.
        predicate: how a predicate is written.
    """

    start: str
    comma: str
    box_ends: tuple[str, ...]
    before_predicate: str
    before_object: str
    pair_ends: tuple[str, ...]
    no_more: str | None
    no_pair: str | None
    object_style: Style
    predicate_style: Style
    after_id: str
    word: Callable[[str], Word]
    number: Callable[[Word, int], str]
    predicate: Callable[[str], str]


def layout_of(answer_format: AnswerFormat, minify: bool, tagged: bool) -> Layout:
    """The parts of a format; `tagged` answers end with </answer>."""
    end = END_ANSWER if tagged else ""
    return _compact(end) if answer_format == "compact" else _json(minify, end)


def _json(minify: bool, end: str) -> Layout:
    comma, colon = (",", ":") if minify else (", ", ": ")
    subject = f'{{"subject"{colon}"'
    more = f'{{"id"{colon}"'
    return Layout(
        start=f'{{"objects"{colon}[{more}',
        comma=comma,
        box_ends=(
            f"]}}{comma}{more}",
            f']}}]{comma}"relationships"{colon}[{subject}',
            f']}}]{comma}"relationships"{colon}[]}}{end}',
        ),
        before_predicate=f'"{comma}"predicate"{colon}"',
        before_object=f'"{comma}"object"{colon}"',
        pair_ends=(f'"}}{comma}{subject}', f'"}}]}}{end}'),
        no_more=None,
        no_pair=None,
        object_style=Style("A-Za-z0-9", " _'-", b"."),
        predicate_style=Style("A-Za-z0-9", " _'-", b'"'),
        after_id=f'"{comma}"bbox"{colon}[',
        word=lambda name: Word(json_inside(name)),
        number=lambda word, k: f".{k}",
        predicate=json_inside,
    )


def json_inside(name: str) -> str:
    """Return a name as it stands between the quotes of JSON."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def _compact(end: str) -> Layout:
    # a digit behind a name would be its object's number, a space would end it
    return Layout(
        start=f"{compact.OBJECTS}\n",
        comma=" ",
        box_ends=("\n",),
        before_predicate=" ",
        before_object=" ",
        pair_ends=("\n",),
        no_more=f"{compact.RELATIONSHIPS}\n",
        no_pair=f"{compact.END}{end}",
        object_style=Style("A-Za-z", "_'-", b" 123456789"),
        predicate_style=Style("A-Za-z", "_'-", b" "),
        after_id=" ",
        word=_compact_word,
        number=_compact_number,
        predicate=compact.word_of,
    )


def _compact_word(name: str) -> Word:
    first, second = compact.name_of_id(f"{name}.1"), compact.name_of_id(f"{name}.2")
    return Word(first) if second == f"{first}2" else Word(first.removesuffix('1"'), quoted=True)


def _compact_number(word: Word, k: int) -> str:
    if word.quoted:
        return f'{k}"'
    return "" if k == 1 else str(k)
