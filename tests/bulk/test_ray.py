"""`--ray`: the same file from a cluster, when a worker is killed and when the whole run is."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import psutil
import pyarrow.parquet as pq
import pytest

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.parts import forget, write_places
from r1sgg.bulk.ray_data import SURROUNDINGS, Cluster, RayWorker, run_on_ray
from r1sgg.bulk.run import run
from r1sgg.bulk.workers import TRIES, Work
from r1sgg.data.base import read_predictions
from r1sgg.errors import InputError

from ..inference.pretend import Opened
from .local_jobs import annotate
from .ray_jobs import GIVEN, JOB

pytestmark = pytest.mark.timeout(1200)  # on a busy machine Ray takes minutes to start
ROOT = Path(__file__).parents[2]
STARTS = 3
"""Ray gives its own processes 15 seconds to start (ray-project/ray#65983), which a busy machine does not."""


@pytest.fixture(scope="module")
def folder(ground_truth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 images, one of which cannot be read, and what an ordinary run writes about them."""
    place = tmp_path_factory.mktemp("ray") / "images"
    shutil.copytree(ground_truth.parent, place)
    (place / "5.png").write_bytes(b"no image")
    run(open_inputs(str(place / "gt.jsonl")), place / "whole.jsonl", Opened().open(), JOB)
    annotate(place)
    return place


@pytest.fixture(scope="module")
def said(folder: Path) -> list[dict[str, object]]:
    """What the jobs said; one worker of the first was killed in the middle of it."""
    log = folder / "log.txt"
    for _ in range(STARTS):
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [sys.executable, "-m", "tests.bulk.ray_jobs", str(folder)],
                stdout=output,
                stderr=output,
                env={**os.environ, **SURROUNDINGS, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))},
                cwd=ROOT,
            ) as jobs,
        ):
            try:
                killed = kill_a_worker(psutil.Process(jobs.pid), folder / "killed.jsonl.parts")
                jobs.wait(timeout=600)
            finally:
                jobs.kill()
        if "timed out during startup" not in log.read_text(errors="replace"):
            break
    assert killed, log.read_text(errors="replace")
    assert jobs.returncode == 0, log.read_text(errors="replace")
    return [orjson.loads(line) for line in (folder / "said.jsonl").read_bytes().splitlines()]


def kill_a_worker(jobs: psutil.Process, parts: Path) -> bool:
    """SIGKILL one of the two workers once a part is there and another is begun; whether there was one."""
    while jobs.is_running() and jobs.status() != psutil.STATUS_ZOMBIE:
        if parts.is_dir() and list(parts.glob("*.jsonl")) and (begun := list(parts.glob("*.tries"))):
            workers = [child for child in jobs.children(recursive=True) if "MapWorker" in "".join(child.cmdline())]
            if workers and begun[0].exists():
                workers[0].send_signal(signal.SIGKILL)
                return True
        time.sleep(0.02)
    return False


def test_a_killed_worker_loses_nothing_and_repeats_nothing(folder: Path, said: list[dict[str, object]]) -> None:
    assert said[0] == {"images": 21, "failed": 1, "resumed": 0}
    assert (folder / "killed.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert not (folder / "killed.jsonl.parts").exists()
    settings = orjson.loads((folder / "killed.jsonl.run.json").read_bytes())["settings"]
    assert settings["engine"] == "ray parrot"


def test_a_run_that_was_killed_altogether_keeps_its_shards(folder: Path, said: list[dict[str, object]]) -> None:
    interrupted, again, finished = said[1:4]
    assert interrupted["interrupted"] in (8, 12), "two workers are at work"
    assert again["resumed"] >= interrupted["interrupted"]
    assert again["images"] == 21
    assert (folder / "again.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert finished == {"images": 21, "failed": 1, "resumed": 21}


def test_a_folder_gets_tables_with_the_images_numbers(folder: Path, said: list[dict[str, object]]) -> None:
    assert said[4] == {"images": 18, "failed": 1, "resumed": 0}
    files = sorted(path.name for path in (folder / "tables").iterdir())
    assert files == ["_run.json", *(f"part-{start:09}.parquet" for start in range(0, 18, 4))]
    rows = pq.read_table(folder / "tables", partitioning=None).to_pylist()
    expected = [orjson.loads(line) for line in (folder / "whole.jsonl").read_bytes().splitlines()][:18]
    found = {row.pop("index"): {key: value for key, value in row.items() if value is not None} for row in rows}
    assert [found[k] for k in range(18)] == expected


def test_a_start_that_fails_on_the_workers_leaves_no_folder(folder: Path, said: list[dict[str, object]]) -> None:
    assert [line.get("error", "none") for line in said[5:9]].count("none") == 0
    assert not (folder / "new").exists()
    assert list((folder / "kept").iterdir()) == [], "this one was there before"


def test_what_a_failed_start_removes_is_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    forget(folder, None)  # it ended before it made the folder
    folder.mkdir()
    for name in ("_run.json", "_places.jsonl", ".part-000000000.jsonl.part", "part-000000000.jsonl.tries", "notes.txt"):
        (folder / name).write_text("")
    forget(folder, {folder / "_run.json"})
    assert sorted(path.name for path in folder.iterdir()) == ["_run.json", "notes.txt"]
    (folder / "part-000000000.jsonl").write_text("")
    (folder / "_places.jsonl").write_text("")
    forget(folder, None)  # a part is finished: all stays
    assert len(list(folder.iterdir())) == 4


def test_an_image_that_kills_its_workers_ends_the_run(folder: Path, tmp_path: Path) -> None:
    spec = str(folder / "gt.jsonl")
    work = Work(spec, str(tmp_path), ".jsonl", Opened(), JOB, str(tmp_path))
    (shard,) = write_places(open_inputs(spec), tmp_path / "_places.jsonl", 4, 8, 4)
    batch = {name: np.array([value]) for name, value in shard._asdict().items()}
    tries = tmp_path / "part-000000004.jsonl.tries"
    tries.write_bytes(b"." * TRIES)  # one for each worker that began and did not end
    (stopped,) = RayWorker(work)(batch)["stopped"]
    assert stopped == "images 4 to 7: 3 workers died while they processed them"
    assert RayWorker(work)(batch) == {"images": [4], "failed": [1], "seconds": [1.5], "stopped": [""]}, (
        "a new run may try"
    )
    assert not tries.exists()
    part = (tmp_path / "part-000000004.jsonl").read_bytes()
    assert part == b"".join((folder / "whole.jsonl").read_bytes().splitlines(keepends=True)[4:8])
    faulty = RayWorker(replace(work, opener=Opened(fault="no such model"), folder=str(tmp_path / "faulty")))
    (tmp_path / "faulty").mkdir()
    for _ in range(TRIES + 1):
        assert faulty(batch)["stopped"] == ["no such model"], "an error that is said is no worker that died"
    silent = RayWorker(replace(work, opener=Opened(fault="a part that is there is not made again")))
    assert silent(batch) == {"images": [4], "failed": [1], "seconds": [0.0], "stopped": [""]}


def test_a_folder_of_other_things_is_left_alone(folder: Path, tmp_path: Path) -> None:
    inputs = open_inputs(str(folder / "gt.jsonl"))
    for name, message in (("mine", "expected _run.json beside a run to resume"), ("file", "expected a folder for")):
        out = tmp_path / name
        if name == "mine":
            out.mkdir()
            (out / "part-of-my-life.txt").write_text("dear diary")
        else:
            out.write_text("text")
        for overwrite in (False, True):
            with pytest.raises(InputError, match=message):
                run_on_ray(inputs, out, Opened(), JOB, Cluster(), overwrite=overwrite)
    assert (tmp_path / "mine" / "part-of-my-life.txt").read_text() == "dear diary"


@pytest.mark.slow
def test_the_command_shares_the_work_on_a_cluster_of_its_own(tiny_checkpoint: Path, folder: Path) -> None:
    options = ["--images", str(folder / "gt.jsonl"), "--model", str(tiny_checkpoint), "--device", "cpu"]
    options += ["--batch-size", "2", "--max-new-tokens", "8", "--temperature", "1", "--guide", "--max-new-tokens", "60"]
    files = []
    for more in ([], ["--ray", "local", "--workers", "2", "--shard-size", "8"]):
        files.append(folder / f"command{len(more)}.jsonl")
        command = [sys.executable, "-c", "from r1sgg.cli import main; main()", "generate", *options, *more]
        done = subprocess.run([*command, "--out", str(files[-1])], check=False, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert "21 images; 1 failed" in done.stdout
    assert files[0].read_bytes() == files[1].read_bytes()


def test_workers_give_the_true_objects(folder: Path, said: list[dict[str, object]]) -> None:
    assert said[9] == {"images": 21, "failed": 1, "resumed": 0}
    inputs = open_inputs(str(folder / "men.jsonl"), annotated=True)
    run(inputs, folder / "given-whole.jsonl", Opened().open(), GIVEN)
    assert (folder / "given.jsonl").read_bytes() == (folder / "given-whole.jsonl").read_bytes()


def test_what_a_worker_cannot_do_is_one_sentence(folder: Path, said: list[dict[str, object]]) -> None:
    assert said[5] == said[6] == said[8] == {"error": "no such model"}
    assert said[7] == {"error": "--workers: expected at most the cluster's 2 CPUs, found 3"}
    assert len(list(read_predictions(folder / "whole.jsonl"))) == 21
