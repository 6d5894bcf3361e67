"""The graphs that `r1sgg export`, `r1sgg draw` and `r1sgg captions` read, under any name that data or predictions have.

    gt.jsonl   vg150:DIR,split=test   scenes:100   hub:NAME         data sets (`r1sgg.data.sources`)
    predictions.jsonl   swift:FILE   openai-batch:FILE              anybody's predictions (`r1sgg.data.importers`)
    photo.json   graphs/   graphs.jsonl                             what `r1sgg predict` writes

`coco:FILE` is a data set; with a ground truth beside it, COCO's results. Nothing is written here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from r1sgg.data.base import Example, example_of_record
from r1sgg.data.importers.registry import LAYOUTS, is_layout, open_predictions
from r1sgg.data.jsonl import read_json, read_jsonl
from r1sgg.data.predictions import Prediction, prediction_of_record
from r1sgg.data.sources import open_data
from r1sgg.data.spec import KINDS, is_kind, registered
from r1sgg.errors import ConfigError, InputError, choices
from r1sgg.exports.record import GraphRecord
from r1sgg.files import user_path
from r1sgg.graph.scene import EMPTY
from r1sgg.metrics.streams import join

Say = Callable[[str], None]

_PREDICTED = {"width", "height", "objects", "relationships", "completion"}
"""What a record of `r1sgg predict` has."""
_UNITS: Mapping[str, float] = {"thousandths": 1000.0, "fractions": 1.0}


@dataclass(frozen=True, slots=True)
class FoundGraph:
    """A graph that was read.

    Attributes:
        record: the graph and its image.
        truth: the ground truth of a prediction, if it was given.
        failure: why a prediction has no graph.
        picture: opens the image, if it is no file that `record.image` names.
    """

    record: GraphRecord
    truth: Example | None = None
    failure: str | None = None
    picture: Callable[[], Image.Image] | None = None


def read_graphs(
    source: str | Path, truth: str | Path | None = None, ids: Sequence[str] = (), say: Say = lambda sentence: None
) -> Iterator[FoundGraph]:
    """Yield the graphs that a name stands for, in their order.

    Args:
        source: see the module's docstring.
        truth: the ground truth of predictions, any data set: sizes and images come from it.
        ids: only these images; all if empty.
        say: gets a sentence about what was assumed or left out.

    Raises:
        ConfigError: no such kind of data or predictions.
        InputError: the file is none of these, or has not all of `ids`.
    """
    missing = dict.fromkeys(ids)
    for found in _graphs(str(source), None if truth is None else str(truth), say):
        if not ids or found.record.image_id in missing:
            missing.pop(found.record.image_id, None)
            yield found
    if missing:
        name = next(iter(missing))
        raise InputError(str(source), expected=f"an image {name!r}", found="none with this id")


def _graphs(source: str, truth: str | None, say: Say) -> Iterator[FoundGraph]:
    kind, colon, _ = source.partition(":")
    if colon and is_kind(kind) and not (is_layout(kind) and truth is not None):
        return _of_data(source, say)
    if colon and is_layout(kind):
        return _of_predictions(source, truth, say)
    if colon and re.fullmatch("[a-z0-9-]{2,16}", kind) and not user_path(source).exists():
        known = choices((f"{name}:" for name in dict.fromkeys((*KINDS, *registered(), *LAYOUTS))), f"{kind}:")
        raise ConfigError(f"{source!r}: expected one of {known}, found {kind + ':'!r}")
    path = user_path(source)
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*.json")) if not file.name.startswith(".")]
        if files and _is_predicted(read_json(files[0])):
            return (_predicted(read_json(file), str(file), file.parent) for file in files)
    elif path.suffix == ".json":
        row = read_json(path)
        if _is_predicted(row):
            return iter([_predicted(row, str(path), path.parent)])
    elif truth is None:
        _, first = next(read_jsonl(path))
        if _is_predicted(first) or ("error" in first and "image" in first):
            return (_predicted(row, f"{path}:{number}", path.parent) for number, row in read_jsonl(path))
        if "width" in first:
            return _of_data(source, say)
    return _of_predictions(source, truth, say)


def _of_data(source: str, say: Say) -> Iterator[FoundGraph]:
    data = open_data(source)
    for note in data.notes:
        say(note.text)
    for example in data:
        yield replace(_with_image(example, data.image), truth=None)


def _of_predictions(source: str, truth: str | None, say: Say) -> Iterator[FoundGraph]:
    predictions = open_predictions(source)
    if truth is None:
        for prediction in predictions:
            yield _found(prediction, FoundGraph(GraphRecord(EMPTY, prediction.image_id)))
    else:
        data = open_data(truth)
        for note in data.notes:
            say(note.text)
        for _, example, answer in join(data, predictions, predictions.where):
            if answer is not None:
                yield _found(answer, _with_image(example, data.image))
    for sentence in predictions.notes:
        say(f"{source}: {sentence}")


def _with_image(example: Example, opened: Callable[[Example], Image.Image]) -> FoundGraph:
    """An example as a graph, which knows where its image is."""
    image = "" if example.image is None else str(example.image)
    record = GraphRecord(example.graph, example.image_id, (example.width, example.height), image)
    return FoundGraph(record, example, picture=None if image else lambda: opened(example))


def _found(prediction: Prediction, known: FoundGraph) -> FoundGraph:
    """A prediction, with what is known of its image."""
    parsed = prediction.read(image=known.record.size)
    failure = "error" if prediction.error is not None else parsed.failure
    return replace(known, record=replace(known.record, graph=parsed.graph), failure=failure)


def _is_predicted(row: Any) -> bool:
    return isinstance(row, dict) and row.keys() >= _PREDICTED


def _predicted(row: Any, where: str, folder: Path) -> FoundGraph:
    """A record of `r1sgg predict`, boxes in pixels of its `width` and `height` unless `boxes` says otherwise."""
    if isinstance(row, dict) and "error" in row:
        return FoundGraph(GraphRecord(EMPTY, str(row.get("image_id", ""))), failure="error")
    if not _is_predicted(row):
        raise InputError(where, expected="a record of `r1sgg predict`, as the others are", found="something else")
    facts = {key: row.get(key) for key in ("image_id", "width", "height", "image")}
    example = example_of_record({**facts, "objects": [], "relationships": []}, where, folder)
    unit = row.get("boxes", "pixels")
    if unit != "pixels" and unit not in _UNITS:
        expected = f"one of pixels, {', '.join(_UNITS)}"
        raise InputError(f"{where}: boxes", expected=expected, found=repr(unit))
    frame = [_UNITS[unit]] * 2 if unit in _UNITS else [example.width, example.height]
    line = {"image_id": example.image_id, "frame": frame, **{key: row[key] for key in ("objects", "relationships")}}
    graph = prediction_of_record(line, where).read().graph
    image = str(example.image)
    if example.image is None or not example.image.exists():
        image = str(row["image"])  # a path as `predict` was given it, not beside this file
    record = GraphRecord(graph, example.image_id, (example.width, example.height), image)
    failure = row.get("failure")
    return FoundGraph(record, None, failure if isinstance(failure, str) else None)
