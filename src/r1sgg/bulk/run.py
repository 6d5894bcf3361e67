"""Answers for many images, written so that a killed run goes on where it stopped.

The file's lines are in the images' order. Images are worked off in windows of some batches at fixed positions; inside a
window, images of similar size share a batch; a window's lines are written in one go. A run that was killed drops what
it has of an unfinished window and makes it again, so every batch has the images it would have had, and the file is, to
the byte, what an uninterrupted run gives. Only a window's lines and two batches' images are kept in memory. Times are
in PREDICTIONS.run.json, beside the settings that a continued run must share. Many machines: `r1sgg.bulk.ray_data`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from PIL import Image

from r1sgg.bulk.resume import AGAIN, RunLog, fingerprint
from r1sgg.bulk.stored import Inputs, Place
from r1sgg.data.provenance import read_trained_on
from r1sgg.errors import ConfigError, InputError
from r1sgg.files import append, locked
from r1sgg.inference.engine import Sampling, batches_by_size, describe
from r1sgg.inference.lines import prediction_line, spoken
from r1sgg.inference.reader import Reader, check_samples

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

WINDOW = 4
"""Batches that are sorted by image size together and written together."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked about each image.

    Attributes:
        sampling: how tokens are chosen.
        guide: see `r1sgg.inference.reader.Reader.read_batch`, as `samples` and `scores`.
        samples: answers for each image, merged.
        scores: add `objects` and `relationships` with scores; a guide or several samples do so anyway.
        logprobs: add {"sum", "mean"} of the tokens' log-probabilities.
        batch_size: images that are answered together.
        window: batches that are sorted by image size together and written together.
    """

    sampling: Sampling
    guide: bool = False
    samples: int = 1
    scores: bool = False
    logprobs: bool = False
    batch_size: int = 8
    window: int = WINDOW

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch size: expected 1 or more, found {self.batch_size}")
        check_samples(self.samples, self.sampling)
        if self.logprobs and self.samples > 1:
            raise ConfigError("logprobs: they are of one answer, and several samples are merged; leave one of them out")

    @property
    def images(self) -> int:
        """How many images a window has."""
        return self.batch_size * self.window


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in the predictions file: its images, how many of them failed, how many an earlier run had made."""

    images: int
    failed: int
    resumed: int


def run(
    inputs: Inputs,
    out: Path,
    reader: Reader,
    job: Job,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Answer every image.

    Args:
        inputs: the images.
        out: the predictions file; continued where it exists.
        reader: who answers.
        job: what is asked.
        limit: only the first so many images.
        overwrite: start anew where `out` exists.
        progress: called with the number of images done and of all.

    Returns:
        Counts. An image that cannot be opened, or that the engine has no answer for, is a line {"image_id", "error"}
        and is counted as failed; those of an earlier run are asked again when the others are done.

    Raises:
        InputError: `out` belongs to a run with other settings, or the images changed meanwhile.
        ModelError: the engine cannot go on; the windows that are done are kept.
    """
    with locked(out):
        return _run(inputs, out, reader, job, limit, overwrite, progress)


def _run(
    inputs: Inputs,
    out: Path,
    reader: Reader,
    job: Job,
    limit: int | None,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> Summary:
    total = len(inputs) if limit is None else min(limit, len(inputs))
    log = RunLog(
        out, settings_of(reader.checkpoint, reader.guide_vocabulary, reader.engine.name, job, inputs), overwrite
    )
    resumed, failed = log.resume((place.image_id for place in inputs), total, job.images)
    progress(resumed, total)
    done = resumed
    places = itertools.islice(inputs, resumed, total)
    for rows, seconds in answers(places, inputs, reader, job, lambda count: progress(resumed + count, total)):
        append(out, b"".join(orjson.dumps(row) + b"\n" for row in rows))
        failed += sum("error" in row for row in rows)
        done += len(rows)
        log.add(seconds)
    if done < total:
        raise InputError(
            inputs.name, expected=f"the {total} images that were there at the start", found=f"{done}", hint=AGAIN
        )
    wrong = log.failed(resumed) if failed else []
    if wrong:
        failed += _ask_again(wrong, inputs, reader, job, log) - len(wrong)
    return Summary(total, failed, resumed)


def _ask_again(wrong: list[int], inputs: Inputs, reader: Reader, job: Job, log: RunLog) -> int:
    """Answer the images whose lines are an error; how many of them failed again."""
    chosen, failed = set(wrong), 0
    places = (place for k, place in enumerate(itertools.islice(inputs, wrong[-1] + 1)) if k in chosen)
    numbers = iter(wrong)
    for rows, seconds in answers(places, inputs, reader, job):
        log.replace({next(numbers): orjson.dumps(row) + b"\n" for row in rows})
        failed += sum("error" in row for row in rows)
        log.add(seconds)
    return failed


def settings_of(
    checkpoint: Checkpoint, guide_vocabulary: str | None, engine: str, job: Job, inputs: Inputs
) -> dict[str, Any]:
    """What a run that is continued must have in common with its beginning."""
    return {
        "model": checkpoint.name,
        "weights": fingerprint(checkpoint.path),
        "images": inputs.digest,
        "trained_on": read_trained_on(Path(checkpoint.path)),
        "answer": dataclasses.asdict(checkpoint.settings),
        "image_pixels": checkpoint.image_pixels,
        "sampling": describe(job.sampling),
        "guide": (guide_vocabulary or checkpoint.settings.vocabulary) if job.guide else None,
        "samples": job.samples,
        "scores": job.scores,
        "batch_size": job.batch_size,
        "logprobs": job.logprobs,
        "engine": engine,
    }


class Batch(NamedTuple):
    """Images that are answered together, opened.

    Attributes:
        rows: a line an image; with `error` where it could not be opened.
        images: those that could.
        places: where the rows belong in their window.
        window: how many rows the window has.
    """

    rows: list[dict[str, Any]]
    images: list[Image.Image]
    places: list[int]
    window: int


def answers(
    places: Iterator[Place],
    inputs: Inputs,
    reader: Reader,
    job: Job,
    step: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """The lines of each window, in its order, and the seconds that generation took.

    The next batch is looked for and opened while one is answered.

    Args:
        places: which images.
        inputs: where they are.
        reader: who answers.
        job: what is asked.
        step: called after each batch with the number of images done.
    """
    rows: list[dict[str, Any]] = []
    seconds, done, left = 0.0, 0, 0
    for batch in _one_ahead(_batches(places, inputs, reader.checkpoint, job)):
        if not left:
            rows, left, seconds = [{}] * batch.window, batch.window, 0.0
        seconds += _ask(batch, reader, job)
        for k, row in zip(batch.places, batch.rows, strict=True):
            rows[k] = row
        done, left = done + len(batch.rows), left - len(batch.rows)
        step(done)
        if not left:
            yield rows, seconds


def _one_ahead(items: Iterator[Batch]) -> Iterator[Batch]:
    """The items, each made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "r1sgg-images") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _batches(places: Iterator[Place], inputs: Inputs, checkpoint: Checkpoint, job: Job) -> Iterator[Batch]:
    while window := list(itertools.islice(places, job.images)):
        for chosen in batches_by_size([inputs.size(place) for place in window], job.batch_size):
            rows: list[dict[str, Any]] = [{"image_id": window[k].image_id} for k in chosen]
            images = []
            for k, row in zip(chosen, rows, strict=True):
                try:
                    image = inputs.image(window[k])
                    checkpoint.frame(image.size)  # some shapes no model takes
                except InputError as error:
                    row["error"] = spoken(str(error))
                else:
                    images.append(image)
            yield Batch(rows, images, chosen, len(window))


def _ask(batch: Batch, reader: Reader, job: Job) -> float:
    """Complete the lines of a batch; the seconds that took."""
    asked = [row for row in batch.rows if "error" not in row]
    readings = reader.read_batch(
        batch.images,
        job.sampling,
        keys=[row["image_id"] for row in asked],
        guide=job.guide,
        samples=job.samples,
        scores=job.scores,
    )
    for row, reading in zip(asked, readings, strict=True):
        row |= prediction_line(reading, reader.checkpoint.name, logprobs=job.logprobs)
    return sum(reading.completion.seconds for reading in readings)
