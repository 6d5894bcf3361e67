"""Run on a Ray cluster: Ray Data distributes shards of images to workers, each of which holds the model.

    OUT.jsonl                    the same file as from `r1sgg.bulk.run`, byte for byte; joined at the end from
    OUT.jsonl.parts/             part-000000000.jsonl, ..., named by the number of their first image
    OUT/ (any other name)        part-000000000.parquet, ...: the fields as columns, and `index`, the image's number

A worker writes a shard atomically, under a name that depends only on its images. If a worker dies, Ray restarts it and
the shard is processed again; no image is lost or duplicated. A run that is killed keeps its finished shards. Workers
open the images and the model themselves, so paths must be valid on all machines. Memory holds one window per worker.
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
from r1sgg.bulk.run import Job, Summary, generate_windows, settings_of
from r1sgg.bulk.stored import Inputs, Place
from r1sgg.errors import ConfigError, InputError, ModelError, R1SGGError, require
from r1sgg.files import append, locked, writing

if TYPE_CHECKING:
    from r1sgg.inference.reader import Reader
    from r1sgg.models.families import Checkpoint

TRIES = 3
"""Number of workers that may die on one shard; then an image in it is taken to be the cause, and the run stops."""
SURROUNDINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Defaults of environment variables: Ray sends no usage statistics, leaves GPUs visible, and logs no noise."""
_STORE_BYTES = 128 << 20  # only shard numbers and counts pass through Ray, no images


class Opener(Protocol):
    """Opens the model on each worker; implemented by `r1sgg.inference.engines.Opening`."""

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
        """Return the checkpoint without its weights."""
        ...

    def open(self) -> Reader:
        """Load the model."""
        ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Ray cluster.

    Attributes:
        address: "local" starts Ray on this machine; otherwise that of a running cluster ("auto", "host:6379").
        workers: number of models; None: one per GPU, or one without GPUs.
        shard_size: images per shard, rounded up to whole windows.
        on_gpu: give each worker a GPU if the cluster has any.
    """

    address: str = "local"
    workers: int | None = None
    shard_size: int = 1024
    on_gpu: bool = True


class Shard(NamedTuple):
    """Consecutive images: the number of the first, how many, and their offset in the file of places."""

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
    """Generate a prediction for every image on a cluster; the file is the same as from `r1sgg.bulk.run.run`.

    Args:
        inputs: the images; workers open them by name.
        out: NAME.jsonl, or a folder for parquet shards; resumed if it exists.
        opener: opens the model.
        job: how each image is processed.
        cluster: the Ray cluster.
        limit: only the first N images.
        overwrite: start over if `out` exists.
        progress: called with the number of finished images and of all images.

    Raises:
        ConfigError: no cluster at the address, or fewer resources than workers.
        InputError: `out` belongs to a run with other settings.
        ModelError: a worker cannot continue; finished shards are kept.
        MissingDependencyError: Ray is not installed.
    """
    with locked(out):
        return _run(inputs, out, opener, job, cluster, limit, overwrite, progress)


def _run(
    inputs: Inputs,
    out: Path,
    opener: Opener,
    job: Job,
    cluster: Cluster,
    limit: int | None,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> Summary:
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
        shutil.rmtree(folder, ignore_errors=True)  # left over if the earlier run was killed after joining the parts
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
    for left in (folder / _PLACES, *folder.glob(f".{parts.PREFIX}*{parts.UNFINISHED}")):
        left.unlink()
    if log is not None:
        for shard in shards:
            append(out, work.path(shard).read_bytes())
        log.add(side.seconds)
        shutil.rmtree(folder)
    return Summary(total, failed, resumed)


_PLACES = "_places.jsonl"  # readers of a folder of parquet files ignore names that begin with "_"


def _folder_of_parts(folder: Path, settings: dict[str, Any], overwrite: bool) -> SideFile:
    """Prepare the folder for parts; parts in it must come from a run with the same settings."""
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
    """Write the places of images start..total, one per line, and yield their shards."""
    offset = 0
    with writing(path, sync=False) as handle:
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
    """The arguments of every worker."""

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
    """Holds the model; Ray calls it with a batch of one shard."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._reader: Reader | None = None
        self._inputs: Inputs | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Return counts of a shard; an error that stops the run is a sentence in `stopped`."""
        shard = Shard(*(int(batch[key][0]) for key in Shard._fields))
        failed, seconds, stopped = 0, 0.0, ""
        try:
            failed, seconds = self._make(shard)
        except R1SGGError as error:  # Ray could not unpickle it in the driver: InputError takes keywords
            stopped = str(error)
        return {"images": [shard.images], "failed": [failed], "seconds": [seconds], "stopped": [stopped]}

    def _make(self, shard: Shard) -> tuple[int, float]:
        path = self._work.path(shard)
        if path.is_file():  # written by a worker that died before it returned
            return parts.count_failed(path), 0.0
        tries = path.with_name(path.name + ".tries")
        with tries.open("ab") as handle:
            handle.write(b".")
        if tries.stat().st_size > TRIES:
            tries.unlink(missing_ok=True)  # so that the next run tries the shard again
            last = shard.start + shard.images - 1
            raise ModelError(f"images {shard.start} to {last}: {TRIES} workers died while they processed them")
        if self._reader is None or self._inputs is None:
            os.chdir(self._work.cwd)
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `r1sgg.cli.main`; torch is not imported yet
            self._reader, self._inputs = self._work.opener.open(), open_inputs(self._work.spec)
        rows: list[dict[str, Any]] = []
        seconds = 0.0
        places = iter(self._work.places(shard))
        for made, spent in generate_windows(places, self._inputs, self._reader, self._work.job):
            rows += made
            seconds += spent
        parts.write_part(path, rows, shard.start)
        tries.unlink(missing_ok=True)
        return sum("error" in row for row in rows), seconds


def _results(work: _Work, shards: Sequence[Shard], cluster: Cluster) -> Iterator[tuple[int, int, float]]:
    """Yield images, failed images and seconds of each shard, as they finish."""
    if not shards:
        return
    ray, data = require("ray", "ray"), require("ray.data", "ray")
    ours = not ray.is_initialized()
    if ours:
        connect(ray, cluster)
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


def connect(ray: ModuleType, cluster: Cluster) -> None:
    """Start Ray on this machine, or connect to a cluster.

    Raises:
        ConfigError: there is no cluster at the address.
    """
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
