"""Images to answer, by position: a folder, JSON Lines, parquet, WebDataset shards, or any data set. One name for each.

    photos/                              every image in the folder and below, in the order of their paths
    val.jsonl                            ground truth, or just lines of {"image": "a.jpg"}; an "image_id" is optional
    photos.parquet  parquet:DIR          a column `image` of bytes, paths or both; `image_id` is optional
    "shards/{0000..0127}.tar"  webdataset:DIR      WebDataset; the id is the sample's key
    vg150:DIR,split=test  psg:DIR  hub:NAME  scenes:1000  jsonl:FILE,split=val      see `r1sgg.data.sources`

Names are gone through once when they are counted (no image is read): no id may be there twice, and `digest` sums them
up, by which a run that is continued knows its images again. Nothing keeps a list: a million images cost eight bytes
each while they are counted (and, of a folder, the names of one folder at a time). True graphs are not looked at.
"""

from __future__ import annotations

import functools
import hashlib
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from r1sgg.data.dataset import DataSet
from r1sgg.data.images import image_size, open_image
from r1sgg.data.jsonl import image_id_of, read_jsonl, short
from r1sgg.data.sources import open_data
from r1sgg.data.spec import parse_spec
from r1sgg.errors import ImageError, InputError

IMAGE_ENDINGS = frozenset(
    (*(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
     *(".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".tga"))
)  # fmt: skip
"""What a folder's or a shard's file must end with to be taken for an image."""

Size = tuple[int, int]


class Place(NamedTuple):
    """Where one image is: its id, what its `Inputs` finds it by (plain values), and its size where that is known."""

    image_id: str
    where: tuple[str | int, ...]
    size: Size | None = None


class Inputs(ABC):
    """Images by position.

    Attributes:
        name: what was opened, as it was written.
        digest: 16 hex digits over ids and places in their order.
        notes: what was left out, a sentence each, as far as the images were gone through.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []

    def __len__(self) -> int:
        return self._scanned[0]

    @property
    def digest(self) -> str:
        return self._scanned[1]

    @abstractmethod
    def __iter__(self) -> Iterator[Place]:
        """All places, in the same order each time; no image is opened."""

    @abstractmethod
    def image(self, place: Place) -> Image.Image:
        """The image, upright 8-bit RGB.

        Raises:
            InputError: it is missing, cut off or too large.
        """

    @abstractmethod
    def size(self, place: Place) -> Size:
        """Width and height, as far as a header or a record says; (0, 0) where there is no image."""

    @functools.cached_property
    def _scanned(self) -> tuple[int, str]:
        """How many there are, and the digest; goes through all places once.

        Raises:
            InputError: there is none, or an id is there twice.
        """
        hashes, digest = array("Q"), hashlib.sha256()
        for place in self:
            digest.update(repr(place[:2]).encode("utf-8", "backslashreplace"))
            hashes.append(_hash(place.image_id))
        if not hashes:
            left_out = f" ({self.notes[0]})" if self.notes else ""
            raise InputError(self.name, expected="at least one image", found=f"none{left_out}")
        self._refuse_repeated(np.frombuffer(hashes, dtype=np.uint64))
        return len(hashes), digest.hexdigest()[:16]

    def _refuse_repeated(self, hashes: np.ndarray) -> None:
        ordered = np.sort(hashes)
        again = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        seen: set[str] = set()
        for place in self if again else ():
            if place.image_id in seen:
                raise InputError(self.name, expected="image ids that differ", found=f"{place.image_id!r} again")
            if _hash(place.image_id) in again:
                seen.add(place.image_id)


def _hash(image_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "backslashreplace"), digest_size=8).digest())


class StoredImages(Inputs):
    """Images that are files, or bytes inside one."""

    @abstractmethod
    def source(self, place: Place) -> Path | bytes:
        """The image's file, or its bytes.

        Raises:
            InputError: there is none.
        """

    def called(self, place: Place) -> str:
        """What messages call the image."""
        return f"{self.name}: {place.image_id}"

    def image(self, place: Place) -> Image.Image:
        return open_image(self.source(place), where=self.called(place))

    def size(self, place: Place) -> Size:
        if place.size is not None:
            return place.size
        try:
            return image_size(self.source(place))
        except InputError:  # `image` will say what is wrong
            return 0, 0


def open_inputs(spec: str) -> Inputs:
    """Open what a command line names (see the module's docstring).

    Raises:
        ConfigError: no such kind, option or value.
        InputError: there is nothing there, or a file that is damaged as a whole.
    """
    from r1sgg.inference.archives import ParquetImages, ShardImages

    kind, _, rest = spec.partition(":")
    path = Path(spec).expanduser()
    ending = path.suffix.lower()
    if kind == "parquet" or ending == ".parquet":
        return ParquetImages(spec, rest if kind == "parquet" else spec)
    if kind == "webdataset" or ending in (".tar", ".tgz") or spec.lower().endswith(".tar.gz"):
        return ShardImages(spec, rest if kind == "webdataset" else spec)
    if path.is_dir():
        return FolderImages(spec, path)
    if ending in IMAGE_ENDINGS:
        raise InputError(spec, expected=_EXPECTED, found="an image", hint="for single images: r1sgg predict")
    data = parse_spec(spec)
    if data.kind == "jsonl" and data.options.keys() <= {"split"}:
        if not data.path.exists():
            raise InputError(spec, expected=_EXPECTED, found="no such file or folder", hint="check the path")
        return JsonlImages(spec, data.path, data.options.get("split"))
    return DataImages(open_data(spec))


_EXPECTED = "a folder of images, FILE.jsonl, FILE.parquet, SHARDS.tar, or a data set (vg150:DIR, scenes:COUNT, ...)"


class FolderImages(StoredImages):
    """Every image in a folder and in those below; an id is the path from there. Hidden files are left out."""

    def __init__(self, name: str, root: Path) -> None:
        self.root = root
        super().__init__(name)

    def __iter__(self) -> Iterator[Place]:
        others = 0
        for path in _walk(str(self.root), "", ()):
            if os.path.splitext(path)[1].lower() in IMAGE_ENDINGS:
                # a name that is not UTF-8 can't stand in JSON as it is
                yield Place(os.fsencode(path).decode("utf-8", "backslashreplace"), (path,))
            else:
                others += 1
        self.notes = [f"{self.name}: {others} files that are no images were left out"] if others else []

    def source(self, place: Place) -> Path:
        return self.root / str(place.where[0])


def _walk(folder: str, below: str, within: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Paths of the files in a folder and below it, relative to the first, in the order of their parts."""
    try:
        status = os.stat(folder)
        if (here := (status.st_dev, status.st_ino)) in within:  # a link back to a folder that we are in
            return
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(
            os.fsencode(folder).decode("utf-8", "backslashreplace"),
            expected="a folder that can be read",
            found=error.strerror or "an error",
        ) from error
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(os.path.join(folder, name), f"{below}{name}/", (*within, here))
        else:
            yield below + name


class JsonlImages(StoredImages):
    """A ground-truth file, or lines that name images; paths are relative to the file."""

    def __init__(self, name: str, path: Path, split: str | None = None) -> None:
        self.path, self.split = path, split
        super().__init__(name)

    def __iter__(self) -> Iterator[Place]:
        for number, row in read_jsonl(self.path):
            if self.split is not None and row.get("split") != self.split:
                continue
            where = f"{self.path}:{number}"
            image = row.get("image")
            if image is not None and (not isinstance(image, str) or not image):
                raise InputError(f"{where}: image", expected="a path, or no such key", found=short(image))
            if "image_id" not in row and image is None:
                raise InputError(where, expected='an "image" or an "image_id"', found="neither")
            width, height = row.get("width"), row.get("height")
            size = None
            if type(width) is int and type(height) is int and width > 0 and height > 0:
                size = width, height
            image_id = image_id_of(row, where) if "image_id" in row else str(image)
            yield Place(image_id, () if image is None else (image,), size)

    def source(self, place: Place) -> Path:
        if not place.where:
            raise ImageError(place.image_id, expected='"image", the path of a file', found="none in its line")
        return self.path.parent / str(place.where[0])

    def called(self, place: Place) -> str:
        return str(self.source(place))


class DataImages(Inputs):
    """The images of any data set (`r1sgg.data.sources`)."""

    def __init__(self, data: DataSet) -> None:
        self.data = data
        super().__init__(data.name)
        self.notes = [note.text for note in data.notes]

    def __iter__(self) -> Iterator[Place]:
        return (Place(image_id, (k,)) for k, image_id in enumerate(self.data.image_ids()))

    def image(self, place: Place) -> Image.Image:
        return self.data.draw(int(place.where[0]))[0]

    def size(self, place: Place) -> Size:
        return self.data.size(int(place.where[0]))
