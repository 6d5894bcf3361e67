"""JSON Lines files that appear when they are complete, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from r1sgg.errors import InputError


class WholeFile:
    """Lines are written beside `path`, which is replaced when the block ends without an error.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._part = path, path.with_name(f"{path.name}.part")

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._part.open("wb")
        except OSError as error:
            raise InputError(
                str(self.path),
                expected="a place to write a file",
                found=error.strerror or "an error",
                hint="choose another",
            ) from error
        return self

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a line for each row."""
        for row in rows:
            self._handle.write(orjson.dumps(row) + b"\n")

    def __exit__(self, kind: object, *_: object) -> None:
        self._handle.close()
        if kind is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)
