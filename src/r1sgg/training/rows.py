"""Training rows: an annotated image as the columns that TRL's trainers read (image, prompt, completion, ground truth).

SFT and GRPO take their rows from here, so both use one prompt and one answer layout. Rows are made on access; nothing
is decoded or drawn ahead. An image that cannot be used is named once and left out. Data is named as everywhere
(`r1sgg.data.sources`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import datasets
import orjson
import torch
from PIL import Image

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet, Instructions, Subset
from r1sgg.data.sources import open_data, with_images
from r1sgg.errors import ImageError, InputError
from r1sgg.graph.given import Given, Task
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids, render

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

_log = logging.getLogger(__name__)

NAMED = 20
"""Log lines for images and records that are left out of a set; `r1sgg data check` names all of them."""

Target = Callable[..., SceneGraph]
"""The graph that SFT teaches for an annotated one, called with it and `epoch=N`; see `TargetOptions.bind`."""


def open_source(spec: str) -> DataSet:
    """Open the annotated images that a recipe's `data` or `validation` names, and log what is left out.

    Raises:
        ConfigError: no such kind of data, option or value.
        InputError: a file that is missing, wrong, or has no usable image.
    """
    source = open_data(spec)
    if isinstance(source, Instructions):
        return source
    source = with_images(source)
    for note in source.notes[:NAMED]:
        _log.warning("%s", note.text)
    if len(source.notes) > NAMED:
        more = len(source.notes) - NAMED
        _log.warning("%s: %d more of this kind; `r1sgg data check --data` names all", spec, more)
    if lost := left_out(source):
        _log.warning("%s: %d of %d images left out", spec, lost, len(source) + lost)
    return source


def left_out(source: DataSet) -> int:
    """Count the annotations of a set whose image was found unusable when the set was opened."""
    return len(source.whole) - len(source) if isinstance(source, Subset) else 0


def training_row(
    checkpoint: Checkpoint,
    image: Image.Image,
    example: Example,
    taught: SceneGraph | None = None,
    task: Task = "sgdet",
) -> dict[str, Any]:
    """Make the columns that TRL's trainers and our rewards read.

    Args:
        checkpoint: its prompt, answer layout and frame are used.
        image: upright RGB.
        example: the annotation; `ground_truth` holds all of it.
        taught: the graph of `completion`; the annotated one if None.
        task: what the prompt gives of that graph.

    Raises:
        ImageError: the checkpoint's processor takes no image of this shape.
    """
    frame, settings = checkpoint.frame(image.size), checkpoint.settings
    graph = example.graph if taught is None else taught
    given = None
    if task != "sgdet":
        given, graph = Given.of(graph, frame, task), replace(graph, ids=number_ids(graph.labels))
    answer = render(
        graph,
        frame,
        minify=settings.minify,
        think=settings.think,
        answer_format=settings.answer_format,
    )
    return {
        "image": checkpoint.view(image),
        "prompt": checkpoint.messages(image.size, prompt_of(checkpoint, example), given),
        "completion": [{"role": "assistant", "content": answer}],
        "ground_truth": orjson.dumps(example.to_record()).decode(),
        "frame": list(frame),
        "image_id": example.image_id,
    }


def prompt_of(checkpoint: Checkpoint, example: Example) -> str | None:
    """Return an example's own prompt, None where it has none in the column that the settings name."""
    value = example.meta.get(checkpoint.settings.column) if checkpoint.settings.column else None
    return value if isinstance(value, str) and value.strip() else None


class TrainingRows(datasets.Dataset):  # type: ignore[misc]
    """A source as the `datasets.Dataset` that TRL expects, its rows made on access.

    A row that is asked for several times at once (the group of a GRPO prompt) is made once. An image that cannot be
    decoded is named once, and the next readable row takes its place.
    """

    def __init__(
        self,
        source: DataSet,
        checkpoint: Checkpoint,
        *,
        completion: bool,
        target: Target | None = None,
        task: Task = "sgdet",
    ) -> None:
        # the table holds row numbers only: TRL asks for its length and column names
        super().__init__(datasets.Dataset.from_dict({"row": range(len(source))}).data)
        self.source, self.checkpoint, self.completion, self.target = source, checkpoint, completion, target
        self.task = task
        self.unreadable: set[int] = set()
        # whether the examples have prompts of their own; the first one decides, and the others must agree
        self._own_prompts = bool(checkpoint.settings.column) and prompt_of(checkpoint, source[0]) is not None
        # in shared memory, because worker processes of a loader may outlive an epoch (persistent_workers)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """Complete passes over the data; the target of a row may depend on it."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch.fill_(value)

    def __getitem__(self, key: Any) -> Any:
        return self._make(int(key))

    def __getitems__(self, keys: Sequence[int]) -> list[dict[str, Any]]:
        made = {key: self._make(int(key)) for key in dict.fromkeys(keys)}
        return [dict(made[key]) for key in keys]  # copies, because TRL's collators change rows in place

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._make(row) for row in range(len(self)))

    def _make(self, row: int) -> dict[str, Any]:
        for step in range(len(self.source)):
            place = (row + step) % len(self.source)
            if place in self.unreadable:
                continue
            try:
                image, example = self.source.draw(place)
                self._check_prompt(example)
                taught = self.target(example.graph, epoch=self.epoch) if self.target and self.completion else None
                made = training_row(self.checkpoint, image, example, taught, self.task)
            except ImageError as error:
                self.unreadable.add(place)
                _log.warning("%s; the next image takes its place (%d so far)", error, len(self.unreadable))
                continue
            if isinstance(self.source, Instructions) and (asked := self.source.instruction(place, example)) is not None:
                made["prompt"] = [{"role": "user", "content": asked[0]}]
                made["completion"] = [{"role": "assistant", "content": asked[1]}]
            if not self.completion:
                del made["completion"]
            return made
        raise self._none_readable()

    @property
    def own_prompts(self) -> bool:
        """Whether the examples are asked by prompts of their own (`AnswerSettings.column`)."""
        return self._own_prompts

    def _check_prompt(self, example: Example) -> None:
        if self._own_prompts and prompt_of(self.checkpoint, example) is None:
            column = self.checkpoint.settings.column
            raise InputError(
                f"{self.source.name}: image_id {example.image_id!r}: {column}",
                expected="a prompt, as the first image has",
                found="none",
                hint="leave the image out, or choose another prompt",
            )

    def _none_readable(self) -> InputError:
        return InputError(self.source.name, expected="an image that can be read", found=f"none in {len(self.source)}")
