"""JSON-LD: a scene graph as RDF. Relationships are nodes of their own, since one may have a score.

    {"@context": {...}, "@type": "SceneGraph", "image_id": "2",
     "objects": [{"@id": "_:o0", "@type": "SceneObject", "identifier": "man.1", "label": "man",
                  "bbox": [0.15, 0.12, 0.25, 0.55], "score": 0.9}, ...],
     "relationships": [{"@type": "Relationship", "subject": "_:o0", "predicate": "riding", "object": "_:o1"}]}

Terms are in the namespace of `VOCABULARY`, a name that is no address. Lists keep their order in RDF. The reader expects
the JSON layout that `to_jsonld` writes; it is no RDF reader, and refuses a document that another tool framed anew.
"""

from __future__ import annotations

from typing import Any

import orjson

from r1sgg.errors import InputError, short
from r1sgg.exports.document import read_object
from r1sgg.exports.record import GraphRecord, scored
from r1sgg.graph.records import graph_of_rows, rows_of
from r1sgg.graph.scene import SceneGraph

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
    """Return the graph as a JSON-LD document."""
    record = GraphRecord.of(source)
    objects = [
        {
            "@id": f"_:o{k}",
            "@type": "SceneObject",
            "identifier": o.id,
            "label": o.label,
            "bbox": list(o.box),
            **scored(o),
        }
        for k, o in enumerate(record.graph.objects)
    ]
    relationships = [
        {
            "@type": "Relationship",
            "subject": f"_:o{r.subject}",
            "predicate": r.predicate,
            "object": f"_:o{r.object}",
            **scored(r),
        }
        for r in record.graph.relationships
    ]
    document = {"@context": CONTEXT, "@type": "SceneGraph", **record.about()}
    return orjson.dumps(
        {**document, "objects": objects, "relationships": relationships}, option=orjson.OPT_INDENT_2
    ).decode()


def from_jsonld(text: str | bytes, where: str = "JSON-LD") -> GraphRecord:
    """Read what `to_jsonld` wrote.

    Raises:
        InputError: it is something else.
    """
    document = read_object(text, where)
    if document.get("@type") != "SceneGraph":
        raise InputError(where, expected='a document of "@type" SceneGraph', found=short(document))
    rows = rows_of(document.get("objects"), f"{where}: objects")
    objects = [{**row, "id": row.get("identifier")} for row in rows]
    graph = graph_of_rows(objects, document.get("relationships"), (1, 1), where, exported=True, key="@id")
    return GraphRecord.with_about(graph, document, where)
