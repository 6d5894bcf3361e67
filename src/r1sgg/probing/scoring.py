"""Choosing without free text: the model's probabilities of the four letters, as they are or over permutations.

"letters" takes the most probable letter as next token: greedy decoding that may write nothing else. "logprobs" asks
four times with the options moved round, so each stands at each letter once, and takes the option with the highest mean
log-probability among the four letters: a liking for a letter or a place cancels (compare Zheng et al., "Large Language
Models Are Not Robust Multiple Choice Selectors", 2024). Equal scores: the first option.
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

_DIGITS = 9  # scores that differ less are equal: a pure liking for a letter must not be decided by rounding


@runtime_checkable
class LetterScorer(Protocol):
    """An engine that gives the probability of an answer's first token (see `TransformersEngine`)."""

    name: str

    def next_token_logprobs(
        self, images: Sequence[Image.Image], messages: Sequence[list[Message]], words: Sequence[str]
    ) -> list[list[float]]:
        """Natural-log probability, for each chat, that its answer begins with each of the words."""
        ...


class Asked(NamedTuple):
    """One question as it is put: the picture, what the text tells, and the coordinates of its boxes."""

    image: Image.Image
    question: Question
    told: Told
    placement: Placement

    def messages(self, turn: int = 0) -> list[Message]:
        """The chat; options moved round by `turn` places, so that letter k names option k + turn (modulo 4)."""
        options = self.question.options[turn:] + self.question.options[:turn]
        return [{"role": "user", "content": question_text(self.question, self.told, self.placement, options)}]


def as_scorer(engine: Engine) -> LetterScorer:
    """The engine, where it can score.

    Raises:
        ModelError: it can only write text.
    """
    if not isinstance(engine, LetterScorer):
        raise ModelError(f"the engine {engine.name} gives no probabilities of letters: use --answering generate")
    return engine


def option_scores(scorer: LetterScorer, batch: Sequence[Asked], *, debias: bool) -> list[list[float]]:
    """Scores (B, 4) of the options, log-probabilities among the four letters.

    Args:
        scorer: who knows the probabilities.
        batch: what is asked.
        debias: mean over the four turns of the options; otherwise their own order alone.
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
    """The option with the highest score, the first of equal ones."""
    return max(range(len(scores)), key=lambda k: (scores[k], -k))


def _among(logs: Sequence[float]) -> list[float]:
    """Log-probabilities of the letters, given that it is one of them."""
    top = max(logs)
    whole = top + math.log(sum(math.exp(value - top) for value in logs))
    return [value - whole for value in logs]
