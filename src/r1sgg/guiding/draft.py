"""What has been settled of an answer: values that never change, so that a guide can look ahead without copying."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import NamedTuple

from r1sgg.guiding.layout import Word
from r1sgg.guiding.regions import Choice


class Stage(IntEnum):
    """Where in an answer a draft is: in a slot, or in the fixed text behind one. In the order of an answer."""

    THINK = auto()
    THOUGHTS = auto()
    START = auto()
    NAME = auto()
    AFTER_NAME = auto()
    X1 = auto()
    AFTER_X1 = auto()
    Y1 = auto()
    AFTER_Y1 = auto()
    X2 = auto()
    AFTER_X2 = auto()
    Y2 = auto()
    AFTER_BOX = auto()
    SUBJECT = auto()
    AFTER_SUBJECT = auto()
    PREDICATE = auto()
    AFTER_PREDICATE = auto()
    OBJECT = auto()
    AFTER_PAIR = auto()
    DONE = auto()


FOLLOWING = dict(zip(list(Stage)[:-1], list(Stage)[1:], strict=True))
"""The stage behind each one, where nothing else is decided."""


class Draft(NamedTuple):
    """What has been settled.

    Attributes:
        stage: where the answer is.
        counts: how many objects of each class there are.
        ids: the objects' ids as written, the latest one's too.
        word, label: how the latest object's class is written, and the class.
        box: the latest box so far.
        refs: the ids, and the keyword that may stand in a subject's place; None before the first relationship.
        longest: most tokens that writing any of the ids to its end can take, wherever one begins.
        free: the objects that may be a subject, as bits.
        subject, predicate: of the latest relationship, the predicate normalised.
        used: objects (as bits) that a subject and predicate have been written with.
        full: by subject, the predicates that have been written with every object.
        pairs: number of relationships.
    """

    stage: Stage
    counts: Mapping[str, int] = {}
    ids: tuple[bytes, ...] = ()
    word: Word = Word("")
    label: str = ""
    box: tuple[int, ...] = ()
    refs: Choice | None = None
    longest: int = 0
    free: int = 0
    subject: int = 0
    predicate: str = ""
    used: Mapping[tuple[int, str], int] = {}
    full: Mapping[int, frozenset[str]] = {}
    pairs: int = 0
