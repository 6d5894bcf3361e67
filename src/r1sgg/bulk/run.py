"""Generate predictions for many images, so that a killed run can be resumed.

Lines are in the order of the images. Images are processed in windows of a few batches; the windows are at fixed
positions, images of similar size inside a window share a batch, and the lines of a window are written together. A
resumed run drops the lines of an incomplete window and generates it again. So every batch holds the same images as in
an uninterrupted run, and the file is the same, byte for byte. Memory holds the lines of one window and the images of
two batches. Times are in PREDICTIONS.run.json, with the settings that a resumed run must share. Many machines:
`r1sgg.bulk.ray_data`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from PIL import Image

from r1sgg.bulk.resume import AGAIN, RunLog, fingerprint, is_failed
from r1sgg.bulk.stored import Inputs, Place
from r1sgg.data.provenance import read_trained_on
from r1sgg.errors import ConfigError, InputError
from r1sgg.files import locked
from r1sgg.graph.given import Task
from r1sgg.graph.scene import SceneGraph
from r1sgg.inference.engine import Sampling, batches_by_size, describe
from r1sgg.inference.lines import prediction_line, spoken
from r1sgg.inference.reader import Reader, Reading, check_samples

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

WINDOW = 4
"""Batches that are sorted by image size together and written together."""


@dataclass(frozen=True, slots=True)
class Job:
    """How each image is processed.

    Attributes:
        sampling: how tokens are chosen.
        guide: see `r1sgg.inference.reader.Reader.read_batch`, also for `samples` and `scores`.
        samples: completions per image, merged.
        scores: add `objects` and `relationships` with scores; a guide, several samples or a threshold imply it.
        threshold: leave out rows with lower scores; the completion stays whole.
        task: "sgcls" and "predcls" give the true boxes, or boxes and names; the inputs must have true graphs then.
        logprobs: add {"sum", "mean"} of the tokens' log-probabilities.
        batch_size: images per batch.
        window: batches that are sorted by image size together and written together.
    """

    sampling: Sampling
    guide: bool = False
    samples: int = 1
    scores: bool = False
    logprobs: bool = False
    batch_size: int = 8
    window: int = WINDOW
    threshold: float | None = None
    task: Task = "sgdet"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch size: expected 1 or more, found {self.batch_size}")
        check_samples(self.samples, self.sampling)
        if self.logprobs and self.samples > 1:
            raise ConfigError(
                "logprobs: expected one sample, because log-probabilities belong to one completion, found several"
            )

    @property
    def images(self) -> int:
        """Images per window."""
        return self.batch_size * self.window


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a finished run: images in the file, failed ones, and those from an earlier run."""

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
    """Generate a prediction for every image.

    Args:
        inputs: the images.
        out: the predictions file; resumed if it exists.
        reader: the model.
        job: how each image is processed.
        limit: only the first N images.
        overwrite: start over if `out` exists.
        progress: called with the number of finished images and of all images.

    Returns:
        Counts. An image that cannot be opened, or for which the engine has no completion, is a line {"image_id",
        "error"} and counts as failed, as does one with a part of its answer (`Completion.fault`); failed images of an
        earlier run are tried again at the end.

    Raises:
        InputError: `out` belongs to a run with other settings, or the images changed during the run.
        ModelError: the engine cannot continue; finished windows are kept.
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
        out,
        settings_of(reader.checkpoint, reader.guide_vocabulary, reader.engine.name, job, inputs, reader.ask),
        overwrite,
    )
    resumed, failed = log.resume((place.image_id for place in inputs), total, job.images)
    progress(resumed, total)
    done = resumed
    places = itertools.islice(inputs, resumed, total)
    for rows, seconds in generate_windows(places, inputs, reader, job, lambda count: progress(resumed + count, total)):
        log.append(rows)
        failed += sum(map(is_failed, rows))
        done += len(rows)
        log.add(seconds)
    if done < total:
        raise InputError(
            inputs.name, expected=f"the {total} images that were there at the start", found=f"{done}", hint=AGAIN
        )
    wrong = log.failed(resumed) if failed else []
    if wrong:
        failed += _retry(wrong, inputs, reader, job, log) - len(wrong)
    return Summary(total, failed, resumed)


Line = Callable[[Reading, Place], dict[str, Any]]
"""Makes the line of an image, without its id; it may write files of its own."""


def _retry(wrong: list[int], inputs: Inputs, reader: Reader, job: Job, log: RunLog) -> int:
    """Try the images again whose lines are an error; return how many failed again."""
    chosen, failed = set(wrong), 0
    places = (place for k, place in enumerate(itertools.islice(inputs, wrong[-1] + 1)) if k in chosen)
    numbers = iter(wrong)
    for rows, seconds in generate_windows(places, inputs, reader, job):
        log.replace({next(numbers): orjson.dumps(row) + b"\n" for row in rows})
        failed += sum(map(is_failed, rows))
        log.add(seconds)
    return failed


def settings_of(
    checkpoint: Checkpoint,
    guide_vocabulary: str | None,
    engine: str,
    job: Job,
    inputs: Inputs | None,
    ask: str = "paper",
) -> dict[str, Any]:
    """Return the settings that a resumed run must share with the run it resumes; no inputs: whatever its images are."""
    return {
        "model": checkpoint.name,
        "weights": fingerprint(checkpoint.path),
        **({} if inputs is None else {"images": inputs.digest}),
        "trained_on": read_trained_on(Path(checkpoint.path)),
        "answer": checkpoint.settings.to_record(),
        "image_pixels": checkpoint.image_pixels,
        "sampling": describe(job.sampling),
        "guide": (guide_vocabulary or checkpoint.settings.vocabulary) if job.guide else None,
        "samples": job.samples,
        "scores": job.scores,
        "batch_size": job.batch_size,
        "logprobs": job.logprobs,
        "engine": engine,
        **({} if job.threshold is None else {"threshold": job.threshold}),
        **({} if job.task == "sgdet" else {"task": job.task}),
        **({} if ask == "paper" else {"ask": ask}),
        **({} if checkpoint.calibration is None else {"calibration": dict(checkpoint.calibration.fitted)}),
    }


class Batch(NamedTuple):
    """The opened images of a batch.

    Attributes:
        rows: one line per image; with `error` if it could not be opened.
        images: the images that could be opened.
        columns: their own prompts, see `Place.prompt`.
        truths: the true graphs of these images, where a task gives some of them.
        found: the places of these images.
        places: the positions of the rows in their window.
        window: number of rows of the window.
    """

    rows: list[dict[str, Any]]
    images: list[Image.Image]
    columns: list[str | None]
    truths: list[SceneGraph]
    found: list[Place]
    places: list[int]
    window: int


def generate_windows(
    places: Iterator[Place],
    inputs: Inputs,
    reader: Reader,
    job: Job,
    step: Callable[[int], None] = lambda count: None,
    line: Line | None = None,
) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """Yield the lines of each window, in order, and the seconds that generation took.

    The next batch is opened in a thread while the model processes one.

    Args:
        places: the images to process.
        inputs: opens them.
        reader: the model.
        job: how each image is processed.
        step: called after each batch with the number of finished images.
        line: makes the lines; None for those of a predictions file.
    """
    rows: list[dict[str, Any]] = []
    seconds, done, left = 0.0, 0, 0
    for batch in _one_ahead(_batches(places, inputs, reader.checkpoint, job)):
        if not left:
            rows, left, seconds = [{}] * batch.window, batch.window, 0.0
        seconds += _generate(batch, reader, job, line)
        for k, row in zip(batch.places, batch.rows, strict=True):
            rows[k] = row
        done, left = done + len(batch.rows), left - len(batch.rows)
        step(done)
        if not left:
            yield rows, seconds


def _one_ahead(items: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the items; each is made in a thread while the previous one is used."""
    with ThreadPoolExecutor(1, "r1sgg-images") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _batches(places: Iterator[Place], inputs: Inputs, checkpoint: Checkpoint, job: Job) -> Iterator[Batch]:
    while window := list(itertools.islice(places, job.images)):
        for chosen in batches_by_size([inputs.size(place) for place in window], job.batch_size):
            rows: list[dict[str, Any]] = [{"image_id": window[k].image_id} for k in chosen]
            images: list[Image.Image] = []
            truths: list[SceneGraph] = []
            columns: list[str | None] = []
            found: list[Place] = []
            for k, row in zip(chosen, rows, strict=True):
                try:
                    image = inputs.image(window[k])
                    checkpoint.frame(image.size)  # raises for aspect ratios that the model does not support
                    if job.task != "sgdet":
                        truths.append(_with_objects(inputs, window[k]))
                except InputError as error:
                    row["error"] = spoken(str(error))
                else:
                    images.append(image)
                    columns.append(window[k].prompt)
                    found.append(window[k])
            yield Batch(rows, images, columns, truths, found, chosen, len(window))


def _with_objects(inputs: Inputs, place: Place) -> SceneGraph:
    """Return the true graph whose objects are given.

    Raises:
        InputError: it has none.
    """
    if not len(truth := inputs.truth(place)):
        raise InputError(f"{inputs.name}: {place.image_id}", expected="true objects to give", found="none")
    return truth


def _generate(batch: Batch, reader: Reader, job: Job, line: Line | None = None) -> float:
    """Complete the lines of a batch; return the seconds that generation took."""
    pending = [row for row in batch.rows if "error" not in row]
    readings = reader.read_batch(
        batch.images,
        job.sampling,
        keys=[row["image_id"] for row in pending],
        guide=job.guide,
        samples=job.samples,
        columns=batch.columns,
        scores=job.scores or job.threshold is not None,
        truths=batch.truths,
        task=job.task,
    )
    for row, place, reading in zip(pending, batch.found, readings, strict=True):
        if job.threshold is not None and reading.completion.error is None:
            reading = reading.above(job.threshold)
        if line is not None and reading.completion.error is None:
            row |= line(reading, place)
        else:
            row |= prediction_line(reading, reader.checkpoint.name, logprobs=job.logprobs, weight=job.sampling.is_plain)
        if job.task != "sgdet":
            row["task"] = job.task
    return sum(reading.completion.seconds for reading in readings)
