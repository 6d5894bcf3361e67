"""Our own JSON: a predictions line (`r1sgg.data.base`) that holds a graph exactly.

    {"image_id": "2", "frame": [1, 1], "scores": "triplet",
     "objects": [{"id": "man.1", "bbox": [0.15, 0.12, 0.25, 0.55], "score": 0.9}],
     "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1", "score": 0.7}],
     "meta": {"width": 800, "height": 600}}

Boxes are fractions (frame [1, 1]), so no digit is lost. The score of a relationship is that of its triplet. An object
whose id names another class has a `label` too, which `r1sgg evaluate` reads.
"""

from __future__ import annotations

from typing import Any

import orjson

from r1sgg.data.jsonl import frame_of
from r1sgg.errors import InputError, short
from r1sgg.exports.record import GraphRecord
from r1sgg.graph.records import graph_of_rows, graph_to_rows, json_value
from r1sgg.graph.scene import SceneGraph


def to_json(source: SceneGraph | GraphRecord) -> str:
    """Return the graph as one line of JSON, without its line end."""
    record = GraphRecord.of(source)
    about = record.about()
    document: dict[str, Any] = {"image_id": about.pop("image_id")} if record.image_id else {}
    document["frame"] = [1, 1]
    if record.graph.relationship_scores is not None:
        document["scores"] = "triplet"
    document |= graph_to_rows(record.graph, (1, 1), digits=None)
    if about:
        document["meta"] = about
    return orjson.dumps(document).decode()


def from_json(text: str | bytes, where: str = "JSON") -> GraphRecord:
    """Read what `to_json` wrote.

    Raises:
        InputError: it is something else.
    """
    document = read_object(text, where)
    frame = frame_of(document.get("frame", [1, 1]), f"{where}: frame")
    graph = graph_of_rows(document.get("objects"), document.get("relationships"), frame, where, exported=True)
    meta = document.get("meta")
    about = {**(meta if isinstance(meta, dict) else {}), "image_id": document.get("image_id")}
    return GraphRecord.with_about(graph, about, where)


def read_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a text is.

    Raises:
        InputError: it is something else.
    """
    document = json_value(text, where)
    if not isinstance(document, dict):
        raise InputError(where, expected="a JSON object", found=short(document))
    return document
