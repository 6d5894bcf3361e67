"""Sets of the Hugging Face Hub, or a folder of parquet files, with scene graphs in their columns.

    hub:NAME[,split=S][,stream=yes]      fetched from the Hub; `datasets` keeps it in its cache. Without a network, or
                                         with HF_HUB_OFFLINE=1: from that cache, or from the one of `hf download`
    hub:DIR[,split=S]                    a folder that `r1sgg data build` wrote, or other parquet files; no network

The layout of the paper's authors (JosephZ/vg150_train_sgg_prompt, vg150_val_sgg_prompt, psg_train_sg, psg_test_sg;
their only split is named "train") has boxes as corners in pixels:

    {"image_id": "2", "image": {"bytes": ...}, "prompt_open": "Generate a ...", "prompt_close": "Generate a ...",
     "objects": '[{"id": "man.1", "bbox": [119, 70, 197, 330]}, {"id": "street.2", "bbox": [2, 280, 798, 598]}]',
     "relationships": '[{"subject": "man.1", "predicate": "walking on", "object": "street.2"}]'}

Further text columns, such as prompt_open and prompt_close, are kept in `Example.meta`, where `--prompt column:NAME`
finds them.

The layout of SGG-Benchmark (maelic/VG150-coco-format, PSG-coco-format) has boxes [x, y, width, height]; a relation
names an object by its `id` or, if objects have none, by its place in the row. Names are under "categories" and
"rel_categories" in the JSON of the set's description, or in a file, names=FILE: such JSON (_annotations.coco.json has
it), or VG-SGG-dicts.json:

    {"image": ..., "image_id": 2, "objects": [{"category_id": 77, "bbox": [119, 70, 78, 260]}, ...],
     "relations": [{"subject_id": 0, "predicate_id": 46, "object_id": 1}]}

Ids are numbered anew, per class in the row's order, as in every other format. Annotations are checked when a set is
opened, images when they are read. A stream is for a set that does not fit on the disk: it has an order and no length,
`image` returns the image of the last example only, and `shard` is one machine's part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import orjson
from PIL import Image

from r1sgg.data.assemble import assemble
from r1sgg.data.base import Example
from r1sgg.data.columns import corners_of_xywh, four_numbers, whole_field
from r1sgg.data.dataset import DataSet, Fault, fault, size_fault
from r1sgg.data.images import image_size, open_image
from r1sgg.data.jsonl import read_json
from r1sgg.data.spec import Spec
from r1sgg.errors import ConfigError, ImageError, InputError, require, short
from r1sgg.files import user_path
from r1sgg.graph.records import json_value
from r1sgg.graph.scene import label_of_id

_log = logging.getLogger(__name__)

_SPLITS = {"JosephZ/vg150_val_sgg_prompt": "val", "JosephZ/psg_test_sg": "test"}
"""The real split of sets whose only split is named "train"."""
_OWN_COLUMNS = frozenset(("image_id", "file_name", "objects", "relationships", "relations", "split", "meta"))
_ANNOTATIONS = ("image_id", "file_name", "objects", "relationships", "relations")


class ClassNames(NamedTuple):
    """Object classes and predicates by number, for sets whose rows have numbers."""

    objects: Mapping[int, str]
    predicates: Mapping[int, str]


class HubData(DataSet):
    """One split in the cache of `datasets`, memory-mapped; rows that cannot be read are named in `notes`."""

    images_are_files = False

    def __init__(self, name: str, split: str | None, table: Any, names: ClassNames | None = None) -> None:
        super().__init__(name, split)
        self.table, self.names = table, names or _names(table)
        self.places: dict[str, int] = {}  # image id -> row
        for k, row in enumerate(table.select_columns([c for c in _ANNOTATIONS if c in table.column_names])):
            try:
                image_id = _image_id(row, k)
                _rows(row, self.names, f"{name}: image_id {image_id}")
            except InputError as error:
                self.notes.append(Fault("record", f"{error}; left out"))
                continue
            if image_id in self.places:
                found = f"image_id {image_id!r} again"
                self.notes.append(fault("id", f"{name}: row {k}", "image ids that differ", found))
            else:
                self.places[image_id] = k
        if not self.places:
            found = f"none of {len(table)}" + (f" (the first: {self.notes[0].text})" if self.notes else "")
            raise InputError(name, expected="a row with a scene graph", found=found)
        self.rows = np.fromiter(self.places.values(), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        place = int(self.rows[k])
        return example_of_row(self.table[place], place, self.names, self.name, self.split)

    def image_ids(self) -> Iterator[str]:
        return iter(self.places)

    def image(self, example: Example) -> Image.Image:
        return _image(self.table[self.places[example.image_id]], self.name, example)

    def image_fault(self, example: Example) -> Fault | None:
        source, where = _source(self.table[self.places[example.image_id]], self.name, example.image_id)
        return size_fault(source, where, example)


class HubStream(DataSet):
    """The same without a length, read in order; rows that cannot be read are added to `notes` when they come."""

    def __init__(self, name: str, split: str | None, stream: Any, names: ClassNames | None = None) -> None:
        super().__init__(name, split)
        self.stream, self.names = stream, names or _names(stream)
        self._last: dict[str, Any] = {}

    def __len__(self) -> int:
        raise ConfigError(f"{self.name}: a stream has no length; leave out stream=yes to count and to shuffle")

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        raise ConfigError(f"{self.name}: a stream is read in order; leave out stream=yes to read example {k}")

    def __iter__(self) -> Iterator[Example]:
        for k, row in enumerate(self.stream):
            try:
                example, faults = example_of_row(row, k, self.names, self.name, self.split)
            except InputError as error:
                self.notes.append(Fault("record", f"{error}; left out"))
                continue
            self.notes += faults
            self._last = {"row": row, "image_id": example.image_id}
            yield example

    def image(self, example: Example) -> Image.Image:
        if self._last.get("image_id") != example.image_id:
            raise ImageError(
                f"{self.name}: image_id {example.image_id!r}",
                expected="the last example of the stream",
                found="another",
                hint="read the image before the next example",
            )
        return _image(self._last["row"], self.name, example)

    def shard(self, count: int, index: int) -> HubStream:
        """Return part `index` of `count` parts without a common row: one for each machine, process or Ray worker."""
        return HubStream(self.name, self.split, self.stream.shard(num_shards=count, index=index), self.names)


def open_hub(spec: Spec) -> DataSet:
    """See the module's docstring.

    Raises:
        ConfigError: an option with a wrong value.
        InputError: no such set or split, no network, or damaged files; or no row has a scene graph.
        MissingDependencyError: `datasets` is not installed.
    """
    datasets = require("datasets", "train")
    streaming, local = spec.yes("stream"), spec.path.is_dir()
    split = spec.options.get("split")
    named_in = spec.options.get("names")
    names = None if named_in is None else read_names(user_path(named_in))
    try:
        if local:
            table = datasets.load_dataset(str(spec.path), split=split, streaming=streaming)
        else:
            table = _load(datasets, spec.place, split=split or "train", streaming=streaming)
        if isinstance(table, Mapping):
            if len(table) != 1:
                raise InputError(spec.text, expected=f"split= one of {', '.join(table)}", found="no split=")
            ((split, table),) = table.items()
        table = table.cast_column("image", datasets.Image(decode=False))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())
        hint = "check the name and split=" + ("" if local else "; and the network, a hub: name needs it")
        expected = "a set with an image column that can be loaded"
        raise InputError(spec.text, expected=expected, found=reason[:200], hint=hint) from error
    named = _SPLITS.get(spec.place, split or "train")
    return HubStream(spec.text, named, table, names) if streaming else HubData(spec.text, named, table, names)


def _load(datasets: Any, name: str, **how: Any) -> Any:
    """Load a set by its name; without the Hub, what `hf download` or `snapshot_download` has left in its cache.

    `datasets` itself looks offline for sets that it has converted before, and not for files that were only fetched.
    """
    hub = require("huggingface_hub", "train")
    errors = require("huggingface_hub.errors", "train")
    try:
        return datasets.load_dataset(name, **how)
    except (OSError, ValueError) as error:
        try:
            folder = hub.snapshot_download(name, repo_type="dataset", local_files_only=True)
        except (errors.LocalEntryNotFoundError, errors.HFValidationError):
            raise error from None
        _log.warning("hub:%s: the Hub gives no answer; used is the copy in its cache, %s", name, Path(folder).name)
        return datasets.load_dataset(folder, **how)


# ---------------------------------------------------------------- rows


def example_of_row(
    row: Mapping[str, Any], k: int, names: ClassNames | None, name: str, split: str | None
) -> tuple[Example, list[Fault]]:
    """Return row `k` as an Example, and what was left out of it; the size is that of the row or of the image.

    Raises:
        InputError: the annotation is in neither of the two layouts.
        ImageError: the row has no size, and its image cannot be read.
    """
    image_id = _image_id(row, k)
    where = f"{name}: image_id {image_id}"
    labels, boxes, triplets, faults = _rows(row, names, where)
    source, image_name = _source(row, name, image_id)
    width, height = row.get("width"), row.get("height")
    if not (type(width) is int and type(height) is int and width > 0 and height > 0):
        width, height = image_size(source, where=image_name)
    graph = assemble(labels, np.array(boxes).reshape(-1, 4), triplets, (width, height), where, faults)
    path = source if isinstance(source, Path) else None
    return Example(image_id, width, height, graph, path, row.get("split") or split, _meta(row, where)), faults


def _meta(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the text columns that are not the annotation, and what `r1sgg data build` has kept of a set's `meta`."""
    further = {key: value for key, value in row.items() if isinstance(value, str) and key not in _OWN_COLUMNS}
    kept = row.get("meta")
    if isinstance(kept, str):
        kept = json_value(kept, f"{where}: meta")
    return {**(kept if isinstance(kept, dict) else {}), **further}


_Rows = tuple[list[str | None], list[list[float]], list[tuple[int, int, str | None]], list[Fault]]


def _rows(row: Mapping[str, Any], names: ClassNames | None, where: str) -> _Rows:
    if "relationships" in row:
        return _text_rows(row, where)
    if "relations" in row:
        return _numbered_rows(row, names, where)
    expected = "the columns objects and relationships, or objects and relations"
    raise InputError(where, expected=expected, found=", ".join(row))


def _text_rows(row: Mapping[str, Any], where: str) -> _Rows:
    """The authors' layout. If two objects have the same id, relations refer to the first."""
    faults: list[Fault] = []
    labels: list[str | None] = []
    boxes, place = [], dict[str, int]()
    for k, item in enumerate(_list(row["objects"], f"{where}: objects")):
        name = item.get("id")
        if isinstance(name, str) and name in place:
            done = "kept; relations refer to the first"
            faults.append(fault("id", f"{where}: object {k}", "ids that differ", f"{name!r} again", done))
        elif isinstance(name, str):
            place[name] = k
        labels.append(label_of_id(name) if isinstance(name, str) else "")
        boxes.append(four_numbers(item.get("bbox")))
    triplets: list[tuple[int, int, str | None]] = []
    for k, item in enumerate(_list(row["relationships"], f"{where}: relationships")):
        ends = [place.get(str(item.get(key)), -1) for key in ("subject", "object")]
        if min(ends) < 0:
            found = f"{short(item.get('subject'))} and {short(item.get('object'))}"
            faults.append(fault("relation", f"{where}: relation {k}", "ids of the row's objects", found))
        else:
            predicate = item.get("predicate")
            triplets.append((ends[0], ends[1], predicate if isinstance(predicate, str) else ""))
    return labels, boxes, triplets, faults


def _numbered_rows(row: Mapping[str, Any], names: ClassNames | None, where: str) -> _Rows:
    """SGG-Benchmark's layout."""
    if names is None:
        expected = 'a description with "categories" and "rel_categories" as JSON'
        raise InputError(where, expected=expected, found="numbers without names", hint="add names=FILE to hub:NAME")
    objects = _list(row["objects"], f"{where}: objects")
    place = {item["id"]: k for k, item in enumerate(objects) if item.get("id") is not None}
    corners = [corners_of_xywh(item.get("bbox")) for item in objects]
    triplets: list[tuple[int, int, str | None]] = []
    for k, item in enumerate(_list(row["relations"], f"{where}: relations")):
        ends = [whole_field(item, key, f"{where}: relations[{k}]") for key in ("subject_id", "object_id")]
        s, o = (place.get(end, -1 - side) if place else end for side, end in enumerate(ends))
        triplets.append((s, o, names.predicates.get(whole_field(item, "predicate_id", f"{where}: relations[{k}]"))))
    labels = [
        names.objects.get(whole_field(item, "category_id", f"{where}: objects[{k}]")) for k, item in enumerate(objects)
    ]
    return labels, corners, triplets, []


def _list(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects, which may be written as JSON, or as an object of lists (`datasets` makes these)."""
    if isinstance(value, str | bytes):
        value = json_value(value, where)
    if isinstance(value, dict) and value and all(isinstance(part, list) for part in value.values()):
        value = [dict(zip(value, items, strict=False)) for items in zip(*value.values(), strict=False)]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(where, expected="a list of JSON objects", found=short(value))
    return value


def _image_id(row: Mapping[str, Any], k: int) -> str:
    value = row.get("image_id")
    if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
        return str(value)
    file_name = row.get("file_name")
    if isinstance(file_name, str) and file_name:
        return PurePosixPath(file_name).stem
    raise InputError(f"row {k}: image_id", expected="a string", found=short(value))


def read_names(path: Path) -> ClassNames:
    """Read the names of classes and predicates from a file.

    Args:
        path: JSON with "categories" and "rel_categories" (COCO's), or "idx_to_label" and "idx_to_predicate"
            (VG-SGG-dicts.json).

    Raises:
        InputError: it has neither.
    """
    document = read_json(path)
    document = document if isinstance(document, dict) else {}
    for keys in (("categories", "rel_categories"), ("idx_to_label", "idx_to_predicate")):
        names = [_by_number(document.get(key)) for key in keys]
        if all(names):
            return ClassNames(*names)
    raise InputError(
        str(path),
        expected='JSON with "categories" and "rel_categories", or "idx_to_label" and "idx_to_predicate"',
        found=", ".join(map(str, document)) or "no such keys",
    )


def _names(table: Any) -> ClassNames | None:
    """Return the names in a set's description, or None if it is no JSON or has none."""
    try:
        document = orjson.loads(table.info.description or "")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    names = [_by_number(document.get(key)) for key in ("categories", "rel_categories")]
    return ClassNames(*names) if all(names) else None


def _by_number(value: Any) -> dict[int, str]:
    """Return names by number, given as [{"id": 1, "name": "airplane"}, ...] or {"1": "airplane", ...}."""
    if isinstance(value, list):
        value = {str(item.get("id")): item.get("name") for item in value if isinstance(item, dict)}
    if not isinstance(value, dict):
        return {}
    return {int(key): name for key, name in value.items() if key.isdecimal() and isinstance(name, str)}


# ---------------------------------------------------------------- images


def _source(row: Mapping[str, Any], name: str, image_id: str) -> tuple[Path | bytes, str]:
    """Return a row's image as bytes or as a path, and its name in messages."""
    where = f"{name}: image of image_id {image_id}"
    cell = row.get("image")
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes) and cell["bytes"]:
        return cell["bytes"], where
    if isinstance(cell, dict) and cell.get("path"):
        return Path(cell["path"]), str(cell["path"])
    raise ImageError(where, expected="bytes or a path", found="none")


def _image(row: Mapping[str, Any], name: str, example: Example) -> Image.Image:
    source, where = _source(row, name, example.image_id)
    return open_image(source, where=where)
