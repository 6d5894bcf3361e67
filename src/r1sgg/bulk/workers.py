"""Shards of a run on many cards or machines: their places, the parts that workers write, and how they are joined.

    OUT.jsonl                    the same file as from `r1sgg.bulk.run`, byte for byte; joined at the end from
    OUT.jsonl.parts/             part-000000000.jsonl, ..., named by the number of their first image
    OUT/ (any other name)        part-000000000.parquet, ...: the fields as columns, and `index`, the image's number

A worker writes a shard atomically, under a name that depends only on its images. If a worker dies, the shard is
processed again by another; no image is lost or duplicated. A run that is killed keeps its finished shards. Workers open
the images and the model themselves. Who starts them: `r1sgg.bulk.ray_data`, and on one machine `r1sgg.bulk.local`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from r1sgg.bulk import parts
from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.parts import Shard
from r1sgg.bulk.processes import TRIES
from r1sgg.bulk.resume import RunLog, is_failed
from r1sgg.bulk.run import Job, Summary, generate_windows, settings_of
from r1sgg.bulk.stored import Inputs, Place
from r1sgg.errors import ModelError, R1SGGError
from r1sgg.files import locked

if TYPE_CHECKING:
    from r1sgg.inference.reader import Reader
    from r1sgg.models.families import Checkpoint


class Opener(Protocol):
    """Opens the model on each worker; implemented by `r1sgg.inference.engines.Opening`."""

    @property
    def guide_vocabulary(self) -> str | None:
        """See `Opening`."""
        ...

    @property
    def ask(self) -> str:
        """See `Opening`."""
        ...

    @property
    def engine(self) -> str:
        """See `Opening`."""
        ...

    @property
    def dtype(self) -> str | None:
        """See `Opening`."""
        ...

    @property
    def threads(self) -> int | None:
        """See `Opening`."""
        ...

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint without its weights."""
        ...

    def open(self) -> Reader:
        """Load the model."""
        ...


Done = tuple[int, int, float]
"""Of a shard: its images, how many of them failed, and the seconds that generation took."""


def run_in_shards(
    inputs: Inputs,
    out: Path,
    opener: Opener,
    job: Job,
    shard_size: int,
    kind: str,
    results: Callable[[Work, Sequence[Shard]], Iterator[Done]],
    *,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Generate a prediction for every image, in shards.

    Args:
        inputs: the images; workers open them by name.
        out: NAME.jsonl, or a folder for parquet shards; resumed if it exists.
        opener: opens the model.
        job: how each image is processed.
        shard_size: images of a shard, rounded up to whole windows.
        kind: of workers; a run is resumed with the same kind.
        results: has the shards made, and yields what is known of each as it is finished.
        limit: only the first N images.
        overwrite: start over if `out` exists.
        progress: called with the number of finished images and of all images.

    Raises:
        InputError: `out` belongs to a run with other settings.
        ModelError: a worker cannot continue; finished shards are kept.
    """
    with locked(out):
        return _run(inputs, out, opener, job, shard_size, kind, results, limit, overwrite, progress)


def _run(
    inputs: Inputs,
    out: Path,
    opener: Opener,
    job: Job,
    shard_size: int,
    kind: str,
    results: Callable[[Work, Sequence[Shard]], Iterator[Done]],
    limit: int | None,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> Summary:
    total = len(inputs) if limit is None else min(limit, len(inputs))
    size = -(-shard_size // job.images) * job.images
    named = " ".join((kind, opener.engine, *([opener.dtype] if opener.dtype else ())))
    settings = settings_of(opener.checkpoint(), opener.guide_vocabulary, named, job, inputs, opener.ask)
    joined = out.suffix == ".jsonl"
    log = RunLog(out, settings, overwrite) if joined else None
    resumed, failed = log.resume((place.image_id for place in inputs), total, size) if log else (0, 0)
    folder = out.with_name(out.name + ".parts") if joined else out
    if resumed == total:
        shutil.rmtree(folder, ignore_errors=True)  # left over if the earlier run was killed after joining the parts
        progress(total, total)
        return Summary(total, failed, resumed)
    with ExitStack() as begun:
        begun.callback(parts.forget, folder, set(folder.iterdir()) if folder.is_dir() else None)
        side = parts.folder_of_parts(folder, {**settings, "shard_size": size, "count": total}, overwrite)
        shards = list(parts.write_places(inputs, folder / parts.PLACES, resumed, total, size))
        work = Work(inputs.name, str(folder.absolute()), ".jsonl" if joined else ".parquet", opener, job, os.getcwd())
        missing = []
        for shard in shards:
            if work.path(shard).is_file():
                failed, resumed = failed + parts.count_failed(work.path(shard)), resumed + shard.images
            else:
                missing.append(shard)
        done = resumed
        progress(done, total)
        for images, wrong, seconds in results(work, missing) if missing else ():
            done, failed = done + images, failed + wrong
            side.add(seconds)
            progress(done, total)
        begun.pop_all()
    for left in (folder / parts.PLACES, *folder.glob(f".{parts.PREFIX}*{parts.UNFINISHED}")):
        left.unlink()
    if log is not None:
        for shard in shards:
            log.append_lines(work.path(shard).read_bytes())
        log.add(side.seconds)
        shutil.rmtree(folder)
    return Summary(total, failed, resumed)


@dataclass(frozen=True, slots=True)
class Work:
    """The arguments of every worker."""

    spec: str
    folder: str
    ending: str
    opener: Opener
    job: Job
    cwd: str

    def path(self, shard: Shard) -> Path:
        return Path(self.folder) / f"{parts.PREFIX}{shard.start:09}{self.ending}"

    def tries(self, shard: Shard) -> Path:
        """The file that counts how often a shard was begun."""
        path = self.path(shard)
        return path.with_name(path.name + ".tries")

    def places(self, shard: Shard) -> list[Place]:
        with (Path(self.folder) / parts.PLACES).open("rb") as handle:
            handle.seek(shard.offset)
            return [parts.place_of_line(line) for line in islice(handle, shard.images)]


class Worker:
    """Holds the model once the first shard is asked for."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._reader: Reader | None = None
        self._inputs: Inputs | None = None

    def make(self, shard: Shard) -> tuple[Done, str]:
        """Write a shard's part; an error that stops the run is a sentence, the second value ("" for none)."""
        try:
            failed, seconds = self._make(shard)
        except R1SGGError as error:  # could not be unpickled elsewhere: InputError takes keywords
            return (shard.images, 0, 0.0), str(error)
        return (shard.images, failed, seconds), ""

    def _make(self, shard: Shard) -> tuple[int, float]:
        path = self._work.path(shard)
        if path.is_file():  # written by a worker that died before it returned
            return parts.count_failed(path), 0.0
        tries = self._work.tries(shard)
        with tries.open("ab") as handle:
            handle.write(b".")
        if tries.stat().st_size > TRIES:
            tries.unlink(missing_ok=True)  # so that the next run tries the shard again
            last = shard.start + shard.images - 1
            raise ModelError(f"images {shard.start} to {last}: {TRIES} workers died while they processed them")
        try:
            return self._write(shard, path)
        finally:  # this worker did not die
            tries.unlink(missing_ok=True)

    def _write(self, shard: Shard, path: Path) -> tuple[int, float]:
        """Write the part of a shard; return its failed images and the seconds of generation."""
        if self._reader is None or self._inputs is None:
            os.chdir(self._work.cwd)
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `r1sgg.cli.main`; torch is not imported yet
            self._reader = self._work.opener.open()
            self._inputs = open_inputs(self._work.spec, annotated=self._work.job.task != "sgdet")
        rows: list[dict[str, Any]] = []
        seconds = 0.0
        places = iter(self._work.places(shard))
        for made, spent in generate_windows(places, self._inputs, self._reader, self._work.job):
            rows += made
            seconds += spent
        if not path.parent.is_dir():  # see `parts.forget`; writing would make it again
            raise ModelError(f"{path.parent}: expected the folder of a run, found that it was stopped")
        parts.write_part(path, rows, shard.start)
        return sum(map(is_failed, rows)), seconds

    def close(self) -> None:
        """Let go of the model."""
        if self._reader is not None:
            self._reader.close()
