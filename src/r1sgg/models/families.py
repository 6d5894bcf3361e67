"""Model families: the coordinates each one speaks, its pixel limits, and loading by the checkpoint's own config.

A checkpoint is recognised by the `model_type` in its config.json, never by its name. Weights are read from safetensors
only, and no code that comes with a checkpoint is run. It does not generate (`r1sgg.inference`) and does not train.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ModelError, require
from r1sgg.graph.text import Frame
from r1sgg.models.coordinates import Convention, Placement, pad_to_square, placement
from r1sgg.models.prompts import SETTINGS_FILE, AnswerSettings, Message, build_messages

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

SHIPPED = ("tiny", "tiny-base")
"""The checkpoints inside the package: one that reads drawn scenes, and the instruct base it was trained from."""
_SHIPPED_FOLDER = Path(__file__).parent / "checkpoints"
_DTYPES = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """What a family of checkpoints has in common.

    Attributes:
        name: as its makers write it.
        model_types: the `model_type` values of its configs.
        coordinates: see `r1sgg.models.coordinates.Convention`.
        max_pixels: images are reduced to at most so many pixels unless the caller says otherwise. (The processors of
            published checkpoints allow twelve million, which is 16,000 tokens for a photo.) None: the processor
            brings all images to one size.
    """

    name: str
    model_types: tuple[str, ...]
    coordinates: Convention
    max_pixels: int | None = 1280 * 28 * 28

    def frame(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Frame:
        """Width and height that the coordinates of an answer are relative to.

        Args:
            image_size: width and height of the image in pixels.
            processor: the checkpoint's processor, which decides the resized size.

        Raises:
            ImageError: the image is more than 200 times as long as wide.
            ModelError: the family's coordinates are not relative to the image alone (LLaVA's padded square).
        """
        if self.coordinates == "padded_square":
            raise ModelError(
                f"{self.name} gives boxes in the padded square, which a frame [width, height] cannot say: "
                "it can be probed (r1sgg probe), but writes no scene graphs here"
            )
        return self.placement(image_size, processor).size

    def placement(self, image_size: tuple[int, int], processor: ProcessorMixin) -> Placement:
        """Where an image of that size lies among the coordinates that the family speaks."""
        return placement(self.coordinates, image_size, processor)

    def view(self, image: Image.Image, processor: ProcessorMixin) -> Image.Image:
        """The image as the processor is to get it: padded to a square where the coordinates say so, else as it is.

        The padding has the processor's mean colour, as LLaVA pads. (Processors of converted checkpoints cut a square
        out of the middle instead: objects at the sides would be lost, and no coordinate would be right.)
        """
        if self.coordinates != "padded_square":
            return image
        red, green, blue = (int(mean * 255) for mean in processor.image_processor.image_mean)
        return pad_to_square(image, (red, green, blue))


FAMILIES = (
    ModelFamily("Qwen2-VL", ("qwen2_vl",), "thousandths"),
    ModelFamily("Qwen2.5-VL", ("qwen2_5_vl",), "resized_pixels"),
    ModelFamily("Qwen3-VL", ("qwen3_vl", "qwen3_vl_moe"), "thousandths", max_pixels=1280 * 32 * 32),
    ModelFamily("LLaVA-1.5", ("llava",), "padded_square", max_pixels=None),
    ModelFamily("LLaVA-NeXT", ("llava_next",), "padded_square", max_pixels=None),
    # never taught any coordinates: pixels of the image, as the prompt of the probe states its size
    ModelFamily("InstructBLIP", ("instructblip",), "image_pixels", max_pixels=None),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint without its weights: enough to prepare its inputs and to read its answers."""

    name: str
    path: str
    family: ModelFamily
    processor: ProcessorMixin
    settings: AnswerSettings

    def frame(self, image_size: tuple[int, int]) -> Frame:
        """See `ModelFamily.frame`."""
        return self.family.frame(image_size, self.processor)

    @property
    def image_pixels(self) -> list[int] | None:
        """Fewest and most pixels that images are resized to; None where the processor knows one size only."""
        size = self.processor.image_processor.size
        return [size["shortest_edge"], size["longest_edge"]] if self.family.max_pixels else None

    def messages(self, image_size: tuple[int, int]) -> list[Message]:
        """The chat that asks this checkpoint for the graph of an image of that size (width, height), without it."""
        from r1sgg.graph.vocabulary import load_vocabulary

        return build_messages(self.settings, load_vocabulary(self.settings.vocabulary), self.frame(image_size))


@dataclass(frozen=True, slots=True)
class LoadedModel(Checkpoint):
    """A checkpoint with its weights, in evaluation mode."""

    model: PreTrainedModel


def family_of(source: str | Path | Mapping[str, Any] | Any) -> ModelFamily:
    """The family of a checkpoint.

    Args:
        source: a checkpoint folder, a name on the Hub, "tiny" or "tiny-base", or a config (object or mapping).

    Raises:
        ModelError: there is no such checkpoint, or its family is not known.
    """
    name = "config"
    if isinstance(source, str | Path):
        name, source = str(source), _config(resolve(source))
    model_type = source.get("model_type") if isinstance(source, Mapping) else getattr(source, "model_type", None)
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(f"{f.name} ({'/'.join(f.model_types)})" for f in FAMILIES)
    raise ModelError(f"{name}: expected a checkpoint of a known family ({known}), found model_type {model_type!r}")


def resolve(name: str | Path) -> str:
    """The folder or Hub name that `name` stands for.

    Raises:
        ModelError: it is neither an existing folder nor of the form owner/name.
    """
    if str(name) in SHIPPED:  # also where a folder of that name exists, which is ./tiny
        folder = _SHIPPED_FOLDER / str(name)
        if not (folder / "config.json").is_file():
            raise ModelError(f"this installation holds no {name} checkpoint: make one with `r1sgg tiny --out DIR`")
        return str(folder)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            hint = "; merge the adapter into its base model first" if (path / "adapter_config.json").is_file() else ""
            raise ModelError(f"{path}: expected a checkpoint folder, found no config.json in it{hint}")
        return str(path)
    if path.exists():
        raise ModelError(f"{path}: expected a checkpoint folder, found a file")
    owner, slash, rest = str(name).partition("/")
    if isinstance(name, Path) or not slash or not owner.strip(".~") or "/" in rest or not rest:
        raise ModelError(f"{name}: no such checkpoint folder (a name on the Hub has the form owner/name)")
    return str(name)


def load_processor(path_or_id: str | Path, *, max_pixels: int | None = None) -> ProcessorMixin:
    """The checkpoint's processor, padding on the left.

    Args:
        path_or_id: see `family_of`.
        max_pixels: images are reduced to at most so many pixels; None keeps the checkpoint's own limit where it is
            below the family's.

    Raises:
        ModelError: the checkpoint has no processor that takes images.
    """
    require("torchvision", "train")
    from transformers import AutoProcessor

    path = resolve(path_or_id)
    family = family_of(path)
    try:
        processor = AutoProcessor.from_pretrained(path, local_files_only=_is_local(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path_or_id}: expected a checkpoint with its processor (processor_config.json or "
            f"preprocessor_config.json, and tokenizer.json), found none that loads: {_first_line(error)}; "
            "copy these files from the model it was trained from"
        ) from error
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ModelError(f"{path_or_id}: expected a processor of images and text, found {type(processor).__name__}")
    config, image_token = _config(path), str(processor.image_token)
    image_id = config.get("image_token_id", config.get("image_token_index"))
    if image_id not in (None, processor.tokenizer.convert_tokens_to_ids(image_token)):
        # without its files, transformers makes an empty tokenizer and says nothing
        raise ModelError(
            f"{path_or_id}: expected a tokenizer in which {image_token} is {image_id}, found one in which it "
            "is not; copy tokenizer.json and tokenizer_config.json from the model it was trained from"
        )
    processor.tokenizer.padding_side = "left"
    if family.max_pixels is None:
        if max_pixels:
            raise ModelError(f"{path_or_id}: images of {family.name} have one size; leave the pixel limit out")
        return processor
    own = processor.image_processor.size
    limit = max_pixels or min(own["longest_edge"], family.max_pixels)
    shortest = min(own["shortest_edge"], limit)
    processor.image_processor.size = type(own)(shortest_edge=shortest, longest_edge=limit)
    return processor


def load_checkpoint(path_or_id: str | Path, *, max_pixels: int | None = None) -> Checkpoint:
    """Everything of a checkpoint but its weights.

    Raises:
        ModelError: see `family_of` and `load_processor`.
    """
    path = resolve(path_or_id)
    processor = load_processor(path, max_pixels=max_pixels)
    settings = _settings(path)
    return Checkpoint(str(path_or_id), path, family_of(path), processor, settings)


def load_model(
    path_or_id: str | Path,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    max_pixels: int | None = None,
) -> LoadedModel:
    """Load a checkpoint for inference.

    Args:
        path_or_id: a checkpoint folder, a name on the Hub (owner/name), or "tiny".
        device: "cpu", "cuda", "cuda:1", ...; None takes the GPU where there is one.
        dtype: "float32", "bfloat16", "float16" or "auto" (the checkpoint's own); None takes float32 on a CPU (where
            bfloat16 is slow and two runs of unlike batches would differ) and "auto" elsewhere.
        max_pixels: see `load_processor`.

    Raises:
        ModelError: there is no such checkpoint, its family is not known, or files are missing.
    """
    require("torch", "train")
    import torch
    from transformers import AutoModelForImageTextToText

    if isinstance(dtype, str) and dtype not in _DTYPES:
        raise ModelError(f"dtype: expected one of {', '.join(_DTYPES)}, found {dtype!r}")
    checkpoint = load_checkpoint(path_or_id, max_pixels=max_pixels)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r}: {_first_line(error)}") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: no CUDA device is visible on this machine")
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            checkpoint.path,
            dtype=dtype or ("float32" if target.type == "cpu" else "auto"),
            use_safetensors=True,
            local_files_only=_is_local(checkpoint.path),
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{path_or_id}: the weights do not load: {_first_line(error)}") from error
    if model.config.get_text_config().is_encoder_decoder:
        raise ModelError(f"{path_or_id}: expected a decoder as language model (Vicuna), found an encoder-decoder (T5)")
    return LoadedModel(
        checkpoint.name,
        checkpoint.path,
        checkpoint.family,
        checkpoint.processor,
        checkpoint.settings,
        model.to(target).eval(),
    )


def suppressed_token_ids(config: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that an answer must not hold: vision tokens, and rows of the embedding that stand for no token.

    A sampled image token makes the next model pass fail ("image features and image tokens do not match").
    """
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    vision = {i for i in (getattr(config, name, None) for name in names) if i is not None}
    return sorted(vision | set(range(len(tokenizer), config.get_text_config().vocab_size)))


def _settings(path: str) -> AnswerSettings:
    """r1sgg.json of a resolved checkpoint, or the defaults."""
    from transformers.utils import cached_file

    if _is_local(path):
        return AnswerSettings.read(Path(path))
    file = cached_file(
        path,
        SETTINGS_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return AnswerSettings.read(Path(file).parent) if file else AnswerSettings()


def _config(path: str) -> dict[str, Any]:
    """config.json of a resolved checkpoint."""
    require("transformers", "train")
    from transformers import PreTrainedConfig

    try:
        config, _ = PreTrainedConfig.get_config_dict(path, local_files_only=_is_local(path))
    except (OSError, ValueError) as error:
        if _is_local(path):
            raise ModelError(f"{path}: config.json cannot be read: {_first_line(error)}") from error
        offline = " (the Hub is switched off by HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise ModelError(
            f"{path}: no such folder here, and the Hub gave no such model{offline}: {_first_line(error)}"
        ) from error
    return dict(config)


def _is_local(path: str) -> bool:
    return Path(path).is_dir()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
