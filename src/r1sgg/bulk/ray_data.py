"""Run on a Ray cluster: Ray Data distributes shards of images to workers, each of which holds the model.

The files are those of `r1sgg.bulk.workers`. If a worker dies, Ray restarts it. Paths must be valid on all machines.
Memory holds one window per worker.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from r1sgg.bulk.parts import Shard
from r1sgg.bulk.run import Job, Summary
from r1sgg.bulk.stored import Inputs
from r1sgg.bulk.workers import Done, Opener, Work, Worker, run_in_shards
from r1sgg.errors import ConfigError, ModelError, require

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

SURROUNDINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Defaults of environment variables: Ray sends no usage statistics, leaves GPUs visible, and logs no noise."""
_STORE_BYTES = 128 << 20  # only shard numbers and counts pass through Ray, no images


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
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    require("ray.data", "ray")

    def results(work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        return _results(work, shards, cluster)

    size = cluster.shard_size
    return run_in_shards(
        inputs, out, opener, job, size, "ray", results, limit=limit, overwrite=overwrite, progress=progress
    )


class RayWorker:
    """Ray calls it with a batch of one shard."""

    def __init__(self, work: Work) -> None:
        self._worker = Worker(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Return counts of a shard; an error that stops the run is a sentence in `stopped`."""
        (images, failed, seconds), stopped = self._worker.make(Shard(*(int(batch[key][0]) for key in Shard._fields)))
        return {"images": [images], "failed": [failed], "seconds": [seconds], "stopped": [stopped]}


def _results(work: Work, shards: Sequence[Shard], cluster: Cluster) -> Iterator[Done]:
    """Yield images, failed images and seconds of each shard, as they finish."""
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
            RayWorker,
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


def _cpus(work: Work, workers: int, nodes: Sequence[int]) -> int:
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
