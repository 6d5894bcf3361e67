"""Files of graphs: what `r1sgg export` and `r1sgg draw` read, and what `r1sgg export` writes.

Ground truth, predictions (both `r1sgg.data.base`) and what `r1sgg predict` writes can be read. A format has either one
file for all images, or a folder with a file per image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from r1sgg.graph.scene import EMPTY
from r1sgg.metrics.streams import join

_UNSAFE = re.compile(r"[^\w.\-]+")


@dataclass(frozen=True, slots=True)
class FoundGraph:
    """A graph that was read from a file.

    Attributes:
        record: the graph and its image.
        truth: the ground truth of a prediction, if it was given.
        failure: why a prediction has no graph.
    """

    record: GraphRecord
    truth: Example | None = None
    failure: str | None = None


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


def read_graphs(path: Path, truth: Path | None = None, ids: Sequence[str] = ()) -> Iterator[FoundGraph]:
    """Yield the graphs of a file in its order.

    Args:
        path: ground truth or predictions (JSON Lines), or a JSON file of `r1sgg predict`.
        truth: the ground truth of predictions: sizes and images come from it.
        ids: only these images; all if empty.

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


def _graphs(path: Path, truth: Path | None) -> Iterator[FoundGraph]:
    if path.suffix == ".json":
        yield _predicted(path)
        return
    _, first = next(read_jsonl(path))
    if "width" in first:
        for example in read_ground_truth(path):
            yield FoundGraph(_record(example))
    elif truth is None:
        for prediction in read_predictions(path):
            yield _found(prediction, GraphRecord(EMPTY, prediction.image_id))
    else:
        for _, example, answer in join(read_ground_truth(truth), read_predictions(path), str(path)):
            if answer is not None:
                yield _found(answer, _record(example), example)


def _record(example: Example) -> GraphRecord:
    image = "" if example.image is None else str(example.image)
    return GraphRecord(example.graph, example.image_id, (example.width, example.height), image)


def _found(prediction: Prediction, known: GraphRecord, truth: Example | None = None) -> FoundGraph:
    """A prediction, with what is known of its image."""
    parsed = prediction.read(image=known.size)
    failure = "error" if prediction.error is not None else parsed.failure
    return FoundGraph(replace(known, graph=parsed.graph), truth, failure)


def _predicted(path: Path) -> FoundGraph:
    """A JSON file of `r1sgg predict`: boxes in pixels of its `width` and `height`."""
    row = read_json(path)
    if not isinstance(row, dict) or not {"width", "height", "objects", "relationships"} <= row.keys():
        expected = "a JSON file of `r1sgg predict` (JSON Lines end in .jsonl)"
        raise InputError(str(path), expected=expected, found="something else")
    facts = {key: row.get(key) for key in ("image_id", "width", "height", "image")}
    example = example_of_record({**facts, "objects": [], "relationships": []}, str(path), path.parent)
    rows = {key: row[key] for key in ("objects", "relationships")}
    line = {"image_id": example.image_id, "frame": [example.width, example.height], **rows}
    graph = prediction_of_record(line, str(path)).read().graph
    record = replace(_record(example), graph=graph)
    if example.image is not None and not example.image.exists():
        record = replace(record, image=str(row["image"]))  # a path as `predict` was given it, not beside this file
    failure = row.get("failure")
    return FoundGraph(record, None, failure if isinstance(failure, str) else None)


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
