"""A model of no weights, for tests of what is around one: it answers with what it was given, or as it is told."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from r1sgg.data.predictions import Ask
from r1sgg.endpoint.remote import Remote, remote
from r1sgg.errors import ModelError
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Completion, LogProbs, Piece, Sampling
from r1sgg.inference.reader import Reader
from r1sgg.models.prompts import Message


class Interrupted(Exception):
    """Stands for whatever ends a process between two batches."""


@dataclass
class Parrot:
    """Says what it was given, so that the composition of batches shows; or what `says` makes of an image's key.

    Attributes:
        fail_at: the number of the batch at which it is interrupted.
        says: the answer to a key; None has no answer.
        sure: probability of every character of it, where its pieces are asked for.
        seconds: how long it thinks about a batch.
    """

    fail_at: int | None = None
    says: Callable[[str], str | None] | None = None
    sure: float | None = None
    seconds: float = 0.0
    name: str = "parrot"
    calls: int = 0
    guides: Sequence[GuideSpec] | None = None

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
        if self.calls == self.fail_at:
            raise Interrupted
        self.calls += 1
        time.sleep(self.seconds)
        self.guides = guides
        assert keys is not None
        assert len(images) == len(messages) == len(keys)
        assert all(image.mode == "RGB" for image in images)
        return [self._answer(key, image, list(keys), pieces) for key, image in zip(keys, images, strict=True)]

    def _answer(self, key: str, image: Image.Image, keys: list[str], pieces: bool) -> Completion:
        text = self.says(key) if self.says else f"{key} {image.size} with {keys}"
        if text is None:
            return Completion("", 0, "error", error=f"nothing to say about {key}")
        spoken = None
        if pieces and self.sure is not None:
            spoken = tuple(Piece(character, math.log(self.sure)) for character in text)
        return Completion(text, 3, "stop", 0.5, LogProbs(-3.0, -1.0), spoken)


@dataclass
class Opened:
    """Opens a Parrot, here or on another machine; or says why it can't."""

    seconds: float = 0.0
    fault: str = ""
    guide_vocabulary: str | None = None
    engine: str = "parrot"
    dtype: str | None = None
    threads: int | None = None
    ask: Ask = "paper"

    def checkpoint(self) -> Remote:
        return remote("parrot", "0-1000")

    def open(self) -> Reader:
        if self.fault:
            raise ModelError(self.fault)
        return Reader(self.checkpoint(), Parrot(seconds=self.seconds))
