"""networkx graphs and GraphML, the XML that networkx, Gephi, yEd and igraph read.

A networkx graph is a MultiDiGraph. Each object is a node under its id, with `label`, `x1`, `y1`, `x2`, `y2` (fractions
of the image) and `score`; each relationship is an edge with `predicate` and `score`, whose key is its place in the
list. In GraphML nodes are o0, o1, ... and have their id as `identifier`, because an XML name cannot be any text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from r1sgg.errors import InputError, require
from r1sgg.exports.record import GraphRecord, replaced_ids, scored, stated_place, xml_text
from r1sgg.graph.records import graph_of_rows
from r1sgg.graph.scene import SceneGraph

if TYPE_CHECKING:
    import networkx  # type: ignore[import-untyped]

_CORNERS = ("x1", "y1", "x2", "y2")
_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_KEYS = {
    "graph": {"image_id": "string", "width": "int", "height": "int", "image": "string"},
    "node": {"identifier": "string", "label": "string", **dict.fromkeys((*_CORNERS, "score"), "double")},
    "edge": {"predicate": "string", "score": "double"},
}


def to_networkx(source: SceneGraph | GraphRecord) -> networkx.MultiDiGraph:
    """Return the graph as a networkx graph.

    Raises:
        MissingDependencyError: networkx is not installed.
    """
    record = GraphRecord.of(source)
    graph = require("networkx", "exports").MultiDiGraph(**record.about())
    for o in record.graph.objects:
        graph.add_node(o.id, label=o.label, **dict(zip(_CORNERS, o.box, strict=True)), **scored(o))
    ids = record.graph.ids
    for k, r in enumerate(record.graph.relationships):
        graph.add_edge(ids[r.subject], ids[r.object], key=k, predicate=r.predicate, **scored(r))
    return graph


def from_networkx(graph: networkx.Graph, where: str = "networkx graph") -> GraphRecord:
    """Read a graph with the attributes that `to_networkx` sets; one that networkx read from our GraphML has them too.

    Raises:
        InputError: an attribute is missing or not what it should be.
    """
    nodes = [(key, {"identifier": str(key), **data}) for key, data in graph.nodes(data=True)]
    keyed = graph.edges(keys=True, data=True) if graph.is_multigraph() else graph.edges(data=True)
    edges = [(s, o, key[0] if key else None, data) for s, o, *key, data in keyed]
    return _record(nodes, edges, graph.graph, where)


def _record(
    nodes: list[tuple[Any, dict[str, Any]]],
    edges: list[tuple[Any, Any, Any, dict[str, Any]]],
    about: Mapping[str, Any],
    where: str,
) -> GraphRecord:
    """The record of nodes (key, attributes) and edges (subject, object, key, attributes)."""
    objects = [
        {
            "key": key,
            "id": data["identifier"],
            "label": data.get("label"),
            "bbox": [data.get(name) for name in _CORNERS],
            "score": data.get("score"),
        }
        for key, data in nodes
    ]
    relationships = [{**data, "subject": s, "object": o} for s, o, _, data in _ordered(edges)]
    graph = graph_of_rows(objects, relationships, (1, 1), where, exported=True, key="key")
    return GraphRecord.with_about(graph, about, where)


def _ordered(edges: list[tuple[Any, Any, Any, dict[str, Any]]]) -> list[tuple[Any, Any, Any, dict[str, Any]]]:
    """Edges in the order that their keys (or an "id" of their data) state, if all do: networkx lists them by node."""
    places = [stated_place(data.get("id") if key is None else key, "r") for _, _, key, data in edges]
    return edges if None in places else [edges[k] for k in sorted(range(len(edges)), key=lambda k: places[k] or 0)]


# ---------------------------------------------------------------- GraphML


def to_graphml(source: SceneGraph | GraphRecord) -> str:
    """Return the graph as a GraphML document. Characters that XML cannot hold become U+FFFD."""
    record = GraphRecord.of(source)
    record = replaced_ids(record, map(xml_text, record.graph.ids))
    root = ElementTree.Element("graphml", {"xmlns": _NAMESPACE})
    for kind, keys in _KEYS.items():
        for name, type_ in keys.items():
            attributes = {"id": f"{kind}_{name}", "for": kind, "attr.name": name, "attr.type": type_}
            ElementTree.SubElement(root, "key", attributes)
    graph = ElementTree.SubElement(root, "graph", {"id": "scene", "edgedefault": "directed"})
    _add(graph, "graph", record.about())
    for k, o in enumerate(record.graph.objects):
        node = ElementTree.SubElement(graph, "node", {"id": f"o{k}"})
        corners = dict(zip(_CORNERS, o.box, strict=True))
        _add(node, "node", {"identifier": o.id, "label": o.label, **corners, "score": o.score})
    for k, r in enumerate(record.graph.relationships):
        ends = {"id": f"r{k}", "source": f"o{r.subject}", "target": f"o{r.object}"}
        _add(ElementTree.SubElement(graph, "edge", ends), "edge", {"predicate": r.predicate, "score": r.score})
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode").replace("\r", "&#13;")  # XML reads a bare one as a line end
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text + "\n"


def _add(element: ElementTree.Element, kind: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            data = ElementTree.SubElement(element, "data", {"key": f"{kind}_{name}"})
            data.text = xml_text(value) if isinstance(value, str) else repr(value)


def from_graphml(text: str | bytes, where: str = "GraphML") -> GraphRecord:
    """Read what `to_graphml` wrote, or what networkx made of it.

    Raises:
        InputError: it is not GraphML, or has other attributes.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(where, expected="GraphML", found=f"broken XML ({error})") from error
    names = {key.get("id"): key.get("attr.name") for key in _all(root, "key")}
    graph = next(_all(root, "graph"), None)
    if graph is None:
        raise InputError(where, expected="a <graph> in <graphml>", found=f"<{root.tag[:80]}>")

    def data(element: ElementTree.Element) -> dict[str, Any]:
        return {str(names.get(d.get("key"))): d.text or "" for d in _all(element, "data")}

    nodes: list[tuple[Any, dict[str, Any]]] = [
        (n.get("id"), {"identifier": str(n.get("id")), **data(n)}) for n in _all(graph, "node")
    ]
    edges = [(e.get("source"), e.get("target"), e.get("id"), data(e)) for e in _all(graph, "edge")]
    return _record(nodes, edges, data(graph), where)


def _all(element: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    yield from element.iterfind(f"{{{_NAMESPACE}}}{tag}")
