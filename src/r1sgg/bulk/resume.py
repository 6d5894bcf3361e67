"""Resume a killed run: check that the settings are the same, and cut its output after the last complete window.

This file knows nothing of images and models; `r1sgg.bulk.run` and `r1sgg.probing.run` write the lines.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.calibration import CALIBRATION_FILE
from r1sgg.errors import InputError, first_difference
from r1sgg.files import append, refuse_inputs, remove_leftover, write_json, writing

AGAIN = "choose another file, or start over with --overwrite"


def fingerprint(path: str) -> str:
    """Return 16 hex digits that identify a checkpoint, so that a run is not resumed with other weights.

    They hash the files of a local folder (of files over 64 MiB the size and 64 blocks), or a Hub name. Not its
    calibration, which a run's settings have beside the weights.
    """
    if not Path(path).is_dir():
        return hashlib.sha256(path.encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    for file in sorted(Path(path).iterdir()):
        if file.suffix not in (".json", ".jinja", ".safetensors") or file.name == CALIBRATION_FILE:
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        length = size if size <= 1 << 26 else 4096
        with file.open("rb") as handle:
            for k in range(64 if length < size else 1):
                handle.seek((size - length) * k // 63)
                digest.update(handle.read(length))
    return digest.hexdigest()[:16]


class SideFile:
    """The settings of a run and the seconds it took, in a JSON file beside its output."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self._settings = path, settings
        self.seconds = 0.0

    def check(self, answers: Path) -> None:
        """Check that `answers` were written with the same settings.

        Raises:
            InputError: they were not, or their settings file is missing.
        """
        if not self.path.is_file():
            raise InputError(
                str(answers), expected=f"{self.path.name} beside a run to resume", found="none", hint=AGAIN
            )
        try:
            earlier = orjson.loads(self.path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise InputError(str(self.path), expected="JSON", found=f"broken JSON ({error.msg})") from error
        before = earlier.get("settings", {}) if isinstance(earlier, dict) else None
        if not isinstance(before, dict):
            raise InputError(str(self.path), expected="the settings of a run", found="other JSON", hint=AGAIN)
        if (differs := first_difference(self._settings, before)) is not None:
            where, value, was = differs
            expected = f"a run with the same settings ({value!r})"
            raise InputError(f"{answers}: {where}", expected=expected, found=repr(was), hint=AGAIN)
        self.seconds = float(earlier.get("seconds", 0.0))

    def add(self, seconds: float) -> None:
        """Add generation time, and write the file."""
        self.seconds += seconds
        record = {"settings": self._settings, "seconds": round(self.seconds, 3)}
        write_json(self.path, record)


def is_failed(row: Mapping[str, Any]) -> bool:
    """Return whether a line counts as failed: it has no answer, or a part of one (`Completion.fault`)."""
    return row.get("error") is not None or row.get("fault") is not None


class RunLog:
    """The output of a run that may have been interrupted, and its settings; the field `key` identifies a line."""

    def __init__(self, out: Path, settings: dict[str, Any], overwrite: bool, key: str = "image_id") -> None:
        self._out, self._key, self._begun = out, key, False
        self._side = SideFile(out.with_name(out.name + ".run.json"), settings)
        if out.is_dir():
            raise InputError(str(out), expected="a file to write predictions to", found="a folder")
        refuse_inputs([out, self._side.path])
        for path in (out, self._side.path):
            remove_leftover(path)
        if overwrite:
            out.unlink(missing_ok=True)
            self._side.path.unlink(missing_ok=True)

    def resume(self, names: Iterable[str], total: int, window: int) -> tuple[int, int]:
        """Check the settings of an earlier run and cut its file after the last complete window.

        Args:
            names: the expected value of `key` in each line, in order.
            total: number of lines of the finished file.
            window: lines that are written together.

        Returns:
            The number of lines kept, and how many of them failed.
        """
        if not self._out.exists() or self._out.stat().st_size == 0:
            return 0, 0
        self._side.check(self._out)
        self._begun = True
        kept = failed = size = 0
        whole = (0, 0, 0)
        with self._out.open("rb") as handle:
            for line, expected in zip(handle, itertools.islice(names, total), strict=False):
                if not line.endswith(b"\n"):
                    break
                kept, size = kept + 1, size + len(line)
                where = f"{self._out}:{kept}"
                try:
                    row = orjson.loads(line)
                    found = row.get(self._key)
                except (orjson.JSONDecodeError, AttributeError) as error:
                    raise InputError(where, expected="a prediction", found="broken JSON", hint=AGAIN) from error
                if found != expected:
                    raise InputError(f"{where}: {self._key}", expected=repr(expected), found=repr(found), hint=AGAIN)
                failed += is_failed(row)
                if kept % window == 0 or kept == total:
                    whole = kept, size, failed
        if kept < total:
            os.truncate(self._out, whole[1])
        return whole[0], whole[2]

    def failed(self, count: int) -> list[int]:
        """Return the numbers of those of the first `count` lines that failed."""
        with self._out.open("rb") as handle:
            return [k for k, line in enumerate(itertools.islice(handle, count)) if is_failed(orjson.loads(line))]

    def replace(self, lines: Mapping[int, bytes]) -> None:
        """Replace lines atomically; if the process is killed, the file stays as it was."""
        with self._out.open("rb") as old, writing(self._out) as handle:
            handle.writelines(lines.get(k, line) for k, line in enumerate(old))

    def append(self, rows: Iterable[Any]) -> None:
        """Add lines to the output; the settings are written before the first, so that a failed start leaves no file."""
        self.append_lines(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def append_lines(self, lines: bytes) -> None:
        """Add lines that are bytes; see `append`."""
        if not self._begun:
            self._side.add(0.0)
            self._begun = True
        append(self._out, lines)

    def add(self, seconds: float) -> None:
        """Add generation time."""
        self._side.add(seconds)
