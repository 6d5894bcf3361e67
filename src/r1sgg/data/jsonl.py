"""JSON Lines files, line by line, and the checks that all their readers share. A wrong line is one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from r1sgg.errors import InputError
from r1sgg.graph.text import Frame

_MARK = b"\xef\xbb\xbf"  # some editors open a UTF-8 file with it


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a JSON Lines file; blank lines are skipped.

    Raises:
        InputError: the file is missing, empty, not UTF-8 JSON objects, or its last line is cut off.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(
            str(path), expected="a readable JSON Lines file", found=error.strerror or "an error", hint="check the path"
        ) from error
    empty = True
    with handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            empty = False
            row = record_of_line(line, f"{path}:{number}", first=number == 1)
            yield number, row
    if empty:
        raise InputError(str(path), expected="at least one line", found="an empty file")


def record_of_line(line: bytes, where: str, *, first: bool = False) -> dict[str, Any]:
    """The JSON object of one line; the `first` of a file may open with a byte order mark.

    Raises:
        InputError: it is cut off, not UTF-8, or no JSON object.
    """
    try:
        row = orjson.loads(line.removeprefix(_MARK) if first else line)
    except orjson.JSONDecodeError as error:
        cut = not line.endswith(b"\n") and (error.pos >= len(error.doc) or "UTF-8" in error.msg)
        raise InputError(
            where,
            expected="a JSON object",
            found="a line that is cut off" if cut else f"broken JSON ({error.msg})",
            hint="the file was not written to its end; write it again" if cut else "fix or remove the line",
        ) from error
    if not isinstance(row, dict):
        raise InputError(where, expected="a JSON object", found=type(row).__name__)
    return row


def read_json(path: Path) -> Any:
    """A whole JSON file.

    Raises:
        InputError: it is missing, or not JSON.
    """
    try:
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            str(path), expected="a readable JSON file", found=error.strerror or "an error", hint="check the path"
        ) from error
    except orjson.JSONDecodeError as error:
        found = f"broken JSON ({error.msg})"
        raise InputError(
            f"{path}:{error.lineno}", expected="JSON", found=found, hint="write or fetch it again"
        ) from error


def check_keys(row: Mapping[str, Any], known: frozenset[str], needed: Sequence[str], where: str) -> None:
    """See that an object has the keys `needed`, and none but the `known`.

    Raises:
        InputError: naming the first key that is unknown or missing.
    """
    if not row.keys() <= known:
        unknown = sorted(row.keys() - known)
        raise InputError(
            f"{where}: {unknown[0]!r}",
            expected=f"only the keys {', '.join(sorted(known))}",
            found="an unknown key",
            hint='put fields of your own under "meta" of the line',
        )
    for key in needed:
        if key not in row:
            raise InputError(f"{where}: {key!r}", expected="this key", found="nothing")


def image_id_of(row: Mapping[str, Any], where: str) -> str:
    """The image id of a line, as a string.

    Raises:
        InputError: it is neither a string with something in it nor a whole number.
    """
    value = row["image_id"]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(f"{where}: image_id", expected="a string", found=short(value))
    return str(value)


def frame_of(value: Any, where: str) -> Frame:
    """Check a frame [width, height].

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


def short(value: Any) -> str:
    """A value for a message, at most 80 characters long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
