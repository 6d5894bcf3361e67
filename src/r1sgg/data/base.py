"""Ground truth and predictions as JSON Lines: the interface between all steps.

Ground truth, a line an image (boxes in pixels; `image` relative to the file):

    {"image_id": "2", "width": 800, "height": 600, "image": "images/2.jpg",
     "objects": [{"id": "man.1", "bbox": [119, 70, 197, 330]}, {"id": "street.1", "bbox": [2, 280, 798, 598]}],
     "relationships": [{"subject": "man.1", "predicate": "walking on", "object": "street.1"}]}

Optional keys: `image`, `split`, and `meta` (anything of yours; carried along, never read).

Predictions, a line an image: `image_id`, `completion` (raw text), `frame` [w, h]; optional `model`, `logprobs`,
`finish_reason`, `seconds`, `tokens`, `passes` (of the model, to read the prompt and write the tokens), `error`. A
detector-style prediction has `objects` (with `score`; boxes in `frame`) and `relationships` (with `score`) in place of
`completion`, or beside it: then the graph and its scores are those of the rows, failure and issues those of the text.
`completions` holds the texts of several samples, where the rows and `completion` are what they were merged to.

Reading is strict: a wrong line raises one sentence with file, line and field. It never guesses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from r1sgg.data.jsonl import check_keys, frame_of, image_id_of, read_jsonl, short
from r1sgg.data.predictions import Prediction, prediction_of_record, read_predictions
from r1sgg.errors import InputError
from r1sgg.graph.scene import Boxes, SceneGraph, label_of_id, normalize_name

__all__ = [
    "Example",
    "Prediction",
    "data_hash",
    "example_digest",
    "example_of_record",
    "frame_of",
    "hash_of_digests",
    "prediction_of_record",
    "read_ground_truth",
    "read_jsonl",
    "read_predictions",
    "write_ground_truth",
]

TRUTH_KEYS = frozenset(("image_id", "width", "height", "objects", "relationships", "image", "split", "meta"))
OBJECT_KEYS = frozenset(("id", "bbox"))
RELATIONSHIP_KEYS = frozenset(("subject", "predicate", "object"))


@dataclass(frozen=True, slots=True)
class Example:
    """An image with its true graph. `image` is a path that may not exist; nothing is opened until it is needed."""

    image_id: str
    width: int
    height: int
    graph: SceneGraph
    image: Path | None = None
    split: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pixel_boxes(self) -> Boxes:
        """(N, 4) xyxy in pixels to 1/100, or exact where that would leave a box without area."""
        boxes = self.graph.boxes * ((self.width, self.height) * 2)
        rounded = np.round(boxes, 2)
        thin = (rounded[:, :2] >= rounded[:, 2:]).any(1)
        rounded[thin] = boxes[thin]
        return rounded

    def to_record(self, root: Path | None = None) -> dict[str, Any]:
        """The line of a ground-truth file, boxes in pixels (see `pixel_boxes`).

        `image` is relative to `root` where it lies inside it, else absolute; without `root` it stays as it is.
        """
        record: dict[str, Any] = {"image_id": self.image_id, "width": self.width, "height": self.height}
        if self.image is not None:
            record["image"] = str(self.image) if root is None else _relative(self.image, root)
        if self.split is not None:
            record["split"] = self.split
        record["objects"] = [
            {"id": i, "bbox": [_integral(v) for v in box]}
            for i, box in zip(self.graph.ids, self.pixel_boxes.tolist(), strict=True)
        ]
        record["relationships"] = [
            {"subject": self.graph.ids[s], "predicate": p, "object": self.graph.ids[o]}
            for (s, o), p in zip(self.graph.pairs, self.graph.predicates, strict=True)
        ]
        if self.meta:
            record["meta"] = dict(self.meta)
        return record


def _relative(image: Path, root: Path) -> str:
    image, root = image.resolve(), root.resolve()
    return (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()


def read_ground_truth(path: Path) -> Iterator[Example]:
    """Examples of a ground-truth file, in its order, one at a time.

    Raises:
        InputError: see `example_of_record`; or an image_id stands in the file twice.
    """
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        example = example_of_record(row, f"{path}:{number}", path.parent)
        if example.image_id in seen:
            raise InputError(
                f"{path}:{number}", expected="image ids that differ", found=f"image_id {example.image_id!r} again"
            )
        seen.add(example.image_id)
        yield example


def example_of_record(row: Mapping[str, Any], where: str, root: Path, also: frozenset[str] = frozenset()) -> Example:
    """Check one ground-truth object and turn it into an Example.

    Args:
        row: the JSON object.
        where: file and line, for messages.
        root: folder that `image` is relative to.
        also: keys that are allowed beside the ground truth's own.

    Raises:
        InputError: an unknown or missing key, a box outside the image or inverted, an undeclared or repeated id.
    """
    check_keys(row, TRUTH_KEYS | also, ("image_id", "width", "height", "objects", "relationships"), where)
    image_id = image_id_of(row, where)
    size: list[int] = []
    for key in ("width", "height"):
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9 or value % 1:
            raise InputError(f"{where}: {key}", expected="a whole number of pixels above 0", found=short(value))
        size.append(int(value))
    image, split, meta = row.get("image"), row.get("split"), row.get("meta")
    for key, value in (("image", image), ("split", split)):
        if value is not None and (not isinstance(value, str) or not value):
            raise InputError(f"{where}: {key}", expected="a string, or no such key", found=short(value))
    if meta is not None and not isinstance(meta, dict):
        raise InputError(f"{where}: meta", expected="a JSON object, or no such key", found=short(meta))
    return Example(
        image_id=image_id,
        width=size[0],
        height=size[1],
        graph=_truth_graph(row, where, *size),
        image=None if image is None else root / image,
        split=split,
        meta=meta or {},
    )


def _truth_graph(row: Mapping[str, Any], where: str, width: int, height: int) -> SceneGraph:
    objects, relationships = row["objects"], row["relationships"]
    for key, rows in (("objects", objects), ("relationships", relationships)):
        if not isinstance(rows, list):
            raise InputError(f"{where}: {key}", expected="a list", found=short(rows))
    index: dict[str, int] = {}
    flat: list[float] = []
    for k, item in enumerate(objects):
        here = f"{where}: objects[{k}]"
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str) or not label_of_id(name):
            raise InputError(here, expected='an object with an "id" like "person.1"', found=short(item))
        check_keys(item, OBJECT_KEYS, ("bbox",), here)
        if name in index:
            raise InputError(f"{here}.id", expected="ids that differ", found=f"{name!r} again")
        flat += _truth_box(item["bbox"], f"{here}.bbox", width, height)
        index[name] = k
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    for k, item in enumerate(relationships):
        here = f"{where}: relationships[{k}]"
        if not isinstance(item, dict):
            raise InputError(here, expected="a JSON object", found=short(item))
        check_keys(item, RELATIONSHIP_KEYS, (), here)
        ends = []
        for key in ("subject", "object"):
            name = item.get(key)
            if not isinstance(name, str) or name not in index:
                raise InputError(f"{here}.{key}", expected='the "id" of one of this line\'s objects', found=short(name))
            ends.append(index[name])
        predicate = item.get("predicate")
        if not isinstance(predicate, str) or not normalize_name(predicate):
            raise InputError(f"{here}.predicate", expected="a name", found=short(predicate))
        pairs.append((ends[0], ends[1]))
        predicates.append(normalize_name(predicate))
    boxes = np.array(flat, dtype=np.float64).reshape(-1, 4) / ((width, height) * 2)
    return SceneGraph(tuple(index), tuple(map(label_of_id, index)), boxes, tuple(pairs), tuple(predicates))


def _truth_box(box: Any, where: str, width: int, height: int) -> Sequence[float]:
    if not (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in box)
    ):
        raise InputError(where, expected="[x1, y1, x2, y2] in pixels", found=short(box))
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
        raise InputError(where, expected="x1 < x2 and y1 < y2", found=short(box), hint="boxes are corners, not sizes")
    if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
        raise InputError(
            where,
            expected=f"a box inside the image of {width}x{height}",
            found=short(box),
            hint="boxes are pixels of this image",
        )
    inside = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)  # a pixel outside is rounding
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise InputError(where, expected=f"a box inside the image of {width}x{height}", found=short(box))
    return inside


def write_ground_truth(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as a ground-truth file; returns how many. The file appears whole, or stays as it was.

    Raises:
        InputError: the file can't be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = part.open("wb")
    except OSError as error:
        raise InputError(
            str(path), expected="a place to write a file", found=error.strerror or "an error", hint="choose another"
        ) from error
    count = 0
    try:
        with handle:
            for example in examples:
                handle.write(orjson.dumps(example.to_record(path.parent)) + b"\n")
                count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def data_hash(examples: Iterable[Example]) -> str:
    """Names a set: 16 hex digits over ids, sizes and annotations as a file holds them, whatever the order of images."""
    return hash_of_digests(map(example_digest, examples))


def example_digest(example: Example) -> bytes:
    """What one example adds to the name of its set; lets a stream be named without being held."""
    graph = example.graph
    size = (example.width, example.height)
    content = [example.image_id, size, graph.ids, example.pixel_boxes.tolist(), graph.pairs, graph.predicates]
    return hashlib.sha256(orjson.dumps(content)).digest()


def hash_of_digests(digests: Iterable[bytes]) -> str:
    """The `data_hash` of the examples with these digests."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:16]


def _integral(value: float) -> float | int:
    return int(value) if value == int(value) else value
