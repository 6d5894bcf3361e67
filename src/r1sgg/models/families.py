"""Checkpoints: recognising the family, preparing the processor, loading the weights.

A checkpoint is recognised by the `model_type` in its config.json, never by its name. Weights are read from safetensors
only, and code that comes with a checkpoint is never run. An adapter that LoRA training wrote is a checkpoint too: it is
merged into its base model in memory. Generating is in `r1sgg.inference`, training in `r1sgg.training`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1sgg.data.calibration import Calibration, read_calibration
from r1sgg.data.provenance import only_drawn, read_trained_on
from r1sgg.errors import ModelError, require
from r1sgg.graph.given import Given
from r1sgg.graph.text import Frame
from r1sgg.models.damage import Naming, check_files, check_image_processor, check_parts, check_template, load_weights
from r1sgg.models.family import ModelFamily
from r1sgg.models.finding import adapter_base, config_of, first_line, has_tokens, image_token_of, is_local, resolve
from r1sgg.models.known import RECOMMENDED, known_checkpoint
from r1sgg.models.prompts import SETTINGS_FILE, AnswerSettings, Message, ask_of_column, build_messages
from r1sgg.models.registry import FAMILIES

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import PreTrainedModel, ProcessorMixin

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "LoadedModel",
    "ModelFamily",
    "answer_settings",
    "default_dtype",
    "family_of",
    "load_checkpoint",
    "load_model",
    "load_processor",
    "resolve",
]

_GENERAL = 10_000
"""Fewest tokens of a vocabulary that was made for more than the miniature's answers, which has some hundreds."""
_LIMITS = {"one size": "their one size", "tiles": "a number of tiles", "tokens": "a number of tokens"}
_ANSWERS = "{%- set enable_thinking = false -%}"
"""Before a chat template that can let a model think: a graph is asked for at once, or behind the prompt's own tags."""
_DTYPES = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint without its weights: enough to prepare inputs and to read completions."""

    name: str
    path: str
    family: ModelFamily
    processor: ProcessorMixin
    settings: AnswerSettings
    base: str | None = field(default=None, kw_only=True)
    """The base model of an adapter; None for a whole model."""
    calibration: Calibration | None = field(default=None, kw_only=True)
    """What its single answers' scores are mapped by; None leaves them as they are."""
    recorded: bool = field(default=False, kw_only=True)
    """Whether its r1sgg.json says how it is asked; of another the settings are assumed."""

    def frame(self, image_size: tuple[int, int]) -> Frame:
        """Return the frame of an image's scene graph, see `ModelFamily.frame`."""
        return self.family.frame(image_size, self.processor)

    def view(self, image: Image.Image) -> Image.Image:
        """Return the image as the processor has to get it, see `ModelFamily.view`."""
        return self.family.view(image, self.processor)

    @property
    def drawn_scenes_only(self) -> bool:
        """Whether it knows drawn scenes and nothing else: a miniature model, trained on them alone."""
        if not is_local(self.path) or not only_drawn(read_trained_on(Path(self.path))):
            return False
        config = config_of(self.path)
        size = (config.get("text_config") or config).get("vocab_size")
        return isinstance(size, int) and size < _GENERAL

    @property
    def notice(self) -> str | None:
        """What everybody who uses the model should know; None: nothing."""
        if not self.drawn_scenes_only:
            return None
        return (
            f"{self.name} knows drawn scenes only: its graph of anything else means nothing; for photos: --model photo"
        )

    @property
    def image_pixels(self) -> list[int] | None:
        """Fewest and most pixels that images are resized to; None if that is not how the processor limits them."""
        size, frames = self.processor.image_processor.size, self.family.frames
        return [size["shortest_edge"] // frames, size["longest_edge"] // frames] if self.family.max_pixels else None

    def messages(
        self, image_size: tuple[int, int], column: str | None = None, given: Given | None = None
    ) -> list[Message]:
        """Return the chat that asks for the graph of an image, without the image.

        Args:
            image_size: width and height in pixels.
            column: the image's text in the column `settings.column`; None where its data has none.
            given: objects that the prompt lists, in this checkpoint's frame.
        """
        asked = None if column is None else ask_of_column(self.settings, column, image_size)
        return build_messages(self.settings, self.frame(image_size), asked, given)

    def with_model(self, model: PreTrainedModel) -> LoadedModel:
        """Return this checkpoint together with weights."""
        return LoadedModel(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Checkpoint)}, model=model)


@dataclass(frozen=True, slots=True)
class LoadedModel(Checkpoint):
    """A checkpoint with its weights."""

    model: PreTrainedModel


def family_of(source: str | Path | Mapping[str, Any] | Any) -> ModelFamily:
    """Recognise the family of a checkpoint.

    Args:
        source: a checkpoint folder, a name on the Hub, "tiny" or "tiny-base"; or a config (object or mapping), which
            does not tell families apart that differ by their tokens only (`ModelFamily.marks`).

    Raises:
        ModelError: there is no such checkpoint, or its family is unknown.
    """
    name, path = "config", None
    if isinstance(source, str | Path):
        name, path = str(source), resolve(source)
        source = config_of(path)
    model_type = source.get("model_type") if isinstance(source, Mapping) else getattr(source, "model_type", None)
    found = [family for family in FAMILIES if model_type in family.model_types]
    marked = [family for family in found if family.marks and path is not None and has_tokens(path, family.marks)]
    for family in (*marked, *(family for family in found if not family.marks)):
        return family
    known = ", ".join(f"{f.name} ({'/'.join(f.model_types)})" for f in FAMILIES)
    raise ModelError(f"{name}: expected a checkpoint of a known family ({known}), found model_type {model_type!r}")


def load_processor(path_or_id: str | Path, *, max_pixels: int | None = None) -> ProcessorMixin:
    """Load the checkpoint's processor, with padding on the left.

    Args:
        path_or_id: see `family_of`.
        max_pixels: larger images are reduced to this many pixels; None or 0: the lower of the checkpoint's own limit
            and the family's.

    Raises:
        ModelError: the checkpoint has no processor that takes images.
    """
    require("torchvision", "train")
    from transformers import AutoProcessor

    path = resolve(path_or_id)
    if is_local(path):
        check_files(Path(path))
    family = family_of(path)
    if (reason := family.cannot.get("generate")) is not None:
        raise ModelError(f"{path_or_id}: {family.name} cannot write graphs, because {reason}; use another model")
    expected = "a checkpoint with its processor (processor_config.json or preprocessor_config.json, and tokenizer.json)"
    try:
        with Naming(path_or_id, expected, "copy these files from the model it was trained from"):
            processor = AutoProcessor.from_pretrained(path, local_files_only=is_local(path), trust_remote_code=False)
    except ModelError:
        check_parts(path)
        raise
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ModelError(f"{path_or_id}: expected a processor of images and text, found {type(processor).__name__}")
    config, image_token = config_of(path), image_token_of(processor)
    image_id = config.get("image_token_id", config.get("image_token_index"))
    if image_id not in (None, processor.tokenizer.convert_tokens_to_ids(image_token)):
        # transformers makes an empty tokenizer if the files are missing, without a message
        raise ModelError(
            f"{path_or_id}: expected a tokenizer in which {image_token} is {image_id}, found one in which it "
            "is not; copy tokenizer.json and tokenizer_config.json from the model it was trained from"
        )
    processor.tokenizer.padding_side = "left"
    if processor.chat_template is None:
        processor.chat_template = family.template
    elif "enable_thinking" in str(processor.chat_template) and _ANSWERS not in str(processor.chat_template):
        processor.chat_template = _ANSWERS + processor.chat_template
    check_template(processor, path, places=family.template is None)
    if family.max_pixels is not None:
        if max_pixels and max_pixels < (least := _token_pixels(processor.image_processor)):
            raise ModelError(
                f"max_pixels: expected 0 or at least {least}, one token of {path_or_id}'s images, found {max_pixels}"
            )
        with Naming(path, "an image processor whose size is a number of pixels"):
            own = processor.image_processor.size
            limit = family.frames * max_pixels if max_pixels else family.frames * family.max_pixels
            limit = limit if max_pixels else min(own["longest_edge"], limit)
            shortest = min(own["shortest_edge"], limit)
            processor.image_processor.size = type(own)(shortest_edge=shortest, longest_edge=limit)
    elif max_pixels:
        raise ModelError(
            f"max_pixels: expected none for {path_or_id}, found {max_pixels}; images of {family.name} are limited "
            f"by {_LIMITS[family.images]}"
        )
    check_image_processor(processor, path, one_size=family.max_pixels is None)
    return processor


def _token_pixels(image_processor: Any) -> int:
    """Return how many pixels one token of an image stands for."""
    return int(getattr(image_processor, "patch_size", 1) * getattr(image_processor, "merge_size", 1)) ** 2


def load_checkpoint(path_or_id: str | Path, *, max_pixels: int | None = None) -> Checkpoint:
    """Load everything of a checkpoint but its weights.

    Raises:
        ModelError: see `family_of` and `load_processor`.
    """
    path = resolve(path_or_id)
    known = known_checkpoint(path)
    processor = load_processor(path, max_pixels=max_pixels or (known.max_pixels if known else None))
    recorded = recorded_settings(path)
    calibration = read_calibration(Path(path)) if is_local(path) else None
    base = adapter_base(path)
    name = path if str(path_or_id) in RECOMMENDED else str(path_or_id)  # "photo" may mean another model some day
    return Checkpoint(
        name,
        path,
        family_of(path),
        processor,
        recorded or _assumed_settings(path),
        base=base,
        calibration=calibration,
        recorded=recorded is not None,
    )


def load_model(
    path_or_id: str | Path,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    max_pixels: int | None = None,
) -> LoadedModel:
    """Load a checkpoint for inference, in evaluation mode.

    Args:
        path_or_id: a checkpoint folder, a name on the Hub (owner/name), "tiny" or "photo".
        device: "cpu", "cuda", "cuda:1", ...; None: the GPU if there is one.
        dtype: "float32", "bfloat16", "float16" or "auto" (the checkpoint's own); None: float32 on a CPU (where bfloat16
            is slow, and results would depend on the batch size) and bfloat16 elsewhere, whatever the checkpoint has:
            a trained model is saved in float32, and is compared with its base in one precision.
        max_pixels: see `load_processor`.

    Raises:
        ModelError: there is no such checkpoint, its family is unknown, or files are missing.
    """
    require("torch", "train")
    import torch

    if isinstance(dtype, str) and dtype not in _DTYPES:
        raise ModelError(f"dtype: expected one of {', '.join(_DTYPES)}, found {dtype!r}")
    checkpoint = load_checkpoint(path_or_id, max_pixels=max_pixels)
    device = device or default_device()
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r}: {first_line(error)}") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: no CUDA device is visible on this machine")
    precision = dtype or default_dtype(target.type)
    model = load_weights(checkpoint.base or checkpoint.path, dtype=precision)
    if model.config.get_text_config().is_encoder_decoder:
        raise ModelError(f"{path_or_id}: expected a decoder as language model (Vicuna), found an encoder-decoder (T5)")
    if checkpoint.base is not None:
        model = _merge(model, checkpoint.path)
    return checkpoint.with_model(model.to(target).eval())


def default_device() -> str:
    """Return the type of device that models are loaded on, unless the user chooses one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype(device: str) -> str:
    """Return the type that weights are loaded in on a type of device, unless the user chooses one."""
    return "float32" if device == "cpu" else "bfloat16"


def _merge(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """Add a LoRA adapter to a model's weights, in place.

    The result is an ordinary model of the base's size and speed.

    Args:
        model: the adapter's base, unquantised.
        folder: the adapter.

    Returns:
        The model without peft's wrappers.

    Raises:
        ModelError: the adapter does not fit the model, has no weights, or gives weights that are NaN.
        MissingDependencyError: peft is not installed.
    """
    peft: Any = require("peft", "train")
    expected = f"an adapter for {model.config.name_or_path} (adapter_config.json and adapter_model.safetensors)"
    with Naming(folder, expected), warnings.catch_warnings():
        # peft 0.21 reads the deprecated attribute of transformers 5.23
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # and leaves weights that it does not find at their initial values
        warnings.filterwarnings("error", message="Found missing adapter keys")
        adapted = peft.PeftModel.from_pretrained(model, folder, use_safetensors=True)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged


def answer_settings(path: str) -> AnswerSettings:
    """Return the recorded settings of a resolved checkpoint; without them those of a known one, or the defaults."""
    return recorded_settings(path) or _assumed_settings(path)


def recorded_settings(path: str) -> AnswerSettings | None:
    """Read r1sgg.json of a resolved checkpoint; None without it."""
    folder = Path(path) if is_local(path) else _fetched(path)
    if folder is None or not (folder / SETTINGS_FILE).is_file():
        return None
    return AnswerSettings.read(folder)


def _assumed_settings(path: str) -> AnswerSettings:
    known = known_checkpoint(path)
    return AnswerSettings() if known is None else known.settings


def _fetched(name: str) -> Path | None:
    """Return the folder of a Hub checkpoint's r1sgg.json, None if it has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, SETTINGS_FILE)).parent
    except EntryNotFoundError:  # the checkpoint has none; or it is not in the cache, and there is no network
        return None
