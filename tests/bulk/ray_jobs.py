"""The jobs of test_ray.py, in a process of their own: Ray takes a while to start, so they share one cluster.

python -m tests.bulk.ray_jobs FOLDER     FOLDER holds gt.jsonl; adds a line to said.jsonl after each job
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import orjson
import ray

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.ray_data import Cluster, run_on_ray
from r1sgg.bulk.run import Job
from r1sgg.errors import R1SGGError
from r1sgg.inference.engine import Sampling

from ..inference.pretend import Interrupted, Opened

JOB = Job(Sampling(max_new_tokens=8), batch_size=2, window=2)
GIVEN = dataclasses.replace(JOB, task="sgcls")


def main(folder: Path) -> None:
    """Run all jobs."""
    ray.init(num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
    two = Cluster("auto", workers=2, shard_size=3)
    work(folder, "killed.jsonl", Opened(seconds=0.25), two)
    stop = [0]

    def interrupt(done: int, total: int) -> None:
        stop[0] = done
        if done > 4:
            raise Interrupted

    try:
        work(folder, "again.jsonl", Opened(), two, progress=interrupt)
    except Interrupted:
        say(folder, interrupted=stop[0])
    work(folder, "again.jsonl", Opened(seconds=1), two)
    work(folder, "again.jsonl", Opened(fault="a finished run opens no model"), two)
    work(folder, "tables", Opened(), two, limit=18)
    for name in ("new/fault.jsonl", "new/tables"):
        work(folder, name, Opened(fault="no such model"), two)
    work(folder, "new/many.jsonl", Opened(), Cluster("auto", workers=3, shard_size=3))
    (folder / "kept").mkdir()
    work(folder, "kept", Opened(fault="no such model"), two)
    work(folder, "given.jsonl", Opened(), two, job=GIVEN)


def work(folder: Path, out: str, opened: Opened, cluster: Cluster, *, job: Job = JOB, **options: Any) -> None:
    """One job."""
    given = job.task != "sgdet"
    inputs = open_inputs(str(folder / ("men.jsonl" if given else "gt.jsonl")), annotated=given)
    try:
        summary = run_on_ray(inputs, folder / out, opened, job, cluster, **options)
    except R1SGGError as error:
        say(folder, error=str(error))
    else:
        say(folder, **dataclasses.asdict(summary))


def say(folder: Path, **result: Any) -> None:
    """A line for the test; standard output is Ray's."""
    with (folder / "said.jsonl").open("ab") as handle:
        handle.write(orjson.dumps(result) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
