"""COCO-format scene graphs in the layout of SGG-Benchmark's sets.

    coco:DIR[,split=train|val|test][,images=DIR]

DIR holds a folder per split with _annotations.coco.json and the photos (or is such a folder, or such a file); images=
names another folder for the photos. The format is COCO's (boxes [x, y, width, height] in pixels, ids in any numbering)
with two more keys for relations:

    {"images": [{"id": 0, "file_name": "1.jpg", "width": 800, "height": 600}, ...],
     "annotations": [{"id": 0, "image_id": 0, "category_id": 78, "bbox": [214, 133, 124, 125], "area": 15500,
                      "iscrowd": 0}, ...],
     "categories": [{"id": 78, "name": "man", "supercategory": "none"}, ...],
     "rel_categories": [{"id": 47, "name": "wearing"}, ...],
     "rel_annotations": [{"id": 0, "image_id": 0, "subject_id": 0, "object_id": 1, "predicate_id": 47}, ...]}

`subject_id` and `object_id` are ids of `annotations`. An image's id here is its file name without folder and ending
("1.jpg" is image 1 of Visual Genome), because COCO ids are numbered anew in each file; if two folders have a file of
the same name, the folder is kept in the id. Images without relations are left out (empty=yes keeps them, and reads
files without the two keys, plain COCO). A region of `"iscrowd": 1` is no single object: it is left out and counted,
unless a relation names it. Segmentations are not read.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from r1sgg.data.columns import AnnotatedImage, ColumnarData, corners_of_xywh, text_field, whole_field
from r1sgg.data.dataset import fault
from r1sgg.data.jsonl import read_json
from r1sgg.data.spec import Spec
from r1sgg.errors import InputError, short

FILE = "_annotations.coco.json"
_ADD_RELATIONS = "plain COCO has no relations: write empty=yes to use its boxes alone, or add them (docs/own_data.md)"
_RELATIONS = ("rel_categories", "rel_annotations")
_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def open_coco(spec: Spec) -> ColumnarData:
    """See the module's docstring. The whole file is in memory while it is read, columns afterwards.

    Raises:
        ConfigError: an option with a wrong value.
        InputError: the file is missing, broken, or in another format; or no image has a relation.
    """
    path, split = _file(spec)
    document = read_json(path)
    if isinstance(document, dict) and spec.yes("empty") and not any(key in document for key in _RELATIONS):
        document |= {key: [] for key in _RELATIONS}
    for key in ("images", "annotations", "categories", *_RELATIONS):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            hint = _ADD_RELATIONS if key.startswith("rel_") else ""
            value = document.get(key) if isinstance(document, dict) else document
            found = "nothing" if value is None else short(value)
            raise InputError(f"{path}: {key}", expected="this list", found=found, hint=hint)
    data = ColumnarData(spec.text, path, split)
    root = spec.folder("images", path.parent)
    data.roots = [root, root / "images"]
    data.objects = _names(document["categories"], f"{path}: categories")
    data.predicates = _names(document["rel_categories"], f"{path}: rel_categories")
    objects, relations = (_by_image(document, key, data) for key in ("annotations", "rel_annotations"))
    _leave_out_crowds(objects, relations, data)

    files = [PurePosixPath(str(e.get("file_name"))) for e in document["images"] if isinstance(e, dict)]
    flat = len({file.stem for file in files}) == len(set(files))

    def records() -> Iterator[Callable[[], AnnotatedImage]]:
        for k, entry in enumerate(document["images"]):
            number = entry.get("id") if isinstance(entry, dict) else None
            rows = objects.pop(number, []), relations.pop(number, [])
            yield functools.partial(_record, entry, f"{path}: images[{k}]", flat, *rows)

    data.fill(records(), keep_empty=spec.yes("empty"))
    for key, rest in (("annotations", objects), ("rel_annotations", relations)):
        if rest:
            number, rows = next(iter(rest.items()))
            expected = "an image_id that is in images"
            found = f"{sum(map(len, rest.values()))} of other images, the first of image_id {number!r}"
            data.notes.append(fault("record", f"{path}: {key} (id {rows[0].get('id')})", expected, found))
    return data


def _file(spec: Spec) -> tuple[Path, str | None]:
    """Return the annotation file and its split."""
    asked = spec.choice("split", tuple(_FOLDERS), "") if "split" in spec.options else None
    if spec.path.is_file() or spec.path.suffix == ".json":
        return spec.path, asked
    if asked is None and (spec.path / FILE).is_file():
        named = (split for split, folders in _FOLDERS.items() if spec.path.name in folders)
        return spec.path / FILE, next(named, None)
    split = asked or "train"
    for folder in _FOLDERS[split]:
        if (spec.path / folder / FILE).is_file():
            return spec.path / folder / FILE, split
    expected = " or ".join(f"{folder}/{FILE}" for folder in _FOLDERS[split])
    hint = "check the path and split=, or name the file itself: coco:FILE,images=DIR"
    raise InputError(str(spec.path), expected=expected, found="no such file", hint=hint)


def _leave_out_crowds(
    objects: dict[Any, list[dict[str, Any]]], relations: dict[Any, list[dict[str, Any]]], data: ColumnarData
) -> None:
    """Drop the regions of crowds that no relation names: one box around many objects would be a false object."""
    named = {row.get(end) for rows in relations.values() for row in rows for end in ("subject_id", "object_id")}
    crowds = 0
    for rows in objects.values():
        single = [row for row in rows if not row.get("iscrowd") or row["id"] in named]
        crowds += len(rows) - len(single)
        rows[:] = single
    if crowds:
        data.notes.append(fault("crowd", f"{data.path}: annotations", "single objects", f"{crowds} with iscrowd 1"))


def _record(
    entry: Any, where: str, flat: bool, objects: list[dict[str, Any]], relations: list[dict[str, Any]]
) -> AnnotatedImage:
    file_name = text_field(entry, "file_name", where)
    file = PurePosixPath(file_name)
    place = {row["id"]: k for k, row in enumerate(objects)}
    return AnnotatedImage(
        file.stem if flat else file.with_suffix("").as_posix(),
        whole_field(entry, "width", where, least=1),
        whole_field(entry, "height", where, least=1),
        file_name,
        [corners_of_xywh(row.get("bbox")) for row in objects],
        [whole_field(row, "category_id", f"{where}: annotation {row['id']}") for row in objects],
        [
            (
                place.get(row.get("subject_id"), -1),
                place.get(row.get("object_id"), -2),  # another number: two unknown ends are not one object
                whole_field(row, "predicate_id", f"{where}: rel_annotation {row['id']}"),
            )
            for row in relations
        ],
    )


def _names(rows: list[Any], where: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for k, row in enumerate(rows):
        number = whole_field(row, "id", f"{where}[{k}]")
        if number in names:
            raise InputError(f"{where}[{k}].id", expected="ids that differ", found=f"{number} again")
        names[number] = text_field(row, "name", f"{where}[{k}]")
    return names


def _by_image(document: dict[str, Any], key: str, data: ColumnarData) -> dict[Any, list[dict[str, Any]]]:
    """Return the rows by image id, without those that have no id or a repeated one."""
    rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    seen: set[int] = set()
    for k, row in enumerate(document.pop(key)):
        number = row.get("id") if isinstance(row, dict) else None
        if not isinstance(number, int) or not isinstance(row.get("image_id"), int | str):
            data.notes.append(fault("record", f"{data.path}: {key}[{k}]", "an id and an image_id", "none"))
        elif number in seen:
            data.notes.append(fault("id", f"{data.path}: {key}[{k}].id", "ids that differ", f"{number} again"))
        else:
            seen.add(number)
            rows[row["image_id"]].append(row)
    return dict(rows)
