"""A checkpoint's own format: how a model that r1sgg did not train is asked for objects, and how it writes boxes.

The question, the layout and the frame are those of the dialect that its family was taught. A family that was taught
none is asked for JSON, with the frame in the question, and `Tongue.note` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from r1sgg.graph.dialects.dialect import Asking, Dialect
from r1sgg.graph.dialects.registry import DIALECTS
from r1sgg.graph.frames import AnyFrame, BoxFrame, size_of
from r1sgg.models.families import Checkpoint
from r1sgg.models.prompts import AnswerSettings

PLAIN = "qwen-json"
"""The dialect of families that were taught none: JSON that many models write."""


@dataclass(frozen=True, slots=True)
class Tongue:
    """How a checkpoint is asked for objects.

    Attributes:
        checkpoint: who is asked.
        dialect: how it answers.
        asking: the words.
        taught: whether its family was taught this; else the question states the frame.
    """

    checkpoint: Checkpoint
    dialect: Dialect
    asking: Asking
    taught: bool

    @property
    def note(self) -> str:
        """One sentence where the family was taught no layout; "" where it was."""
        if self.taught:
            return ""
        name, width = self.checkpoint.name, size_of(self.checkpoint.frame((1000, 1000)))[0]
        return (
            f"{name}: {self.checkpoint.family.name} was taught no layout of boxes that r1sgg knows; asked for JSON "
            f"with boxes from 0 to {width:g}, as the question says"
        )

    def frame(self, image_size: tuple[int, int]) -> AnyFrame:
        """Return what the four numbers of a box mean, for an image of that width and height in pixels.

        Raises:
            ImageError, ConfigError: see `Checkpoint.frame`.
        """
        if not self.taught:
            return self.checkpoint.frame(image_size)
        return self.checkpoint.family.taught_frame(image_size, self.checkpoint.processor)

    def view(self, image: Image.Image) -> Image.Image:
        """Return the image as the processor has to get it for that frame."""
        return self.checkpoint.view(image)

    def question(self, image_size: tuple[int, int], names: Sequence[str] = ()) -> str:
        """Return the question for objects: of the classes `names`, or all where there are none."""
        text = self.asking.question(names)
        if self.taught:
            return text
        width, height = (int(side) for side in size_of(self.checkpoint.frame(image_size)))
        return f"{text} x runs from 0 to {width}, y from 0 to {height}, in integers."

    def boxed(self, image_size: tuple[int, int]) -> BoxFrame:
        """Return the frame in its general form, which also writes."""
        frame = self.frame(image_size)
        return frame if isinstance(frame, BoxFrame) else BoxFrame(frame)


def tongue_of(checkpoint: Checkpoint) -> Tongue:
    """Return how a checkpoint is asked in its family's own words."""
    own = DIALECTS[checkpoint.family.dialect] if checkpoint.family.dialect else None
    if own is not None and own.asking is not None:
        return Tongue(checkpoint, own, own.asking, True)
    plain = DIALECTS[PLAIN]
    assert plain.asking is not None
    return Tongue(checkpoint, plain, plain.asking, False)


def native_remarks(checkpoint: Checkpoint) -> list[str]:
    """Return what should be known when a checkpoint is asked natively, a sentence each."""
    note, settings = tongue_of(checkpoint).note, checkpoint.settings
    said = [note] if note else []
    if settings.prompt != AnswerSettings().prompt or settings.think:
        said.append(
            f"{checkpoint.name}: was trained with another prompt, which native questions leave out; "
            "--ask paper asks that prompt"
        )
    return said
