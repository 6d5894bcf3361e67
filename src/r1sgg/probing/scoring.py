"""Choosing without free text: by the model's probabilities of the four letters, as they are or over rotations.

"letters" takes the most probable letter as next token: greedy decoding restricted to the four letters. "logprobs" asks
four times with the options rotated, so that each option has each letter once, and takes the option with the highest
mean log-probability among the four letters: a bias for a letter or a position cancels (compare Zheng et al., "Large
Language Models Are Not Robust Multiple Choice Selectors", 2024). If scores are equal, the first option is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from PIL import Image

from r1sgg.errors import ModelError
from r1sgg.inference.engine import Engine
from r1sgg.models.coordinates import Placement
from r1sgg.models.prompts import Message
from r1sgg.probing.prompts import Told, question_text
from r1sgg.probing.questions import LETTERS, Question

_DIGITS = (
    9  # scores that differ by less are equal: rounding errors must not decide between options without a difference
)


@runtime_checkable
class LetterScorer(Protocol):
    """An engine that gives the probability of an answer's first token (see `TransformersEngine`)."""

    name: str

    def next_token_logprobs(
        self, images: Sequence[Image.Image], messages: Sequence[list[Message]], words: Sequence[str]
    ) -> list[list[float]]:
        """Return for each chat the log-probabilities (natural) that its completion begins with each of the words."""
        ...


class Asked(NamedTuple):
    """A question with its image, what the text tells, and the coordinates of its boxes."""

    image: Image.Image
    question: Question
    told: Told
    placement: Placement

    def messages(self, turn: int = 0) -> list[Message]:
        """Write the chat, with the options rotated by `turn`: letter k names option k + turn (modulo 4)."""
        options = self.question.options[turn:] + self.question.options[:turn]
        return [{"role": "user", "content": question_text(self.question, self.told, self.placement, options)}]


def as_scorer(engine: Engine) -> LetterScorer:
    """Return the engine if it can score letters.

    Raises:
        ModelError: it can only generate text.
    """
    if not isinstance(engine, LetterScorer):
        raise ModelError(
            f"answering: expected an engine that returns probabilities of letters, found {engine.name}; use "
            "--answering generate"
        )
    return engine


def option_scores(scorer: LetterScorer, batch: Sequence[Asked], *, debias: bool) -> list[list[float]]:
    """Score the options by log-probabilities among the four letters.

    Args:
        scorer: the engine.
        batch: the questions.
        debias: mean over the four rotations of the options; otherwise their own order only.

    Returns:
        (B, 4) scores in the order of the options.
    """
    turns = range(len(LETTERS)) if debias else range(1)
    images = [asked.image for asked in batch]
    totals = [[0.0] * len(LETTERS) for _ in batch]
    for turn in turns:
        logs = scorer.next_token_logprobs(images, [asked.messages(turn) for asked in batch], LETTERS)
        for total, row in zip(totals, logs, strict=True):
            for place, value in enumerate(_among(row)):
                total[(place + turn) % len(LETTERS)] += value / len(turns)
    return [[round(value, _DIGITS) for value in total] for total in totals]


def best(scores: Sequence[float]) -> int:
    """Return the option with the highest score; of equal ones the first."""
    return max(range(len(scores)), key=lambda k: (scores[k], -k))


def _among(logs: Sequence[float]) -> list[float]:
    """Renormalise log-probabilities over the letters."""
    top = max(logs)
    whole = top + math.log(sum(math.exp(value - top) for value in logs))
    return [value - whole for value in logs]
