"""JSON and JSON Lines files: reading line by line, and the checks that readers share.

A wrong line is one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from r1sgg.errors import InputError, os_errors, short
from r1sgg.graph.records import json_value
from r1sgg.graph.text import Frame

_NO_NUMBER = re.compile("NaN|Infinity")
_MARK = b"\xef\xbb\xbf"  # some editors open a UTF-8 file with it


class NumberedLine(NamedTuple):
    """A line of a file: its number from 1, where it begins in bytes, and its content."""

    number: int
    offset: int
    content: bytes


def read_lines(path: Path) -> Iterator[NumberedLine]:
    """Yield the lines of a JSON Lines file that are not blank.

    Raises:
        InputError: the file cannot be opened, or is compressed or UTF-16.
    """
    with os_errors(path, "a readable JSON Lines file", "check the path"):
        handle = path.open("rb")
    offset = 0
    with handle:
        for number, content in enumerate(handle, 1):
            if number == 1:
                _check_beginning(content, path)
            if content.strip():
                yield NumberedLine(number, offset, content)
            offset += len(content)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line numbers (from 1) and objects of a JSON Lines file; blank lines are skipped.

    Raises:
        InputError: the file is missing, empty, not UTF-8 JSON objects, or its last line is cut off.
    """
    empty = True
    for number, _, content in read_lines(path):
        empty = False
        yield number, record_of_line(content, f"{path}:{number}", first=number == 1)
    if empty:
        raise InputError(str(path), expected="at least one line", found="an empty file")


def record_of_line(line: bytes, where: str, *, first: bool = False) -> dict[str, Any]:
    """Return the JSON object of one line; the `first` of a file may open with a byte order mark.

    Raises:
        InputError: it is cut off, not UTF-8, or no JSON object.
    """
    try:
        row = orjson.loads(line.removeprefix(_MARK) if first else line)
    except orjson.JSONDecodeError as error:
        found, hint = f"broken JSON ({error.msg})", "fix or remove the line"
        if not line.endswith(b"\n") and (error.pos >= len(error.doc) or "UTF-8" in error.msg):
            found, hint = "a line that is cut off", "the file was not written to its end; write it again"
        elif number := _NO_NUMBER.match(error.doc, error.pos):
            found, hint = f"broken JSON ({number[0]} is no number of JSON)", "write a number, or null"
        raise InputError(where, expected="a JSON object", found=found, hint=hint) from error
    if not isinstance(row, dict):
        raise InputError(where, expected="a JSON object", found=type(row).__name__)
    return row


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: it is missing, or not JSON.
    """
    with os_errors(path, "a readable JSON file", "check the path"):
        content = path.read_bytes()
    _check_beginning(content, path)
    return json_value(content.removeprefix(_MARK), str(path), "write or fetch it again")


_NOT_TEXT = {
    b"\x1f\x8b": ("a gzip file", "unpack it: gunzip FILE"),
    b"PK\x03\x04": ("a zip file", "unpack it: unzip FILE"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "unpack it: unzstd FILE"),
    **dict.fromkeys(
        (b"\xff\xfe", b"\xfe\xff", b"{\x00", b"\x00{"),
        ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE"),
    ),
}
"""First bytes of files that are taken for JSON by mistake: what they are, and what to do."""


def _check_beginning(content: bytes, path: Path) -> None:
    for beginning, (found, hint) in _NOT_TEXT.items():
        if content.startswith(beginning):
            raise InputError(str(path), expected="JSON as UTF-8 text", found=found, hint=hint)


# ---------------------------------------------------------------- fields


def image_id_of(row: Mapping[str, Any], where: str) -> str:
    """Return the image id of a line, as a string.

    Raises:
        InputError: it is neither a non-empty string nor a whole number.
    """
    value = row["image_id"]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(f"{where}: image_id", expected="a string", found=short(value))
    return str(value)


def add_image_id(image_id: str, seen: set[str], where: str) -> None:
    """Add the image id of a line to those of the lines before.

    Raises:
        InputError: it is one of them.
    """
    if image_id in seen:
        raise InputError(where, expected="image ids that differ", found=f"image_id {image_id!r} again")
    seen.add(image_id)


def frame_of(value: Any, where: str) -> Frame:
    """Check a frame [width, height] and return it.

    Raises:
        InputError: not two positive numbers.
    """
    if not (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < float("inf") for v in value)
    ):
        raise InputError(where, expected="[width, height], the size that boxes are relative to", found=short(value))
    return float(value[0]), float(value[1])
