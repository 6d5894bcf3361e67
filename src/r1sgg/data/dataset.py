"""A data set: annotated images by number, read when they are needed, whatever the format of its files.

A reader keeps columns (arrays, or places in a file), never a list of examples. What it leaves out is reported: for the
whole set in `notes` when the set is opened, for one record with the record in `read`. A record that cannot be read
costs that record, not the set.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image

from r1sgg.data.base import Example, example_digest, hash_of_digests
from r1sgg.data.images import image_size, open_image
from r1sgg.errors import ImageError, InputError
from r1sgg.graph.scene import SceneGraph

Indices = npt.NDArray[np.int64]


class Fault(NamedTuple):
    """Something wrong in the data, which was left out or clipped.

    `kind` is "box", "relation", "name", "id", "image", "size", "record", "crowd" or "empty"; `text` is one sentence:
    file and field, what was expected and what was found.
    """

    kind: str
    text: str


def fault(kind: str, where: str, expected: str, found: str, done: str = "left out") -> Fault:
    """Return a Fault in the words of `InputError`."""
    return Fault(kind, str(InputError(where, expected=expected, found=found, hint=done)))


class Instructions(ABC):
    """What a data set has beside `DataSet` if it teaches other questions than the scene graph (SFT only).

    Attributes:
        some_graphs: whether a part of the rows are scene graphs.
    """

    some_graphs = False

    @abstractmethod
    def instruction(self, row: int, example: Example) -> tuple[str, str] | None:
        """Return the question of a row about its image, and the right answer; None where the row is a scene graph."""


class DataSet(ABC):
    """Examples by number.

    Attributes:
        name: the specification that was opened, as the user wrote it.
        split: "train", "val", "test", or None if the files do not say.
        notes: what was left out when the set was opened.
        empty_ids: ids of the images that were left out because they have no relation; `empty=yes` keeps them.
        images_are_files: whether an image can be missing, and is cheap to check by its header.
    """

    images_are_files = True

    def __init__(self, name: str, split: str | None = None) -> None:
        self.name, self.split = name, split
        self.notes: list[Fault] = []
        self.empty_ids: frozenset[str] = frozenset()
        self._hashes: dict[str, str] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, k: int) -> tuple[Example, list[Fault]]:
        """Return example `k` in 0..len-1, and what was left out of its record.

        Raises:
            InputError: the record cannot be read at all.
        """

    def __getitem__(self, k: int) -> Example:
        """Return example `k`; negative numbers count from the end.

        Raises:
            IndexError: no such number.
            InputError: the record cannot be read at all.
        """
        size = len(self)
        if not -size <= k < size:
            raise IndexError(f"{self.name}: example {k} of {size}")
        return self.read(k % size)[0]

    def __iter__(self) -> Iterator[Example]:
        return (self.read(k)[0] for k in range(len(self)))

    def image_ids(self) -> Iterator[str]:
        """Yield the ids of all examples, in their order."""
        return (self.read(k)[0].image_id for k in range(len(self)))

    def size(self, k: int) -> tuple[int, int]:
        """Return width and height of image `k`, as its annotation states them."""
        example = self.read(k)[0]
        return example.width, example.height

    def draw(self, k: int) -> tuple[Image.Image, Example]:
        """Return image `k`, upright 8-bit RGB, and its example.

        Raises:
            ImageError: see `image`.
        """
        example = self.read(k)[0]
        return self.image(example), example

    def hashes(self) -> dict[str, str]:
        """Return the set's hashes, {"images": of the ids, "annotations": see `data_hash`}, whatever its order.

        The first call reads every record.
        """
        if self._hashes is None:
            ids, digests = [], []
            for example in self:
                ids.append(example.image_id)
                digests.append(example_digest(example))
            self._hashes = {"images": hash_of_ids(ids), "annotations": hash_of_digests(digests)}
        return dict(self._hashes)

    def image(self, example: Example) -> Image.Image:
        """Return the image of one of this set's examples, upright 8-bit RGB.

        Raises:
            ImageError: it is missing, cut off or too large.
        """
        if example.image is None:
            raise ImageError(
                f"{self.name}: image_id {example.image_id!r}", expected="an image", found="an annotation without one"
            )
        return open_image(example.image)

    def image_fault(self, example: Example) -> Fault | None:
        """Return what is wrong with the image by its header, which is right in a file that is cut off."""
        if example.image is None:
            return fault(
                "image", f"{self.name}: image_id {example.image_id!r}", "an image", "an annotation without one"
            )
        return size_fault(example.image, str(example.image), example)


def size_fault(source: Path | bytes, where: str, example: Example) -> Fault | None:
    """Return what is wrong with an image file by its header: no image, or not of the annotation's size."""
    try:
        width, height = image_size(source, where=where)
    except ImageError as error:
        return Fault("image", str(error))
    if (width, height) != (example.width, example.height):
        expected = f"the annotation's {example.width}x{example.height} pixels"
        return fault("size", where, expected, f"{width}x{height}", "its boxes may be of another size")
    return None


class Subset(DataSet):
    """Some examples of a set, by their numbers there; `change` replaces their graphs when they are read."""

    def __init__(
        self,
        whole: DataSet,
        rows: Sequence[int] | Indices,
        name: str,
        change: Callable[[SceneGraph], SceneGraph] | None = None,
    ) -> None:
        super().__init__(name, whole.split)
        self.whole, self.rows, self.change = whole, np.asarray(rows, dtype=np.int64), change
        self.notes += whole.notes
        self.empty_ids = whole.empty_ids
        self.images_are_files = whole.images_are_files

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        example, faults = self.whole.read(int(self.rows[k]))
        return (replace(example, graph=self.change(example.graph)) if self.change else example), faults

    def hashes(self) -> dict[str, str]:
        if self.change is None and np.array_equal(self.rows, np.arange(len(self.whole))):
            return self.whole.hashes()
        return super().hashes()

    def image(self, example: Example) -> Image.Image:
        return self.whole.image(example)

    def image_fault(self, example: Example) -> Fault | None:
        return self.whole.image_fault(example)


def with_images(whole: DataSet) -> Subset:
    """Return the examples whose image exists and has a right header; the others are named in `notes`.

    A set that draws its images, or holds their bytes, is taken whole: a damaged image then shows when it is decoded.

    Raises:
        InputError: no image is left.
    """
    faults = {k: whole.image_fault(whole.read(k)[0]) for k in range(len(whole) if whole.images_are_files else 0)}
    lost = {k: fault for k, fault in faults.items() if fault is not None and fault.kind != "size"}
    missing, rows = list(lost.values()), [k for k in range(len(whole)) if k not in lost]
    if not rows:
        hint = f"the first: {missing[0].text}" if missing else "the set is empty"
        raise InputError(
            whole.name, expected="at least one image that can be read", found=f"none of {len(whole)}", hint=hint
        )
    subset = Subset(whole, rows, whole.name)
    subset.notes += missing
    return subset


def hash_of_ids(image_ids: Sequence[str]) -> str:
    """Return 16 hex digits over image ids, whatever their order."""
    return hashlib.sha256(orjson.dumps(sorted(image_ids))).hexdigest()[:16]
