"""The files that `r1sgg export` writes; what it reads is in `r1sgg.exports.reading`.

A format has either one file for all images, or a folder with a file per image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from r1sgg.errors import ConfigError, InputError
from r1sgg.exports.coco import to_coco
from r1sgg.exports.document import to_json
from r1sgg.exports.graphviz import to_dot
from r1sgg.exports.linked import to_jsonld
from r1sgg.exports.network import to_graphml
from r1sgg.exports.record import GraphRecord
from r1sgg.exports.table import to_csv
from r1sgg.files import refuse_inputs, write_file

_UNSAFE = re.compile(r"[^\w.\-]+")


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """An export format: the ending of its files, and the function that writes one graph, or all of them, as text."""

    name: str
    ending: str
    one: Callable[[GraphRecord], str] | None = None
    all: Callable[[Iterable[GraphRecord]], str] | None = None


FORMATS: Mapping[str, ExportFormat] = {
    f.name: f
    for f in (
        ExportFormat("json", ".jsonl", all=lambda records: "".join(f"{to_json(record)}\n" for record in records)),
        ExportFormat("graphml", ".graphml", one=to_graphml),
        ExportFormat("jsonld", ".jsonld", one=to_jsonld),
        ExportFormat("dot", ".dot", one=to_dot),
        ExportFormat("coco", ".json", all=lambda records: f"{orjson.dumps(to_coco(records)).decode()}\n"),
        ExportFormat("csv", ".csv", all=to_csv),
    )
}


def write_export(records: Iterable[GraphRecord], name: str, out: Path) -> list[Path]:
    """Write records in a format and return the files.

    Args:
        records: what to write.
        name: one of `FORMATS`.
        out: the file; for a format with a file per image the folder, or for one image a file with the format's ending.

    Raises:
        ConfigError: no such format.
        InputError: a file cannot be written, or several images were given for a file that holds one.
    """
    if name not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, found {name!r}")
    format_ = FORMATS[name]
    texts: Iterable[tuple[Path, str]]
    if format_.all is not None:
        paths = [out]
        texts = [(out, format_.all(records))]
    else:
        assert format_.one is not None
        kept = list(records)
        one_file = out.suffix == format_.ending
        if one_file and len(kept) != 1:
            found = f"{len(kept)} images"
            raise InputError(str(out), expected="one image", found=found, hint="name a folder, or one --id")
        names = file_names([record.image_id for record in kept])
        paths = [out] if one_file else [out / f"{name}{format_.ending}" for name in names]
        refuse_inputs(paths)
        texts = zip(paths, map(format_.one, kept), strict=True)
    written = []
    for path, text in texts:
        write_file(path, text, sync=len(paths) == 1)
        written.append(path)
    return written


def file_names(ids: Iterable[str]) -> list[str]:
    """Return a file name without ending for each image id: only letters, digits, ".", "-" and "_", none twice.

    An id comes from a file and may be anything, "../" included.
    """
    taken: set[str] = set()
    names = []
    for identifier in ids:
        stem = _UNSAFE.sub("_", identifier).strip(".")[:100] or "image"
        name, count = stem, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name.lower())
        names.append(name)
    return names
