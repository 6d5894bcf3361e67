"""Our own JSON: a predictions line (`r1sgg.data.base`) that holds a graph exactly.

    {"image_id": "2", "frame": [1, 1],
     "objects": [{"id": "man.1", "bbox": [0.15, 0.12, 0.25, 0.55], "score": 0.9}],
     "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1", "score": 0.7}],
     "meta": {"width": 800, "height": 600}}

Boxes are fractions (frame [1, 1]), so no digit is lost. An object whose class is not the one in its id has a `label`
beside; `r1sgg evaluate` reads the file and goes by the id.
"""

from __future__ import annotations

from typing import Any

import orjson

from r1sgg.data.jsonl import short
from r1sgg.errors import InputError
from r1sgg.exports.record import GraphRecord, assemble, number, score
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject, label_of_id


def to_json(source: SceneGraph | GraphRecord) -> str:
    """One line of JSON, without its line end."""
    record = GraphRecord.of(source)
    about = record.about()
    image_id = about.pop("image_id", None)
    document: dict[str, Any] = {} if image_id is None else {"image_id": image_id}
    document["frame"] = [1, 1]
    document["objects"] = [
        {
            "id": o.id,
            **({} if label_of_id(o.id) == o.label else {"label": o.label}),
            "bbox": list(o.box),
            **({} if o.score is None else {"score": o.score}),
        }
        for o in record.graph.objects
    ]
    ids = record.graph.ids
    document["relationships"] = [
        {
            "subject": ids[r.subject],
            "predicate": r.predicate,
            "object": ids[r.object],
            **({} if r.score is None else {"score": r.score}),
        }
        for r in record.graph.relationships
    ]
    if about:
        document["meta"] = about
    return orjson.dumps(document).decode()


def from_json(text: str | bytes, where: str = "JSON") -> GraphRecord:
    """Read what `to_json` wrote.

    Raises:
        InputError: it is something else.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(where, expected="JSON", found=f"something else ({error.msg})") from error
    rows = [document.get(key) for key in ("objects", "relationships")] if isinstance(document, dict) else [None]
    if not all(isinstance(found, list) and all(isinstance(row, dict) for row in found) for found in rows):
        raise InputError(where, expected='an object with lists "objects" and "relationships"', found=short(document))
    frame = document.get("frame", [1, 1])
    if not isinstance(frame, list) or len(frame) != 2:
        raise InputError(f"{where}: frame", expected="[width, height]", found=short(frame))
    width, height = (number(v, f"{where}: frame") for v in frame)
    objects: list[SceneObject] = []
    for k, row in enumerate(document["objects"]):
        here = f"{where}: objects[{k}]"
        name, box = row.get("id"), row.get("bbox")
        if not isinstance(name, str) or not isinstance(box, list) or len(box) != 4:
            raise InputError(here, expected='"id" and "bbox" [x1, y1, x2, y2]', found=short(row))
        x1, y1, x2, y2 = (number(v, f"{here}.bbox") for v in box)
        label = row["label"] if isinstance(row.get("label"), str) else label_of_id(name)
        corners = (x1 / width, y1 / height, x2 / width, y2 / height)
        objects.append(SceneObject(name, label, corners, score(row.get("score"), f"{here}.score")))
    index = {o.id: k for k, o in enumerate(objects)}
    relationships = []
    for k, row in enumerate(document["relationships"]):
        here = f"{where}: relationships[{k}]"
        subject, predicate, target = (row.get(key) for key in ("subject", "predicate", "object"))
        if subject not in index or target not in index or not isinstance(predicate, str):
            raise InputError(here, expected="a predicate between ids of objects", found=short(row))
        rank = score(row.get("score"), f"{here}.score")
        relationships.append(Relationship(index[subject], predicate, index[target], rank))
    meta = document.get("meta")
    about = {**(meta if isinstance(meta, dict) else {}), "image_id": document.get("image_id", "")}
    return GraphRecord.with_about(assemble(objects, relationships, where), about)
