"""How a model is probed: `Probe`, with the questions that follow from it. Plain values; no model is needed here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from r1sgg.data.base import read_ground_truth
from r1sgg.errors import ConfigError
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.metrics.frequency import collect
from r1sgg.probing.prompts import SETTINGS, UNITS, Setting, Units
from r1sgg.probing.questions import QuestionSet, Scheme, build_questions

Answering = Literal["generate", "letters", "logprobs"]
ANSWERING: tuple[Answering, ...] = get_args(Answering)
SEPARATOR = " "
"""Between a question's id and its setting in an answer's id."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a model is probed.

    Attributes:
        settings: image and text of the questions; see `r1sgg.probing.prompts`.
        answering: "generate" (free text, read by `read_choice`), "letters" or "logprobs" (see `r1sgg.probing.scoring`).
        scheme: how distractors are drawn.
        vocabulary: predicates to choose from.
        train: ground truth in which plausible distractors and frequencies are counted.
        boxes: coordinates of the boxes in the question.
        seed: of distractors, positions and noise.
        max_new_tokens: longest free answer.
        limit: use only this many images, the first.
        resamples: bootstrap resamples for intervals.
    """

    settings: tuple[Setting, ...] = SETTINGS
    answering: Answering = "generate"
    scheme: Scheme = "uniform"
    vocabulary: Vocabulary = OPEN
    train: Path | None = None
    boxes: Units = "family"
    seed: int = 0
    max_new_tokens: int = 64
    limit: int | None = None
    resamples: int = 1000

    def __post_init__(self) -> None:
        for name, value, known in (("answering", self.answering, ANSWERING), ("boxes", self.boxes, UNITS)):
            if value not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, found {value!r}")

    def questions(self, ground_truth: Path) -> QuestionSet:
        """Make the questions about a ground-truth file; they do not depend on the model.

        Raises:
            ConfigError, InputError: see `build_questions` and `read_ground_truth`.
        """
        return build_questions(
            read_ground_truth(ground_truth),
            vocabulary=self.vocabulary,
            scheme=self.scheme,
            statistics=None if self.train is None else collect(read_ground_truth(self.train)),
            seed=self.seed,
            limit=self.limit,
        )
