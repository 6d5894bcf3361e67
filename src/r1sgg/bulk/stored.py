"""Images by position, in files or inside them; `r1sgg.bulk.inputs` opens them by name."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from r1sgg.data.images import image_size, open_image
from r1sgg.errors import InputError
from r1sgg.graph.scene import SceneGraph

IMAGE_ENDINGS = frozenset(
    (*(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
     *(".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".tga"))
)  # fmt: skip
"""Suffixes by which files in folders and shards are recognised as images."""

Size = tuple[int, int]


class Place(NamedTuple):
    """An image of some `Inputs`: its id, the plain values that locate it, its size if known, and its own prompt."""

    image_id: str
    where: tuple[str | int, ...]
    size: Size | None = None
    prompt: str | None = None


class Inputs(ABC):
    """Images by position.

    Attributes:
        name: the name under which the images were opened.
        digest: 16 hex digits that hash ids and places in order.
        notes: what was left out so far, one sentence each.
        column: the name of the images' prompts in the data; "": they have none. Set before the places are read.
    """

    def __init__(self, name: str) -> None:
        self.name, self.column = name, ""
        self.notes: list[str] = []

    def __len__(self) -> int:
        return self._scanned[0]

    @property
    def digest(self) -> str:
        return self._scanned[1]

    @property
    def without_prompt(self) -> int:
        """How many images have no text in `column`."""
        return self._scanned[2]

    @abstractmethod
    def __iter__(self) -> Iterator[Place]:
        """Yield all places, always in the same order; no image is opened."""

    @abstractmethod
    def image(self, place: Place) -> Image.Image:
        """Open an image as upright 8-bit RGB.

        Raises:
            InputError: it is missing, truncated or too large.
        """

    @abstractmethod
    def size(self, place: Place) -> Size:
        """Return width and height from the header or the record; (0, 0) if there is no image."""

    def truth(self, place: Place) -> SceneGraph:
        """Return the true graph of an image.

        Raises:
            InputError: these images have no annotations.
        """
        raise InputError(f"{self.name}: {place.image_id}", expected="a data set with true graphs", found="images alone")

    @functools.cached_property
    def _scanned(self) -> tuple[int, str, int]:
        """Count the images and those without a prompt, and compute the digest, in one pass over all places.

        Raises:
            InputError: there are no images, or an id occurs twice.
        """
        hashes, digest, without = array("Q"), hashlib.sha256(), 0
        for place in self:
            without += place.prompt is None
            told = place[:2] if place.prompt is None else (*place[:2], place.prompt)
            digest.update(repr(told).encode("utf-8", "backslashreplace"))
            hashes.append(_hash(place.image_id))
        if not hashes:
            left_out = f" ({self.notes[0]})" if self.notes else ""
            raise InputError(self.name, expected="at least one image", found=f"none{left_out}")
        self._refuse_repeated(np.frombuffer(hashes, dtype=np.uint64))
        return len(hashes), digest.hexdigest()[:16], without

    def _refuse_repeated(self, hashes: np.ndarray) -> None:
        ordered = np.sort(hashes)
        again = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        seen: set[str] = set()
        for place in self if again else ():
            if place.image_id in seen:
                raise InputError(self.name, expected="unique image ids", found=f"{place.image_id!r} twice")
            if _hash(place.image_id) in again:
                seen.add(place.image_id)


def _hash(image_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "backslashreplace"), digest_size=8).digest())


def text_or_none(value: Any) -> str | None:
    """Return a text that is not empty, or None."""
    return value if isinstance(value, str) and value.strip() else None


class StoredImages(Inputs):
    """Images that are files, or bytes inside one."""

    @abstractmethod
    def source(self, place: Place) -> Path | bytes:
        """Return the path of an image, or its bytes.

        Raises:
            InputError: there is neither.
        """

    def called(self, place: Place) -> str:
        """Return the name of an image for error messages."""
        return f"{self.name}: {place.image_id}"

    def image(self, place: Place) -> Image.Image:
        return open_image(self.source(place), where=self.called(place))

    def size(self, place: Place) -> Size:
        if place.size is not None:
            return place.size
        try:
            return image_size(self.source(place))
        except InputError:  # `image` raises the same error when it opens the file
            return 0, 0
