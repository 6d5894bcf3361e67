"""The files of a run on many machines: the places of the images to process, and the parts that workers write.

Parts hold the lines of a predictions file, as JSON Lines, or as parquet with the same fields as columns and `index`,
the number of the image, which restores the order of shuffled rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from r1sgg.bulk.stored import Place
from r1sgg.files import write_lines, writing

PREFIX, UNFINISHED = "part-", ".part"


def line_of_place(place: Place) -> bytes:
    """Encode a place as JSON; names that are not UTF-8 survive the round trip."""
    return json.dumps(place).encode() + b"\n"


def place_of_line(line: bytes) -> Place:
    """Decode what `line_of_place` wrote."""
    image_id, where, size = json.loads(line)
    return Place(image_id, tuple(where), None if size is None else tuple(size))


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
    """Return the number of rows of a part that have an error."""
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
            "logprobs": pa.struct({"sum": number, "mean": number, "weight": number}),
            "objects": pa.list_(thing),
            "relationships": pa.list_(relation),
            "completions": pa.list_(text),
            "scores": text,
            "error": text,
        }
    )
