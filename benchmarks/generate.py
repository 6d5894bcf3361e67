"""How fast and how lean `r1sgg generate` is around the model; on a cluster, and over many more images: scale.py.

    python benchmarks/generate.py --json results.json              # every kind of input, 2,000 and 20,000 images

Each row runs in a process of its own (OMP_NUM_THREADS=1). The engine answers at once with one fixed graph, so what is
left is the pipeline: names, headers, decoding, prompts, parsing, lines, the file. The images are JPEGs of 640 x 480
pixels, 500 different ones under as many names as are asked for. "CPU-s" is what the whole run took after the imports,
counting the images included; "resume" what it takes to find that nothing is left to do; "MB" how far the run raised the
process's peak memory. "Pillow" opens and decodes the same files and does nothing else.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.run import Job, run
from r1sgg.endpoint.remote import Remote, remote
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.reader import Reader

KINDS = ("pillow", "jsonl", "folder", "webdataset", "parquet")
DIFFERENT = 500
ANSWER = json.dumps(
    {
        "objects": [{"id": f"man.{k}", "bbox": [10 * k, 10, 10 * k + 100, 500]} for k in range(1, 13)],
        "relationships": [{"subject": "man.1", "predicate": "near", "object": f"man.{k}"} for k in range(2, 8)],
    }
)


@dataclass
class Fixed:
    """An engine that always says the same, after so many seconds a batch and products of matrices an image."""

    seconds: float = 0.0
    products: int = 0
    name: str = "fixed"

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[dict[str, Any]]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
        **_: Any,
    ) -> list[Completion]:
        time.sleep(self.seconds)
        matrix = np.full((256, 256), 1 / 256, dtype=np.float32)
        for _ in range(self.products * len(images)):
            matrix = matrix @ matrix
        return [Completion(ANSWER, 300, "stop", self.seconds / len(images)) for _ in images]


@dataclass(frozen=True)
class Waiting:
    """Opens an engine that waits or computes, on any machine."""

    seconds: float
    products: int = 0
    guide_vocabulary: str | None = None
    engine: str = "waiting"
    threads: int | None = None

    def checkpoint(self) -> Remote:
        return remote("fixed")

    def open(self) -> Reader:
        return Reader(self.checkpoint(), Fixed(self.seconds, self.products))


def make(kind: str, folder: Path, count: int) -> str:
    """Images in one form; what `--images` is to be."""
    noise = np.random.default_rng(0)
    photos = []
    for _ in range(DIFFERENT):
        coarse = Image.fromarray(noise.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        photos.append(buffer.getvalue())
    if kind == "webdataset":
        with tarfile.open(folder / "0.tar", "w") as tar:
            for k in range(count):
                member = tarfile.TarInfo(f"{k:07}.jpg")
                member.size = len(photos[k % DIFFERENT])
                tar.addfile(member, io.BytesIO(photos[k % DIFFERENT]))
        return str(folder / "0.tar")
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema({"image_id": pa.string(), "image": pa.binary()})
        with pq.ParquetWriter(folder / "0.parquet", schema, compression="none") as writer:
            for start in range(0, count, 100):
                rows = range(start, min(start + 100, count))
                columns = {"image_id": [str(k) for k in rows], "image": [photos[k % DIFFERENT] for k in rows]}
                writer.write_table(pa.table(columns, schema))
        return str(folder / "0.parquet")
    (folder / "files").mkdir()
    for k, photo in enumerate(photos):
        (folder / "files" / f"{k}.jpg").write_bytes(photo)
    if kind == "folder":
        for k in range(DIFFERENT, count):
            os.link(folder / "files" / f"{k % DIFFERENT}.jpg", folder / "files" / f"{k}.jpg")
        return str(folder / "files")
    with (folder / "list.jsonl").open("w") as handle:  # what is read with Pillow alone is this list too
        for k in range(count):
            handle.write(f'{{"image_id":"{k}","image":"files/{k % DIFFERENT}.jpg","width":640,"height":480}}\n')
    return str(folder / "list.jsonl")


def measure(kind: str, spec: str, count: int) -> dict[str, Any]:
    """One row."""
    folder = Path(spec).parent
    if kind == "pillow":
        began = time.process_time()
        for k in range(count):
            with Image.open(folder / "files" / f"{k % DIFFERENT}.jpg") as image:
                image.convert("RGB")
        return {"kind": kind, "images": count, "images_per_cpu_s": count / (time.process_time() - began)}
    reader, job = Reader(remote("fixed"), Fixed()), Job(Sampling(), batch_size=32)
    run(open_inputs(spec), folder / "warm.out", reader, job, limit=200)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    run(open_inputs(spec), folder / "all.out", reader, job)
    middle = time.process_time()
    run(open_inputs(spec), folder / "all.out", reader, job)
    after = time.process_time()
    return {
        "kind": kind,
        "images": count,
        "images_per_cpu_s": count / (middle - began),
        "resume_images_per_cpu_s": count / (after - middle),
        "grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def in_a_process(*arguments: str) -> dict[str, Any]:
    """A row that a process of its own measured."""
    command = [sys.executable, __file__, "--row", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    row: dict[str, Any] = json.loads(output.splitlines()[-1])
    return row


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[2_000, 20_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        kind, spec, number = options.row
        print(json.dumps(measure(kind, spec, int(number))))
        return
    rows = []
    for count in options.images:
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(in_a_process(kind, make(kind, Path(folder), count), str(count)))
    print(f"{'input':12} {'images':>8} {'images/CPU-s':>13} {'resume':>10} {'MB':>7}")
    for row in rows:
        again, grown = row.get("resume_images_per_cpu_s"), row.get("grown_mb")
        end = f" {again:10,.0f} {grown:7.1f}" if again else ""
        print(f"{row['kind']:12} {row['images']:8,} {row['images_per_cpu_s']:13,.0f}{end}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "python": sys.version.split()[0]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
