"""Predictions for a ground-truth file, written so that a killed run goes on where it stopped.

The file's lines are in the ground truth's order. Examples are worked off in windows of `WINDOW` batches at fixed
positions; inside a window, images of similar size share a batch; a window's lines are written in one go. A run that
was killed drops what it has of an unfinished window and makes it again, so every batch has the images it would have
had, and the file is, to the byte, what an uninterrupted run gives. Times are in PREDICTIONS.run.json, beside the
settings that a continued run must share.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

from r1sgg.data.base import Example, read_ground_truth
from r1sgg.data.images import open_image
from r1sgg.data.provenance import read_trained_on
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.inference.engine import Engine, Sampling, batches_by_size, describe
from r1sgg.models.families import Checkpoint

WINDOW = 4
"""Batches that are sorted by image size together and written together."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in the predictions file: its images, how many of them failed, how many an earlier run had made."""

    images: int
    failed: int
    resumed: int


def run(
    ground_truth: Path,
    out: Path,
    checkpoint: Checkpoint,
    engine: Engine,
    sampling: Sampling,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    logprobs: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Answer every image of a ground-truth file; the truth itself is not looked at.

    Args:
        ground_truth: a ground-truth file.
        out: the predictions file; continued where it exists.
        checkpoint: how to ask, and in which frame the answer is.
        engine: who answers.
        sampling: how tokens are chosen.
        batch_size: images that are answered together.
        limit: only the first so many images.
        logprobs: add {"sum", "mean"} of the tokens' log-probabilities to each line.
        overwrite: start anew where `out` exists.
        progress: called with the number of images done and of all.

    Returns:
        Counts. An image that cannot be opened is a line {"image_id", "error"} and is counted as failed.

    Raises:
        InputError: the ground truth is wrong, or `out` belongs to a run with other settings.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size: expected 1 or more, found {batch_size}")
    examples = list(read_ground_truth(ground_truth))[:limit]
    settings = {
        "model": checkpoint.name,
        "weights": fingerprint(checkpoint.path),
        "ground_truth": hashlib.sha256(ground_truth.read_bytes()).hexdigest()[:16],
        "trained_on": read_trained_on(Path(checkpoint.path)),
        "answer": dataclasses.asdict(checkpoint.settings),
        "image_pixels": checkpoint.image_pixels,
        "sampling": describe(sampling),
        "batch_size": batch_size,
        "logprobs": logprobs,
        "engine": engine.name,
    }
    log = RunLog(out, settings, overwrite)
    resumed, failed = log.resume([e.image_id for e in examples], WINDOW * batch_size)
    progress(resumed, len(examples))
    with out.open("ab") as handle:
        for start in range(resumed, len(examples), WINDOW * batch_size):
            window = examples[start : start + WINDOW * batch_size]
            records: list[dict[str, Any]] = [{}] * len(window)
            seconds, done = 0.0, start
            for batch in batches_by_size([(e.width, e.height) for e in window], batch_size):
                rows, spent = _answer([window[k] for k in batch], checkpoint, engine, sampling, logprobs)
                for k, row in zip(batch, rows, strict=True):
                    records[k] = row
                seconds, done = seconds + spent, done + len(batch)
                progress(done, len(examples))
            handle.write(b"".join(orjson.dumps(row) + b"\n" for row in records))
            handle.flush()
            os.fsync(handle.fileno())
            failed += sum("error" in row for row in records)
            log.add(seconds)
    return Summary(len(examples), failed, resumed)


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


def _answer(
    examples: Sequence[Example], checkpoint: Checkpoint, engine: Engine, sampling: Sampling, logprobs: bool
) -> tuple[list[dict[str, Any]], float]:
    """The lines of one batch and the seconds that generation took."""
    rows: list[dict[str, Any]] = [{"image_id": e.image_id} for e in examples]
    images: list[Image.Image] = []
    asked: list[dict[str, Any]] = []
    for example, row in zip(examples, rows, strict=True):
        try:
            if example.image is None:
                raise ImageError(example.image_id, expected='"image", the path of a file', found="none in its line")
            image = open_image(example.image)
            row["frame"] = list(checkpoint.frame(image.size))
        except ImageError as error:
            row["error"] = str(error)
            continue
        images.append(image)
        asked.append(row)
    chats = [checkpoint.messages(image.size) for image in images]
    answers = engine.generate(images, chats, sampling, [row["image_id"] for row in asked])
    for row, answer in zip(asked, answers, strict=True):
        row["completion"] = answer.text
        row["model"] = checkpoint.name
        row["finish_reason"] = answer.finish_reason
        row["tokens"] = answer.tokens
        if logprobs and answer.logprobs is not None:
            row["logprobs"] = {k: round(v, 6) for k, v in dataclasses.asdict(answer.logprobs).items()}
    return rows, sum(answer.seconds for answer in answers)


class RunLog:
    """The answers of a run that may have been interrupted, and the settings beside them; `key` names a line."""

    def __init__(self, out: Path, settings: dict[str, Any], overwrite: bool, key: str = "image_id") -> None:
        self._out, self._settings, self._key = out, settings, key
        self._side = out.with_name(out.name + ".run.json")
        self._seconds = 0.0
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise InputError(str(out), expected="a file to write predictions to", found="a folder")
        if overwrite:
            out.unlink(missing_ok=True)
            self._side.unlink(missing_ok=True)

    def resume(self, names: Sequence[str], window: int) -> tuple[int, int]:
        """Check an earlier run's settings, cut its file after its last whole window; its lines, and failed ones."""
        if not self._out.exists() or self._out.stat().st_size == 0:
            self._write()
            return 0, 0
        self._check_settings()
        kept: list[bytes] = []
        with self._out.open("rb") as handle:
            for line, expected in zip(handle, names, strict=False):
                if not line.endswith(b"\n"):
                    break
                kept.append(line)
                try:
                    found = orjson.loads(line).get(self._key)
                except (orjson.JSONDecodeError, AttributeError) as error:
                    where = f"{self._out}:{len(kept)}"
                    raise InputError(where, expected="a prediction", found="broken JSON", hint=_AGAIN) from error
                if found != expected:
                    where = f"{self._out}:{len(kept)}: {self._key}"
                    raise InputError(where, expected=repr(expected), found=repr(found), hint=_AGAIN)
        if len(kept) < len(names):
            del kept[len(kept) - len(kept) % window :]
            os.truncate(self._out, sum(map(len, kept)))
        return len(kept), sum("error" in orjson.loads(line) for line in kept)

    def add(self, seconds: float) -> None:
        """Count generation time."""
        self._seconds += seconds
        self._write()

    def _check_settings(self) -> None:
        if not self._side.is_file():
            raise InputError(
                str(self._out), expected=f"{self._side.name} beside a run to continue", found="none", hint=_AGAIN
            )
        try:
            earlier = orjson.loads(self._side.read_bytes())
        except orjson.JSONDecodeError as error:
            raise InputError(str(self._side), expected="JSON", found=f"broken JSON ({error.msg})") from error
        for key, value in self._settings.items():
            if (was := earlier.get("settings", {}).get(key)) != value:
                raise InputError(
                    f"{self._out}: {key}",
                    expected=f"a run with the same settings ({value!r})",
                    found=repr(was),
                    hint=_AGAIN,
                )
        self._seconds = float(earlier.get("seconds", 0.0))

    def _write(self) -> None:
        record = {"settings": self._settings, "seconds": round(self._seconds, 3)}
        new = self._side.with_name(self._side.name + ".new")
        new.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
        new.replace(self._side)


_AGAIN = "name another file, or start anew with --overwrite"
