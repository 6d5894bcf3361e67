"""How a rubric reads completions and judges them: the paper's way, or another one's (`r1sgg.rewards.original`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from r1sgg.graph.parsed import Frame, Parsed
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import parse
from r1sgg.judging.evidence import OURS, Rules
from r1sgg.judging.labels import LabelSimilarity
from r1sgg.rewards.terms import Term

Task = Literal["sgg", "det", "cls"]
"""Objects and relationships; objects only; relationships between given objects."""
TASKS: tuple[Task, ...] = get_args(Task)

Reader = Callable[[str, SceneGraph, Frame, Task, bool], Parsed]
"""Reads a completion, beside its true graph (which "cls" gives away), in a frame; the last says whether to repair."""


def read(text: str, truth: SceneGraph, frame: Frame, task: Task, repair: bool) -> Parsed:
    """Read a completion; for "cls" one without objects refers to the true ones."""
    return parse(text, frame, repair=repair, given=truth if task == "cls" else None)


@dataclass(frozen=True)
class Conventions:
    """What can differ between two implementations of the same rewards.

    Attributes:
        rules: how evidence is read.
        read: how a completion becomes a graph.
        similarity: what is made of the label similarity.
        terms: terms that are computed in another way, by name; they also get the task.
    """

    rules: Rules = OURS
    read: Reader = read
    similarity: Callable[[LabelSimilarity], LabelSimilarity] = field(default=lambda similarity: similarity)
    terms: Callable[[Task], Mapping[str, Term]] = field(default=lambda task: {})


PAPER = Conventions()
