"""Training rows: an annotated image becomes what TRL's trainers read (image, prompt, completion, ground truth).

SFT and GRPO take their rows from here, so both ask with one prompt and expect one answer layout. Rows are made when
they are asked for; nothing is decoded or drawn ahead. An image that cannot be used is named once and left out.
Data is named as everywhere (`r1sgg.data.sources`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import datasets
import orjson
import torch
from PIL import Image

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet, Instructions, Subset
from r1sgg.data.sources import open_data, with_images
from r1sgg.errors import ImageError, InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import render

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

_log = logging.getLogger(__name__)

NAMED = 20
"""Images and records left out of a set that are named in the log; `r1sgg data check` names all."""


class Target(Protocol):
    """What SFT teaches for an annotated graph; `r1sgg.data.targets.target` with its options bound."""

    def __call__(self, graph: SceneGraph, *, epoch: int) -> SceneGraph: ...


def open_source(spec: str) -> DataSet:
    """The annotated images that a recipe's `data` or `validation` names; what is left out of them goes to the log.

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
    """How many annotations of a set have no image that can be used, as far as was seen when it was opened."""
    return len(source.whole) - len(source) if isinstance(source, Subset) else 0


def training_row(
    checkpoint: Checkpoint, image: Image.Image, example: Example, taught: SceneGraph | None = None
) -> dict[str, Any]:
    """The columns that TRL's trainers and our rewards read.

    Args:
        checkpoint: how to ask, and in which layout and frame to answer.
        image: upright RGB.
        example: the annotation; `ground_truth` holds all of it.
        taught: the graph of `completion`; the annotated one where None.

    Raises:
        ImageError: the checkpoint's processor takes no image of such a shape.
    """
    frame, settings = checkpoint.frame(image.size), checkpoint.settings
    answer = render(
        example.graph if taught is None else taught,
        frame,
        minify=settings.minify,
        think=settings.think,
        answer_format=settings.answer_format,
    )
    return {
        "image": checkpoint.view(image),
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

    def __init__(
        self, source: DataSet, checkpoint: Checkpoint, *, completion: bool, target: Target | None = None
    ) -> None:
        super().__init__(datasets.Dataset.from_dict({"row": range(len(source))}).data)
        self.source, self.checkpoint, self.completion, self.target = source, checkpoint, completion, target
        self.unreadable: set[int] = set()
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # loader processes that live on see it change

    @property
    def epoch(self) -> int:
        """Passes over the data that are complete; the target of a row may depend on it."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch.fill_(value)

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
                taught = self.target(example.graph, epoch=self.epoch) if self.target and self.completion else None
                made = training_row(self.checkpoint, image, example, taught)
                if isinstance(self.source, Instructions):
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
