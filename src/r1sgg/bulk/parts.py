"""The shards of a run on many machines as files: the places to go to, and the parts that come back.

Parts hold the lines of a predictions file: as JSON Lines, or as parquet with the same fields as columns and `index`,
the image's number, by which rows that were shuffled find their order again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from r1sgg.bulk.stored import Place

PREFIX, UNFINISHED = "part-", ".tmp"


def line_of_place(place: Place) -> bytes:
    """A place as JSON; names that are not UTF-8 come back as they were."""
    return json.dumps(place).encode() + b"\n"


def place_of_line(line: bytes) -> Place:
    """The inverse of `line_of_place`."""
    image_id, where, size = json.loads(line)
    return Place(image_id, tuple(where), None if size is None else tuple(size))


def write_part(path: Path, rows: Sequence[dict[str, Any]], start: int) -> None:
    """Write a part whole or not at all, in the format that its name says.

    Args:
        path: .jsonl or .parquet.
        rows: lines of a predictions file.
        start: the first one's number.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist([{"index": start + k, **row} for k, row in enumerate(rows)], _schema())
        pq.write_table(table, part, compression="zstd")
    else:
        part.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(path)


def count_failed(path: Path) -> int:
    """How many rows of a part hold an error."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        column = pq.read_table(path, columns=["error"]).column("error")
        return len(column) - int(column.null_count)
    with path.open("rb") as handle:
        return sum("error" in orjson.loads(line) for line in handle)


def _schema() -> Any:
    import pyarrow as pa

    text, number, numbers = pa.string(), pa.float64(), pa.list_(pa.float64())
    thing = pa.struct({"id": text, "bbox": numbers, "score": number})
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
            "logprobs": pa.struct({"sum": number, "mean": number}),
            "objects": pa.list_(thing),
            "relationships": pa.list_(relation),
            "completions": pa.list_(text),
            "error": text,
        }
    )
