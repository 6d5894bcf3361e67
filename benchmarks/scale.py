"""Many images: memory over 100,000 of them, kills in the middle, and what a second Ray worker costs.

    python benchmarks/scale.py memory                # 100,000 images, alone and on two Ray workers
    python benchmarks/scale.py memory --ways ray --images 78128 --shard-size 8     # as many shards as 10 million images
    python benchmarks/scale.py kills                 # the same, the process killed by SIGKILL three times on the way
    python benchmarks/scale.py workers --rounds 2    # CPU-seconds per image on 1 and on 2 Ray workers
    python benchmarks/scale.py plan --graphs graphs.json                           # figures of docs/scale.md

Images are JPEGs of 32 x 32 pixels in one WebDataset shard that the script writes. In "memory" and "kills" the engine
answers at once with one fixed graph of 12 objects and 6 relationships, so that all that is left is the pipeline.

"memory" prints the resident memory in MB of the process that starts the run (it also writes the file), of the larger of
the two workers, and of Ray's own processes together, as the run proceeds. "kills" kills the process (and, with Ray, the
cluster that it started) when a fifth, a half and four fifths are done, starts the same command again each time, and
compares the file with that of an undisturbed run: lines, ids in order, SHA-256.

"workers" runs three engines on drawn scenes: one that waits half a second per batch without using the CPU, one that
multiplies matrices of 256 x 256, 30 times per image, and `tiny` greedily. Ray's start and the loading of the model are
constants, so CPU time is that between two moments of one run: two shards per worker after all have loaded the model,
and when the last but one shard per worker is finished. That is the difference of two runs of those sizes, without the
noise of two starts. "workers" counts the CPU time of the workers, "all" also that of the driver and of Ray's processes.
The least of the rounds counts; 1 and 2 workers take turns on one cluster.

"plan" measures what the process that starts a run on a cluster does with names and finished parts, and how long lines
are whose completions are annotated graphs (a JSON list or JSON Lines of `objects` and `relationships`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from generate import Fixed, Waiting
from PIL import Image
from tokens import read_graphs

from r1sgg.bulk import parts
from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.ray_data import SURROUNDINGS, Cluster, run_on_ray
from r1sgg.bulk.run import Job, run
from r1sgg.endpoint.remote import remote
from r1sgg.graph.text import render
from r1sgg.inference.engine import Sampling
from r1sgg.inference.engines import Opening
from r1sgg.inference.reader import Reader

DIFFERENT = 100
KILLED_AT = (0.2, 0.5, 0.8)
MOST_FAILED = 40
"""Tries to start Ray, which gives its own processes 15 seconds."""
WAYS = ("alone", "ray")
ENGINES = ("waiting", "computing", "tiny")


def make(folder: Path, count: int) -> str:
    """A shard of so many small images; what `--images` is to be."""
    noise = np.random.default_rng(0)
    photos = []
    for _ in range(DIFFERENT):
        buffer = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=60)
        photos.append(buffer.getvalue())
    with tarfile.open(folder / "0.tar", "w") as tar:
        for k in range(count):
            member = tarfile.TarInfo(f"{k:07}.jpg")
            member.size = len(photos[k % DIFFERENT])
            tar.addfile(member, io.BytesIO(photos[k % DIFFERENT]))
    return str(folder / "0.tar")


def be_patient() -> None:
    """Let Ray wait ten minutes for its own processes; it gives up after 30 seconds, which a busy machine needs."""
    from ray._private import services

    usual = services.get_node

    def get_node(*arguments: Any) -> Any:
        until = time.monotonic() + 600
        while True:
            try:
                return usual(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    services.get_node = get_node


def generate(way: str, images: str, out: Path, progress: Callable[[int, int], None], shard: int = 1024) -> None:
    """A run of the engine that answers at once."""
    job = Job(Sampling(), batch_size=min(32, shard), window=1 if shard < 128 else 4)
    if way == "ray":
        be_patient()
        run_on_ray(open_inputs(images), out, Waiting(0.0), job, Cluster("local", 2, shard), progress=progress)
    else:
        run(open_inputs(images), out, Reader(remote("fixed"), Fixed()), job, progress=progress)


# ---------------------------------------------------------------- processes


def processes() -> Iterator[tuple[str, psutil.Process]]:
    """This process and all below it: "driver", "worker" or "ray"."""
    here = psutil.Process()
    yield "driver", here
    for child in here.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield "worker" if "MapWorker" in "".join(child.cmdline()) else "ray", child


def memory() -> dict[str, float]:
    """Resident megabytes by kind: of the largest worker, of all of Ray's own processes."""
    found = {"driver": 0.0, "worker": 0.0, "ray": 0.0}
    for kind, process in processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            resident = process.memory_info().rss / 2**20
            found[kind] = max(found[kind], resident) if kind == "worker" else found[kind] + resident
    return found


def cpu_seconds() -> dict[str, float]:
    """CPU-seconds by kind."""
    found = {"driver": 0.0, "worker": 0.0, "ray": 0.0}
    for kind, process in processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[kind] += times.user + times.system
    return found


# ---------------------------------------------------------------- memory


def measure_memory(way: str, images: str, count: int, shard: int) -> list[dict[str, Any]]:
    """Rows of one way: memory after each twentieth of the images."""
    rows: list[dict[str, Any]] = []
    began, spent = time.perf_counter(), sum(cpu_seconds().values())
    first: list[float] = []

    def look(done: int, total: int) -> None:
        if done < total * (len(rows) + 1) / 20 and done < total:
            return
        seconds = time.perf_counter() - began
        rows.append({"way": way, "images": done, "seconds": seconds, **memory()})
        first.append(sum(cpu_seconds().values()) - spent)

    with tempfile.TemporaryDirectory() as folder:
        generate(way, images, Path(folder) / "p.jsonl", look, shard)
        lines = sum(1 for _ in (Path(folder) / "p.jsonl").open("rb"))
        assert lines == count, lines
    end = {"way": way, "images": count, "seconds": time.perf_counter() - began, "after": True, **memory()}
    end["cpu_ms_per_image"] = 1e3 * (first[-1] - first[0]) / (rows[-1]["images"] - rows[0]["images"])
    return [*rows, end]


# ---------------------------------------------------------------- kills


def digest(path: Path) -> tuple[int, str]:
    """Number of lines and SHA-256 of a file whose ids must be 0, 1, 2, ..."""
    hashed, count = hashlib.sha256(), 0
    with path.open("rb") as handle:
        for line in handle:
            hashed.update(line)
            if json.loads(line)["image_id"] != f"{count:07}":
                raise AssertionError(f"line {count} is that of another image: {line[:80]!r}")
            count += 1
    return count, hashed.hexdigest()


def kill_tree(process: subprocess.Popen[bytes]) -> int:
    """SIGKILL a process; what it leaves is given 30 seconds to end by itself. Returns how many processes did not."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(below, timeout=30)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    return len(alive)


def measure_kills(way: str, images: str, count: int) -> dict[str, Any]:
    """One row: the killed run's file against that of an undisturbed one."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole, out = folder / "whole.jsonl", folder / "p.jsonl"
        generate("alone", images, whole, lambda done, total: None)
        progress = folder / "progress"
        command = [sys.executable, __file__, "--generate", way, images, str(out), str(progress)]
        kept: list[tuple[int, int]] = []
        left = failed = 0
        while len(kept) <= len(KILLED_AT):
            share = KILLED_AT[len(kept)] if len(kept) < len(KILLED_AT) else None
            progress.write_text("")
            killed = False
            with subprocess.Popen(command) as process:
                while process.poll() is None and not killed:
                    seen = [int(line) for line in progress.read_text().split("\n")[:-1]]
                    if killed := share is not None and bool(seen) and seen[-1] >= share * count:
                        left += kill_tree(process)
                    time.sleep(0.05)
            if not killed and process.returncode:
                failed += 1
                if failed > MOST_FAILED:
                    raise SystemExit("Ray does not start here")
                continue
            seen = [int(line) for line in progress.read_text().split("\n")[:-1]]
            kept.append((seen[0], seen[-1]))
        same = digest(out) == digest(whole)
        names = sorted(path.name for path in folder.iterdir() if path.name.startswith((".p", "p.")))
        return {
            "way": way,
            "images": count,
            "lines": digest(out)[0],
            "same": same,
            "starts": [first for first, _ in kept],
            "ends": [last for _, last in kept],
            "processes_left": left,
            "failed_starts": failed,
            "files": names,
        }


def say_progress(path: Path) -> Callable[[int, int], None]:
    """Writes each number of finished images as a line."""
    handle = path.open("a", buffering=1)
    return lambda done, total: print(done, file=handle)


# ---------------------------------------------------------------- workers


@dataclass(frozen=True)
class Noted:
    """Opens an engine, and leaves a file that tells that this worker has its model."""

    opener: Any
    folder: str
    guide_vocabulary: str | None = None
    threads: int | None = None

    @property
    def engine(self) -> str:
        return str(self.opener.engine)

    def checkpoint(self) -> Any:
        return self.opener.checkpoint()

    def open(self) -> Reader:
        reader: Reader = self.opener.open()
        (Path(self.folder) / f"{os.getpid()}").touch()
        return reader


def measure_both(engine: str, rounds: int) -> list[dict[str, Any]]:
    """Rows of 1 and of 2 workers in turns, on one cluster."""
    import ray

    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    be_patient()
    ray.init(address="local", num_cpus=2, object_store_memory=128 << 20, include_dashboard=False, log_to_driver=False)
    return [measure_workers(engine, workers) for _ in range(rounds) for workers in (1, 2)]


def measure_workers(engine: str, workers: int) -> dict[str, Any]:
    """One row of 1 or 2 workers."""
    openers = {"waiting": Waiting(0.5), "computing": Waiting(0.0, 30), "tiny": Opening("tiny", device="cpu")}
    opener: Any = openers[engine]
    job, size = Job(Sampling(max_new_tokens=200), batch_size=8), 32
    shards = 40
    seen: list[tuple[int, float, dict[str, float]]] = []

    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as loaded:

        def look(done: int, total: int) -> None:
            if len(list(Path(loaded).iterdir())) == workers:
                seen.append((done, time.perf_counter(), cpu_seconds()))

        opener = Noted(opener, loaded)
        inputs = open_inputs(f"scenes:{shards * size},split=test")
        run_on_ray(inputs, Path(place) / "p.jsonl", opener, job, Cluster("local", workers, size), progress=look)
    (first, began, before), (last, ended, after) = seen[2 * workers], seen[-1 - workers]
    spent = {kind: 1e3 * (after[kind] - before[kind]) / (last - first) for kind in after}
    return {
        "engine": engine,
        "workers": workers,
        "images": last - first,
        "images_per_s": (last - first) / (ended - began),
        "worker_ms": spent["worker"],
        "all_ms": sum(spent.values()),
    }


# ---------------------------------------------------------------- plan


def print_plan(count: int, graphs_file: Path | None) -> list[dict[str, Any]]:
    """Figures of the driver and of the files, printed; returns them as a row."""
    figures: dict[str, Any] = {}

    def timed(name: str, units: int, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        value = work()
        figures[name] = units / (time.process_time() - began)
        return value

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        inputs = open_inputs(make(folder, count))
        timed("names counted per CPU-second", count, lambda: len(inputs))
        places = folder / "places.jsonl"
        timed("places written per CPU-second", count, lambda: list(parts.write_places(inputs, places, 0, count, 1024)))
        figures["bytes per place"] = places.stat().st_size / count
        if graphs_file is not None:
            texts = [render(graph, frame, minify=True) for graph, frame in read_graphs(graphs_file)]
            figures["graphs"] = len(texts)
            rows = [
                {"image_id": f"{k:09}", "frame": [1000.0, 1000.0], "completion": text, "model": "runs/grpo"}
                | {"finish_reason": "stop", "tokens": 400, "passes": 200}
                for k, text in enumerate(texts)
            ]
            for ending in parts.ENDINGS:
                path = folder / f"part-000000000{ending}"
                parts.write_part(path, rows, 0)
                figures[f"bytes per line of {ending}"] = path.stat().st_size / len(rows)
    for name, value in figures.items():
        print(f"{name:44s} {value:14,.1f}")
    return [figures]


# ---------------------------------------------------------------- rows in processes of their own


def in_a_process(*arguments: str) -> Any:
    """What a process of its own measured."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, __file__, "--row", *arguments]
    for _ in range(MOST_FAILED):
        done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
    raise SystemExit("Ray does not start here")


def row(what: str, *arguments: str) -> Any:
    """What `--row` prints."""
    if what == "memory":
        return measure_memory(arguments[0], arguments[1], int(arguments[2]), int(arguments[3]))
    if what == "kills":
        return measure_kills(arguments[0], arguments[1], int(arguments[2]))
    return measure_both(arguments[0], int(arguments[1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "kills", "workers", "plan"], nargs="?")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--shard-size", type=int, default=1024, help='of "memory" with Ray')
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--graphs", type=Path, help='of "plan"')
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--generate", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        way, images, out, progress = options.generate
        generate(way, images, Path(out), say_progress(Path(progress)))
        return
    if options.row:
        print(json.dumps(row(*options.row)))
        return
    rows: list[dict[str, Any]] = []
    if options.what == "plan":
        rows = print_plan(options.images, options.graphs)
    elif options.what == "workers":
        print(f"{'engine':8s} {'workers':>7s} {'images':>7s} {'images/s':>9s} {'ms: workers':>12s} {'all':>8s}")
        for engine in options.engines:
            best: dict[int, dict[str, Any]] = {}
            for found in in_a_process("workers", engine, str(options.rounds)):
                rows.append(found)
                print(
                    f"{engine:8s} {found['workers']:7d} {found['images']:7,d} {found['images_per_s']:9.2f} "
                    f"{found['worker_ms']:12.2f} {found['all_ms']:8.2f}",
                    flush=True,
                )
                kept = best.setdefault(found["workers"], dict(found))
                for key in ("worker_ms", "all_ms"):
                    kept[key] = min(kept[key], found[key])
                kept["images_per_s"] = max(kept["images_per_s"], found["images_per_s"])
            ratios = {key: best[2][key] / best[1][key] for key in ("images_per_s", "worker_ms", "all_ms")}
            rows.append({"engine": engine, "ratios": ratios})
            print(
                f"{engine:8s} 2 against 1: images/s {ratios['images_per_s']:.2f}, CPU per image of the workers "
                f"{ratios['worker_ms']:.2f}, of all processes {ratios['all_ms']:.2f}",
                flush=True,
            )
    else:
        place = Path(tempfile.mkdtemp())
        try:
            images = make(place, options.images)
            for way in options.ways:
                found = in_a_process(options.what, way, images, str(options.images), str(options.shard_size))
                rows += found if isinstance(found, list) else [found]
                (print_memory if options.what == "memory" else print_kills)(found)
        finally:
            shutil.rmtree(place)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "python": sys.version.split()[0]}, indent=2) + "\n")


def print_memory(rows: list[dict[str, Any]]) -> None:
    """A table."""
    print(f"{'way':6s} {'images':>8s} {'seconds':>8s} {'driver MB':>10s} {'worker MB':>10s} {'ray MB':>8s}")
    for found in rows:
        figures = f"{found['seconds']:8.0f} {found['driver']:10.1f} {found['worker']:10.1f} {found['ray']:8.1f}"
        print(f"{found['way']:6s} {found['images']:8,d} {figures}{'  after the end' if 'after' in found else ''}")
    print(f"{rows[-1]['cpu_ms_per_image']:.3f} CPU-ms per image, start not counted", flush=True)


def print_kills(found: dict[str, Any]) -> None:
    """A few lines."""
    print(
        f"{found['way']:6s} {found['images']:,} images: began with {found['starts']} and ended with {found['ends']}; "
        f"{found['lines']:,} lines, {'the same file' if found['same'] else 'ANOTHER FILE'}, "
        f"{found['processes_left']} processes left, {found['failed_starts']} starts failed, "
        f"files {', '.join(found['files'])}",
        flush=True,
    )


if __name__ == "__main__":
    main()
