"""COCO's JSON with relations, as SGG-Benchmark lays it out; plain COCO tools read its objects.

Boxes are [x, y, width, height] in pixels, so an image's size must be known. `rel_categories` and `rel_annotations` hold
predicates and relationships; `r1sgg ... --data coco:FILE` reads it. Two keys of ours keep what COCO has no place for:
`name`, the id of an image or an object, and `score`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from r1sgg.data.jsonl import short
from r1sgg.errors import InputError
from r1sgg.exports.record import GraphRecord, assemble, number, score
from r1sgg.graph.scene import Relationship, SceneObject


def to_coco(records: Iterable[GraphRecord]) -> dict[str, Any]:
    """The document for all images; ids count from 1.

    Raises:
        InputError: an image's size is not known.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    classes: dict[str, int] = {}
    predicates: dict[str, int] = {}
    for number_, record in enumerate(records, 1):
        if record.size is None:
            raise InputError(
                f"image {record.image_id!r}",
                expected="its width and height, which COCO's boxes need",
                found="neither",
                hint="give the ground truth as well",
            )
        width, height = record.size
        file_name = record.image or record.image_id or str(number_)
        images.append(
            {"id": number_, "name": record.image_id, "file_name": file_name, "width": width, "height": height}
        )
        first = len(annotations) + 1
        for o in record.graph.objects:
            x1, y1, x2, y2 = o.box[0] * width, o.box[1] * height, o.box[2] * width, o.box[3] * height
            row = {
                "id": len(annotations) + 1,
                "image_id": number_,
                "category_id": classes.setdefault(o.label, len(classes) + 1),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "name": o.id,
            }
            annotations.append(row if o.score is None else {**row, "score": o.score})
        for r in record.graph.relationships:
            row = {
                "id": len(relations) + 1,
                "image_id": number_,
                "subject_id": first + r.subject,
                "object_id": first + r.object,
                "predicate_id": predicates.setdefault(r.predicate, len(predicates) + 1),
            }
            relations.append(row if r.score is None else {**row, "score": r.score})
    return {
        "info": {"description": "scene graphs"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": k, "name": name, "supercategory": "none"} for name, k in classes.items()],
        "rel_categories": [{"id": k, "name": name} for name, k in predicates.items()],
        "rel_annotations": relations,
    }


def from_coco(document: Any, where: str = "COCO") -> list[GraphRecord]:
    """Read what `to_coco` made. Files of others, with their faults, are `r1sgg.data.coco`'s (`--data coco:`).

    Raises:
        InputError: it is something else.
    """
    keys = ("images", "annotations", "categories", "rel_categories", "rel_annotations")
    rows: dict[str, list[dict[str, Any]]] = {}
    for key in keys:
        found = document.get(key) if isinstance(document, dict) else None
        if not isinstance(found, list) or not all(isinstance(row, dict) and "id" in row for row in found):
            raise InputError(f"{where}: {key}", expected="a list of objects with ids", found=short(found))
        rows[key] = found
    classes = {row["id"]: str(row.get("name")) for row in rows["categories"]}
    predicates = {row["id"]: str(row.get("name")) for row in rows["rel_categories"]}
    records = []
    for image in rows["images"]:
        here = f"{where}: image {image['id']}"
        width, height = (number(image.get(key), f"{here}: {key}") for key in ("width", "height"))
        objects: list[SceneObject] = []
        index: dict[Any, int] = {}
        for row in (a for a in rows["annotations"] if a.get("image_id") == image["id"]):
            box = row.get("bbox")
            if row.get("category_id") not in classes or not isinstance(box, list) or len(box) != 4:
                raise InputError(f"{here}: annotation {row['id']}", expected="category_id and bbox", found=short(row))
            x, y, w, h = (number(v, f"{here}: bbox") for v in box)
            corners = (x / width, y / height, (x + w) / width, (y + h) / height)
            index[row["id"]] = len(objects)
            rank = score(row.get("score"), f"{here}: score")
            name = str(row.get("name", row["id"]))
            objects.append(SceneObject(name, classes[row["category_id"]], corners, rank))
        relationships = []
        for row in (r for r in rows["rel_annotations"] if r.get("image_id") == image["id"]):
            ends = row.get("subject_id"), row.get("object_id")
            if not set(ends) <= index.keys() or row.get("predicate_id") not in predicates:
                raise InputError(f"{here}: rel_annotation {row['id']}", expected="known ids", found=short(row))
            rank = score(row.get("score"), f"{here}: score")
            relationships.append(Relationship(index[ends[0]], predicates[row["predicate_id"]], index[ends[1]], rank))
        graph = assemble(objects, relationships, here)
        name, file = str(image.get("name", "")), str(image.get("file_name", ""))
        records.append(
            GraphRecord(graph, name, (int(width), int(height)), "" if file in (name, str(image["id"])) else file)
        )
    return records
