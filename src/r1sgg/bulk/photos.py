"""Graphs of image files and folders: a record and a picture of each image, written as it is finished.

    holiday/a.jpg holiday/b.jpg     OUT/a.json  OUT/a.overlay.png  OUT/b.json ...
    holiday                         OUT/a.json ... OUT/beach/c.json ..., as the images lie in the folder

The folder of results also has the settings of the run (`SETTINGS`). The same run again reads only the images that have
no record, or one that is older than they are, so images can be added. The pictures are drawn by the caller. Predictions
files, and images inside other files, are `r1sgg.bulk.run`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from PIL import Image

from r1sgg.bulk.inputs import FolderImages
from r1sgg.bulk.resume import SideFile, is_failed
from r1sgg.bulk.run import Job, Line, generate_windows
from r1sgg.bulk.stored import Place, StoredImages
from r1sgg.data.predictions import Prediction, prediction_of_record
from r1sgg.errors import InputError
from r1sgg.files import write_json
from r1sgg.graph.records import graph_of_rows
from r1sgg.inference.lines import spoken
from r1sgg.inference.reader import Reader

SETTINGS = ".predict.run"
"""In the folder of results: hidden, because an image of any other name may have a record there."""
_ENDINGS = (".json", ".overlay.png")

_WHOLE = {"image_id", "image", "width", "height", "objects", "relationships", "completion", "frame", "failure"}
"""What each record has."""
_ANSWER = ("image_id", "frame", "completion", "left_out", "exchanges", "fault")
"""What a record has in common with a line of predictions."""

Admit = Callable[[Image.Image, str], object]
"""Raises an ImageError for an image (with its name) that the model must not read."""


class Photo(NamedTuple):
    """An image file, its id, and the name of its results: relative to their folder, without ending."""

    path: Path
    image_id: str
    name: str


def find_photos(images: Sequence[Path], out: Path | None = None) -> tuple[list[Photo], list[str]]:
    """Return the images of files and folders (subfolders included, hidden files not), and what was left out.

    Args:
        images: image files, and folders of them.
        out: the folder of results; no result takes the name of an input there.

    Raises:
        InputError: nothing of these names exists, a folder cannot be read or has no image, or results would be in it.
    """
    found: list[tuple[Path, str, str]] = []
    notes: list[str] = []
    if not any(path.exists() for path in images):  # said before a model is fetched
        raise InputError(str(images[0]), expected="an image file or a folder", found="no such file")
    for path in images:
        if not path.is_dir():
            found.append((path, spoken(path.stem), path.stem))
            continue
        if out is not None and out.resolve().is_relative_to(path.resolve()):
            expected, hint = f"a folder outside of {path}", "its pictures would be read as photos the next time"
            raise InputError(str(out), expected=expected, found="one in it", hint=hint)
        folder = FolderImages(str(path), path)
        places = [(path / str(place.where[0]), place.image_id) for place in folder]
        if not places:
            left_out = f" ({folder.notes[0]})" if folder.notes else ""
            raise InputError(str(path), expected="at least one image", found=f"none{left_out}")
        found += [(file, image_id, str(file.relative_to(path).with_suffix(""))) for file, image_id in places]
        notes += folder.notes
    names = _distinct([name for _, _, name in found], [file for file, _, _ in found], out)
    return [Photo(file, image_id, name) for (file, image_id, _), name in zip(found, names, strict=True)], notes


def _distinct(names: Sequence[str], files: Sequence[Path], out: Path | None) -> list[str]:
    """Return the names with -2, -3, ... where another image has it, or a result would be an input."""
    inputs = {file.resolve() for file in files}
    taken: set[str] = set()
    distinct = []
    for stem in names:
        name, number = stem, 1
        while name.lower() in taken or (
            out is not None and not inputs.isdisjoint({(out / f"{name}{end}").resolve() for end in _ENDINGS})
        ):
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        distinct.append(name)
    return distinct


class Results:
    """The folder of results."""

    def __init__(self, out: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
        """Open the folder; nothing is written.

        Args:
            out: the folder.
            settings: what all results in it have in common.
            overwrite: make every record again.

        Raises:
            InputError: it has the results of other settings.
        """
        self.out, self._overwrite = out, overwrite
        self._side = SideFile(out / SETTINGS, settings)
        self._begun = not overwrite and self._side.path.is_file()
        if self._begun:
            self._side.check(out)

    def earlier(self, photo: Photo) -> dict[str, Any] | None:
        """Return the record of an image from an earlier run, if it is whole and not older than the image.

        One with a part of its answer (`Completion.fault`) is made again.
        """
        path = self.out / f"{photo.name}.json"
        if not self._begun:
            return None
        try:
            if path.stat().st_mtime < photo.path.stat().st_mtime:
                return None
            record = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):  # it is made again; an image that is missing gets its error then
            return None
        whole = _is_whole(record, str(path)) and not is_failed(record)
        return record if whole and record["image"] == spoken(str(photo.path)) else None

    def write(self, name: str, record: dict[str, Any]) -> None:
        """Write the record of an image; the first time the settings, too."""
        if not self._begun:
            self._side.add(0.0)
            self._begun = True
        write_json(self.out / f"{name}.json", record)


def answer_of(record: Mapping[str, Any], where: str) -> Prediction:
    """Return the completion of a record, as a line of predictions has it.

    Raises:
        InputError: a value is none that `predict` writes.
    """
    return prediction_of_record({key: record[key] for key in _ANSWER if key in record}, where)


def _is_whole(record: Any, where: str) -> bool:
    """Return whether a file holds a record that can be used as it is: whoever edits one may break it."""
    if not isinstance(record, dict) or not record.keys() >= _WHOLE:
        return False
    try:
        graph_of_rows(record["objects"], record["relationships"], (1.0, 1.0), where, exported=True)
        answer_of(record, where)
    except InputError:
        return False
    return True


class PhotoFiles(StoredImages):
    """Photos by position; each is admitted before the model reads it."""

    def __init__(self, photos: Sequence[Photo], admit: Admit) -> None:
        super().__init__("photos")
        self._photos, self._admit = photos, admit

    def __iter__(self) -> Iterator[Place]:
        return (Place(photo.image_id, (str(photo.path), photo.name)) for photo in self._photos)

    def source(self, place: Place) -> Path:
        return Path(str(place.where[0]))

    def called(self, place: Place) -> str:
        return spoken(str(place.where[0]))

    def image(self, place: Place) -> Image.Image:
        image = super().image(place)
        self._admit(image, self.called(place))
        return image


def read_photos(
    photos: Sequence[Photo],
    reader: Reader,
    job: Job,
    line: Line,
    admit: Admit = lambda image, name: None,
    step: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Photo, dict[str, Any]]]:
    """Yield each photo with its record, in order, a window of the job at a time.

    Args:
        photos: what to read.
        reader: the model.
        job: how.
        line: makes the record of an image; its place's `where` are the path and the name of the results.
        admit: refuses images.
        step: called after each batch with the number of finished images.

    Yields:
        A photo and its record; one that cannot be read has {"image_id", "image", "error"}.
    """
    files, left = PhotoFiles(photos, admit), iter(photos)
    for rows, _ in generate_windows(iter(files), files, reader, job, step, line):
        for row in rows:
            photo = next(left)
            yield photo, {"image_id": row["image_id"], "image": spoken(str(photo.path))} | row
