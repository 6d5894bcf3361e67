"""How `r1sgg serve` behaves under load: throughput against one by one, latency, crossed answers, memory.

    python benchmarks/serve.py --out results.json             # 64 clients, 2,000 requests, the embedded model
    python benchmarks/serve.py --hostile --out results.json   # then again, with every second request an attack

The server runs in its own process on loopback (OMP_NUM_THREADS=1), the clients in this one. First one client asks for
some scenes one after another; then all clients ask at once. Every answer is compared with the first answer for that
image, so a lost or crossed one shows. Memory is the resident memory of the server and of its decoding processes,
sampled twenty times a second; pages of libraries count also after the kernel has reclaimed them. Wall times depend on
the machine: read the ratios.

With --hostile, a second server gets the same requests, except that every second one is one of `attacks`, and the
highest memory of the two servers is compared. The 1,000 attacks take about ten minutes of CPU time.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, features

SCENES = 64
"""Different images; requests go round them."""

OPTIONS = ["--port", "0", "--max-new-tokens", "200", "--batch-size", "64", "--queue", "256"]


def images() -> list[bytes]:
    """Return PNG files of drawn scenes."""
    from r1sgg.miniature.scenes import SMALL, scene, split_seeds

    return [_file(scene(seed, SMALL).image, "PNG") for seed in split_seeds("test", 7, SCENES)]


def attacks() -> list[tuple[str, dict[str, Any]]]:
    """Return requests that are meant to cost much: their path, and arguments of httpx.

    The first is the worst that was found: 16 times 40 million pixels in 80 kilobytes.
    """

    def image(data: bytes) -> tuple[str, dict[str, Any]]:
        return "/v1/graph", {"content": data, "headers": {"content-type": "image/png"}}

    black_and_white = _flat_png(6320, colour=0, depth=1)
    form = {"files": [("images", (f"{k}.png", black_and_white, "image/png")) for k in range(16)]}
    single = [
        *[black_and_white] * 3,
        *[_flat_png(5200)] * 3,  # RGB
        *[_flat_png(4000, colour=6)] * 2,  # RGBA
        *[_file(Image.new("RGB", (2800, 2800)), "WEBP", lossless=True)] * 2,
        *[_file(Image.new("RGB", (4600, 4600)), "JPEG", progressive=True)] * 2,
        _flat_png(30_000, rows=10),  # says that it is larger than allowed
        *[b"\x89PNG\r\n\x1a\n" + b"x" * 19_000_000] * 2,
        *[b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9000 9000\n%%EndComments\n{} loop\n"] * 2,
    ]
    if features.check("avif"):
        data = _file(Image.new("RGB", (8000, 8000)), "AVIF", speed=10, quality=1)
        at = data.index(b"ispe") + 8
        single += [data[:at] + struct.pack(">II", 100, 100) + data[at + 8 :]] * 2  # says that it is smaller
    return [("/v1/graphs", form), *map(image, single)]


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _flat_png(side: int, colour: int = 2, depth: int = 8, rows: int | None = None) -> bytes:
    """Return a black square of a few kilobytes; colour 0 is grey, 2 RGB, 6 RGBA; with fewer rows, a damaged one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" * (1 + -(-side * depth * {0: 1, 2: 3, 6: 4}[colour] // 8))
    press = zlib.compressobj(9)
    data = b"".join(press.compress(row) for _ in range(rows or side)) + press.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def resident(pid: int) -> tuple[int, int]:
    """Return resident bytes of a process: its own pages, and those of files (libraries, above all)."""
    rows = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Rss")]
    kilobytes = {name.rstrip(":"): int(value) for name, value, _ in rows}
    return 1024 * (kilobytes["RssAnon"] + kilobytes["RssShmem"]), 1024 * kilobytes["RssFile"]


@dataclass
class Served:
    """A running server."""

    url: str
    pid: int
    client: httpx.Client
    peak: float = 0.0
    files: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def memory(self) -> float:
        """Return the megabytes of the server and of its decoding processes."""
        own, files = resident(self.pid)
        self.files = max(self.files, files)
        total = own + self.files
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(OSError):  # it may just have ended
                if b"reducing" in Path(f"/proc/{child}/cmdline").read_bytes():  # else it is still a copy of the server
                    total += sum(resident(int(child)))
        return total / 1e6

    def cpu_seconds(self) -> float:
        """Return the CPU-seconds of the server and of the processes that it has started."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ticks = sum(map(int, fields[11:15]))  # its own and those of children that ended
        for child in children:
            with contextlib.suppress(OSError):
                ticks += sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def watch(self) -> None:
        """Keep the highest memory until `over` is set."""
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.memory())

    def ask(self, data: bytes) -> tuple[float, str]:
        """Return the seconds and the completion of a request."""
        begun = time.perf_counter()
        answer = self.client.post(
            "/v1/graph", content=data, headers={"content-type": "image/png"}, params={"guide": True}
        )
        answer.raise_for_status()
        return time.perf_counter() - begun, answer.json()["completion"]

    def answered(self, data: bytes) -> tuple[float, str] | str:
        """Return the same, or the status if it is not 200."""
        try:
            return self.ask(data)
        except httpx.HTTPStatusError as error:
            return str(error.response.status_code)

    def attack(self, path: str, request: dict[str, Any]) -> str:
        """Return the status of an attack."""
        try:
            return str(self.client.post(path, **request).status_code)
        except httpx.TransportError as error:
            return type(error).__name__


@contextlib.contextmanager
def served() -> Iterator[Served]:
    """Start a server in its own process."""
    server = subprocess.Popen(
        [sys.executable, "-c", "from r1sgg.cli import main; main()", "serve", *OPTIONS],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        url = ""
        for line in server.stderr:
            if found := re.search(r"http://[\d.]+:\d+", line):
                url = found.group()
                break
        if not url:
            sys.exit("the server did not start")
        threading.Thread(target=server.stderr.read, daemon=True).start()  # otherwise its log fills the pipe
        limits = httpx.Limits(max_connections=256)
        client = httpx.Client(base_url=url, timeout=120, trust_env=False, limits=limits)
        for _ in range(600):
            try:
                client.get("/health")
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        running = Served(url, server.pid, client)
        watcher = threading.Thread(target=running.watch)
        watcher.start()
        try:
            yield running
        finally:
            running.over.set()
            watcher.join()
    finally:
        server.terminate()
        server.wait(30)


def measure(
    arguments: argparse.Namespace, files: list[bytes], hostile: list[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Send all requests to one server; every second one is an attack, if there are any."""
    statuses: collections.Counter[str] = collections.Counter()
    refused: collections.Counter[str] = collections.Counter()
    curve, latencies, crossed = [], [], 0
    with served() as server:
        truth = [server.ask(data)[1] for data in files]
        begun, spent = time.perf_counter(), server.cpu_seconds()
        alone = [server.ask(files[k % SCENES])[0] for k in range(arguments.alone)]
        one_by_one = arguments.alone / (time.perf_counter() - begun)
        cpu_alone = (server.cpu_seconds() - spent) / arguments.alone
        before, server.peak = server.memory(), 0.0

        def send(k: int) -> tuple[float, str] | str:
            if hostile and k % 2:
                return server.attack(*hostile[k // 2 % len(hostile)])
            return server.answered(files[k % SCENES])

        begun, spent = time.perf_counter(), server.cpu_seconds()
        with ThreadPoolExecutor(arguments.clients) as pool:
            for start in range(0, arguments.requests, 500):
                part = range(start, min(start + 500, arguments.requests))
                for k, answer in zip(part, pool.map(send, part), strict=True):
                    if isinstance(answer, str):
                        (statuses if hostile and k % 2 else refused)[answer] += 1
                    else:
                        latencies.append(answer[0])
                        crossed += answer[1] != truth[k % SCENES]
                curve.append(round(server.memory()))
        together = arguments.requests / (time.perf_counter() - begun)
        cpu_together = (server.cpu_seconds() - spent) / arguments.requests
        metrics = server.client.get("/metrics").text
        batch = float(re.search(r"r1sgg_batch_images_sum (\S+)", metrics).group(1)) / float(  # type: ignore[union-attr]
            re.search(r"r1sgg_batch_images_count (\S+)", metrics).group(1)  # type: ignore[union-attr]
        )
        peak = server.peak
    return {
        "requests": arguments.requests,
        "clients": arguments.clients,
        "throughput against one by one": together / one_by_one,
        "requests a second, one by one": one_by_one,
        "requests a second, together": together,
        "CPU ms of the server per request, one by one": 1000 * cpu_alone,
        "CPU ms of the server per request, together": 1000 * cpu_together,
        "latency alone, p50 ms": 1000 * float(np.median(alone)),
        "latency together, p50 ms": 1000 * float(np.median(latencies)),
        "latency together, p95 ms": 1000 * float(np.quantile(latencies, 0.95)),
        "images a batch, mean": batch,
        "answers that differ from the image's own": crossed,
        "other statuses of scenes": dict(sorted(refused.items())),
        "statuses of attacks": dict(sorted(statuses.items())),
        "MB before": round(before),
        "MB after each 500": curve,
        "MB at most": round(peak),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--alone", type=int, default=100, help="requests of the one-by-one part")
    parser.add_argument("--hostile", action="store_true", help="then again, with every second request an attack")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    files = images()
    results = {"friendly": measure(arguments, files, [])}
    if arguments.hostile:
        results["hostile"] = measure(arguments, files, attacks())
        ratio = results["hostile"]["MB at most"] / results["friendly"]["MB at most"]
        results["hostile"]["memory against friendly"] = ratio
    for kind, result in results.items():
        for name, value in result.items():
            print(
                f"| {kind} | {name} | {value:.2f} |" if isinstance(value, float) else f"| {kind} | {name} | {value} |"
            )
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
