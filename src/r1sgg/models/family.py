"""What the checkpoints of a family have in common: coordinates, view of an image, pixel limit, vision tower.

`FAMILIES` is the table of the known ones; `r1sgg.models.families` recognises the family of a checkpoint and loads it.

A family may use two conventions. `coordinates` is the one its makers trained it with, which the VQA probe uses.
`answers` is the one for scene graphs: whole numbers, relative to a frame [width, height]. They differ if the makers'
convention has an offset, which a frame cannot express (LLaVA's image is in the middle of a square), or if the makers
trained none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1sgg.graph.text import Frame
from r1sgg.models.coordinates import Convention, Placement, pad_to_square, placement

if TYPE_CHECKING:
    from PIL import Image
    from transformers import ProcessorMixin


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Facts about a family of checkpoints.

    Attributes:
        name: as its makers write it.
        model_types: the `model_type` values of its configs.
        coordinates: the makers' convention, see `r1sgg.models.coordinates.Convention`.
        answers: the convention of scene graphs; None: `coordinates`.
        max_pixels: larger images are reduced to this many pixels unless the caller says otherwise. (The processors of
            published checkpoints allow twelve million, which is 16,000 tokens for a photo.) None: the processor
            resizes all images to one size.
        tower: the part of a module's name that marks the vision tower.
        rollouts: whether TRL's GRPO can train it (docs/training.md says why not).
    """

    name: str
    model_types: tuple[str, ...]
    coordinates: Convention
    answers: Convention | None = None
    max_pixels: int | None = 1280 * 28 * 28
    tower: str = "visual"
    rollouts: bool = True

    @property
    def writes_pixels(self) -> bool:
        """Whether the boxes of scene graphs are in pixels of the resized image."""
        return (self.answers or self.coordinates) == "resized_pixels"

    @property
    def vision(self) -> str:
        """Regular expression for the names of the vision tower's modules.

        Without the projection to the language model: Qwen's mergers are inside the tower.
        """
        return rf"(.*\.)?{self.tower}\.(?!merger|deepstack_merger).*"

    def frame(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Frame:
        """Return the width and height that the coordinates of a scene graph are relative to.

        Args:
            image_size: width and height of the image in pixels.
            processor: the checkpoint's, which determines the size after resizing.

        Raises:
            ImageError: the image is more than 200 times as long as wide.
        """
        return placement(self.answers or self.coordinates, image_size, processor).image

    def placement(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Placement:
        """Place an image of that size in the makers' coordinates."""
        return placement(self.coordinates, image_size, processor)

    def view(self, image: Image.Image, processor: ProcessorMixin, *, taught: bool = False) -> Image.Image:
        """Return the image as the processor has to get it: padded to a square for LLaVA, else unchanged.

        The padding has the processor's mean colour, as in LLaVA's own code. (Processors of converted checkpoints crop a
        square from the middle instead: objects at the sides would be lost, and all coordinates would be wrong.)

        Args:
            image: RGB.
            processor: the checkpoint's.
            taught: the image in the middle, as `placement` assumes; else at the top left, as `frame` assumes.
        """
        if self.coordinates != "padded_square":
            return image
        red, green, blue = (int(mean * 255) for mean in processor.image_processor.image_mean)
        return pad_to_square(image, (red, green, blue), centred=taught)


FAMILIES = (
    ModelFamily("Qwen2-VL", ("qwen2_vl",), "thousandths"),
    ModelFamily("Qwen2.5-VL", ("qwen2_5_vl",), "resized_pixels"),
    ModelFamily("Qwen3-VL", ("qwen3_vl", "qwen3_vl_moe"), "thousandths", max_pixels=1280 * 32 * 32),
    ModelFamily(
        "LLaVA-1.5",
        ("llava",),
        "padded_square",
        answers="square_thousandths",
        max_pixels=None,
        tower="vision_tower",
    ),
    ModelFamily(
        "LLaVA-NeXT",
        ("llava_next",),
        "padded_square",
        answers="square_thousandths",
        max_pixels=None,
        tower="vision_tower",
    ),
    # trained without coordinates: the probe gives pixels of the image, whose size its prompt states
    ModelFamily(
        "InstructBLIP",
        ("instructblip",),
        "image_pixels",
        answers="thousandths",
        max_pixels=None,
        tower="vision_model",
        rollouts=False,
    ),
    # SmolVLM's first version uses the classes of Idefics3
    ModelFamily("SmolVLM", ("smolvlm", "idefics3"), "thousandths", max_pixels=None, tower="vision_model"),
)
