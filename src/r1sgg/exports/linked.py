"""JSON-LD: a scene graph as RDF. Relationships are nodes of their own, since one may carry a score.

    {"@context": {...}, "@type": "SceneGraph", "image_id": "2",
     "objects": [{"@id": "_:o0", "@type": "SceneObject", "identifier": "man.1", "label": "man",
                  "bbox": [0.15, 0.12, 0.25, 0.55], "score": 0.9}, ...],
     "relationships": [{"@type": "Relationship", "subject": "_:o0", "predicate": "riding", "object": "_:o1"}]}

Terms are in the namespace of `VOCABULARY`, a name that leads nowhere. Lists keep their order in RDF. Reading goes by
the layout of the JSON that `to_jsonld` writes, not by RDF: a document that another tool framed anew is refused.
"""

from __future__ import annotations

from typing import Any

import orjson

from r1sgg.data.jsonl import short
from r1sgg.errors import InputError
from r1sgg.exports.record import GraphRecord, assemble, number, score
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject

VOCABULARY = "urn:x-r1sgg:"
_DOUBLE = "http://www.w3.org/2001/XMLSchema#double"
CONTEXT: dict[str, Any] = {
    "@version": 1.1,
    "@vocab": VOCABULARY,
    "objects": {"@container": "@list"},
    "relationships": {"@container": "@list"},
    "bbox": {"@container": "@list", "@type": _DOUBLE},
    "score": {"@type": _DOUBLE},
    "subject": {"@type": "@id"},
    "object": {"@type": "@id"},
}


def to_jsonld(source: SceneGraph | GraphRecord) -> str:
    """The graph as a JSON-LD document."""
    record = GraphRecord.of(source)
    objects = []
    for k, o in enumerate(record.graph.objects):
        row = {"@id": f"_:o{k}", "@type": "SceneObject", "identifier": o.id, "label": o.label, "bbox": list(o.box)}
        objects.append(row if o.score is None else {**row, "score": o.score})
    relationships = []
    for r in record.graph.relationships:
        ends = {"subject": f"_:o{r.subject}", "predicate": r.predicate, "object": f"_:o{r.object}"}
        given = {} if r.score is None else {"score": r.score}
        relationships.append({"@type": "Relationship", **ends, **given})
    document = {"@context": CONTEXT, "@type": "SceneGraph", **record.about()}
    return orjson.dumps(
        {**document, "objects": objects, "relationships": relationships}, option=orjson.OPT_INDENT_2
    ).decode()


def from_jsonld(text: str | bytes, where: str = "JSON-LD") -> GraphRecord:
    """Read what `to_jsonld` wrote.

    Raises:
        InputError: it is something else.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(where, expected="JSON-LD", found=f"no JSON ({error.msg})") from error
    if not isinstance(document, dict) or document.get("@type") != "SceneGraph":
        raise InputError(where, expected='a document of "@type" SceneGraph', found=short(document))
    rows: dict[str, list[dict[str, Any]]] = {}
    for key in ("objects", "relationships"):
        found = document.get(key)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise InputError(f"{where}: {key}", expected="a list of objects", found=short(found))
        rows[key] = found
    objects = []
    for k, row in enumerate(rows["objects"]):
        here = f"{where}: objects[{k}]"
        name, label, box = (row.get(key) for key in ("identifier", "label", "bbox"))
        if not isinstance(name, str) or not isinstance(label, str) or not isinstance(box, list) or len(box) != 4:
            raise InputError(here, expected="identifier, label and bbox", found=short(row))
        x1, y1, x2, y2 = (number(v, f"{here}.bbox") for v in box)
        objects.append(SceneObject(name, label, (x1, y1, x2, y2), score(row.get("score"), f"{here}.score")))
    index = {row.get("@id"): k for k, row in enumerate(rows["objects"])}
    relationships = []
    for k, row in enumerate(rows["relationships"]):
        here = f"{where}: relationships[{k}]"
        subject, predicate, target = (row.get(key) for key in ("subject", "predicate", "object"))
        if subject not in index or target not in index or not isinstance(predicate, str):
            raise InputError(here, expected='a predicate between "@id"s of objects', found=short(row))
        rank = score(row.get("score"), f"{here}.score")
        relationships.append(Relationship(index[subject], predicate, index[target], rank))
    return GraphRecord.with_about(assemble(objects, relationships, where), document)
