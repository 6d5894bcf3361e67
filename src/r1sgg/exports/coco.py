"""COCO's JSON with relations, as SGG-Benchmark lays it out; plain COCO tools read its objects.

Boxes are [x, y, width, height] in pixels, so the size of an image must be known. `rel_categories` and `rel_annotations`
hold predicates and relationships; `r1sgg ... --data coco:FILE` reads it. Two keys of ours keep what COCO has no place
for: `name` (the id of an image or an object) and `score`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from r1sgg.data.jsonl import frame_of
from r1sgg.errors import InputError, short
from r1sgg.exports.record import GraphRecord, scored
from r1sgg.graph.records import Rows, graph_of_rows, number, rows_of


def to_coco(records: Iterable[GraphRecord]) -> dict[str, Any]:
    """Return one document for all images; its ids count from 1, because COCO's evaluation takes an id of 0 for none.

    Raises:
        InputError: the size of an image is not known.
    """
    images: Rows = []
    annotations: Rows = []
    relations: Rows = []
    classes: dict[str, int] = {}
    predicates: dict[str, int] = {}
    for image_number, record in enumerate(records, 1):
        if record.size is None:
            raise InputError(
                f"image {record.image_id!r}",
                expected="its width and height, which COCO's boxes need",
                found="neither",
                hint="give the ground truth as well",
            )
        width, height = record.size
        image = {"id": image_number, "name": record.image_id, "width": width, "height": height}
        images.append(image | {"file_name": record.image or record.image_id or str(image_number)})
        first = len(annotations) + 1
        for o in record.graph.objects:
            x1, y1, x2, y2 = o.box[0] * width, o.box[1] * height, o.box[2] * width, o.box[3] * height
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_number,
                    "category_id": classes.setdefault(o.label, len(classes) + 1),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "name": o.id,
                    **scored(o),
                }
            )
        for r in record.graph.relationships:
            relations.append(
                {
                    "id": len(relations) + 1,
                    "image_id": image_number,
                    "subject_id": first + r.subject,
                    "object_id": first + r.object,
                    "predicate_id": predicates.setdefault(r.predicate, len(predicates) + 1),
                    **scored(r),
                }
            )
    return {
        "info": {"description": "scene graphs"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": k, "name": name, "supercategory": "none"} for name, k in classes.items()],
        "rel_categories": [{"id": k, "name": name} for name, k in predicates.items()],
        "rel_annotations": relations,
    }


def from_coco(document: Any, where: str = "COCO") -> list[GraphRecord]:
    """Read what `to_coco` made. COCO files of other tools, with their faults, are read by `r1sgg.data.coco`.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(document, dict):
        raise InputError(where, expected="a JSON object", found=short(document))
    keys = ("images", "annotations", "categories", "rel_categories", "rel_annotations")
    images, annotations, categories, rel_categories, rel_annotations = (
        rows_of(document.get(key), f"{where}: {key}") for key in keys
    )
    classes, predicates = ({_id(row, "id", where): row.get("name") for row in r} for r in (categories, rel_categories))
    objects, relationships = defaultdict[Any, Rows](list), defaultdict[Any, Rows](list)  # by image
    for k, row in enumerate(annotations):
        here, box = f"{where}: annotations[{k}]", row.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise InputError(f"{here}.bbox", expected="[x, y, width, height]", found=short(box))
        x, y, w, h = (number(v, f"{here}.bbox") for v in box)
        objects[_id(row, "image_id", here)].append(
            {
                "key": row.get("id"),
                "id": str(row.get("name", row.get("id"))),
                "label": classes.get(_id(row, "category_id", here)),
                "bbox": [x, y, x + w, y + h],
                "score": row.get("score"),
            }
        )
    for k, row in enumerate(rel_annotations):
        here = f"{where}: rel_annotations[{k}]"
        relationships[_id(row, "image_id", here)].append(
            {
                "subject": row.get("subject_id"),
                "predicate": predicates.get(_id(row, "predicate_id", here)),
                "object": row.get("object_id"),
                "score": row.get("score"),
            }
        )
    records = []
    for k, image in enumerate(images):
        key = _id(image, "id", f"{where}: images[{k}]")
        here = f"{where}: image {key}"
        size = frame_of([image.get("width"), image.get("height")], f"{here}: width and height")
        graph = graph_of_rows(objects[key], relationships[key], size, here, exported=True, key="key")
        name, file = str(image.get("name", "")), str(image.get("file_name", ""))
        whole = int(size[0]), int(size[1])
        records.append(GraphRecord(graph, name, whole, "" if file in (name, str(key)) else file))
    return records


def _id(row: dict[str, Any], key: str, where: str) -> int | str:
    value = row.get(key)
    if not isinstance(value, int | str):
        raise InputError(f"{where}.{key}", expected="an id", found=short(value))
    return value
