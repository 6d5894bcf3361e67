"""What the checkpoints of a family have in common: one row of facts each; the rows are in `r1sgg.models.registry`.

Nothing else in r1sgg asks which family a checkpoint is of: what differs between families is a field here.
`r1sgg.models.families` recognises the family of a checkpoint and loads it.

A family may use two conventions. `coordinates` is the one its makers trained it with, which the VQA probe uses.
`answers` is the one for scene graphs: whole numbers, relative to a frame [width, height]. They differ if the makers'
convention has an offset, which a frame cannot express (LLaVA's image is in the middle of a square), or if the makers
trained none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from r1sgg.graph.dialects.registry import DIALECTS
from r1sgg.graph.frames import AnyFrame, Axes, BoxFrame, Frame
from r1sgg.models.coordinates import Convention, Placement, pad_to_square, placement

if TYPE_CHECKING:
    from PIL import Image
    from transformers import BatchFeature, ProcessorMixin

Images = Literal["pixels", "one size", "tiles", "tokens"]
"""How an image processor limits an image: by its number of pixels, by one size for all images, by a number of tiles of
one size (with a reduced whole beside them), or by a number of tokens."""

Capability = Literal["generate", "guide", "sft", "grpo", "vllm", "colocate", "server"]

CAPABILITIES: Mapping[Capability, str] = MappingProxyType(
    {
        "generate": "free completions by transformers",
        "guide": "completions that are valid graphs by construction, by transformers",
        "sft": "`r1sgg sft`",
        "grpo": "`r1sgg grpo` with rollouts by transformers",
        "vllm": "--engine vllm, which reads the same prompt and gives the same probabilities as transformers",
        "colocate": "`r1sgg grpo` with rollouts by vLLM in the same process",
        "server": "`r1sgg grpo` with rollouts by a vLLM server",
    }
)
"""What one can do with a family, and by what; each is a test for each family that `can` do it."""

POLICY: tuple[Capability, ...] = tuple(CAPABILITIES)
"""What a model that writes scene graphs can do; a family that only grounds can none of it."""


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Facts about a family of checkpoints.

    Attributes:
        name: as its makers write it.
        model_types: the `model_type` values of its configs.
        coordinates: the makers' convention, see `r1sgg.models.coordinates.Convention`.
        answers: the convention of scene graphs; None: `coordinates`.
        max_pixels: larger images are reduced to this many pixels unless the caller says otherwise. (The processors of
            published checkpoints allow twelve million, which is 16,000 tokens for a photo.) None: the number of pixels
            is not what limits an image, see `images`.
        tower: the part of a module's name that marks the vision tower.
        marks: tokens that its tokenizer has and that of no other family with the same `model_type` has.
        dialect: how it was taught to write boxes, a name of `r1sgg.graph.dialects.registry`; None: as none of them.
        images: see `Images`.
        merger: regular expression for the names, inside the tower, of modules that project to the language model;
            they are trained where the tower is frozen.
        image_token: the token that stands for a piece of an image in what the model reads.
        runs: whether these tokens are one run for each image, or several with other tokens between them.
        expands: whether the processor replaces the chat template's placeholder by these tokens.
        frames: how often the image processor counts each pixel (GLM makes two frames of a video of an image).
        thinks: whether its chat template lets it think before it answers unless told otherwise (`load_processor` does).
        cannot: for each capability that it lacks the reason, which ends a sentence "..., because "; it is refused.
        not_run: capabilities that no test has run; they are not refused.
        unserved: model types that no test has run with vLLM although others of the family were, each with the reason.
        template: the chat template of checkpoints that have none; None: a checkpoint must have one.
        nested: whether the processor takes a list of images for each prompt; else one image for each.
        reader: attribute of the processor that is a second tokenizer, which reads the prompt too, and the beginning of
            the names of what it gives the model. It numbers positions from the left end, so it is padded on the right.
        completion_type: the `token_type_ids` of a completion, where the model takes them (PaliGemma reads what has 0 in
            both directions).
        speaker: attribute of the model that is a language model with a `generation_config` of its own.
        hidden: whether the model's output has the hidden states from which TRL computes its SFT loss.
        served_tower: what vLLM calls the tower in a checkpoint; "": as transformers does.
        recurrent: whether layers of its text model keep a state instead of keys and values (Gated DeltaNet).
        source: where the facts are from.
        checked: the day they were compared with it.
    """

    name: str
    model_types: tuple[str, ...]
    coordinates: Convention
    answers: Convention | None = None
    max_pixels: int | None = 1280 * 28 * 28
    tower: str = "visual"
    _: KW_ONLY
    marks: tuple[str, ...] = ()
    dialect: str | None = None
    images: Images = "pixels"
    merger: str = "merger|deepstack_merger"
    image_token: str = "<image>"
    runs: Literal["one", "several"] = "one"
    expands: bool = True
    frames: int = 1
    thinks: bool = False
    cannot: Mapping[Capability, str] = field(default_factory=dict, hash=False)
    not_run: tuple[Capability, ...] = ("server",)
    unserved: Mapping[str, str] = field(default_factory=dict, hash=False)
    template: str | None = None
    nested: bool = True
    reader: tuple[str, str] | None = None
    completion_type: int = 0
    speaker: str | None = None
    hidden: bool = True
    served_tower: str = ""
    recurrent: bool = False
    source: str = ""
    checked: str = ""

    def can(self, capability: Capability) -> bool:
        """Whether a test has shown that the family has a capability, see `CAPABILITIES`."""
        return capability not in self.cannot and capability not in self.not_run

    @property
    def writes_pixels(self) -> bool:
        """Whether the boxes of scene graphs are in pixels of the resized image."""
        return (self.answers or self.coordinates) == "resized_pixels"

    @property
    def axes(self) -> Axes:
        """Which of x and y the makers' boxes write first."""
        written = DIALECTS[self.dialect].frame((1.0, 1.0), (1.0, 1.0)) if self.dialect else (1.0, 1.0)
        return written.axes if isinstance(written, BoxFrame) else "xy"

    @property
    def vision(self) -> str:
        """Regular expression for the names of the vision tower's modules.

        Without the projection to the language model: Qwen's mergers are inside the tower.
        """
        return rf"(.*\.)?{self.tower}\.(?!{self.merger}).*"

    def frame(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Frame:
        """Return the width and height that the coordinates of a scene graph are relative to.

        Args:
            image_size: width and height of the image in pixels.
            processor: the checkpoint's, which determines the size after resizing.

        Raises:
            ImageError: the image is more than 200 times as long as wide.
        """
        return placement(self.answers or self.coordinates, image_size, processor).image

    def taught_frame(self, image_size: tuple[int, int], processor: ProcessorMixin) -> AnyFrame:
        """Return what the four numbers of a box mean that the makers taught the model to write.

        Args:
            image_size: width and height of the image in pixels.
            processor: the checkpoint's, which determines the size after resizing.

        Raises:
            ImageError: the image is more than 200 times as long as wide.
        """
        place = placement(self.coordinates, image_size, processor)
        declared: AnyFrame = place.image
        if any(place.offset):
            return BoxFrame(place.image, origin=place.offset)
        return DIALECTS[self.dialect].frame(place.image, image_size) if self.dialect else declared

    def placement(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Placement:
        """Place an image of that size in the makers' coordinates."""
        return placement(self.coordinates, image_size, processor, self.axes)

    def inputs(self, processor: ProcessorMixin, texts: list[str], views: Sequence[Image.Image]) -> BatchFeature:
        """Return what the model reads: prompts with their images, padded on the left.

        Args:
            processor: the checkpoint's.
            texts: prompts by the chat template.
            views: one image for each, see `view`; empty: no prompt has one.
        """
        images = [[view] for view in views] if self.nested else list(views)
        made = processor(text=texts, images=images or None, padding=True, padding_side="left", return_tensors="pt")
        made.pop("labels", None)  # which PaliGemma's makes of every prompt
        if self.reader is not None:
            name, prefix = self.reader
            again = getattr(processor, name)(texts, padding=True, padding_side="right", return_tensors="pt")
            made |= {f"{prefix}{key}": again[key] for key in ("input_ids", "attention_mask")}
        return made

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
