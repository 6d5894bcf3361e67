"""Convert raw Visual Genome annotations into ground truth, with VG150 names or any others.

A row of objects.json and one of relationships.json (`name` occurs beside `names`, ids differ between the two files):

    {"image_id": 1, "objects": [{"object_id": 1058549, "x": 0, "y": 0, "w": 799, "h": 557, "names": ["trees"],
                                 "merged_object_ids": [], "synsets": ["tree.n.01"]}, ...], "image_url": ...}
    {"image_id": 1, "relationships": [{"relationship_id": 15927, "predicate": "ON", "synsets": ["along.r.01"],
        "subject": {"object_id": 5045, "name": "shade", "x": 119, ...}, "object": {"object_id": 1058534, ...}}, ...]}

The steps are those of the classic preprocessing: names are mapped to a vocabulary, boxes clipped to the image, boxes of
one class that overlap by IoU >= 0.9 merged (annotators drew many objects twice), and relations kept if both ends are
left. Images without objects are dropped. Names are mapped by the normal form of `r1sgg.graph.mapping` instead of the
published alias files. There is no train / validation split and no limit on the number of boxes. Everything that is
dropped is counted.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from r1sgg.data.base import Example
from r1sgg.data.columns import four_numbers
from r1sgg.data.images import image_size
from r1sgg.errors import ImageError, InputError
from r1sgg.graph.forms import bare_predicate, singular
from r1sgg.graph.mapping import Level, mapper
from r1sgg.graph.records import json_value
from r1sgg.graph.scene import SceneGraph, normalize_name
from r1sgg.graph.text import number_ids
from r1sgg.graph.vocabulary import VG150, Vocabulary
from r1sgg.judging.boxes import pairwise_iou

SAME_OBJECT_IOU = 0.9
"""Boxes of one class that overlap by this much or more are one object."""


@dataclass(slots=True)
class Conversion:
    """The log of a conversion: `counts` by step, and `notes`, a sentence for each entry that was skipped or guessed."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


_Box = tuple[float, float, float, float]
"""Corners xyxy in pixels."""


@dataclass(frozen=True, slots=True)
class _NameMapper:
    """Maps names into the vocabulary."""

    vocabulary: Vocabulary
    level: Level

    def object(self, names: Iterable[str]) -> str | None:
        """Return the first of an object's names that is in the vocabulary, as the vocabulary has it."""
        for name in names:
            label = normalize_name(name)
            if not label:
                continue
            if not self.vocabulary.objects:
                return singular(label)
            if (target := mapper(self.vocabulary, self.level).object(label).name) is not None:
                return target
        return None

    def predicate(self, name: str) -> tuple[str | None, bool]:
        """Return the predicate, and whether subject and object change places."""
        label = normalize_name(name)
        if not label:
            return None, False
        if not self.vocabulary.predicates:
            return bare_predicate(label) or label, False
        target = mapper(self.vocabulary, self.level).predicate(label)
        return target.name, target.swap


def read_visual_genome(
    objects: Path,
    relationships: Path,
    *,
    vocabulary: Vocabulary = VG150,
    mapping: Level = "normal",
    images: Path | None = None,
    image_data: Path | None = None,
    log: Conversion | None = None,
) -> Iterator[Example]:
    """Yield examples in the order of their image ids.

    Args:
        objects: objects.json, plain or .gz; read whole.
        relationships: relationships.json, likewise.
        vocabulary: names to keep; an open side keeps all of them, in the singular and without articles.
        mapping: "none", "normal" or "full" (see `r1sgg.graph.mapping`).
        images: folder of ID.jpg (or .png, .jpeg); for paths, and for sizes that `image_data` lacks.
        image_data: Visual Genome's image_data.json, which has the sizes.
        log: filled with counts and notes while the examples are read.

    Sizes come from `image_data`, else from the image file, else they are the extent of all boxes of the image, which is
    too small if no box reaches the edge; a note says for how many images.

    Raises:
        InputError: a file is missing, no JSON, or no list of images.
    """
    log = Conversion() if log is None else log
    names = _NameMapper(vocabulary, mapping)
    object_rows = _by_image(objects, "objects", log)
    relation_rows = _by_image(relationships, "relationships", log)
    sizes = {} if image_data is None else _sizes(image_data, log)
    guessed = 0
    for image_id in sorted(object_rows.keys() | relation_rows.keys(), key=_image_order):
        log.counts["images read"] += 1
        where = f"image {image_id}"
        boxes = _Objects(log, where)
        for row in object_rows.get(image_id, ()):
            boxes.add(row)
        relations = relation_rows.get(image_id, [])
        for row in relations:
            for end in ("subject", "object"):
                if isinstance(row, dict) and isinstance(row.get(end), dict):
                    boxes.add(row[end])
        path = _image_path(images, image_id)
        size, known = sizes.get(image_id), True
        if size is None and path is not None:
            try:
                size = image_size(path)
            except ImageError as error:
                log.notes.append(f"{where}: {error}")
        if size is None:
            size, known = boxes.extent(), False
        if size is None:
            log.counts["images dropped: no object"] += 1
            continue
        graph = _graph(boxes, relations, size, names)
        if not len(graph):
            log.counts["images dropped: no object"] += 1
            continue
        guessed += not known
        log.counts["images kept"] += 1
        log.counts["images kept without a relationship"] += not graph.pairs
        yield Example(image_id, size[0], size[1], graph, image=path)
    if guessed:
        log.counts["images whose size is the extent of their boxes"] = guessed
        log.notes.append(
            f"the size of {guessed} images is only the extent of their boxes; give the image folder or image_data.json"
        )


class _Objects:
    """The objects of one image from both files; relations repeat objects, often under an older id.

    `rows` are names and box of each object, `row_of` the row of each id.
    """

    def __init__(self, log: Conversion, where: str) -> None:
        self.log, self.where = log, where
        self.rows: list[tuple[list[str], _Box]] = []
        self.row_of: dict[Any, int] = {}

    def add(self, row: Any) -> None:
        """Add an object, unless one with its id (or a merged id) was added before."""
        identifier = row.get("object_id") if isinstance(row, dict) else None
        if identifier is None or not isinstance(identifier, int | str):
            self.log.counts.update(("objects read", "objects dropped: no object_id"))
            return
        if identifier in self.row_of:
            return
        box, names = _box_of(row), _names_of(row)
        self.log.counts["objects read"] += 1
        if box is None or not names:
            self.log.counts["objects dropped: no name or no box"] += 1
            return
        self.row_of[identifier] = len(self.rows)
        for merged in row.get("merged_object_ids") or ():
            if isinstance(merged, int | str):
                self.row_of.setdefault(merged, len(self.rows))
        self.rows.append((names, box))

    def extent(self) -> tuple[int, int] | None:
        """Return the size of the smallest image that has every box, whatever its name."""
        if not self.rows:
            return None
        width, height = (math.ceil(max(box[k] for _, box in self.rows)) for k in (2, 3))
        return (width, height) if width > 0 and height > 0 else None


def _graph(source: _Objects, relations: list[Any], size: tuple[int, int], names: _NameMapper) -> SceneGraph:
    """The graph of one image: names mapped, boxes clipped and merged, relations between what is left."""
    log, (width, height) = source.log, size
    rows: list[int] = []  # of `source`, for each object so far
    labels: list[str] = []
    boxes: list[_Box] = []
    for k, (raw, box) in enumerate(source.rows):
        label = names.object(raw)
        x1, y1, x2, y2 = clipped = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
        if label is None:
            log.counts["objects dropped: not in vocabulary"] += 1
        elif not (x1 < x2 and y1 < y2):
            log.counts["objects dropped: outside the image"] += 1
        else:
            log.counts["boxes clipped to the image"] += clipped != box
            rows.append(k)
            labels.append(label)
            boxes.append(clipped)
    boxes_N4 = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    first = merge_duplicates(labels, boxes_N4)
    kept = sorted(set(first))
    log.counts["objects merged into another"] += len(first) - len(kept)
    log.counts["objects kept"] += len(kept)
    index = {row: kept.index(same) for row, same in zip(rows, first, strict=True)}  # row of `source` -> object
    triplets: dict[tuple[int, str, int], None] = {}
    for relation in relations:
        log.counts["relationships read"] += 1
        triplet, fault = _triplet(relation, source.row_of, index, names)
        if triplet is None:
            log.counts[f"relationships dropped: {fault}"] += 1
        elif triplet in triplets:
            log.counts["relationships dropped: repeated"] += 1
        else:
            triplets[triplet] = None
    log.counts["relationships kept"] += len(triplets)
    labels = [labels[k] for k in kept]
    return SceneGraph(
        ids=number_ids(labels),
        labels=tuple(labels),
        boxes=boxes_N4[kept] / (size * 2),
        pairs=tuple((s, o) for s, _, o in triplets),
        predicates=tuple(p for _, p, _ in triplets),
    )


def _triplet(
    row: Any, row_of: Mapping[Any, int], index: Mapping[int, int], names: _NameMapper
) -> tuple[tuple[int, str, int] | None, str]:
    """Return a relation as (subject, predicate, object), or None and why it is dropped."""
    parts = ("subject", "predicate", "object")
    subject, predicate, target = (row.get(part) if isinstance(row, dict) else None for part in parts)
    if not (isinstance(subject, dict) and isinstance(predicate, str) and isinstance(target, dict)):
        return None, "malformed"
    s, o = (index.get(row_of.get(end.get("object_id"), -1)) for end in (subject, target))
    if s is None or o is None:
        return None, "an end was dropped"
    name, swap = names.predicate(predicate)
    if name is None:
        return None, "predicate not in vocabulary"
    if s == o:
        return None, "of an object with itself"
    return ((o, name, s) if swap else (s, name, o)), ""


def merge_duplicates(labels: list[str], boxes_N4: np.ndarray, least: float = SAME_OBJECT_IOU) -> list[int]:
    """Return for each of N boxes the first box of the same object: of the same label, and IoU >= `least` with it."""
    first = list(range(len(labels)))
    by_label: dict[str, list[int]] = {}
    for k, label in enumerate(labels):
        by_label.setdefault(label, []).append(k)
    for members in by_label.values():
        if len(members) == 1:
            continue
        overlap = pairwise_iou(boxes_N4[members], boxes_N4[members])
        for b, k in enumerate(members):
            for a in range(b):
                if first[members[a]] == members[a] and overlap[a, b] >= least:
                    first[k] = members[a]
                    break
    return first


# ---------------------------------------------------------------- the files


def load_document(path: Path, kind: type = list) -> Any:
    """Return the JSON document of a published file, plain or .gz: a list of images, or what `kind` says.

    Raises:
        InputError: it is missing, damaged, no JSON, or of another kind.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        found = getattr(error, "strerror", None) or f"damaged data ({error})"
        expected = "a readable JSON file (or .gz)"
        raise InputError(str(path), expected=expected, found=found, hint="check the path") from error
    document = json_value(data, str(path), "fetch it again")
    if not isinstance(document, kind):
        expected = "a list of images" if kind is list else "a JSON object"
        raise InputError(str(path), expected=expected, found=f"a JSON {type(document).__name__}")
    return document


def _by_image(path: Path, key: str, log: Conversion) -> dict[str, list[Any]]:
    """Return the lists under `key` by image id; entries that lack either are skipped and named in `log`."""
    found: dict[str, list[Any]] = {}
    for k, entry in enumerate(load_document(path)):
        fault = ""
        if not isinstance(entry, dict):
            fault = f"is a JSON {type(entry).__name__}"
        elif not isinstance(entry.get("image_id", entry.get("id")), int | str):
            fault = "has no image_id"
        elif not isinstance(entry.get(key), list):
            fault = f"has no list {key!r}"
        elif (image_id := str(entry.get("image_id", entry.get("id")))) in found:
            fault = f"repeats image_id {image_id}"
        else:
            found[image_id] = entry[key]
        if fault:
            log.counts["entries skipped"] += 1
            log.notes.append(f"{path}: [{k}] {fault}; skipped")
    return found


def _sizes(path: Path, log: Conversion) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    for k, row in enumerate(load_document(path)):
        values: list[Any] = [row.get(key) for key in ("width", "height")] if isinstance(row, dict) else []
        identifier = row.get("image_id", row.get("id")) if isinstance(row, dict) else None
        if identifier is None or not all(type(v) is int and v > 0 for v in values):
            log.notes.append(f"{path}: [{k}] has no image_id, width and height; skipped")
            continue
        sizes[str(identifier)] = (values[0], values[1])
    return sizes


def _box_of(row: Mapping[str, Any]) -> _Box | None:
    x, y, w, h = four_numbers([row.get(key) for key in "xywh"])
    far = max(abs(x), abs(y), w, h) >= 1e6
    return (x, y, x + w, y + h) if w > 0 and h > 0 and not far else None  # NaN, for what is no number, is not above 0


def _names_of(row: Mapping[str, Any]) -> list[str]:
    names = row.get("names")
    names = names if isinstance(names, list) else [row.get("name")]
    return [name for name in names if isinstance(name, str) and normalize_name(name)]


def _image_path(folder: Path | None, image_id: str) -> Path | None:
    if folder is None:
        return None
    return next(filter(Path.is_file, (folder / f"{image_id}{ending}" for ending in (".jpg", ".png", ".jpeg"))), None)


def _image_order(image_id: str) -> tuple[int, str]:
    return (int(image_id), "") if image_id.isdigit() else (1 << 62, image_id)
