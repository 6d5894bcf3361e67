"""Images inside other files: parquet columns and WebDataset shards. Their syntax: `r1sgg.bulk.inputs`.

A shard is an uncompressed tar file. Consecutive files with the same name up to the first dot form a sample:

    000000.jpg  000000.json  000001.png  000001.json

The image of a sample is its first file with a single suffix that is an image's; other files are not read. A damaged
shard is read up to the damage and named in `notes`. Of parquet files the last two row groups read stay in memory.
"""

from __future__ import annotations

import bisect
import itertools
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r1sgg.bulk.stored import IMAGE_ENDINGS, Place, StoredImages
from r1sgg.data.jsonl import image_id_of
from r1sgg.errors import ConfigError, ImageError, InputError, require
from r1sgg.files import user_path

_SAMPLE = re.compile(r"((?:.*/)?[^./][^./]*)(\.[^./]+)((?:\.[^./]+)*)")
_GROUPS = 2  # row groups kept in memory


class ShardImages(StoredImages):
    """The images of WebDataset shards: a file, a brace pattern, or a folder."""

    def __init__(self, name: str, pattern: str) -> None:
        self.paths = files_of(name, pattern, ".tar")
        super().__init__(name)

    def __iter__(self) -> Iterator[Place]:
        self.notes = []
        for number, path in enumerate(self.paths):
            last, taken, without = "", False, 0
            for member in self._members(path):
                found = _SAMPLE.fullmatch(member.name.removeprefix("./"))
                if not member.isfile() or found is None:
                    continue
                key, is_image = found[1], found[2].lower() in IMAGE_ENDINGS and not found[3]
                if key != last:
                    last, taken, without = key, False, without + 1
                if is_image and not taken:
                    taken, without = True, without - 1
                    image_id = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                    yield Place(image_id, (number, member.offset_data, member.size))
            if without:
                self.notes.append(f"{path}: {without} samples have no image and were left out")

    def _members(self, path: Path) -> Iterator[tarfile.TarInfo]:
        """Yield the entries of a tar file; at a damaged one it stops and adds a note."""
        try:
            with tarfile.open(path, "r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined] # tarfile would keep every entry in memory
                    yield member
                end = tar.offset
            with path.open("rb") as handle:
                handle.seek(end)
                if handle.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile reads a broken header as the end of the file
                    raise tarfile.ReadError(f"no entry at byte {end}")
        except OSError as error:
            raise InputError(str(path), expected="a readable tar file", found=str(error)) from error
        except tarfile.TarError as error:
            self.notes.append(
                f"{path}: expected an intact tar file, found damage ({error}); the rest of the file is left out"
            )

    def source(self, place: Place) -> bytes:
        number, offset, size = map(int, place.where)
        with self.paths[number].open("rb") as handle:
            handle.seek(offset)
            return handle.read(size)

    def called(self, place: Place) -> str:
        return f"{self.paths[int(place.where[0])]}: {place.image_id}"


class ParquetImages(StoredImages):
    """A column of images: bytes, paths relative to the file, or {bytes, path} as `datasets` writes them.

    The id is the column `image_id`, or without such a column the file name and the row number.
    """

    def __init__(self, name: str, pattern: str) -> None:
        self._parquet = require("pyarrow.parquet", "train")
        place, *parts = pattern.split(",")
        options = dict(part.partition("=")[::2] for part in parts)
        if unknown := sorted(options.keys() - {"image", "id"}):
            raise ConfigError(f"{name!r}: expected the options image=COLUMN, id=COLUMN, found {unknown[0]!r}")
        self.image_column, self.id_column = options.get("image", "image"), options.get("id", "image_id")
        self.paths = files_of(name, place, ".parquet")
        self._ends: list[list[int]] = []  # per file: cumulative row counts of its row groups
        self._numbered: list[bool] = []  # per file: whether row numbers serve as ids
        for path in self.paths:
            with self._open(path) as file:
                columns = file.schema_arrow.names
                for column in {self.image_column, options.get("id", self.image_column)}:
                    if column not in columns:
                        raise InputError(
                            str(path),
                            expected=f"a column {column!r}",
                            found=", ".join(columns),
                            hint="choose columns with parquet:PATH,image=COLUMN,id=COLUMN",
                        )
                self._numbered.append(self.id_column not in columns)
                rows = (file.metadata.row_group(k).num_rows for k in range(file.num_row_groups))
                self._ends.append(list(itertools.accumulate(rows)))
        self._held: dict[tuple[int, int], Any] = {}
        super().__init__(name)

    def _open(self, path: Path) -> Any:
        import pyarrow as pa

        try:
            return self._parquet.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(path, error) from error

    def __iter__(self) -> Iterator[Place]:
        for number, path in enumerate(self.paths):
            if self._numbered[number]:
                rows = self._ends[number][-1] if self._ends[number] else 0
                yield from (Place(f"{path.stem}/{row}", (number, row)) for row in range(rows))
                continue
            row = 0
            with self._open(path) as file:
                for batch in file.iter_batches(4096, columns=[self.id_column]):
                    for value in batch.column(0).to_pylist():
                        image_id = image_id_of({"image_id": value}, f"{path}: row {row}")
                        yield Place(image_id, (number, row))
                        row += 1

    def source(self, place: Place) -> Path | bytes:
        number, row = map(int, place.where)
        cell = self._cell(number, row)
        stored, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, cell)
        if isinstance(stored, bytes) and stored:
            return stored
        if isinstance(path, str) and path:
            return self.paths[number].parent / path
        raise ImageError(self.called(place), expected="bytes or a path", found="none")

    def _cell(self, number: int, row: int) -> Any:
        import pyarrow as pa

        ends = self._ends[number]
        group = bisect.bisect_right(ends, row)
        if (number, group) not in self._held:
            try:
                with self._open(self.paths[number]) as file:
                    column = file.read_row_group(group, columns=[self.image_column]).column(0)
            except (OSError, pa.ArrowInvalid) as error:
                raise _damaged(self.paths[number], error) from error
            self._held[number, group] = column
            for old in list(self._held)[:-_GROUPS]:
                del self._held[old]
        return self._held[number, group][row - (ends[group - 1] if group else 0)].as_py()


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(str(path), expected="a readable parquet file", found=f"an error ({error})")


def files_of(name: str, pattern: str, ending: str) -> list[Path]:
    """Return the files of a path, a brace pattern or a folder, in order.

    Args:
        name: name for error messages.
        pattern: a file, "shards/{000..127}.tar", "{train,val}.tar", or a folder that is searched recursively.
        ending: suffix of the files to take from a folder.

    Raises:
        InputError: a file is missing or compressed.
    """
    paths = [user_path(text) for text in expand(pattern)]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(paths[0].rglob(f"*{ending}"))
        if not paths:
            raise InputError(name, expected=f"a folder with {ending} files", found="none in it")
    for path in paths:
        if not path.is_file():
            raise InputError(str(path), expected=f"a {ending} file", found="no such file", hint="check the path")
        if path.suffix in (".gz", ".tgz", ".zst", ".bz2", ".xz"):
            hint = "unpack it: images are read by their position in the file"
            raise InputError(str(path), expected=f"an uncompressed {ending} file", found=path.suffix, hint=hint)
    return paths


def expand(pattern: str) -> list[str]:
    """Expand a brace pattern: "{08..10}" gives 08, 09, 10, and "{a,b}" gives a, b."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    first, dots, last = found[1].partition("..")
    if dots and first.isdecimal() and last.isdecimal() and int(first) <= int(last):
        parts = [str(k).zfill(len(first)) for k in range(int(first), int(last) + 1)]
    elif "," in found[1]:
        parts = found[1].split(",")
    else:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [f"{before}{part}{rest}" for part in parts for rest in expand(after)]
