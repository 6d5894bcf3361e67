"""Training rows: an annotated image becomes what TRL's trainers read (image, prompt, completion, ground truth).

SFT and GRPO take their rows from here, so both ask with one prompt and expect one answer layout. Rows are made when
they are asked for; nothing is decoded or drawn ahead. An image that cannot be used is named once and left out.

    scenes:50000,seed=1,preset=small    drawn on the fly, as `r1sgg data scenes` does
    instruct:50000,seed=1,preset=small  the same scenes, each with a visual instruction (SFT only)
    train.jsonl                         a ground-truth file, images relative to it
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import datasets
import orjson
from PIL import Image, UnidentifiedImageError

from r1sgg.data import scenes
from r1sgg.data.base import Example, data_hash, read_ground_truth
from r1sgg.data.images import open_image
from r1sgg.data.instruct import Instruction, instruction
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.graph.text import render

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

_log = logging.getLogger(__name__)

HASHED = 1000
"""Scenes whose annotations go into the data hash of a drawn set (drawing all of them would take minutes)."""


class Source(Protocol):
    """Annotated images by number."""

    name: str

    def __len__(self) -> int: ...

    def draw(self, row: int) -> tuple[Image.Image, Example]:
        """The image, upright RGB, and its annotation.

        Raises:
            ImageError: the image cannot be read.
        """

    def hash(self) -> str:
        """Names the annotations."""


class FileSource:
    """Images of a ground-truth file; those that are missing or no images are left out, each with one sentence."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.examples: list[Example] = []
        self.left_out: list[str] = []
        for example in read_ground_truth(path):
            fault = _fault(example)
            if fault:
                _log.warning("%s: image_id %r left out: %s", path, example.image_id, fault)
                self.left_out.append(example.image_id)
            else:
                self.examples.append(example)
        if not self.examples:
            raise InputError(
                str(path),
                expected="at least one line with a readable image",
                found=f"{len(self.left_out)} without one",
                hint=f"the first is image_id {self.left_out[0]!r}: {fault}",
            )
        if self.left_out:
            _log.warning("%s: %d of %d images left out", path, len(self.left_out), len(self) + len(self.left_out))

    def __len__(self) -> int:
        return len(self.examples)

    def draw(self, row: int) -> tuple[Image.Image, Example]:
        example = self.examples[row]
        assert example.image is not None
        return open_image(example.image), example

    def hash(self) -> str:
        return data_hash(self.examples)


class SceneSource:
    """Scenes drawn when asked for; those that `r1sgg data scenes` writes for the same seed and split."""

    def __init__(self, name: str, seeds: range, config: scenes.SceneConfig) -> None:
        self.name, self.seeds, self.config = name, seeds, config

    def __len__(self) -> int:
        return len(self.seeds)

    def draw(self, row: int) -> tuple[Image.Image, Example]:
        drawn = scenes.scene(self.seeds[row], self.config)
        return drawn.image, drawn.example

    def hash(self) -> str:
        return data_hash(self.draw(row)[1] for row in range(min(len(self), HASHED)))


class InstructSource(SceneSource):
    """Drawn scenes that are asked something else than a scene graph (see `r1sgg.data.instruct`); for pre-training."""

    def instruction(self, row: int, example: Example) -> Instruction:
        """What is asked about row `row`, and the answer."""
        return instruction(example.graph, self.seeds[row])


def open_source(spec: str) -> Source:
    """The annotated images that a recipe's `data` or `validation` names.

    Raises:
        ConfigError: a scenes: or instruct: text that is not as in this module's docstring.
        InputError: a file that is missing, wrong, or has no usable image.
    """
    return scene_source(spec) if spec.startswith(("scenes:", "instruct:")) else FileSource(Path(spec))


def scene_source(spec: str) -> SceneSource:
    """Read scenes:COUNT[,seed=S][,preset=P][,split=train|validation|test]; COUNT may be written count=COUNT.

    Raises:
        ConfigError: another key, or a value that is no number.
        InputError: a count, seed or split that does not exist.
    """
    kind, _, rest = spec.partition(":")
    values = {"seed": "0", "preset": "small", "split": "train"}
    for k, part in enumerate(rest.split(",")):
        key, equals, value = part.strip().partition("=")
        if not equals and k == 0:
            key, value = "count", key
        if key not in (*values, "count") or not value:
            raise ConfigError(f"{spec!r}: expected {kind}:COUNT[,seed=S][,preset=P][,split=T], found {part!r}")
        values[key] = value
    try:
        count, seed = int(values.get("count", "")), int(values["seed"])
    except ValueError as error:
        raise ConfigError(f"{spec!r}: expected whole numbers for COUNT and seed ({error})") from error
    if values["preset"] not in scenes.PRESETS:
        raise ConfigError(f"{spec!r}: expected a preset of {', '.join(scenes.PRESETS)}, found {values['preset']!r}")
    seeds = scenes.split_seeds(values["split"], seed, count)
    made = InstructSource if kind == "instruct" else SceneSource
    return made(spec, seeds, scenes.PRESETS[values["preset"]])


def _fault(example: Example) -> str | None:
    """Why an image cannot be used, judged by its header; None if it can."""
    if example.image is None:
        return 'the line has no "image"'
    try:
        with Image.open(example.image):
            return None
    except FileNotFoundError:
        return f"{example.image}: no such file"
    except UnidentifiedImageError:
        return f"{example.image}: not an image"
    except OSError as error:
        return f"{example.image}: {error}"


def training_row(checkpoint: Checkpoint, image: Image.Image, example: Example) -> dict[str, Any]:
    """The columns that TRL's trainers and our rewards read.

    Raises:
        ImageError: the checkpoint's processor takes no image of such a shape.
    """
    frame, settings = checkpoint.frame(image.size), checkpoint.settings
    answer = render(example.graph, frame, minify=settings.minify, think=settings.think)
    return {
        "image": image,
        "prompt": checkpoint.messages(image.size),
        "completion": [{"role": "assistant", "content": answer}],
        "ground_truth": orjson.dumps(example.to_record()).decode(),
        "frame": list(frame),
        "image_id": example.image_id,
    }


class TrainingRows(datasets.Dataset):  # type: ignore[misc]
    """A source as the `datasets.Dataset` that TRL asks for, its rows made on access.

    A row asked for several times at once (the group of a GRPO prompt) is made once. An image that fails when it is
    decoded is named once, and the next row that can be read stands in for it.
    """

    def __init__(self, source: Source, checkpoint: Checkpoint, *, completion: bool) -> None:
        super().__init__(datasets.Dataset.from_dict({"row": range(len(source))}).data)
        self.source, self.checkpoint, self.completion = source, checkpoint, completion
        self.unreadable: set[int] = set()

    def __getitem__(self, key: Any) -> Any:
        return self._make(int(key))

    def __getitems__(self, keys: Sequence[int]) -> list[dict[str, Any]]:
        made = {key: self._make(int(key)) for key in dict.fromkeys(keys)}
        return [dict(made[key]) for key in keys]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._make(row) for row in range(len(self)))

    def _make(self, row: int) -> dict[str, Any]:
        for step in range(len(self.source)):
            place = (row + step) % len(self.source)
            if place in self.unreadable:
                continue
            try:
                image, example = self.source.draw(place)
                made = training_row(self.checkpoint, image, example)
                if isinstance(self.source, InstructSource):
                    ask, answer = self.source.instruction(place, example)
                    made["prompt"] = [{"role": "user", "content": ask}]
                    made["completion"] = [{"role": "assistant", "content": answer}]
            except ImageError as error:
                self.unreadable.add(place)
                _log.warning("%s; another image stands in for it (%d so far)", error, len(self.unreadable))
                continue
            if not self.completion:
                del made["completion"]
            return made
        raise InputError(self.source.name, expected="an image that can be read", found=f"none in {len(self.source)}")
