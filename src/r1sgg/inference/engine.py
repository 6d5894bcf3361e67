"""What an engine is, how it samples, and how a list of images is cut into batches.

Engines turn images and chats into completions; they know nothing of files. Writing predictions for a ground-truth file
is `r1sgg.bulk.run`; the transformers engine is `r1sgg.inference.hf`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from PIL import Image

from r1sgg.errors import ConfigError
from r1sgg.graph.policies import Issue
from r1sgg.guiding.spec import GuideSpec
from r1sgg.models.prompts import Message

_COLDEST = 0.001
"""Lowest temperature but 0: what is drawn is the most probable token, and scores divided by less may overflow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 takes the most probable token; else at least 0.001.
        top_p: keep the smallest set of tokens with this probability in sum; 1 keeps all.
        top_k: keep so many of the most probable tokens; 0 keeps all.
        max_new_tokens: longest answer.
        seed: with an image's key, it decides that image's draws, whatever else is in the batch.
        cut_loops: end a free completion that repeats itself (`r1sgg.inference.loops`). Of the transformers engine only.
        tags: leave special tokens in the texts, but for the end of the turn: some dialects write boxes between them.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 1024
    seed: int = 0
    cut_loops: bool = False
    tags: bool = False

    def __post_init__(self) -> None:
        for name, fine, expected in (
            (
                "temperature",
                self.temperature == 0 or _COLDEST <= self.temperature < float("inf"),
                f"0, or {_COLDEST} or more",
            ),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
        ):
            if not fine:
                raise ConfigError(f"{name}: expected {expected}, found {getattr(self, name)}")

    @property
    def is_plain(self) -> bool:
        """Whether tokens are drawn as the model has them: at temperature 1, from all of them."""
        return self.temperature == 1 and self.top_p == 1 and self.top_k == 0

    def generator_seed(self, key: str) -> int:
        """The 63-bit seed of one image's draws."""
        digest = hashlib.sha256(f"{self.seed}/{key}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Natural-log probabilities that the model gave to the tokens it wrote, at temperature 1: `sum` and `mean`."""

    sum: float
    mean: float


class Piece(NamedTuple):
    """One generated token: its text, and its natural-log probability at temperature 1.

    `logprob` is over the whole vocabulary; `allowed` over the tokens that a guide allowed at this place (0 where only
    one was), None without a guide. The texts of an answer's pieces, joined, are its text.
    """

    text: str
    logprob: float
    allowed: float | None = None


class Exchange(NamedTuple):
    """One question and its answer, where a completion was made of several (`r1sgg.inference.native`).

    Attributes:
        prompt: the question.
        reply: what the model wrote.
        issues: of the reading.
        dropped: items of the reply that are not in the completion.
        read: whether the reply could be read; a list of nothing can.
    """

    prompt: str
    reply: str
    issues: tuple[Issue, ...]
    dropped: int
    read: bool = True


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        text: without special tokens.
        tokens: how many were generated, the end-of-turn token included.
        finish_reason: "stop" (the model ended its turn), "length" (it was cut off) or "loop" (it was cut off because it
            repeated itself, see `Sampling.cut_loops`).
        seconds: wall time of its batch divided by the batch's size.
        logprobs: None where the engine does not give them.
        pieces: the tokens of `text` one by one, where they were asked for and the engine gives them.
        passes: how many passes of the model it took, reading the prompt included; None where the engine doesn't say.
        error: one sentence where this image got no answer and the others did (`text` is then empty, `finish_reason`
            "error"); its line in a predictions file is {"image_id", "error"}, and the run goes on.
        fault: one sentence where `text` is a part of the answer, because the engine failed at the rest. It counts as a
            failed image, and a repeated run tries it again.
        replies: what the model wrote, where `text` was made of it and something was left out or changed.
        left_out: how many objects and relationships of the replies are not in `text`.
        unit: the frame in which the replies' boxes were found to be, if it is not the one that was asked for.
        exchanges: the questions and answers that it was made of, if there were several.
    """

    text: str
    tokens: int
    finish_reason: str
    seconds: float = 0.0
    logprobs: LogProbs | None = None
    pieces: tuple[Piece, ...] | None = None
    error: str | None = None
    fault: str | None = None
    passes: int | None = None
    replies: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    unit: tuple[float, float] | None = None
    exchanges: tuple[Exchange, ...] = ()


class Engine(Protocol):
    """Anything that answers chats about images; `name` says what could change its rounding (device, precision)."""

    name: str

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
        *,
        guides: Sequence[GuideSpec] | None = None,
        pieces: bool = False,
    ) -> list[Completion]:
        """Answer each chat about its image, as one batch.

        Args:
            images: RGB, upright.
            messages: one chat an image, without the image (see `r1sgg.models.prompts.build_messages`).
            sampling: how tokens are chosen.
            keys: names that decide each image's random draws; its position where None.
            guides: what each answer must be; free answers where None.
            pieces: give each token with its log-probability.
        """
        ...


@runtime_checkable
class ChatEngine(Protocol):
    """An engine that answers chats with or without an image, in JSON of a schema where it can be held to one."""

    def chat(
        self,
        messages: Sequence[list[Message]],
        sampling: Sampling,
        *,
        images: Sequence[Image.Image] | None = None,
        schemas: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Completion]:
        """Answer each chat.

        Args:
            messages: the chats; their content is text.
            sampling: how tokens are chosen.
            images: one for each chat, or None for chats without.
            schemas: JSON schemas of the answers; an engine that cannot be held to one answers freely.
        """
        ...


@runtime_checkable
class WatchedEngine(Protocol):
    """An engine that tells what it is writing."""

    def watch(
        self,
        image: Image.Image,
        messages: list[Message],
        sampling: Sampling,
        listener: Callable[[str], bool],
        *,
        guide: GuideSpec | None = None,
        pieces: bool = False,
    ) -> Completion:
        """Answer one chat; `listener` gets the text so far after every token, and ends the answer by False."""
        ...


def batches_by_size(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Positions cut into batches of images of similar size, largest first, so that little is padded.

    Args:
        sizes: width and height of each image.
        batch_size: most images in a batch.
    """
    order = sorted(range(len(sizes)), key=lambda k: (-sizes[k][0] * sizes[k][1], k))
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


def describe(sampling: Sampling) -> dict[str, Any]:
    """Sampling as JSON; a greedy run names only its length."""
    names = ["temperature", "max_new_tokens"]
    if sampling.temperature > 0:
        names += ["top_p", "top_k", "seed"]
    if sampling.cut_loops:
        names.append("cut_loops")
    return {name: getattr(sampling, name) for name in names}
