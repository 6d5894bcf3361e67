"""A file of answers, line by line, that a killed run can continue: what it shares with its beginning, and where to cut.

It knows nothing of images and models: `r1sgg.bulk.run` and `r1sgg.probing.run` write the lines.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from r1sgg.errors import InputError
from r1sgg.files import refuse_inputs, remove_leftover, write_json, writing

AGAIN = "name another file, or start anew with --overwrite"


def fingerprint(path: str) -> str:
    """Names a checkpoint by 16 hex digits, so that a run is not continued with other weights.

    Over a local folder's files up to 64 MiB, and sizes and 64 blocks of larger ones; over a Hub name alone.
    """
    if not Path(path).is_dir():
        return hashlib.sha256(path.encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    for file in sorted(Path(path).iterdir()):
        if file.suffix not in (".json", ".jinja", ".safetensors"):
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
    """What a run was made with, and the seconds spent on it, in a JSON file beside its answers."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self._settings = path, settings
        self.seconds = 0.0

    def check(self, answers: Path) -> None:
        """See that `answers` were made with the same settings.

        Raises:
            InputError: they were not, or nothing beside them says so.
        """
        if not self.path.is_file():
            raise InputError(
                str(answers), expected=f"{self.path.name} beside a run to continue", found="none", hint=AGAIN
            )
        try:
            earlier = orjson.loads(self.path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise InputError(str(self.path), expected="JSON", found=f"broken JSON ({error.msg})") from error
        for key, value in self._settings.items():
            if (was := earlier.get("settings", {}).get(key)) != value:
                raise InputError(
                    f"{answers}: {key}",
                    expected=f"a run with the same settings ({value!r})",
                    found=repr(was),
                    hint=AGAIN,
                )
        self.seconds = float(earlier.get("seconds", 0.0))

    def add(self, seconds: float) -> None:
        """Count generation time, and write the file."""
        self.seconds += seconds
        record = {"settings": self._settings, "seconds": round(self.seconds, 3)}
        write_json(self.path, record)


class RunLog:
    """The answers of a run that may have been interrupted, and the settings beside them; `key` names a line."""

    def __init__(self, out: Path, settings: dict[str, Any], overwrite: bool, key: str = "image_id") -> None:
        self._out, self._key = out, key
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
        """Check an earlier run's settings, cut its file after its last whole window; its lines, and failed ones.

        Args:
            names: what the lines are to be called, in order.
            total: how many there are to be.
            window: lines that are written together.
        """
        if not self._out.exists() or self._out.stat().st_size == 0:
            self._side.add(0.0)
            return 0, 0
        self._side.check(self._out)
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
                failed += "error" in row
                if kept % window == 0 or kept == total:
                    whole = kept, size, failed
        if kept < total:
            os.truncate(self._out, whole[1])
        return whole[0], whole[2]

    def failed(self, count: int) -> list[int]:
        """Which of the first `count` lines hold nothing but an error."""
        with self._out.open("rb") as handle:
            return [k for k, line in enumerate(itertools.islice(handle, count)) if "error" in orjson.loads(line)]

    def replace(self, lines: Mapping[int, bytes]) -> None:
        """Put other lines in the place of some, all at once; a kill leaves the file as it was."""
        with self._out.open("rb") as old, writing(self._out) as handle:
            handle.writelines(lines.get(k, line) for k, line in enumerate(old))

    def add(self, seconds: float) -> None:
        """Count generation time."""
        self._side.add(seconds)
