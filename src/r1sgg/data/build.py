"""`r1sgg data build`: any set as parquet shards, with its ground truth and a description beside them.

    OUT/data/train-00000-of-00057.parquet   the shards (`r1sgg.data.shards`); `hub:OUT` and `load_dataset` read them
    OUT/gt.jsonl                            the annotations, for `evaluate`, `report` and every other command
    OUT/errors.jsonl                        a line for each image that is not in the set, and for each part left out
    OUT/dataset.json                        name, split, hashes, counts and options

Processes make the shards, one image at a time, so that memory does not grow with the set. A build that is started again
keeps a finished shard if the annotations it was made from are the same and none of its images failed. Nothing is
shuffled, filtered or resized.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1sgg import __version__
from r1sgg.data.base import Example, example_digest, hash_of_digests, write_ground_truth
from r1sgg.data.dataset import DataSet, hash_of_ids
from r1sgg.data.provenance import DESCRIPTION, write_description
from r1sgg.data.shards import ImageMode, ShardWriter, read_examples, read_footer, row_of
from r1sgg.data.sources import open_data
from r1sgg.data.spec import parse_spec
from r1sgg.errors import InputError, R1SGGError, os_errors
from r1sgg.files import locked, refuse_inputs, refuse_removal, write_lines, writing

SHARD_SIZE = 1000
"""Images per shard: VG150's training split makes 57 shards, enough for many machines."""
_POLL = 0.2  # seconds between two looks at the progress of other processes
_LOST = frozenset(("record", "id"))  # kinds of notes on a ground-truth file that stand for whole lines


@dataclass(frozen=True, slots=True)
class Built:
    """The result of a build: the content of dataset.json, and counts; `kept` shards are those of an earlier run."""

    description: dict[str, Any]
    shards: int
    kept: int
    failed: int
    left_out: int


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard to make: examples `first` to `last` - 1 into `target`."""

    first: int
    last: int
    target: Path


@dataclass(frozen=True, slots=True)
class _Plan:
    """What all shards of a build have in common; `options` is part of every footer."""

    spec: str
    out: Path
    images: ImageMode
    shard_size: int
    examples: int

    @property
    def options(self) -> dict[str, Any]:
        return {"data": self.spec, "images": self.images, "shard_size": self.shard_size, "examples": self.examples}


def build(
    spec: str,
    out: Path,
    *,
    images: ImageMode = "inside",
    shard_size: int = SHARD_SIZE,
    workers: int = 1,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> Built:
    """Write a prepared set; the result does not depend on `workers` or on interruptions.

    Args:
        spec: the set, as --data takes it (see `r1sgg.data.sources`).
        out: folder; new, empty, or of the same build.
        images: "inside" (bytes in the shards) or "path" (absolute paths).
        shard_size: images per shard.
        workers: processes; each opens the set for itself.
        advance: called with the number of images that are done, and of all images.

    Raises:
        InputError: `out` has another build or cannot be written; no image could be used; two images have the same id.
        R1SGGError: a worker process died.
    """
    data = open_data(spec, strict=False)
    if not len(data):
        raise InputError(spec, expected="at least one image", found="none")
    split = re.sub(r"\W+", "_", data.split or "train")
    plan = _Plan(spec, out, images, shard_size, len(data))
    starts = range(0, plan.examples, shard_size)
    shards = [
        _Shard(
            first,
            min(first + shard_size, plan.examples),
            out / "data" / f"{split}-{number:05d}-of-{len(starts):05d}.parquet",
        )
        for number, first in enumerate(starts)
    ]
    with locked(out):
        return _build(plan, data, shards, split, workers, advance)


def _build(
    plan: _Plan, data: DataSet, shards: list[_Shard], split: str, workers: int, advance: Callable[[int, int], object]
) -> Built:
    out = plan.out
    refuse_removal(out / _UNFINISHED)
    refuse_inputs([out / "gt.jsonl", out / DESCRIPTION, out / "errors.jsonl", *(shard.target for shard in shards)])
    with os_errors(out, "a folder that can be written", "choose another"):
        _check_folder(plan, shards)
        (out / "data").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out / _UNFINISHED, ignore_errors=True)
    with os_errors(out, "a disk to write to", "finished shards are kept: make room and run the same command again"):
        kept = sum(_run(plan, data, shards, workers, advance))
        shutil.rmtree(out / _UNFINISHED, ignore_errors=True)
        return _finish(plan, data, shards, split, kept)


_UNFINISHED = ".unfinished"


def _check_folder(plan: _Plan, shards: list[_Shard]) -> None:
    """Refuse a folder of another build, whose shards would be mixed with ours."""
    targets = {shard.target for shard in shards}
    for path in sorted((plan.out / "data").glob("*.parquet")):
        found: dict[str, Any] = (read_footer(path) or {}).get("options", {})
        if found == plan.options and path in targets:
            continue
        differs = [f"{k}={found.get(k)}" for k, v in plan.options.items() if found.get(k) != v] if found else []
        raise InputError(
            str(path),
            expected="an empty folder, or one of the same build",
            found=f"a shard made with {', '.join(differs)}" if differs else "a shard of another set, or a damaged one",
            hint="choose another --out, or remove that folder",
        )


# ---------------------------------------------------------------- making shards


def make_shard(plan: _Plan, data: DataSet, shard: _Shard, advance: Callable[[], object]) -> bool:
    """Make one shard, or keep it; return whether it was kept."""
    footer = read_footer(shard.target)
    if footer is not None and not footer["errors"] and footer["annotations"] == _annotations(data, shard):
        for _ in range(shard.first, shard.last):
            advance()
        return True
    digests: list[bytes] = []
    errors: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    with ShardWriter(plan.out / _UNFINISHED / shard.target.name) as writer:
        for k in range(shard.first, shard.last):
            name = None
            try:
                example, faults = data.read(k)
                name = example.image_id
                digests.append(example_digest(example))
                left_out += [{"row": k, "image_id": name, "kind": f.kind, "error": f.text} for f in faults]
                writer.add(row_of(data, example, plan.images, plan.out))
            except InputError as error:
                errors.append({"row": k, "image_id": name, "kind": "image" if name else "record", "error": str(error)})
            advance()
        footer = {
            "options": plan.options,
            "annotations": hash_of_digests(digests),
            "errors": errors,
            "left_out": left_out,
        }
        writer.finish(footer, shard.target)
    return False


def _annotations(data: DataSet, shard: _Shard) -> str | None:
    """Return the hash of a shard's annotations as the source has them now, or None if they cannot be read."""
    try:
        return hash_of_digests([example_digest(data.read(k)[0]) for k in range(shard.first, shard.last)])
    except InputError:
        return None


def _run(
    plan: _Plan, data: DataSet, shards: list[_Shard], workers: int, advance: Callable[[int, int], object]
) -> Iterator[bool]:
    """Make all shards, here or in processes; yield for each whether it was kept."""
    if min(workers, len(shards)) <= 1:
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            advance(done, plan.examples)

        for shard in shards:
            yield make_shard(plan, data, shard, count)
        return
    context = multiprocessing.get_context("spawn")  # a forked process would share open files and threads
    counter, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(min(workers, len(shards)), context, _start_worker, (plan, counter, stop))
    try:
        waiting: set[Future[bool]] = {pool.submit(_in_worker, shard) for shard in shards}
        while waiting:
            finished, waiting = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
            advance(counter.value, plan.examples)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise R1SGGError(
            f"{plan.out}: a worker process died, perhaps because memory ran out; finished shards are kept: "
            "run the same command again, with fewer --workers"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_worker: tuple[_Plan, DataSet, Any, Any] | None = None  # what a worker process was started with


def _start_worker(plan: _Plan, counter: Any, stop: Any) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = plan, open_data(plan.spec, strict=False), counter, stop


def _end_with_parent() -> None:
    """End when the parent does: one that is killed cannot stop its workers, and they would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(shard: _Shard) -> bool:
    assert _worker is not None
    plan, data, counter, stop = _worker

    def count() -> None:
        if stop.is_set():
            raise R1SGGError("stopped")
        with counter.get_lock():
            counter.value += 1

    return make_shard(plan, data, shard, count)


# ---------------------------------------------------------------- the files beside the shards


def _finish(plan: _Plan, data: DataSet, shards: list[_Shard], split: str, kept: int) -> Built:
    footers = [read_footer(shard.target) or {} for shard in shards]
    errors = [row for footer in footers for row in footer["errors"]]
    left_out = [row for footer in footers for row in footer["left_out"]]
    lost = [{"row": None, "image_id": None, "kind": note.kind, "error": note.text} for note in data.notes]
    if parse_spec(plan.spec).kind == "jsonl":  # the notes of other readers are of what a split has not
        errors = [row for row in lost if row["kind"] in _LOST] + errors
        lost = [row for row in lost if row["kind"] not in _LOST]
    if errors or lost or left_out:
        with writing(plan.out / "errors.jsonl") as handle:
            write_lines(handle, (*errors, *lost, *left_out))
    else:
        (plan.out / "errors.jsonl").unlink(missing_ok=True)  # of an earlier attempt
    counts = {"images": 0, "objects": 0, "relationships": 0}
    ids: list[str] = []
    digests: list[bytes] = []

    def examples() -> Iterator[Example]:
        for shard in shards:
            for example in read_examples(shard.target, plan.images):
                counts["images"] += 1
                counts["objects"] += len(example.graph)
                counts["relationships"] += len(example.graph.pairs)
                ids.append(example.image_id)
                digests.append(example_digest(example))
                yield example

    write_ground_truth(plan.out / "gt.jsonl", examples())
    if not ids:
        raise InputError(
            plan.spec, expected="an image that can be used", found=f"none of {plan.examples}", hint=errors[0]["error"]
        )
    (again, times), *_ = Counter(ids).most_common(1)
    if times > 1:
        raise InputError(
            plan.spec,
            expected="image ids that differ",
            found=f"{again!r} {times} times",
            hint="`r1sgg data check` lists them",
        )
    description = {
        "name": plan.spec,
        "split": split,
        "hashes": {"images": hash_of_ids(ids), "annotations": hash_of_digests(digests)},
        "counts": {**counts, "errors": len(errors), "left_out": len(lost) + len(left_out)},
        "options": {"data": plan.spec, "images": plan.images, "shard_size": plan.shard_size},
        "shards": [shard.target.relative_to(plan.out).as_posix() for shard in shards],
        "r1sgg": __version__,
    }
    write_description(plan.out, description)
    return Built(description, len(shards), kept, len(errors), len(lost) + len(left_out))
