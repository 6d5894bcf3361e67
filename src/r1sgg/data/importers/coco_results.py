"""COCO's JSON of detections, with relations as SGG-Benchmark lays them out.

    coco:FILE[,names=ANNOTATIONS.json]

FILE is COCO's list of results, whose images and categories are those of the annotations that `names=` gives; it has
objects only:

    [{"image_id": 7, "category_id": 78, "bbox": [119, 70, 78, 260], "score": 0.9}, ...]

or a document with `images`, `annotations` and `categories`, and for relationships `rel_annotations` and
`rel_categories`, as `r1sgg export --format coco` writes it; annotations then may have a "score". Boxes are
[x, y, width, height] in pixels. An image's id is its "name", or the name of its file without folders and ending, as in
ground truth of this format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from r1sgg.data.detections import BY_INDEX
from r1sgg.data.importers.detector import line_of_instances, read_names
from r1sgg.data.importers.layout import Layout, Say, id_of_image
from r1sgg.data.jsonl import read_json
from r1sgg.data.predictions import Prediction, prediction_of_record
from r1sgg.data.spec import Spec
from r1sgg.errors import ConfigError, InputError, short
from r1sgg.files import user_path
from r1sgg.graph.records import Rows, rows_of


def read(spec: Spec, say: Say) -> Iterator[Prediction]:
    """See the module's docstring."""
    document, path = read_json(spec.path), spec.path
    if isinstance(document, dict):
        annotations, about, source = rows_of(document.get("annotations"), f"{path}: annotations"), document, path
    elif "names" in spec.options:
        source = user_path(spec.options["names"])
        annotations, about = rows_of(document, str(path)), read_json(source)
        if not isinstance(about, dict):
            raise InputError(str(source), expected="COCO annotations", found=short(about))
    else:
        hint = "COCO's results have numbers only"
        raise ConfigError(f"{spec.text!r}: expected names=ANNOTATIONS.json, found no names=; {hint}")
    if document is about and annotations and not any("score" in row for row in annotations):
        say("no annotation has a score, as in ground truth: check that a model found them")
    names = read_names(source)
    images = _ids(about, source)
    objects = _by_image(annotations, images, f"{path}: annotations" if annotations is not document else str(path))
    relations = _by_image(
        rows_of(document.get("rel_annotations", []), f"{path}: rel_annotations") if isinstance(document, dict) else [],
        images,
        f"{path}: rel_annotations",
    )
    listed = images if isinstance(document, dict) else objects  # an image without detections has no result
    for number in listed:
        where = f"{path}: image {number}"
        line = line_of_instances(images[number], {"instances": objects.get(number, [])}, names, where)
        there = enumerate(objects.get(number, []))
        places = {row["id"]: k for k, row in there if isinstance(row.get("id"), int | str)}
        line["relationships"] = [
            _relation(row, places, names.predicates, f"{where}: relation {row.get('id')}")
            for row in relations.get(number, ())
        ]
        yield prediction_of_record({**line, BY_INDEX: "index"}, where)


def _ids(about: Mapping[str, Any], path: Path) -> dict[Any, str]:
    """Return the ids of images by their numbers."""
    found: dict[Any, str] = {}
    for k, image in enumerate(rows_of(about.get("images"), f"{path}: images")):
        where = f"{path}: images[{k}]"
        name = image.get("name")
        found[_number(image, "id", where)] = (
            name if isinstance(name, str) else id_of_image(image.get("file_name"), where)
        )
    return found


def _by_image(rows: Rows, images: Mapping[Any, str], where: str) -> dict[Any, Rows]:
    found: dict[Any, Rows] = defaultdict(list)
    for k, row in enumerate(rows):
        number = _number(row, "image_id", f"{where}[{k}]")
        if number not in images:
            raise InputError(f"{where}[{k}].image_id", expected="the id of an image of the file", found=short(number))
        found[number].append(row)
    return found


def _number(row: Mapping[str, Any], key: str, where: str) -> Any:
    value = row.get(key)
    if not isinstance(value, int | str):
        raise InputError(f"{where}.{key}", expected="an id", found=short(value))
    return value


def _relation(
    row: Mapping[str, Any], places: Mapping[Any, int], predicates: Mapping[int, str], where: str
) -> dict[str, Any]:
    ends = {}
    for end, key in (("subject", "subject_id"), ("object", "object_id")):
        number = _number(row, key, where)
        if number not in places:
            raise InputError(f"{where}.{key}", expected="the id of an annotation of this image", found=short(number))
        ends[end] = places[number]
    name = predicates.get(_number(row, "predicate_id", where))
    if name is None:
        raise InputError(f"{where}.predicate_id", expected="an id of rel_categories", found=short(row["predicate_id"]))
    return {**ends, "predicate": name} | ({"score": row["score"]} if "score" in row else {})


KEYS = (("images", "annotations", "categories"), ("image_id", "category_id", "bbox"))
LAYOUT = Layout("coco", "COCO's JSON of detections", ("json",), KEYS, ("names",), read)
