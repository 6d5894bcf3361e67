"""Ground truth and predictions as JSON Lines: the interface between all steps.

Ground truth has one line per image (boxes in pixels; `image` relative to the file):

    {"image_id": "2", "width": 800, "height": 600, "image": "images/2.jpg",
     "objects": [{"id": "man.1", "bbox": [119, 70, 197, 330]}, {"id": "street.1", "bbox": [2, 280, 798, 598]}],
     "relationships": [{"subject": "man.1", "predicate": "walking on", "object": "street.1"}]}

Optional keys: `image`, `split`, and `meta` (anything of yours; kept, never read).

Predictions have one line per image: `image_id`, `completion` (raw text), `frame` [w, h] (or an object for boxes that
are not x1 y1 x2 y2, see `r1sgg.graph.frames`); optional `model`, `logprobs`, `finish_reason`, `seconds`, `tokens`,
`passes` (of the model, to read the prompt and write the tokens), `error`. A detector's prediction has `objects` (with
`score`; boxes in `frame`, without it in pixels) and `relationships` (with `score`) instead of `completion`
(`r1sgg.data.detections`), or beside it: then the graph and its scores are those of the rows, failure and issues those
of the text. `completions` holds the texts of several samples; the rows and `completion` are then what the samples were
merged to. `replies` are the texts that a guided completion was made of, if something was left out of them or changed;
`left_out` counts that, and `written_in` is the frame that they were in.
The score of a triplet is the product of its relationship's score and those of its two objects; where the line says
`"scores": "triplet"`, as `r1sgg generate` writes, it is the relationship's score itself.
`task` is "sgcls" or "predcls" where the prompt gave boxes, or boxes and names. `ask` is "native" where the model was
asked by two questions in its own format; `exchanges` holds both, [{"prompt", "reply", "issues", "dropped", "read"}].
`fault` says why relationships have no answer, if so; the completion then has the objects alone.

Reading is strict: a wrong line raises one sentence with file, line and field. Nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.jsonl import add_image_id, frame_of, image_id_of, read_jsonl
from r1sgg.data.predictions import Prediction, read_predictions
from r1sgg.errors import InputError, short
from r1sgg.files import write_lines, writing
from r1sgg.graph.records import check_keys, graph_of_rows, graph_to_rows, rounded_boxes
from r1sgg.graph.scene import Boxes, SceneGraph

__all__ = [
    "Example",
    "Prediction",
    "data_hash",
    "example_digest",
    "example_of_record",
    "frame_of",
    "hash_of_digests",
    "image_path",
    "read_ground_truth",
    "read_predictions",
    "write_ground_truth",
]

TRUTH_KEYS = frozenset(("image_id", "width", "height", "objects", "relationships", "image", "split", "meta"))


@dataclass(frozen=True, slots=True)
class Example:
    """An image with its ground truth. `image` is a path that may not exist: it is opened when it is needed."""

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
        return rounded_boxes(self.graph, (self.width, self.height))

    def to_record(self, root: Path | None = None) -> dict[str, Any]:
        """Return the line of a ground-truth file, with boxes in pixels (see `pixel_boxes`).

        `image` is as `image_path` returns it; without `root` it stays as it is.
        """
        record: dict[str, Any] = {"image_id": self.image_id, "width": self.width, "height": self.height}
        if self.image is not None:
            record["image"] = str(self.image) if root is None else image_path(self.image, root)
        if self.split is not None:
            record["split"] = self.split
        record |= graph_to_rows(self.graph, (self.width, self.height), scores=False)
        if self.meta:
            record["meta"] = dict(self.meta)
        return record


def image_path(image: Path, root: Path) -> str:
    """Return the path of an image as a file in the folder `root` names it: relative to `root`, so that both can be
    moved together; absolute where they share no folder but that of the whole disk.
    """
    spelt, below = Path(os.path.abspath(image)), Path(os.path.abspath(root))
    if ".." not in image.parts and spelt.is_relative_to(below):
        return spelt.relative_to(below).as_posix()
    # the system follows a symbolic link before a ".." behind it, so both folders have to be the real ones
    real, below = Path(os.path.realpath(image.parent), image.name), Path(os.path.realpath(root))
    shared = {*real.parents} & {below, *below.parents} - {Path(real.anchor)}
    return Path(os.path.relpath(real, below)).as_posix() if shared else real.as_posix()


def read_ground_truth(path: Path | str) -> Iterator[Example]:
    """Yield the examples of a ground-truth file in its order.

    Raises:
        InputError: see `example_of_record`; or an image_id is repeated.
    """
    path = Path(path)
    seen: set[str] = set()
    for number, row in read_jsonl(path):
        example = example_of_record(row, f"{path}:{number}", path.parent)
        add_image_id(example.image_id, seen, f"{path}:{number}")
        yield example


def example_of_record(row: Mapping[str, Any], where: str, root: Path, also: frozenset[str] = frozenset()) -> Example:
    """Check one line of ground truth and return it as an Example.

    Args:
        row: the JSON object.
        where: file and line, for messages.
        root: folder that `image` is relative to.
        also: other keys that the line may have.

    Raises:
        InputError: an unknown or missing key, a value of another kind, or wrong rows (see `graph_of_rows`).
    """
    if "completion" in row and "width" not in row and "completion" not in also:
        hint = "give the file that the predictions were made for"
        raise InputError(
            where, expected="ground truth (width, height, objects, relationships)", found="a prediction", hint=hint
        )
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
        graph=graph_of_rows(row["objects"], row["relationships"], (size[0], size[1]), where),
        image=None if image is None else root / image,
        split=split,
        meta=meta or {},
    )


def write_ground_truth(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as a ground-truth file and return how many; the file appears whole, or stays as it was.

    Raises:
        InputError: the file cannot be written.
    """
    with writing(path) as handle:
        return write_lines(handle, (example.to_record(path.parent) for example in examples))


def data_hash(examples: Iterable[Example]) -> str:
    """Return 16 hex digits over ids, sizes and annotations as a file holds them, whatever the order of the images."""
    return hash_of_digests(map(example_digest, examples))


def example_digest(example: Example) -> bytes:
    """Return what one example adds to `data_hash`, so that a stream can be hashed without being kept."""
    graph = example.graph
    size = (example.width, example.height)
    content = [example.image_id, size, graph.ids, example.pixel_boxes.tolist(), graph.pairs, graph.predicates]
    return hashlib.sha256(orjson.dumps(content)).digest()


def hash_of_digests(digests: Iterable[bytes]) -> str:
    """Return the `data_hash` of the examples with these digests."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:16]
