"""Captions in four formats, read as one kind of record.

    jsonl        {"image_id": "7", "width": 640, "height": 480, "captions": ["a man on a horse"]}       a line an image
                 also: caption (one text), image, split, coco_id, boxes [{"name": "man", "bbox": [119, 70, 197, 330]}]
                 (xyxy in pixels; also id and score)
    coco         {"images": [{"id": 9, "file_name": "9.jpg", "height": 480, "width": 640}],
                  "annotations": [{"image_id": 9, "id": 1, "caption": "A cat."}]}         captions_train2017.json
    vg-regions   [{"id": 1, "regions": [{"region_id": 3, "image_id": 1, "phrase": "a man on a horse",
                  "x": 21, "y": 40, "width": 90, "height": 75}]}]    region_descriptions.json, region_graphs.json (.gz)
    narratives   {"dataset_id": "mscoco_train2017", "image_id": "9", "caption": "...", "timed_caption": [{"utterance":
                  "a man", "start_time": 0.0, "end_time": 1.2}], "traces": [[{"x": 0.2, "y": 0.3, "t": 0.1}]]}

A record that cannot be used is skipped, counted and named. `coco` and `vg-regions` are one JSON document, so they are
in memory as a whole; the other two are read line by line.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from r1sgg.data.captions.records import Caption, Captioned, NamedBox, Point, Skipped, Spoken
from r1sgg.data.columns import four_numbers
from r1sgg.data.images import image_size
from r1sgg.data.jsonl import image_id_of, read_lines, record_of_line
from r1sgg.data.visual_genome import load_document
from r1sgg.errors import InputError, short
from r1sgg.graph.records import check_keys
from r1sgg.graph.scene import label_of_id, normalize_name

Source = Literal["jsonl", "coco", "vg-regions", "narratives"]
SOURCES: tuple[Source, ...] = get_args(Source)
BY_LINES = frozenset(("jsonl", "narratives"))
"""The sources that are read line by line, in flat memory."""


@dataclass(frozen=True)
class Sizes:
    """Where the sizes of images come from when their records have none: files in a folder, or image_data.json."""

    images: Path | None = None
    image_data: Path | None = None

    @functools.cached_property
    def _listed(self) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for row in load_document(self.image_data) if self.image_data else ():
            if isinstance(row, dict) and all(type(row.get(key)) is int for key in ("width", "height")):
                found[str(row.get("image_id", row.get("id")))] = row["width"], row["height"]
        return found

    def complete(self, record: Captioned) -> Captioned | Skipped:
        """Return the record with its image's file and size, or why it cannot be used."""
        if self.images is not None and record.image is None:
            record = replace(record, image=self._file(record))
        if not record.width and (size := self._listed.get(record.image_id)):
            record = replace(record, width=size[0], height=size[1])
        if not record.width and record.image is not None:
            try:
                width, height = image_size(record.image)
            except InputError as error:
                return Skipped(str(error))
            record = replace(record, width=width, height=height)
        if not record.width:
            return Skipped(
                f"image {record.image_id}: expected its size, found none; give the folder of the images (--images), or "
                "image_data.json (--image-data)"
            )
        return record

    def _file(self, record: Captioned) -> Path | None:
        stems = [record.image_id, *([record.image_id.zfill(12)] if record.image_id.isdigit() else [])]
        names = (self.images / f"{stem}{end}" for stem in stems for end in (".jpg", ".png", ".jpeg"))  # type: ignore[operator]
        return next(filter(Path.is_file, names), None)


def read_captions(path: Path, source: Source, sizes: Sizes = Sizes()) -> Iterator[Captioned | Skipped]:
    """Yield the records of a file in its order.

    Args:
        path: the file, or for "coco" the JSON document of captions.
        source: its format.
        sizes: where sizes come from that the records lack.

    Raises:
        InputError: the file cannot be read, or is of another format as a whole.
    """
    if source in BY_LINES:
        found = False
        for number, _, content in read_lines(path):
            found = True
            yield of_line(content, number, path, source, sizes)
        if not found:
            raise InputError(str(path), expected="at least one line", found="an empty file")
    else:
        rows = _coco(path) if source == "coco" else _regions(path)
        for record in rows:
            yield sizes.complete(record) if isinstance(record, Captioned) else record


def read_unsized(path: Path) -> Iterator[Captioned | Skipped]:
    """Yield the records of a "jsonl" source, also those without a size.

    Raises:
        InputError: the file cannot be read.
    """
    for number, _, content in read_lines(path):
        where = f"{path}:{number}"
        try:
            yield _of_jsonl(record_of_line(content, where, first=number == 1), where, path.parent)
        except InputError as error:
            yield Skipped(str(error))


def of_line(content: bytes, number: int, path: Path, source: Source, sizes: Sizes) -> Captioned | Skipped:
    """Return the record of one line of `path`, or why it cannot be used."""
    where = f"{path}:{number}"
    try:
        row = record_of_line(content, where, first=number == 1)
        record = _of_jsonl(row, where, path.parent) if source == "jsonl" else _of_narrative(row, where)
    except InputError as error:
        return Skipped(str(error))
    return sizes.complete(record)


# ---------------------------------------------------------------- jsonl

_KEYS = frozenset(
    ("image_id", "width", "height", "caption", "captions", "image", "split", "boxes", "coco_id", "vg_id", "meta")
)


def _of_jsonl(row: Mapping[str, Any], where: str, root: Path) -> Captioned:
    check_keys(row, _KEYS, ("image_id",), where)
    texts = row.get("captions", row.get("caption"))
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        expected = "a text, or a list of texts, none of them empty"
        raise InputError(f"{where}: captions", expected=expected, found=short(texts))
    size = [row.get(key, 0) for key in ("width", "height")]
    if not all(type(side) is int and 0 <= side < 1e9 for side in size) or (0 in size and any(size)):
        raise InputError(f"{where}: width, height", expected="whole numbers of pixels above 0", found=short(size))
    for key in ("image", "split"):
        if row.get(key) is not None and (not isinstance(row[key], str) or not row[key]):
            raise InputError(f"{where}: {key}", expected="a text, or no such key", found=short(row[key]))
    ids: list[str | None] = []
    for key in ("coco_id", "vg_id"):
        value = row.get(key, ...)
        ids.append(None if value is ... else "" if value is None else image_id_of({"image_id": value}, where))
    boxes = row.get("boxes")
    return Captioned(
        image_id_of(row, where),
        size[0],
        size[1],
        tuple(Caption(text) for text in texts),
        None
        if boxes is None
        else tuple(_box(box, f"{where}: boxes[{k}]") for k, box in enumerate(_list(boxes, where))),
        root / row["image"] if row.get("image") else None,
        row.get("split"),
        *ids,
    )


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: boxes", expected="a list", found=short(value))
    return value


def _box(row: Any, where: str) -> NamedBox:
    found = row.get("bbox") if isinstance(row, dict) else None
    if not isinstance(found, list) or len(found) != 4:
        raise InputError(where, expected='{"name": ..., "bbox": [x1, y1, x2, y2]}', found=short(row))
    x1, y1, x2, y2 = four_numbers(found)
    name = row.get("name") or label_of_id(str(row.get("id", "")))
    if not isinstance(name, str) or not normalize_name(name):
        raise InputError(f"{where}.name", expected="a name", found=short(row.get("name")))
    if not (x1 < x2 and y1 < y2):
        raise InputError(f"{where}.bbox", expected="x1 < x2 and y1 < y2", found=short(found), hint="boxes are corners")
    score = row.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"{where}.score", expected="a number from 0 to 1", found=short(score))
    return NamedBox(normalize_name(name), (x1, y1, x2, y2), float(score))


# ---------------------------------------------------------------- COCO and Visual Genome


def _coco(path: Path) -> Iterator[Captioned | Skipped]:
    document = load_document(path, dict)
    rows = {key: document.get(key) for key in ("images", "annotations")}
    for key, value in rows.items():
        if not isinstance(value, list):
            expected, hint = f"a list {key!r}", "--source coco reads captions_train2017.json and files like it"
            raise InputError(str(path), expected=expected, found=short(value), hint=hint)
    captions: dict[Any, list[Caption]] = {}
    for k, row in enumerate(rows["annotations"] or ()):
        text = row.get("caption") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip() or not isinstance(row.get("image_id"), int | str):
            yield Skipped(f"{path}: annotations[{k}]: expected an image_id and a caption, found {short(row)}")
            continue
        captions.setdefault(row["image_id"], []).append(Caption(text))
    for k, row in enumerate(rows["images"] or ()):
        size: list[Any] = [row.get(key) for key in ("width", "height")] if isinstance(row, dict) else []
        if not size or not all(type(v) is int and v > 0 for v in size) or not isinstance(row.get("id"), int | str):
            yield Skipped(f"{path}: images[{k}]: expected id, width and height, found {short(row)}")
        elif row["id"] in captions:
            name = str(row["id"])
            yield Captioned(name, size[0], size[1], tuple(captions.pop(row["id"])), coco_id=name)
    if captions:
        left = next(iter(captions))
        yield Skipped(f"{path}: captions of {len(captions):,} images that are not listed, the first: {left}")


def _regions(path: Path) -> Iterator[Captioned | Skipped]:
    for k, entry in enumerate(load_document(path)):
        regions = entry.get("regions") if isinstance(entry, dict) else None
        if not isinstance(regions, list):
            yield Skipped(f"{path}: [{k}]: expected an image with a list of regions, found {short(entry)}")
            continue
        name = entry.get("id", entry.get("image_id"))
        captions: list[Caption] = []
        for j, row in enumerate(regions):
            phrase = row.get("phrase") if isinstance(row, dict) else None
            x, y, w, h = four_numbers([row.get(key) for key in ("x", "y", "width", "height")] if phrase else [None] * 4)
            if not isinstance(phrase, str) or not phrase.strip() or not (w > 0 and h > 0):
                yield Skipped(f"{path}: [{k}]: regions[{j}]: expected a phrase and a box, found {short(row)}")
                continue
            name = row.get("image_id", name)
            captions.append(Caption(phrase, (x, y, x + w, y + h)))
        if captions and isinstance(name, int | str):
            yield Captioned(str(name), 0, 0, tuple(captions), vg_id=str(name))
        elif regions:
            yield Skipped(f"{path}: [{k}]: expected an image id and a region with a phrase, found neither")


# ---------------------------------------------------------------- Localized Narratives


def _of_narrative(row: Mapping[str, Any], where: str) -> Captioned:
    text = row.get("caption")
    if not isinstance(text, str) or not text.strip() or "image_id" not in row:
        raise InputError(where, expected="image_id and caption", found=short(dict(row)))
    spoken: list[Spoken] = []
    lower, place = text.lower(), 0
    for part in _listed(row.get("timed_caption")):
        said = part.get("utterance") if isinstance(part, dict) else None
        times = [part.get(key) for key in ("start_time", "end_time")] if isinstance(said, str) else []
        if not isinstance(said, str) or not all(isinstance(t, int | float) for t in times):
            continue
        found = lower.find(said.strip().lower(), place)
        if found >= 0:
            place = found + len(said.strip())
            spoken.append(Spoken(found, place, float(times[0]), float(times[1])))
    trace = [
        Point(float(point["x"]), float(point["y"]), float(point["t"]))
        for stroke in _listed(row.get("traces"))
        for point in _listed(stroke)
        if isinstance(point, dict) and all(isinstance(point.get(key), int | float) for key in "xyt")
    ]
    image_id = image_id_of(row, where)
    caption = Caption(text, None, tuple(spoken), tuple(trace))
    if not isinstance(dataset := row.get("dataset_id"), str) or not dataset:
        return Captioned(image_id, 0, 0, (caption,))  # whose id it is is not known
    coco_id = (image_id.lstrip("0") or "0") if "coco" in dataset.lower() else ""
    return Captioned(image_id, 0, 0, (caption,), coco_id=coco_id, vg_id="")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@dataclass(slots=True)
class Notes:
    """Records that were skipped: how many, and the first few."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, reasons: Sequence[str], most: int = 20) -> None:
        """Count reasons."""
        self.count += len(reasons)
        self.first += reasons[: most - len(self.first)]
