"""Files of graphs: what `r1sgg export` and `r1sgg draw` read, and what `r1sgg export` writes.

Read are ground truth, predictions (both `r1sgg.data.base`) and what `r1sgg predict` writes. A format either holds all
images in one file, or has a file for each image in a folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.base import Example, example_of_record, read_ground_truth
from r1sgg.data.jsonl import read_json, read_jsonl
from r1sgg.data.predictions import Prediction, prediction_of_record, read_predictions
from r1sgg.errors import ConfigError, InputError
from r1sgg.exports.coco import to_coco
from r1sgg.exports.document import to_json
from r1sgg.exports.graphviz import to_dot
from r1sgg.exports.linked import to_jsonld
from r1sgg.exports.network import to_graphml
from r1sgg.exports.record import GraphRecord
from r1sgg.exports.table import to_csv
from r1sgg.files import refuse_inputs, write_file
from r1sgg.metrics.streams import join

_UNSAFE = re.compile(r"[^\w.\-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """A graph of a file; `truth` is there where it is a prediction and the ground truth was given.

    `failure` says why a prediction has no graph.
    """

    record: GraphRecord
    truth: Example | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """An export format: ending of its files, and the writer of one graph or of all."""

    name: str
    ending: str
    one: Callable[[GraphRecord], str] | None = None
    all: Callable[[Iterable[GraphRecord]], str] | None = None


def _lines(records: Iterable[GraphRecord]) -> str:
    return "".join(to_json(record) + "\n" for record in records)


def _coco(records: Iterable[GraphRecord]) -> str:
    return orjson.dumps(to_coco(records)).decode() + "\n"


FORMATS: Mapping[str, Format] = {
    f.name: f
    for f in (
        Format("json", ".jsonl", all=_lines),
        Format("graphml", ".graphml", one=to_graphml),
        Format("jsonld", ".jsonld", one=to_jsonld),
        Format("dot", ".dot", one=to_dot),
        Format("coco", ".json", all=_coco),
        Format("csv", ".csv", all=to_csv),
    )
}


def read_graphs(path: Path, truth: Path | None = None, ids: Sequence[str] = ()) -> Iterator[Found]:
    """The graphs of a file, in its order.

    Args:
        path: ground truth or predictions (JSON Lines), or a JSON file of `r1sgg predict`.
        truth: the ground truth of predictions: sizes and images come from it.
        ids: only these images; all where there are none.

    Raises:
        InputError: the file is none of these, or has not all of `ids`.
    """
    missing = dict.fromkeys(ids)
    for found in _graphs(path, truth):
        if not ids or found.record.image_id in missing:
            missing.pop(found.record.image_id, None)
            yield found
    if missing:
        name = next(iter(missing))
        raise InputError(str(path), expected=f"an image {name!r}", found="none with this id")


def _graphs(path: Path, truth: Path | None) -> Iterator[Found]:
    if path.suffix == ".json":
        yield _predicted(path)
        return
    _, first = next(read_jsonl(path))
    if "frame" not in first and "error" not in first:
        for example in read_ground_truth(path):
            yield Found(record_of(example))
    elif truth is None:
        for prediction in read_predictions(path):
            yield _found(prediction, None)
    else:
        for _, example, answer in join(read_ground_truth(truth), read_predictions(path), str(path)):
            if answer is not None:
                yield _found(answer, example)


def record_of(example: Example) -> GraphRecord:
    """A ground-truth line as a record."""
    image = "" if example.image is None else str(example.image)
    return GraphRecord(example.graph, example.image_id, (example.width, example.height), image)


def _found(prediction: Prediction, example: Example | None) -> Found:
    parsed = prediction.read()
    failure = "error" if prediction.error is not None else parsed.failure
    if example is None:
        return Found(GraphRecord(parsed.graph, prediction.image_id), None, failure)
    known = record_of(example)
    return Found(GraphRecord(parsed.graph, prediction.image_id, known.size, known.image), example, failure)


def _predicted(path: Path) -> Found:
    """A JSON file of `r1sgg predict`: boxes in pixels of its `width` and `height`."""
    row = read_json(path)
    if not isinstance(row, dict) or not {"width", "height", "objects", "relationships"} <= row.keys():
        expected = "a JSON file of `r1sgg predict` (JSON Lines end in .jsonl)"
        raise InputError(str(path), expected=expected, found="something else")
    facts: dict[str, Any] = {key: row.get(key) for key in ("image_id", "width", "height", "image")}
    known = example_of_record({**facts, "objects": [], "relationships": []}, str(path), path.parent)
    beside, named = known.image, str(facts["image"] or "")  # as `predict` was told, or beside the file
    image = str(beside) if beside is not None and beside.exists() else named
    frame = [known.width, known.height]
    rows = {"image_id": known.image_id, "frame": frame, "objects": row["objects"]}
    prediction = prediction_of_record({**rows, "relationships": row["relationships"]}, str(path))
    failure = row.get("failure")
    record = GraphRecord(prediction.read().graph, known.image_id, (known.width, known.height), image)
    return Found(record, None, failure if isinstance(failure, str) else None)


def write_export(records: Iterable[GraphRecord], name: str, out: Path) -> list[Path]:
    """Write records in a format; returns the files.

    Args:
        records: what to write.
        name: one of `FORMATS`.
        out: the file; for a format with a file for each image the folder, or a file with its ending for one image.

    Raises:
        ConfigError: no such format.
        InputError: a file cannot be written, or several images are to go into a file that holds one.
    """
    if name not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, found {name!r}")
    format_ = FORMATS[name]
    if format_.all is not None:
        write_file(out, format_.all(records))
        return [out]
    assert format_.one is not None
    held = list(records)
    if out.suffix == format_.ending:
        if len(held) != 1:
            found = f"{len(held)} images"
            raise InputError(str(out), expected="one image", found=found, hint="name a folder, or one --id")
        write_file(out, format_.one(held[0]))
        return [out]
    paths = [out / f"{stem}{format_.ending}" for stem in file_names([r.image_id for r in held])]
    refuse_inputs(paths)
    for record, path in zip(held, paths, strict=True):
        write_file(path, format_.one(record), sync=False)
    return paths


def file_names(ids: Iterable[str]) -> list[str]:
    """A file name without ending for each image id: letters, digits, ".", "-" and "_" alone, none twice.

    An id comes from a file and may hold anything, "../" included.
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
