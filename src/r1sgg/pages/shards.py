"""The report's data beside the page: details of images in shards, and the images, read when the page needs them.

A page opened from a file cannot fetch, so a shard is a script that hands its rows to the page. Where everything is
small enough it is put into the page itself, which then needs nothing beside it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from r1sgg.drawing.shapes import data_uri
from r1sgg.errors import InputError
from r1sgg.files import refuse_removal

IMAGES = 50
"""Images in one shard."""
MAX_PAGE = 24_000_000
"""Up to so many bytes of shards and images are put into the page."""
_OURS = re.compile(r"(s\d+\.js|i\d+\.webp)")


def script_json(value: Any) -> str:
    """Return JSON for a <script> element: without "<", nothing in it can end the element or open a comment."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class Shards:
    """Rows and images of a report, collected in a folder; `close` leaves them there or returns them for the page."""

    def __init__(self, page: Path) -> None:
        """Begin a report that will be the file `page`; its folder is named after it."""
        self.folder = data_folder(page)
        self._part = page.with_name(f"{page.stem}_files.part")
        refuse_removal(self._part)
        shutil.rmtree(self._part, ignore_errors=True)
        try:
            self._part.mkdir(parents=True)
        except OSError as error:
            found = error.strerror or "an error"
            raise InputError(
                str(page), expected="a place to write a page", found=found, hint="choose another"
            ) from error
        self._bytes = self._shards = 0
        self._rows: list[Any] = []

    def add(self, row: Any, image: bytes | None) -> None:
        """Add the next image's details, and the image itself where there is one."""
        number = self._shards * IMAGES + len(self._rows)
        if image is not None:
            (self._part / f"i{number}.webp").write_bytes(image)
            self._bytes += len(image) * 4 // 3
        self._rows.append(row)
        if len(self._rows) == IMAGES:
            self._flush()

    def _flush(self) -> None:
        text = f"r1sggShard({self._shards},{script_json(self._rows)});\n"
        self._bytes += len(text)
        (self._part / f"s{self._shards}.js").write_text(text, encoding="utf-8")
        self._rows, self._shards = [], self._shards + 1

    def close(self, embed: bool | None = None) -> tuple[str, list[str], list[tuple[int, str]]]:
        """Move the data to the folder, or return it for the page.

        Args:
            embed: True for the page, False for the folder beside it; None lets the size decide (`MAX_PAGE`).

        Returns:
            The folder's name, and two empty lists; or for the page "", the rows of each shard as JSON, and (number,
            data URI) of each image.
        """
        if self._rows:
            self._flush()
        self._clear()
        if embed if embed is not None else self._bytes <= MAX_PAGE:
            shards = [self._shard(k) for k in range(self._shards)]
            images = sorted((int(p.stem[1:]), data_uri(p.read_bytes(), "webp")) for p in self._part.glob("i*.webp"))
            shutil.rmtree(self._part)
            return "", shards, images
        self.folder.mkdir(exist_ok=True)
        for path in self._part.iterdir():
            path.replace(self.folder / path.name)
        self._part.rmdir()
        return self.folder.name, [], []

    def drop(self) -> None:
        """Remove what `close` has not moved: after an error, everything."""
        shutil.rmtree(self._part, ignore_errors=True)

    def _shard(self, number: int) -> str:
        text = (self._part / f"s{number}.js").read_text(encoding="utf-8")
        return text[text.index(",") + 1 : text.rindex(")")]

    def _clear(self) -> None:
        """Remove the data of an earlier report from the folder, and nothing else."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def data_folder(page: Path) -> Path:
    """Return the folder beside a page that holds what is large."""
    return page.with_name(f"{page.stem}_files")


def size_on_disk(page: Path) -> int:
    """Return the bytes of a page and of the folder beside it."""
    folder = data_folder(page)
    beside: Sequence[Path] = list(folder.iterdir()) if folder.is_dir() else []
    return page.stat().st_size + sum(path.stat().st_size for path in beside)
