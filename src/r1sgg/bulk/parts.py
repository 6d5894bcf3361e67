"""The files of a run on many machines: the places of the images to process, and the parts that workers write.

Parts hold the lines of a predictions file, as JSON Lines, or as parquet with the same fields as columns and `index`,
the number of the image, which restores the order of shuffled rows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from r1sgg.bulk.resume import AGAIN, SideFile, is_failed
from r1sgg.bulk.stored import Inputs, Place
from r1sgg.errors import InputError
from r1sgg.files import write_lines, writing

PREFIX, UNFINISHED = "part-", ".part"
ENDINGS = (".jsonl", ".parquet")
PLACES, RUN = "_places.jsonl", "_run.json"  # readers of a folder of parquet files ignore names that begin with "_"


class Shard(NamedTuple):
    """Consecutive images: the number of the first, how many, and their offset in the file of places."""

    start: int
    images: int
    offset: int


def folder_of_parts(folder: Path, settings: dict[str, Any], overwrite: bool) -> SideFile:
    """Prepare the folder for parts.

    Raises:
        InputError: it is a file, or what is in it is not of a run with the same settings.
    """
    side = SideFile(folder / RUN, settings)
    if folder.exists() and not folder.is_dir():
        raise InputError(str(folder), expected="a folder for shards, or NAME.jsonl", found="a file")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if overwrite and (side.path.is_file() or not found):
        for name in found:
            if name.startswith(PREFIX) or name in (RUN, PLACES):
                (folder / name).unlink()
    elif found:
        side.check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    side.add(0.0)
    return side


def write_places(inputs: Inputs, path: Path, start: int, total: int, size: int) -> Iterator[Shard]:
    """Write the places of images start..total, one per line, and yield their shards.

    Raises:
        InputError: there are fewer images than that.
    """
    offset = 0
    with writing(path, sync=False) as handle:
        places = islice(inputs, start, total)
        while shard := list(islice(places, size)):
            lines = b"".join(line_of_place(place) for place in shard)
            handle.write(lines)
            yield Shard(start, len(shard), offset)
            start, offset = start + len(shard), offset + len(lines)
    if start < total:
        raise InputError(inputs.name, expected=f"the {total} images that were counted", found=f"{start}", hint=AGAIN)


def forget(folder: Path, before: set[Path] | None) -> None:
    """Remove what a run that did not finish a single part has written into the folder, and the folder if it is new.

    Args:
        folder: the parts.
        before: what was in it; None: there was no folder.
    """
    now = set(folder.iterdir()) if folder.is_dir() else set()
    if any(path.name.startswith(PREFIX) and path.suffix in ENDINGS for path in now):
        return
    for path in now - (before or set()):
        if path.name.removeprefix(".").startswith((PREFIX, PLACES, RUN)):  # with a dot: one that was being written
            path.unlink(missing_ok=True)
    if before is None:
        with contextlib.suppress(OSError):  # there is no folder, or somebody's file in it
            folder.rmdir()


def line_of_place(place: Place) -> bytes:
    """Encode a place as JSON; names that are not UTF-8 survive the round trip."""
    return json.dumps(place).encode() + b"\n"


def place_of_line(line: bytes) -> Place:
    """Decode what `line_of_place` wrote."""
    image_id, where, size, prompt = json.loads(line)
    return Place(image_id, tuple(where), None if size is None else tuple(size), prompt)


def write_part(path: Path, rows: Sequence[dict[str, Any]], start: int) -> None:
    """Write a part atomically, in the format of its suffix.

    Args:
        path: .jsonl or .parquet.
        rows: lines of a predictions file.
        start: number of the first image.
    """
    with writing(path) as handle:
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            table = pa.Table.from_pylist([{"index": start + k, **row} for k, row in enumerate(rows)], _schema())
            pq.write_table(table, handle, compression="zstd")
        else:
            write_lines(handle, rows)


def count_failed(path: Path) -> int:
    """Return the number of rows of a part that failed."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        names = [name for name in ("error", "fault") if name in pq.read_schema(path).names]  # an older one has no fault
        return sum(map(is_failed, pq.read_table(path, columns=names).to_pylist()))
    with path.open("rb") as handle:
        return sum(is_failed(orjson.loads(line)) for line in handle)


def _schema() -> Any:
    import pyarrow as pa

    text, number, numbers = pa.string(), pa.float64(), pa.list_(pa.float64())
    thing = pa.struct({"id": text, "bbox": numbers, "score": number})
    issues = pa.list_(pa.struct({"kind": text, "detail": text}))
    relation = pa.struct({"subject": text, "predicate": text, "object": text, "score": number})
    return pa.schema(
        {
            "index": pa.int64(),
            "image_id": text,
            "frame": numbers,
            "completion": text,
            "model": text,
            "finish_reason": text,
            "tokens": pa.int64(),
            "passes": pa.int64(),
            "logprobs": pa.struct({"sum": number, "mean": number, "weight": number}),
            "objects": pa.list_(thing),
            "relationships": pa.list_(relation),
            "completions": pa.list_(text),
            "scores": text,
            "task": text,
            "ask": text,
            "exchanges": pa.list_(
                pa.struct({"prompt": text, "reply": text, "issues": issues, "dropped": pa.int64(), "read": pa.bool_()})
            ),
            "left_out": pa.struct({"objects": pa.int64(), "relationships": pa.int64()}),
            "replies": pa.list_(text),
            "written_in": numbers,
            "fault": text,
            "error": text,
        }
    )
