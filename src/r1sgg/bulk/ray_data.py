"""The same job on a Ray cluster: Ray Data hands shards of images to workers that each hold the model.

    OUT.jsonl                    what `r1sgg.bulk.run` writes, to the byte; until all shards are there:
    OUT.jsonl.parts/             part-000000000.jsonl, ... by the number of their first image; joined at the end
    OUT/ (any other name)        part-000000000.parquet, ...: the same as columns, and `index`, the image's number

A worker writes its shard whole, under a name that only depends on the images in it. So a worker that dies costs the
shard it was at: Ray starts it again and gives the shard to it or to another, and nothing is lost or there twice. A run
that was killed altogether keeps its shards. Workers open the images and the model themselves: paths must mean the same
on all machines. Nothing is kept in memory but one window a worker.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from r1sgg.bulk import parts
from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.resume import AGAIN, RunLog, SideFile
from r1sgg.bulk.run import Job, Summary, answers, settings_of
from r1sgg.bulk.stored import Inputs, Place
from r1sgg.errors import ConfigError, InputError, ModelError, R1SGGError, require

if TYPE_CHECKING:
    from r1sgg.inference.reader import Reader
    from r1sgg.models.families import Checkpoint

TRIES = 3
"""A shard at which so many workers died stops the run: there is an image in it that kills them."""
SURROUNDINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Environment variables for Ray, each unless it is set: it reports to nobody, leaves devices visible, and is quiet."""
_STORE_BYTES = 128 << 20  # Ray carries numbers of shards and counts, no images


class Opener(Protocol):
    """What opens the model on each worker; `r1sgg.inference.engines.Opening` is one."""

    @property
    def guide_vocabulary(self) -> str | None:
        """See `Opening`."""
        ...

    @property
    def engine(self) -> str:
        """See `Opening`."""
        ...

    @property
    def threads(self) -> int | None:
        """See `Opening`."""
        ...

    def checkpoint(self) -> Checkpoint:
        """The model without its weights."""
        ...

    def open(self) -> Reader:
        """The model, ready to answer."""
        ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to work.

    Attributes:
        address: "local" starts Ray on this machine; else a running cluster's ("auto", "host:6379").
        workers: models; None: one a GPU, or one where there is none.
        shard_size: images that a worker is given at once, rounded up to whole windows.
        on_gpu: give each worker a GPU where the cluster has some.
    """

    address: str = "local"
    workers: int | None = None
    shard_size: int = 1024
    on_gpu: bool = True


class Shard(NamedTuple):
    """Some images that follow each other: the first one's number, how many, and where the list of places has them."""

    start: int
    images: int
    offset: int


def run_on_ray(
    inputs: Inputs,
    out: Path,
    opener: Opener,
    job: Job,
    cluster: Cluster,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Answer every image on a cluster; the file is the one that `r1sgg.bulk.run.run` writes.

    Args:
        inputs: the images; workers open them again by their name.
        out: NAME.jsonl, or a folder for parquet shards; continued where it exists.
        opener: opens the model.
        job: what is asked.
        cluster: where to work.
        limit: only the first so many images.
        overwrite: start anew where `out` exists.
        progress: called with the number of images done and of all.

    Raises:
        ConfigError: no cluster at the address, or one that is too small.
        InputError: `out` belongs to a run with other settings.
        ModelError: a worker cannot go on; the shards that are done are kept.
        MissingDependencyError: Ray is not installed.
    """
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    require("ray.data", "ray")
    total = len(inputs) if limit is None else min(limit, len(inputs))
    size = -(-cluster.shard_size // job.images) * job.images
    settings = settings_of(opener.checkpoint(), opener.guide_vocabulary, f"ray {opener.engine}", job, inputs)
    joined = out.suffix == ".jsonl"
    log = RunLog(out, settings, overwrite) if joined else None
    resumed, failed = log.resume((place.image_id for place in inputs), total, size) if log else (0, 0)
    folder = out.with_name(out.name + ".parts") if joined else out
    if resumed == total:
        shutil.rmtree(folder, ignore_errors=True)  # it may have been killed just before
        progress(total, total)
        return Summary(total, failed, resumed)
    side = _folder_of_parts(folder, {**settings, "shard_size": size, "count": total}, overwrite)
    shards = list(_write_places(inputs, folder / _PLACES, resumed, total, size))
    work = _Work(inputs.name, str(folder.absolute()), ".jsonl" if joined else ".parquet", opener, job, os.getcwd())
    missing = []
    for shard in shards:
        if work.path(shard).is_file():
            failed, resumed = failed + parts.count_failed(work.path(shard)), resumed + shard.images
        else:
            missing.append(shard)
    done = resumed
    progress(done, total)
    for images, wrong, seconds in _results(work, missing, cluster):
        done, failed = done + images, failed + wrong
        side.add(seconds)
        progress(done, total)
    for left in (folder / _PLACES, *folder.glob(f"{parts.PREFIX}*{parts.UNFINISHED}")):
        left.unlink()
    if log is not None:
        with out.open("ab") as handle:
            for shard in shards:
                with work.path(shard).open("rb") as part:
                    shutil.copyfileobj(part, handle, 1 << 20)
            handle.flush()
            os.fsync(handle.fileno())
        log.add(side.seconds)
        shutil.rmtree(folder)
    return Summary(total, failed, resumed)


_PLACES = "_places.jsonl"  # readers of a folder of parquet files leave such names out


def _folder_of_parts(folder: Path, settings: dict[str, Any], overwrite: bool) -> SideFile:
    """The folder for parts; what lies in it is of a run with these settings."""
    side = SideFile(folder / "_run.json", settings)
    if folder.exists() and not folder.is_dir():
        raise InputError(str(folder), expected="a folder for shards, or NAME.jsonl", found="a file")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if overwrite and (side.path.is_file() or not found):
        for name in found:
            if name.startswith(parts.PREFIX) or name in (side.path.name, _PLACES):
                (folder / name).unlink()
    elif found:
        side.check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    side.add(0.0)
    return side


def _write_places(inputs: Inputs, path: Path, start: int, total: int, size: int) -> Iterator[Shard]:
    """Write the places of images start..total, a line each, and give out the shards that they make."""
    offset = 0
    with path.open("wb") as handle:
        places = islice(inputs, start, total)
        while shard := list(islice(places, size)):
            lines = b"".join(parts.line_of_place(place) for place in shard)
            handle.write(lines)
            yield Shard(start, len(shard), offset)
            start, offset = start + len(shard), offset + len(lines)
    if start < total:
        raise InputError(inputs.name, expected=f"the {total} images that were counted", found=f"{start}", hint=AGAIN)


@dataclass(frozen=True, slots=True)
class _Work:
    """What every worker is given."""

    spec: str
    folder: str
    ending: str
    opener: Opener
    job: Job
    cwd: str

    def path(self, shard: Shard) -> Path:
        return Path(self.folder) / f"{parts.PREFIX}{shard.start:09}{self.ending}"

    def places(self, shard: Shard) -> list[Place]:
        with (Path(self.folder) / _PLACES).open("rb") as handle:
            handle.seek(shard.offset)
            return [parts.place_of_line(line) for line in islice(handle, shard.images)]


class Worker:
    """Holds the model; called with a batch of one shard."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._reader: Reader | None = None
        self._inputs: Inputs | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Counts; what stops the run is a sentence in `stopped`."""
        shard = Shard(*(int(batch[key][0]) for key in Shard._fields))
        failed, seconds, stopped = 0, 0.0, ""
        try:
            failed, seconds = self._make(shard)
        except R1SGGError as error:  # an exception of ours would not survive the way to the driver
            stopped = str(error)
        return {"images": [shard.images], "failed": [failed], "seconds": [seconds], "stopped": [stopped]}

    def _make(self, shard: Shard) -> tuple[int, float]:
        path = self._work.path(shard)
        if path.is_file():  # by a worker that died before it could say so
            return parts.count_failed(path), 0.0
        tries = path.with_name(path.name + ".tries")
        with tries.open("ab") as handle:
            handle.write(b".")
        if tries.stat().st_size > TRIES:
            tries.unlink(missing_ok=True)  # the next run may try again
            last = shard.start + shard.images - 1
            raise ModelError(f"images {shard.start} to {last}: {TRIES} workers died while they answered them")
        if self._reader is None or self._inputs is None:
            os.chdir(self._work.cwd)
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `r1sgg.cli.main`; torch is not imported yet
            self._reader, self._inputs = self._work.opener.open(), open_inputs(self._work.spec)
        rows: list[dict[str, Any]] = []
        seconds = 0.0
        places = iter(self._work.places(shard))
        for made, spent in answers(places, self._inputs, self._reader, self._work.job):
            rows += made
            seconds += spent
        parts.write_part(path, rows, shard.start)
        tries.unlink(missing_ok=True)
        return sum("error" in row for row in rows), seconds


def _results(work: _Work, shards: Sequence[Shard], cluster: Cluster) -> Iterator[tuple[int, int, float]]:
    """Images, failed ones and seconds of each shard, in the order in which they are done."""
    if not shards:
        return
    ray, data = require("ray", "ray"), require("ray.data", "ray")
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, cluster)
    try:
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0)) if cluster.on_gpu else 0
        workers = min(cluster.workers or gpus or 1, len(shards))
        most, unit = (gpus, "GPUs") if gpus else (int(has.get("CPU", 0)), "CPUs")
        if workers > most:
            raise ConfigError(f"--workers: expected at most the cluster's {most} {unit}, found {workers}")
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        results = data.from_items([shard._asdict() for shard in shards], override_num_blocks=len(shards)).map_batches(
            Worker,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=0
            if gpus
            else _cpus(work, workers, [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]),
            num_gpus=1 if gpus else 0,
        )
        for row in results.iter_rows():
            if row["stopped"]:
                raise ModelError(row["stopped"])
            yield row["images"], row["failed"], row["seconds"]
    finally:
        if ours:
            ray.shutdown()


def _cpus(work: _Work, workers: int, nodes: Sequence[int]) -> int:
    """CPUs of one worker: as many as its model can use and as all workers find; Ray lets it have as many threads.

    Args:
        work: what the workers are given.
        workers: how many.
        nodes: CPUs of each machine.
    """
    if work.opener.engine != "hf":
        return 1
    wanted = work.opener.threads or _useful_threads(work.opener.checkpoint(), work.job.batch_size)
    return next((n for n in range(wanted, 1, -1) if sum(cpus // n for cpus in nodes) >= workers), 1)


def _useful_threads(checkpoint: Checkpoint, images: int) -> int:
    """How many threads a model that isn't loaded can use when it writes for so many images."""
    from transformers import AutoConfig

    from r1sgg.inference.threads import useful_threads
    from r1sgg.models.finding import is_local

    path = checkpoint.base or checkpoint.path
    return useful_threads(AutoConfig.from_pretrained(path, local_files_only=is_local(path)), images)


def _connect(ray: ModuleType, cluster: Cluster) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.address == "local":
        ray.init(
            address="local",
            num_cpus=max(cluster.workers or 1, os.cpu_count() or 1),
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            **quiet,
        )
        return
    try:
        ray.init(address=cluster.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"--ray {cluster.address}: expected a running Ray cluster there, found none ({reason})"
        ) from error
