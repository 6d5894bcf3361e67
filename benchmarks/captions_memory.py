"""Peak memory of `r1sgg data captions` over many captions, by the plain rules: does it grow with the file?

    python benchmarks/captions_memory.py --images 2000 20000 200000 --folder captions-memory

Each file has five captions an image, all different, and the boxes of eight objects. Every run is a process of its own;
printed are its peak resident memory, its CPU-seconds, and captions per CPU-second.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

NAMES = ("man", "woman", "dog", "horse", "bike", "tree", "car", "hat", "bench", "table", "cup", "bird")
VERBS = ("is riding", "holds", "is next to", "is standing on", "wearing", "is carried by", "behind", "looks at")
RUN = """
import resource, sys
from pathlib import Path
from r1sgg.bulk.captions import Job, make
from r1sgg.data.captions.plan import Plan

plan = Plan(Path(sys.argv[1]), "jsonl", extract="rules:plain", vocabulary="vg150", leak="none")
result = make(Job(plan), Path(sys.argv[2]), overwrite=True)
used = resource.getrusage(resource.RUSAGE_SELF)
print(result.counts["captions"], result.counts["triplets kept"], used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)
"""


def write(path: Path, images: int) -> None:
    """Write a file of captions."""
    rng = random.Random(0)
    with path.open("w") as handle:
        for k in range(images):
            shown = rng.sample(NAMES, 8)
            boxes = []
            for name in shown:
                x, y = rng.randrange(500), rng.randrange(400)
                boxes.append({"name": name, "bbox": [x, y, x + rng.randrange(20, 140), y + rng.randrange(20, 80)]})
            captions = [
                f"View {k}, {n}: a {rng.choice(shown)} {rng.choice(VERBS)} the {rng.choice(shown)}." for n in range(5)
            ]
            handle.write(
                json.dumps({"image_id": str(k), "width": 640, "height": 480, "captions": captions, "boxes": boxes})
                + "\n"
            )


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    arguments.add_argument("--folder", type=Path, required=True)
    options = arguments.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(
        "| captions | triplets kept | peak memory, MiB | CPU-seconds | captions per CPU-second |\n|---|---|---|---|---|"
    )
    for images in options.images:
        source, out = options.folder / f"{images}.jsonl", options.folder / f"{images}.made.jsonl"
        write(source, images)
        done = subprocess.run([sys.executable, "-c", RUN, source, out], capture_output=True, text=True, check=True)
        captions, kept, memory, seconds = done.stdout.split()
        rate = int(captions) / float(seconds)
        print(
            f"| {int(captions):,} | {int(kept):,} | {float(memory):.0f} | {float(seconds):.0f} | {rate:,.0f} |",
            flush=True,
        )
        source.unlink()
        out.unlink()


if __name__ == "__main__":
    main()
