"""Ground truth and predictions as JSON Lines: the interface between all steps.

Ground truth, a line an image (boxes in pixels; `image` relative to the file):

    {"image_id": "2", "width": 800, "height": 600, "image": "images/2.jpg",
     "objects": [{"id": "man.1", "bbox": [119, 70, 197, 330]}, {"id": "street.1", "bbox": [2, 280, 798, 598]}],
     "relationships": [{"subject": "man.1", "predicate": "walking on", "object": "street.1"}]}

Optional keys: `image`, `split`, and `meta` (anything of yours; carried along, never read).

Predictions, a line an image: `image_id`, `completion` (raw text), `frame` [w, h]; optional `model`, `logprobs`,
`finish_reason`, `seconds`, `tokens`, `error`. A detector-style prediction has `objects` (with `score`; boxes in
`frame`) and `relationships` (with `score`) in place of `completion`.

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

from r1sgg.errors import InputError
from r1sgg.graph.scene import SceneGraph, label_of_id, normalize_name
from r1sgg.graph.text import Frame, Issue, Parsed, graph_of_document, parse

TRUTH_KEYS = frozenset(("image_id", "width", "height", "objects", "relationships", "image", "split", "meta"))
PREDICTION_KEYS = frozenset(
    [
        "image_id",
        "completion",
        "frame",
        "model",
        "logprobs",
        "finish_reason",
        "seconds",
        "tokens",
        "error",
        "objects",
        "relationships",
        "meta",
    ]
)


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

    def to_record(self, root: Path | None = None) -> dict[str, Any]:
        """The line of a ground-truth file, boxes in pixels (to 1/100), `image` relative to `root`."""
        scale = (self.width, self.height) * 2
        record: dict[str, Any] = {"image_id": self.image_id, "width": self.width, "height": self.height}
        if self.image is not None:
            try:
                record["image"] = str(self.image.relative_to(root)) if root else str(self.image)
            except ValueError:
                record["image"] = str(self.image)
        if self.split is not None:
            record["split"] = self.split
        boxes = np.round(self.graph.boxes * scale, 2).tolist()
        record["objects"] = [
            {"id": i, "bbox": [_integral(v) for v in box]} for i, box in zip(self.graph.ids, boxes, strict=True)
        ]
        record["relationships"] = [
            {"subject": self.graph.ids[s], "predicate": p, "object": self.graph.ids[o]}
            for (s, o), p in zip(self.graph.pairs, self.graph.predicates, strict=True)
        ]
        if self.meta:
            record["meta"] = dict(self.meta)
        return record


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said about an image: a text to parse, or the boxes and relations of a detector."""

    image_id: str
    frame: Frame
    completion: str | None = None
    document: Mapping[str, Any] | None = None
    error: str | None = None

    def read(self, *, repair: bool = False) -> Parsed:
        """The graph and its issues; scores included where the prediction has them."""
        if self.document is not None:
            issues: list[Issue] = []
            graph = graph_of_document(dict(self.document), self.frame, issues)
            return Parsed(graph, tuple(issues))
        return parse(self.completion or "", self.frame, repair=repair)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a JSON Lines file; blank lines are skipped.

    Raises:
        InputError: the file is missing, empty, not UTF-8 JSON objects, or its last line is cut off.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(
            str(path), expected="a readable JSON Lines file", found=error.strerror or "an error", hint="check the path"
        ) from error
    empty = True
    with handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            empty = False
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                cut = not line.endswith(b"\n")
                raise InputError(
                    f"{path}:{number}",
                    expected="a JSON object",
                    found="a line that is cut off" if cut else f"broken JSON ({error.msg})",
                    hint="the file was not written to its end; write it again" if cut else "fix or remove the line",
                ) from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}", expected="a JSON object", found=type(row).__name__)
            yield number, row
    if empty:
        raise InputError(str(path), expected="at least one line", found="an empty file")


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
    _check_keys(row, TRUTH_KEYS | also, ("image_id", "width", "height", "objects", "relationships"), where)
    image_id = row["image_id"]
    if isinstance(image_id, bool) or not isinstance(image_id, str | int):
        raise InputError(f"{where}: image_id", expected="a string", found=_short(image_id))
    size: list[int] = []
    for key in ("width", "height"):
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"{where}: {key}", expected="a number of pixels above 0", found=_short(value))
        size.append(int(value))
    graph = _truth_graph(row, where, *size)
    image = row.get("image")
    return Example(
        image_id=str(image_id),
        width=size[0],
        height=size[1],
        graph=graph,
        image=root / image if isinstance(image, str) else None,
        split=row.get("split"),
        meta=row.get("meta") or {},
    )


def _truth_graph(row: Mapping[str, Any], where: str, width: int, height: int) -> SceneGraph:
    objects, relationships = row["objects"], row["relationships"]
    for key, rows in (("objects", objects), ("relationships", relationships)):
        if not isinstance(rows, list):
            raise InputError(f"{where}: {key}", expected="a list", found=_short(rows))
    index: dict[str, int] = {}
    flat: list[float] = []
    for k, item in enumerate(objects):
        here = f"{where}: objects[{k}]"
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str) or not label_of_id(name):
            raise InputError(here, expected='an object with an "id" like "person.1"', found=_short(item))
        if name in index:
            raise InputError(f"{here}.id", expected="ids that differ", found=f"{name!r} again")
        flat += _truth_box(item.get("bbox"), f"{here}.bbox", width, height)
        index[name] = k
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    for k, item in enumerate(relationships):
        here = f"{where}: relationships[{k}]"
        if not isinstance(item, dict):
            raise InputError(here, expected="a JSON object", found=_short(item))
        ends = []
        for key in ("subject", "object"):
            name = item.get(key)
            if not isinstance(name, str) or name not in index:
                raise InputError(
                    f"{here}.{key}", expected='the "id" of one of this line\'s objects', found=_short(name)
                )
            ends.append(index[name])
        predicate = item.get("predicate")
        if not isinstance(predicate, str) or not normalize_name(predicate):
            raise InputError(f"{here}.predicate", expected="a name", found=_short(predicate))
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
        raise InputError(where, expected="[x1, y1, x2, y2] in pixels", found=_short(box))
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
        raise InputError(where, expected="x1 < x2 and y1 < y2", found=_short(box), hint="boxes are corners, not sizes")
    if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
        raise InputError(
            where,
            expected=f"a box inside the image of {width}x{height}",
            found=_short(box),
            hint="boxes are pixels of this image",
        )
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)  # a pixel outside is rounding


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Predictions of a file, in its order.

    Raises:
        InputError: an unknown or missing key, a frame that is not two positive numbers, an image_id twice.
    """
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        prediction = prediction_of_record(row, f"{path}:{number}")
        if prediction.image_id in seen:
            raise InputError(
                f"{path}:{number}", expected="one line an image", found=f"image_id {prediction.image_id!r} again"
            )
        seen.add(prediction.image_id)
        yield prediction


def prediction_of_record(row: Mapping[str, Any], where: str) -> Prediction:
    """Check one prediction line.

    Raises:
        InputError: see `read_predictions`.
    """
    _check_keys(row, PREDICTION_KEYS, ("image_id",), where)
    error = row.get("error")
    if error is not None:
        return Prediction(str(row["image_id"]), (1.0, 1.0), "", error=str(error))
    frame = frame_of(row.get("frame"), f"{where}: frame")
    completion, objects = row.get("completion"), row.get("objects")
    if isinstance(objects, list):
        document = {"objects": objects, "relationships": row.get("relationships") or []}
        return Prediction(str(row["image_id"]), frame, completion, document)
    if not isinstance(completion, str):
        raise InputError(f"{where}: completion", expected='a string (or "objects")', found=_short(completion))
    return Prediction(str(row["image_id"]), frame, completion)


def frame_of(value: Any, where: str) -> Frame:
    """Check a frame [width, height].

    Raises:
        InputError: not two positive numbers.
    """
    if not (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < float("inf") for v in value)
    ):
        raise InputError(where, expected="[width, height], the size that boxes are relative to", found=_short(value))
    return float(value[0]), float(value[1])


def write_ground_truth(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as a ground-truth file; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("wb") as handle:
        for example in examples:
            handle.write(orjson.dumps(example.to_record(path.parent)) + b"\n")
            count += 1
    return count


def data_hash(examples: Iterable[Example]) -> str:
    """Names a set: 16 hex digits over image ids and annotations, whatever the order of the images."""
    lines = sorted(
        orjson.dumps([e.image_id, e.graph.ids, np.round(e.graph.boxes, 4).tolist(), e.graph.pairs, e.graph.predicates])
        for e in examples
    )
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]


def _check_keys(row: Mapping[str, Any], known: frozenset[str], needed: Sequence[str], where: str) -> None:
    if unknown := sorted(set(row) - known):
        raise InputError(
            f"{where}: {unknown[0]!r}",
            expected=f"only the keys {', '.join(sorted(known))}",
            found="an unknown key",
            hint='put fields of your own under "meta"',
        )
    if missing := [key for key in needed if key not in row]:
        raise InputError(f"{where}: {missing[0]!r}", expected="this key", found="nothing")


def _integral(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
