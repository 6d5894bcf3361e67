"""What a family of checkpoints has in common: its coordinates, its view of an image, its pixel limit, its vision tower.

`FAMILIES` is the table of those that are known; `r1sgg.models.families` recognises a checkpoint's and loads it.

A family may use two conventions. `coordinates` is what its makers taught it, in which the VQA probe asks. `answers` is
what scene graphs are written in: whole numbers that a frame [width, height] can say. They differ where what was taught
has an offset (LLaVA's image lies in the middle of a square) or where nothing was taught.
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
    """What a family of checkpoints has in common.

    Attributes:
        name: as its makers write it.
        model_types: the `model_type` values of its configs.
        coordinates: what the makers taught, see `r1sgg.models.coordinates.Convention`.
        answers: what scene graphs are written in; `coordinates` where None.
        max_pixels: images are reduced to at most so many pixels unless the caller says otherwise. (The processors of
            published checkpoints allow twelve million, which is 16,000 tokens for a photo.) None: the processor
            brings all images to one size.
        tower: the part of a module's name that says it belongs to the vision tower.
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
    def vision(self) -> str:
        """Regular expression of the names of the vision tower's modules.

        What projects its features to the language model (Qwen's mergers lie in the tower) is not part of it.
        """
        return rf"(.*\.)?{self.tower}\.(?!merger|deepstack_merger).*"

    def frame(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Frame:
        """Width and height that the coordinates of a scene graph are relative to.

        Args:
            image_size: width and height of the image in pixels.
            processor: the checkpoint's processor, which decides the resized size.

        Raises:
            ImageError: the image is more than 200 times as long as wide.
        """
        return placement(self.answers or self.coordinates, image_size, processor).image

    def placement(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Placement:
        """Where an image of that size lies among the coordinates that the family was taught."""
        return placement(self.coordinates, image_size, processor)

    def view(self, image: Image.Image, processor: ProcessorMixin, *, taught: bool = False) -> Image.Image:
        """The image as the processor is to get it: in a square where the coordinates say so, else as it is.

        The square is filled with the processor's mean colour, as LLaVA pads. (Processors of converted checkpoints cut a
        square out of the middle instead: objects at the sides would be lost, and no coordinate would be right.) A
        square image stays as it is.

        Args:
            image: RGB.
            processor: the checkpoint's.
            taught: as `placement` says (in the middle), not as `frame` does (at the top left).
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
    # never taught any coordinates: the probe gives pixels of the image, whose size its prompt states
    ModelFamily(
        "InstructBLIP",
        ("instructblip",),
        "image_pixels",
        answers="thousandths",
        max_pixels=None,
        tower="vision_model",
        rollouts=False,
    ),
    # SmolVLM's first version has the classes of Idefics3
    ModelFamily("SmolVLM", ("smolvlm", "idefics3"), "thousandths", max_pixels=None, tower="vision_model"),
)
