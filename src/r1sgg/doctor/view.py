"""The prompt as a model sees it, and whether vLLM sees the same (`r1sgg doctor --model M --engine E`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from r1sgg.data.images import open_image
from r1sgg.errors import ConfigError, require
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import render
from r1sgg.models.finding import image_token_of
from r1sgg.models.prompts import with_image

if TYPE_CHECKING:
    from r1sgg.inference.engines import Opening
    from r1sgg.inference.parity import Parity
    from r1sgg.models.families import Checkpoint

PHOTO = (640, 480)
_OBJECTS, _RELATIONSHIPS = 12, 8
_SHARE = "gpu_memory_utilization"


@dataclass(frozen=True, slots=True)
class Seen:
    """A prompt as the model reads it.

    Attributes:
        text: with the chat template's own tokens; the image is one placeholder, or as many as the template writes.
        ids: tokens, the image's expanded.
        image_tokens: how many of them are the image's.
        frame: width and height that the completion's boxes are relative to.
        image_size: width and height of the image, as it is passed to the processor.
    """

    text: str
    ids: tuple[int, ...]
    image_tokens: int
    frame: tuple[float, float]
    image_size: tuple[int, int]


def photo(size: tuple[int, int] = PHOTO) -> Image.Image:
    """Draw a test image of that size: bands of colour with a disc, so that the size of its parts is known."""
    image = Image.new("RGB", size, (90, 140, 200))
    pen = ImageDraw.Draw(image)
    width, height = size
    pen.rectangle((0, height // 2, width, height), fill=(80, 130, 60))
    pen.ellipse((width // 4, height // 4, width // 2, 3 * height // 4), fill=(200, 40, 40))
    return image


def opened(path: Path | None) -> Image.Image:
    """Open the user's image, or draw one.

    Raises:
        ImageError: it cannot be opened.
    """
    return photo() if path is None else open_image(path)


def prompt_of(checkpoint: Checkpoint, image: Image.Image) -> Seen:
    """Return the prompt for an image as the checkpoint's processor makes it.

    Raises:
        ImageError: the processor takes no image of this shape.
    """
    chat, processor = checkpoint.messages(image.size), checkpoint.processor
    text = processor.apply_chat_template(with_image(chat), add_generation_prompt=True, tokenize=False)
    inputs = checkpoint.family.inputs(processor, [text], [checkpoint.view(image)])
    ids = tuple(inputs["input_ids"][0].tolist())
    token = processor.tokenizer.convert_tokens_to_ids(image_token_of(processor))
    return Seen(text, ids, ids.count(token), checkpoint.frame(image.size), image.size)


def written_graph(checkpoint: Checkpoint) -> str:
    """Write a graph of 12 objects and 8 relationships as the checkpoint's completions are written."""
    names = ("man", "woman", "street", "building", "window", "car", "tree", "sign", "shirt", "bike", "bag", "sky")
    corners = np.linspace(0.05, 0.55, _OBJECTS)
    boxes = np.stack([corners, corners[::-1], corners + 0.37, corners[::-1] + 0.41], axis=1)
    graph = SceneGraph(
        ids=tuple(f"{name}.{k + 1}" for k, name in enumerate(names)),
        labels=names,
        boxes=boxes,
        pairs=tuple((k, k + 1) for k in range(_RELATIONSHIPS)),
        predicates=("standing on",) * _RELATIONSHIPS,
    )
    settings = checkpoint.settings
    frame = checkpoint.frame(PHOTO)
    return render(graph, frame, minify=settings.minify, think=settings.think, answer_format=settings.answer_format)


def comparable(opening: Opening) -> None:
    """See that an engine tells which tokens it ran.

    Raises:
        ConfigError: it does not.
        MissingDependencyError: vLLM is not installed.
    """
    if opening.spec.kind != "vllm":
        raise ConfigError(
            f"--engine {opening.engine}: expected vllm, found {opening.spec.kind}; hf is what vLLM is compared with, "
            "and a server does not tell which tokens it ran"
        )
    require("vllm", "vllm")


def parity_of(opening: Opening, images: list[Image.Image]) -> Parity:
    """Run prompts in the engine and in transformers, and put what they ran side by side.

    Args:
        opening: of the engine vLLM.
        images: to ask about.

    Raises:
        ConfigError: another engine, which does not tell what it ran.
        ModelError: the model cannot be loaded, or vLLM takes no request.
        MissingDependencyError: vLLM is not installed.
    """
    comparable(opening)
    import torch

    from r1sgg.inference.hf import TransformersEngine
    from r1sgg.inference.vllm import VLLMEngine
    from r1sgg.models.families import load_model

    if torch.cuda.is_available() and _SHARE not in opening.spec.options:  # the model itself has to fit beside vLLM
        joint = "," if ":" in opening.engine else ":"
        opening = dataclasses.replace(opening, engine=f"{opening.engine}{joint}{_SHARE}=0.5")
    reader = opening.open()
    try:
        engine = reader.engine
        assert isinstance(engine, VLLMEngine)
        precision = engine.name.rpartition(" ")[2]
        loaded = load_model(opening.model, dtype=precision, max_pixels=opening.max_pixels)
        chats = [reader.checkpoint.messages(image.size) for image in images]
        return engine.parity(TransformersEngine(loaded), images, chats)
    finally:
        reader.close()
