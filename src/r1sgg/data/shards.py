"""One parquet shard of a prepared set: written whole or not at all, with a footer that says how it was made.

The columns are those of the authors' Hub sets, which `datasets.load_dataset` reads: `image` ({bytes, path}, the Hugging
Face image feature), `image_id`, `objects` and `relationships` (JSON texts, boxes in pixels); and `width`, `height`,
`split`, `meta` (JSON text or null). By the footer an interrupted build knows which shards it can keep. Prompts are no
columns, because their worked example depends on the model's coordinates.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from PIL import Image

from r1sgg.data.base import Example, example_of_record
from r1sgg.data.dataset import DataSet
from r1sgg.data.images import formats
from r1sgg.errors import ImageError, InputError
from r1sgg.files import move, write_file

ImageMode = Literal["inside", "path"]
IMAGE_MODES: tuple[ImageMode, ...] = get_args(ImageMode)
FOOTER = b"r1sgg"
_GROUP_ROWS, _GROUP_BYTES = 64, 16 << 20
"""A row group ends at either limit; a streaming reader, and the writer, keep one group in memory."""
_VERBATIM = frozenset(("JPEG", "PNG", "WEBP"))
_STRINGS = ("image_id", "objects", "relationships", "split", "meta")


@functools.cache
def schema() -> Any:
    """Return the arrow schema, with the features that `datasets` looks for."""
    import pyarrow as pa

    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in _STRINGS}
    features |= {name: {"dtype": "int32", "_type": "Value"} for name in ("width", "height")}
    features["image"] = {"_type": "Image"}
    fields = {name: pa.string() for name in _STRINGS} | {"width": pa.int32(), "height": pa.int32()}
    fields["image"] = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    order = ("image_id", "image", "width", "height", "objects", "relationships", "split", "meta")
    info = orjson.dumps({"info": {"features": {name: features[name] for name in order}}})
    return pa.schema([(name, fields[name]) for name in order], metadata={b"huggingface": info})


class ShardWriter:
    """Writes rows in groups; a context manager that removes the file if the block raises."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.size = path, 0
        self.rows: list[dict[str, Any]] = []
        codecs = {"image.bytes": "none", **dict.fromkeys(("image.path", "width", "height", *_STRINGS), "zstd")}
        self._writer = pq.ParquetWriter(path, schema(), compression=codecs, use_dictionary=["split"])

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._writer.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        """Add one row of `row_of`."""
        self.rows.append(row)
        self.size += len(row["image"]["bytes"] or b"")
        if len(self.rows) >= _GROUP_ROWS or self.size >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows since the last group as a row group."""
        import pyarrow as pa

        if self.rows:
            self._writer.write_table(pa.Table.from_pylist(self.rows, schema()))
        self.rows, self.size = [], 0

    def finish(self, footer: Mapping[str, Any], target: Path) -> None:
        """Write the last group and the footer, and move the file to its place."""
        self.flush()
        self._writer.add_key_value_metadata({FOOTER.decode(): orjson.dumps(footer).decode()})
        self._writer.close()
        move(self.path, target)


def row_of(data: DataSet, example: Example, mode: ImageMode, out: Path) -> dict[str, Any]:
    """Return the row of an example.

    With "inside" the image is decoded once, so that a damaged one is found here. The bytes of an ordinary JPEG, PNG or
    WebP are stored unchanged; any other image is stored as PNG. With "path" only the header is read; an image without a
    file (drawn, or inside another set) is written to OUT/images as PNG.

    Raises:
        ImageError: the image is missing, damaged, or not of the size that the annotation says.
    """
    record = example.to_record()
    stored: dict[str, Any]
    if mode == "inside":
        picture = data.image(example)
        _check_size(picture, example)
        verbatim = _ordinary_file(example.image)
        name = example.image.name if example.image and verbatim else f"{_file_name(example.image_id)}.png"
        stored = {"bytes": verbatim or _png(picture), "path": name}
    elif example.image is not None:
        if (fault := data.image_fault(example)) is not None:
            raise ImageError(str(example.image), expected="the annotation's image", found=fault.text)
        stored = {"bytes": None, "path": os.path.abspath(example.image)}
    else:
        picture = data.image(example)
        _check_size(picture, example)
        path = out / "images" / f"{_file_name(example.image_id)}.png"
        write_file(path, _png(picture), sync=False)
        stored = {"bytes": None, "path": os.path.abspath(path)}
    return {
        "image_id": example.image_id,
        "image": stored,
        "width": example.width,
        "height": example.height,
        "objects": orjson.dumps(record["objects"]).decode(),
        "relationships": orjson.dumps(record["relationships"]).decode(),
        "split": example.split or data.split,
        "meta": orjson.dumps(dict(example.meta)).decode() if example.meta else None,
    }


def _check_size(picture: Image.Image, example: Example) -> None:
    if picture.size != (example.width, example.height):
        raise ImageError(
            f"image_id {example.image_id!r}",
            expected=f"an image of the annotation's {example.width}x{example.height} pixels",
            found="{}x{}".format(*picture.size),
            hint="boxes may be of another size; `r1sgg data check --fix` can scale them",
        )


def _ordinary_file(path: Path | None) -> bytes | None:
    """Return the bytes of a file that every reader decodes as we do; None for another (palette, grey, CMYK, ...)."""
    if path is None:
        return None
    with Image.open(path, formats=formats()) as image:
        ordinary = image.format in _VERBATIM and image.mode == "RGB" and "transparency" not in image.info
    return path.read_bytes() if ordinary else None


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _file_name(image_id: str) -> str:
    """Return a file name for any image id; different ids have different names."""
    name = urllib.parse.quote(image_id, safe=" ").replace(".", "%2E")
    return name if len(name) <= 200 else hashlib.sha256(image_id.encode()).hexdigest()


def read_footer(path: Path) -> dict[str, Any] | None:
    """Return how a shard was made, or None if there is no such file or it is not one of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        text = (pq.read_metadata(path).metadata or {}).get(FOOTER)
    except (OSError, pa.ArrowInvalid):
        return None
    return dict(orjson.loads(text)) if text else None


def read_examples(path: Path, mode: ImageMode) -> Iterator[Example]:
    """Yield the examples of a shard in their order; the bytes of images are not read.

    Raises:
        InputError: the file is no parquet file, or a row is not what it should be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["image_id", "width", "height", "objects", "relationships", "split", "meta"]
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256, columns=[*columns, "image.path"]):
                for row in batch.to_pylist():
                    row["image"] = row["image"]["path"] if mode == "path" else None
                    for key in ("objects", "relationships", "meta"):
                        row[key] = orjson.loads(row[key]) if row[key] is not None else None
                    yield example_of_record(row, f"{path}: image_id {row['image_id']!r}", path.parent)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(str(path), expected="a parquet shard", found=f"a damaged file ({error})") from error
