"""How fast and how lean the readers are: annotations to examples to JSON Lines, photos to pictures and to batches.

    python benchmarks/data.py --json results.json                        # 12,500 and 50,000 records, 300 photos
    python benchmarks/data.py --records 50000 --photos 0
    python benchmarks/data.py --records --photos 64 --model tiny-base

Each row runs in a process of its own (OMP_NUM_THREADS=1). "CPU-s" is what the step itself took, after the imports;
"MB" is how far the step raised the process's peak memory above what the imports took. The records are synthetic and of
Visual Genome's size: 12 objects and 6 relations an image, 150 classes and 50 predicates, no photos. "convert" is
VG-SGG.h5 -> Example -> JSON Lines. The photos are JPEGs of 800 x 600 pixels, read through a data set and, beside that,
with Pillow alone.

"sft" is what training does for a photo, in batches of 8: TrainingRows and TRL's collator (decoding, prompt, answer, the
processor's pixels and tokens, labels); the processor alone on pictures from Pillow and one fixed text; and the
optimizer's step that waits for them, without the loading.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OBJECTS, RELATIONS = 12, 6
PHOTO = (800, 600)


def make_vg150(folder: Path, records: int, seed: int = 0) -> None:
    """VG-SGG.h5, VG-SGG-dicts.json and image_data.json of `records` synthetic images, all of them for training."""
    import h5py
    import orjson

    from r1sgg.graph.vocabulary import VG150

    rng = np.random.default_rng(seed)
    sizes = rng.integers(320, 1025, (records, 2))
    low = rng.uniform(0, 0.7, (records, OBJECTS, 2))
    high = low + rng.uniform(0.05, 0.3, (records, OBJECTS, 2))
    unit = 1024 * sizes / sizes.max(1, keepdims=True)
    corners = np.floor(np.concatenate((low, high), axis=2) * np.tile(unit, 2)[:, None])
    extent = np.maximum(corners[..., 2:] - corners[..., :2], 2)
    boxes = np.concatenate((corners[..., :2] + np.floor(extent / 2), extent), axis=2).reshape(-1, 4)
    ends = np.argsort(rng.random((records, RELATIONS, OBJECTS)), axis=2)[..., :2]
    ends = (ends + OBJECTS * np.arange(records)[:, None, None]).reshape(-1, 2)
    first_box, first_rel = OBJECTS * np.arange(records), RELATIONS * np.arange(records)
    with h5py.File(folder / "VG-SGG.h5", "w") as file:
        for key, values in {
            "boxes_1024": boxes,
            "boxes_512": boxes / 2,
            "labels": rng.integers(1, 151, (len(boxes), 1)),
            "predicates": rng.integers(1, 51, (len(ends), 1)),
            "relationships": ends,
            "img_to_first_box": first_box,
            "img_to_last_box": first_box + OBJECTS - 1,
            "img_to_first_rel": first_rel,
            "img_to_last_rel": first_rel + RELATIONS - 1,
            "split": np.zeros(records),
        }.items():
            file.create_dataset(key, data=values.astype(np.int32))
    tables = {
        "idx_to_label": {str(k): name for k, name in enumerate(VG150.objects, 1)},
        "idx_to_predicate": {str(k): name for k, name in enumerate(VG150.predicates, 1)},
    }
    (folder / "VG-SGG-dicts.json").write_bytes(orjson.dumps(tables))
    rows = [{"image_id": 2_000_000 + k, "width": w, "height": h} for k, (w, h) in enumerate(sizes.tolist())]
    (folder / "image_data.json").write_bytes(orjson.dumps(rows))


def make_jsonl(folder: Path) -> None:
    """The same as gt.jsonl."""
    from r1sgg.data.base import write_ground_truth
    from r1sgg.data.sources import open_data

    write_ground_truth(folder / "gt.jsonl", open_data(f"vg150:{folder},val_images=0"))


def make_photos(folder: Path, photos: int, seed: int = 0) -> None:
    """JPEGs with photo-like detail, and a photos.jsonl that names them."""
    import orjson
    from PIL import Image

    rng = np.random.default_rng(seed)
    with (folder / "photos.jsonl").open("wb") as lines:
        for k in range(photos):
            small = rng.integers(0, 256, (PHOTO[1] // 16, PHOTO[0] // 16, 3), dtype=np.uint8)
            Image.fromarray(small).resize(PHOTO, Image.Resampling.BICUBIC).save(folder / f"{k}.jpg", quality=90)
            row = {"image_id": str(k), "width": PHOTO[0], "height": PHOTO[1], "image": f"{k}.jpg"}
            low = rng.integers(0, 400, (OBJECTS, 2))
            boxes = np.concatenate((low, low + rng.integers(20, 200, (OBJECTS, 2))), axis=1).tolist()
            objects = [{"id": f"thing.{n}", "bbox": box} for n, box in enumerate(boxes, 1)]
            ends = [rng.permutation(OBJECTS)[:2] + 1 for _ in range(RELATIONS)]
            relations = [{"subject": f"thing.{s}", "predicate": "near", "object": f"thing.{o}"} for s, o in ends]
            lines.write(orjson.dumps(row | {"objects": objects, "relationships": relations}) + b"\n")


# ---------------------------------------------------------------- what is measured


def _read(spec: str) -> int:
    from r1sgg.data.sources import open_data

    return sum(1 for _ in open_data(spec))


def _open(spec: str) -> int:
    from r1sgg.data.sources import open_data

    return len(open_data(spec))


def _convert(folder: Path) -> int:
    from r1sgg.data.base import write_ground_truth
    from r1sgg.data.sources import open_data

    return write_ground_truth(folder / "out.jsonl", open_data(f"vg150:{folder},val_images=0"))


def _hashes(folder: Path) -> int:
    from r1sgg.data.sources import open_data

    data = open_data(f"vg150:{folder},val_images=0")
    data.hashes()
    return len(data)


def _pictures(folder: Path) -> int:
    from r1sgg.data.sources import open_data

    data = open_data(str(folder / "photos.jsonl"))
    return sum(1 for example in data if data.image(example).size == PHOTO)


def _pillow(folder: Path) -> int:
    from PIL import Image

    count = 0
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            count += image.convert("RGB").size == PHOTO
    return count


ANNOTATIONS: dict[str, Callable[[Path], int]] = {
    "vg150: open": lambda folder: _open(f"vg150:{folder},val_images=0"),
    "vg150: examples": lambda folder: _read(f"vg150:{folder},val_images=0"),
    "vg150: convert": _convert,
    "vg150: hashes": _hashes,
    "jsonl: open": lambda folder: _open(str(folder / "gt.jsonl")),
    "jsonl: examples": lambda folder: _read(str(folder / "gt.jsonl")),
}
PICTURES: dict[str, Callable[[Path], int]] = {"photos: data set": _pictures, "photos: Pillow": _pillow}


# ---------------------------------------------------------------- training: what is made ready before the clock starts

BATCH = 8


def _rows(folder: Path, model: str) -> Callable[[], int]:
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from r1sgg.models.families import load_checkpoint
    from r1sgg.training.rows import TrainingRows, open_source

    checkpoint = load_checkpoint(model)
    rows = TrainingRows(open_source(str(folder / "photos.jsonl")), checkpoint, completion=True)
    collate = DataCollatorForVisionLanguageModeling(checkpoint.processor, completion_only_loss=True)

    def run(count: int = len(rows)) -> int:
        for start in range(0, count, BATCH):
            collate(rows.__getitems__(range(start, min(start + BATCH, count))))
        return count

    run(BATCH)
    return run


def _processor(folder: Path, model: str) -> Callable[[], int]:
    from PIL import Image

    from r1sgg.models.families import load_checkpoint
    from r1sgg.training.rows import TrainingRows, open_source

    checkpoint = load_checkpoint(model)
    row = TrainingRows(open_source(str(folder / "photos.jsonl")), checkpoint, completion=True)[0]
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["prompt"][-1]["content"]}]}
    text = checkpoint.processor.apply_chat_template([user, *row["completion"]], tokenize=False)
    paths = sorted(folder.glob("*.jpg"))

    def run(count: int = len(paths)) -> int:
        for start in range(0, count, BATCH):
            images = []
            for path in paths[start : min(start + BATCH, count)]:
                with Image.open(path) as image:
                    images.append(image.convert("RGB"))
            checkpoint.processor(images=images, text=[text] * len(images), padding=True, return_tensors="pt")
        return count

    run(BATCH)
    return run


def _step(folder: Path, model: str) -> Callable[[], int]:
    import torch
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from r1sgg.models.families import load_model
    from r1sgg.training.rows import TrainingRows, open_source

    loaded = load_model(model)
    rows = TrainingRows(open_source(str(folder / "photos.jsonl")), loaded, completion=True)
    collate = DataCollatorForVisionLanguageModeling(loaded.processor, completion_only_loss=True)
    batch = {key: value.to(loaded.model.device) for key, value in collate(rows.__getitems__(range(BATCH))).items()}
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-6)

    def run(count: int = len(rows)) -> int:
        for _ in range(0, count, BATCH):
            loaded.model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return count

    run(BATCH)
    return run


TRAINING: dict[str, Callable[[Path, str], Callable[[], int]]] = {
    "sft: rows, collator": _rows,
    "sft: Pillow, processor": _processor,
    "sft: optimizer step": _step,
}
STEPS = ANNOTATIONS | PICTURES


def child(step: str, folder: Path, model: str) -> dict[str, float]:
    """Run one step in this process."""
    import h5py  # noqa: F401 - imported before the clock starts
    from PIL import Image, JpegImagePlugin  # noqa: F401

    from r1sgg.data import sources, vg150  # noqa: F401

    work = TRAINING[step](folder, model) if step in TRAINING else functools.partial(STEPS[step], folder)
    before, start = peak_megabytes(), time.process_time()
    count = work()
    seconds, peak = time.process_time() - start, peak_megabytes()
    return {"count": count, "cpu_seconds": seconds, "megabytes": peak - before, "peak_megabytes": peak}


def peak_megabytes() -> float:
    """Peak memory of this process; where /proc says it, without what the parent had when it started us."""
    status = Path("/proc/self/status")
    if status.exists():
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(step: str, folder: Path, model: str) -> dict[str, Any]:
    """Run one step in a new process."""
    command = [sys.executable, __file__, "--child", step, "--folder", str(folder), "--model", model]
    done = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    row: dict[str, Any] = json.loads(done.stdout)
    return {"step": step, **row, "per_cpu_second": row["count"] / row["cpu_seconds"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="*", default=[12_500, 50_000])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--model", default="tiny-base", help="whose processor and step 'sft' takes")
    parser.add_argument("--json", type=Path, help="write the table here too")
    parser.add_argument("--child", choices=STEPS | TRAINING, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.folder, options.model)))
        return
    rows: list[dict[str, Any]] = []
    print(f"{'step':22s} {'count':>8s} {'CPU-s':>8s} {'a CPU-s':>10s} {'MB':>7s} {'peak MB':>8s}")
    for records in (*options.records, 0):
        steps = list(ANNOTATIONS if records else (*PICTURES, *TRAINING) if options.photos else ())
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if records:
                make_vg150(folder, records)
                make_jsonl(folder)
            else:
                make_photos(folder, options.photos)
            for step in steps:
                rows.append(measure(step, folder, options.model))
                row = rows[-1]
                print(
                    f"{step:22s} {row['count']:8,d} {row['cpu_seconds']:8.2f} {row['per_cpu_second']:10,.0f} "
                    f"{row['megabytes']:7.1f} {row['peak_megabytes']:8.1f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps({"command": " ".join(sys.argv), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
