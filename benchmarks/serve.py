"""How `r1sgg serve` behaves under load: throughput against one by one, latency, crossed answers, memory.

    python benchmarks/serve.py --out results.json             # 64 clients, 2,000 requests, the embedded model

The server runs in a process of its own on loopback (OMP_NUM_THREADS=1), the clients in this one. First one client asks
for a part of the scenes one after another; then all clients ask at once. Every answer is compared with what the model
says of that image without a server, so a lost or crossed one shows. Wall times depend on the machine: read the ratio.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np

SCENES = 64
"""Different images; requests go round them."""


def images() -> list[bytes]:
    """PNG files of drawn scenes."""
    from r1sgg.miniature.scenes import SMALL, scene, split_seeds

    files = []
    for seed in split_seeds("test", 7, SCENES):
        buffer = io.BytesIO()
        scene(seed, SMALL).image.save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--alone", type=int, default=100, help="requests of the one-by-one part")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    files = images()
    options = ["--port", "0", "--max-new-tokens", "200", "--batch-size", "64", "--queue", "256"]
    server = subprocess.Popen(
        [sys.executable, "-c", "from r1sgg.cli import main; main()", "serve", *options],
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
        client = httpx.Client(base_url=url, timeout=120, trust_env=False, limits=httpx.Limits(max_connections=256))
        for _ in range(600):
            try:
                client.get("/health")
                break
            except httpx.ConnectError:
                time.sleep(0.1)

        def ask(k: int) -> tuple[float, str]:
            begun = time.perf_counter()
            answer = client.post(
                "/v1/graph", content=files[k % SCENES], headers={"content-type": "image/png"}, params={"guide": True}
            )
            answer.raise_for_status()
            return time.perf_counter() - begun, answer.json()["completion"]

        truth = [ask(k)[1] for k in range(SCENES)]
        begun = time.perf_counter()
        alone = [ask(k)[0] for k in range(arguments.alone)]
        one_by_one = arguments.alone / (time.perf_counter() - begun)
        before = memory(server.pid)
        curve, latencies, crossed = [], [], 0
        begun = time.perf_counter()
        with ThreadPoolExecutor(arguments.clients) as pool:
            for start in range(0, arguments.requests, 500):
                part = range(start, min(start + 500, arguments.requests))
                for k, (seconds, text) in zip(part, pool.map(ask, part), strict=True):
                    latencies.append(seconds)
                    crossed += text != truth[k % SCENES]
                curve.append(round(memory(server.pid)))
        together = arguments.requests / (time.perf_counter() - begun)
        metrics = client.get("/metrics").text
        batch = float(re.search(r"r1sgg_batch_images_sum (\S+)", metrics).group(1)) / float(  # type: ignore[union-attr]
            re.search(r"r1sgg_batch_images_count (\S+)", metrics).group(1)  # type: ignore[union-attr]
        )
    finally:
        server.terminate()
        server.wait(30)
    result = {
        "requests": arguments.requests,
        "clients": arguments.clients,
        "throughput against one by one": together / one_by_one,
        "images a second, one by one": one_by_one,
        "images a second, together": together,
        "latency alone, p50 ms": 1000 * float(np.median(alone)),
        "latency together, p50 ms": 1000 * float(np.median(latencies)),
        "latency together, p95 ms": 1000 * float(np.quantile(latencies, 0.95)),
        "images a batch, mean": batch,
        "answers that differ from the image's own": crossed,
        "lost": arguments.requests - len(latencies),
        "MB before": round(before),
        "MB after each 500": curve,
    }
    for name, value in result.items():
        print(f"| {name} | {value:.2f} |" if isinstance(value, float) else f"| {name} | {value} |")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
