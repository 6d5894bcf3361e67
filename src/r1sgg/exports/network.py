"""networkx graphs and GraphML, the XML that networkx, Gephi, yEd and igraph read.

A networkx graph is a MultiDiGraph: a node for each object under its id, with `label`, `x1`, `y1`, `x2`, `y2` (fractions
of the image) and `score`; an edge for each relationship, with `predicate` and `score`, its key the place in the list.
In GraphML nodes are o0, o1, ... and hold their id as `identifier`: an XML name cannot hold just any text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from r1sgg.errors import InputError, require
from r1sgg.exports.record import GraphRecord, assemble, number, replaced_ids, score, xml_text
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject

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
    """The graph as networkx knows it.

    Raises:
        MissingDependencyError: networkx is not installed.
    """
    record = GraphRecord.of(source)
    graph = require("networkx", "exports").MultiDiGraph(**record.about())
    for o in record.graph.objects:
        given = {} if o.score is None else {"score": o.score}
        graph.add_node(o.id, label=o.label, **dict(zip(_CORNERS, o.box, strict=True)), **given)
    ids = record.graph.ids
    for k, r in enumerate(record.graph.relationships):
        given = {} if r.score is None else {"score": r.score}
        graph.add_edge(ids[r.subject], ids[r.object], key=k, predicate=r.predicate, **given)
    return graph


def from_networkx(graph: networkx.Graph, where: str = "networkx graph") -> GraphRecord:
    """Read a graph with the attributes that `to_networkx` gives; one that came through GraphML will do.

    Raises:
        InputError: an attribute is missing or not what it should be.
    """
    nodes = list(graph.nodes(data=True))
    if graph.is_multigraph():
        edges = [(s, o, key, data) for s, o, key, data in graph.edges(keys=True, data=True)]
    else:
        edges = [(s, o, None, data) for s, o, data in graph.edges(data=True)]
    objects = [(key, {"identifier": str(key), **data}) for key, data in nodes]
    return _record(objects, _ordered(edges), dict(graph.graph), where)


def _ordered(edges: list[tuple[Any, Any, Any, dict[str, Any]]]) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Edges in the order that their keys, or an "id" among their data, state: networkx gives them node by node."""
    places = [_place(key if key is not None else data.get("id")) for _, _, key, data in edges]
    order = sorted(range(len(edges)), key=lambda k: places[k] or 0) if None not in places else range(len(edges))
    return [(edges[k][0], edges[k][1], edges[k][3]) for k in order]


def _place(key: Any) -> int | None:
    """The place that an edge's key states: 3, or "r3"."""
    if isinstance(key, int):
        return key
    return int(key[1:]) if isinstance(key, str) and key[:1] == "r" and key[1:].isdecimal() else None


def _record(
    nodes: list[tuple[Any, dict[str, Any]]],
    edges: list[tuple[Any, Any, dict[str, Any]]],
    about: dict[str, Any],
    where: str,
) -> GraphRecord:
    objects = []
    for key, data in nodes:
        here = f"{where}: node {key!r}"
        if not isinstance(data.get("label"), str):
            raise InputError(here, expected='a text "label"', found=repr(data.get("label"))[:80])
        x1, y1, x2, y2 = (number(data.get(name), f"{here}: {name}") for name in _CORNERS)
        rank = score(data.get("score"), f"{here}: score")
        objects.append(SceneObject(data["identifier"], data["label"], (x1, y1, x2, y2), rank))
    index = {key: k for k, (key, _) in enumerate(nodes)}
    relationships = []
    for s, o, data in edges:
        here = f"{where}: edge {s!r} -> {o!r}"
        if s not in index or o not in index or not isinstance(data.get("predicate"), str):
            raise InputError(here, expected='a text "predicate" between nodes of the graph', found=repr(data)[:80])
        rank = score(data.get("score"), f"{here}: score")
        relationships.append(Relationship(index[s], data["predicate"], index[o], rank))
    return GraphRecord.with_about(assemble(objects, relationships, where), about)


# ---------------------------------------------------------------- GraphML


def to_graphml(source: SceneGraph | GraphRecord) -> str:
    """The graph as a GraphML document. Characters that XML cannot hold become U+FFFD."""
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
    text = ElementTree.tostring(root, encoding="unicode").replace("\r", "&#13;")  # a bare one is read as a line end
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

    nodes = [(n.get("id"), {"identifier": str(n.get("id")), **data(n)}) for n in _all(graph, "node")]
    edges = [(e.get("source"), e.get("target"), e.get("id"), data(e)) for e in _all(graph, "edge")]
    return _record(nodes, _ordered(edges), data(graph), where)


def _all(element: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    yield from element.iterfind(f"{{{_NAMESPACE}}}{tag}")
