"""The nine settings of the probe, and the text of a question (as in arXiv 2504.13617, section on the VQA probe).

A setting is IMAGE/TEXT: how the image is masked, and what the text says about the two objects.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from r1sgg.errors import ConfigError, choices
from r1sgg.models.coordinates import Placement
from r1sgg.probing.questions import LETTERS, Question

Shown = Literal["original", "masked-image", "masked-objects"]
Told = Literal["names+boxes", "no-names", "no-boxes"]
Units = Literal["family", "pixels"]
UNITS: tuple[Units, ...] = get_args(Units)
"""Boxes in the coordinates that the family was trained with, or in pixels of the image as in the paper."""


class Setting(NamedTuple):
    """What the image shows and what the text tells."""

    shown: Shown
    told: Told

    def __str__(self) -> str:
        return f"{self.shown}/{self.told}"


SETTINGS: tuple[Setting, ...] = tuple(Setting(shown, told) for shown in get_args(Shown) for told in get_args(Told))


def parse_settings(spec: str) -> tuple[Setting, ...]:
    """Read "all", or names and patterns separated by commas ("original/*,masked-image/no-boxes").

    Returns:
        The settings in the order of `SETTINGS`.

    Raises:
        ConfigError: a part that matches no setting.
    """
    patterns = ["*" if part.strip() == "all" else part.strip() for part in spec.split(",")]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(str(setting), pattern) for setting in SETTINGS):
            known = choices(map(str, SETTINGS), pattern)
            raise ConfigError(f"settings: expected all, or some of {known}, found {pattern!r}")
    return tuple(s for s in SETTINGS if any(fnmatch.fnmatchcase(str(s), pattern) for pattern in patterns))


def question_text(question: Question, told: Told, placement: Placement, options: Sequence[str] | None = None) -> str:
    """Write a question as the model reads it.

    Args:
        question: the question.
        told: with or without names, with or without boxes.
        placement: the coordinates of the boxes; the text gives their range as the image's size.
        options: the four options in another order than the question's own.
    """
    graph = question.example.graph
    ends = []
    for k in (question.subject, question.object):
        name = "" if told == "no-names" else f' "{graph.labels[k]}"'
        place = "" if told == "no-boxes" else f" at {_box_text(graph.boxes[k].tolist(), placement)}"
        ends.append(f"the object{name}{place}")
    width, height = (f"{side:g}" for side in placement.size)
    form = "" if told == "no-boxes" else "The bounding boxes are in [x1, y1, x2, y2] format. "
    listed = " ".join(f"{a}) {o}" for a, o in zip(LETTERS, options or question.options, strict=True))
    return (
        f"Analyze the relationship between {ends[0]} and {ends[1]} in an image of size ({width}x{height}). {form}"
        f"Choose the most appropriate relationship from the following options: {listed}"
    )


def _box_text(box: Sequence[float], placement: Placement) -> str:
    import numpy as np

    corners = placement.write(np.array([box], dtype=np.float64))[0].tolist()
    return "[" + ", ".join(f"{v:.{placement.decimals}f}" for v in corners) + "]"
