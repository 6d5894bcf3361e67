"""Open the images of a run: a folder, JSON Lines, parquet, WebDataset shards, or any data set.

    photos/                              every image in the folder and its subfolders, in path order
    val.jsonl                            ground truth, or lines of {"image": "a.jpg"}; "image_id" is optional
    photos.parquet  parquet:DIR          a column `image` of bytes, paths or both; `image_id` is optional
    "shards/{0000..0127}.tar"  webdataset:DIR      WebDataset; the key of a sample is the id
    vg150:DIR,split=test  psg:DIR  hub:NAME  scenes:1000  jsonl:FILE,split=val      see `r1sgg.data.sources`

Counting reads all names once and no image. Ids must be unique, and `digest` identifies the images, so that a resumed
run can check that they are the same. No list of names is kept: counting needs eight bytes per image, and for folders
the names in one folder at a time. Ground-truth graphs are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from r1sgg.bulk.archives import ParquetImages, ShardImages
from r1sgg.bulk.stored import IMAGE_ENDINGS, Inputs, Place, Size, StoredImages
from r1sgg.data.dataset import DataSet
from r1sgg.data.jsonl import image_id_of, read_jsonl
from r1sgg.data.sources import open_data
from r1sgg.data.spec import parse_spec
from r1sgg.errors import ImageError, InputError, short
from r1sgg.files import user_path
from r1sgg.graph.scene import SceneGraph


def open_inputs(spec: str, *, annotated: bool = False) -> Inputs:
    """Open the images that a command line names, in the syntax above.

    Args:
        spec: what is named.
        annotated: the true graphs are needed too (`Inputs.truth`), so it must be a data set.

    Raises:
        ConfigError: an unknown kind, option or value.
        InputError: nothing is found, or a file cannot be read at all.
    """
    if annotated:
        return DataImages(open_data(spec))
    kind, _, rest = spec.partition(":")
    path = user_path(spec)
    ending = path.suffix.lower()
    if kind == "parquet" or ending == ".parquet":
        return ParquetImages(spec, rest if kind == "parquet" else spec)
    if kind == "webdataset" or ending in (".tar", ".tgz") or spec.lower().endswith(".tar.gz"):
        return ShardImages(spec, rest if kind == "webdataset" else spec)
    if path.is_dir():
        return FolderImages(spec, path)
    if ending in IMAGE_ENDINGS:
        raise InputError(spec, expected=_EXPECTED, found="an image", hint="use `r1sgg predict` for single images")
    data = parse_spec(spec)
    if data.kind == "jsonl" and data.options.keys() <= {"split"}:
        if not data.path.exists():
            raise InputError(spec, expected=_EXPECTED, found="no such file or folder", hint="check the path")
        return JsonlImages(spec, data.path, data.options.get("split"))
    return DataImages(open_data(spec))


_EXPECTED = "a folder of images, FILE.jsonl, FILE.parquet, SHARDS.tar, or a data set (vg150:DIR, scenes:COUNT, ...)"


class FolderImages(StoredImages):
    """Every image in a folder and its subfolders, except hidden files; ids are paths relative to the folder."""

    def __init__(self, name: str, root: Path) -> None:
        self.root = root
        super().__init__(name)

    def __iter__(self) -> Iterator[Place]:
        others = 0
        for path in _walk(str(self.root), "", ()):
            if os.path.splitext(path)[1].lower() in IMAGE_ENDINGS:
                # JSON must be UTF-8, file names need not be
                yield Place(os.fsencode(path).decode("utf-8", "backslashreplace"), (path,))
            else:
                others += 1
        self.notes = [f"{self.name}: {others} files that are not images were left out"] if others else []

    def source(self, place: Place) -> Path:
        return self.root / str(place.where[0])


def _walk(folder: str, below: str, within: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the files in a folder and its subfolders, relative to it, ordered by the parts of their paths."""
    try:
        status = os.stat(folder)
        if (here := (status.st_dev, status.st_ino)) in within:  # a symbolic link to a parent folder
            return
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(
            os.fsencode(folder).decode("utf-8", "backslashreplace"),
            expected="a readable folder",
            found=error.strerror or "an error",
        ) from error
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(os.path.join(folder, name), f"{below}{name}/", (*within, here))
        else:
            yield below + name


class JsonlImages(StoredImages):
    """The images of a ground-truth file, or of lines that name images; paths are relative to the file."""

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
            raise ImageError(place.image_id, expected='"image", the path of a file', found="none in the line")
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

    def truth(self, place: Place) -> SceneGraph:
        return self.data[int(place.where[0])].graph
