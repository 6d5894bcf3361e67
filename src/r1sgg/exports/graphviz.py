"""Graphviz's DOT language. `dot -Tsvg scene.dot` draws it; `from_dot` reads it back, also after `dot -Tcanon`.

    digraph scene {
      graph [image_id="2"];
      o0 [id="man.1", label="man", box="0.15 0.12 0.25 0.55", score="0.9"];
      o0 -> o1 [id="r0", label="riding"];
    }

The reader knows nodes, edges and attribute lists, no subgraphs, ports or HTML labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from r1sgg.errors import InputError
from r1sgg.exports.record import GraphRecord, replaced_ids, stated_place
from r1sgg.graph.records import graph_of_rows
from r1sgg.graph.scene import SceneGraph

_STYLE = {"node": {"shape": "box", "style": "rounded"}, "edge": {"fontsize": "11"}}
_TOKENS = re.compile(
    r"""[ \t\r\n\f\v]*+
    (?:(?P<string>"(?:[^"\\]|\\.)*+")|(?P<arrow>->)|(?P<sign>[\[\]{}=,;])|(?P<name>[A-Za-z0-9_.\-\u0080-\U0010ffff]++))
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def to_dot(source: SceneGraph | GraphRecord) -> str:
    """Return the graph in DOT. NUL, which ends a string there, becomes U+FFFD."""
    record = GraphRecord.of(source)
    record = replaced_ids(record, [name.replace("\0", "\ufffd") for name in record.graph.ids])
    lines = ["digraph scene {"]
    if about := record.about():
        lines.append(f"  graph{_attributes(about)};")
    lines += [f"  {kind}{_attributes(style)};" for kind, style in _STYLE.items()]
    for k, o in enumerate(record.graph.objects):
        box = " ".join(map(repr, o.box))
        lines.append(f"  o{k}{_attributes({'id': o.id, 'label': o.label, 'box': box, 'score': o.score})};")
    for k, r in enumerate(record.graph.relationships):
        values = _attributes({"id": f"r{k}", "label": r.predicate, "score": r.score})
        lines.append(f"  o{r.subject} -> o{r.object}{values};")
    return "\n".join([*lines, "}", ""])


def _attributes(values: Mapping[str, Any]) -> str:
    given = [f"{name}={_quoted(str(value))}" for name, value in values.items() if value is not None]
    return f" [{', '.join(given)}]"


def _quoted(text: str) -> str:
    """Quote a string. Graphviz reads backslash escapes in labels, so a backslash is doubled."""
    text = text.replace("\0", "\ufffd").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n") + '"'


def _unquoted(token: str) -> str:
    if not token.startswith('"'):
        return token
    return _ESCAPE.sub(lambda m: {"n": "\n", "\n": ""}.get(m.group(1), m.group(1)), token[1:-1])


def from_dot(text: str, where: str = "DOT") -> GraphRecord:
    """Read what `to_dot` wrote.

    Raises:
        InputError: it is something else.
    """
    tokens = list(_tokens(text, where))
    if tokens[:1] == ["strict"]:
        del tokens[0]
    start = tokens.index("{") if "{" in tokens else -1
    if tokens[:1] != ["digraph"] or start not in (1, 2) or tokens[-1:] != ["}"]:
        raise InputError(where, expected="digraph { ... }", found=repr(text[:60]))
    nodes: dict[str, dict[str, str]] = {}
    edges: list[tuple[str, str, dict[str, str]]] = []
    about: dict[str, Any] = {}
    for ends, values in _statements(tokens[start + 1 : -1], where):
        if ends == ["graph"]:
            about |= values
        elif len(ends) == 2:
            edges.append((ends[0], ends[1], values))
        elif ends not in (["node"], ["edge"]):
            nodes.setdefault(ends[0], {}).update(values)
    # Graphviz lists nodes by their edges, and edges by their nodes: our ids o3 and r3 state the places.
    objects = [
        {**values, "key": key, "id": values.get("id", key), "bbox": values.get("box", "").split()}
        for key, values in sorted(nodes.items(), key=lambda item: stated_place(item[0], "o") or 0)
    ]
    relationships = [
        {**values, "subject": s, "predicate": values.get("label"), "object": o}
        for s, o, values in sorted(edges, key=lambda edge: stated_place(edge[2].get("id"), "r") or 0)
    ]
    graph = graph_of_rows(objects, relationships, (1, 1), where, exported=True, key="key")
    return GraphRecord.with_about(graph, about, where)


def _tokens(text: str, where: str) -> Iterator[str]:
    position, end = 0, len(text.rstrip(" \t\r\n"))
    while position < end:
        found = _TOKENS.match(text, position)
        if found is None:
            raise InputError(where, expected="nodes and edges in DOT", found=repr(text[position : position + 40]))
        position = found.end()
        yield found.group(found.lastgroup or 0)


def _statements(tokens: list[str], where: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield ends ([node] or [subject, object]) with the attributes that follow them."""
    k = 0
    while k < len(tokens):
        if tokens[k] in (";", ","):
            k += 1
            continue
        ends = [_unquoted(tokens[k])]
        k += 1
        while k + 1 < len(tokens) and tokens[k] == "->":
            ends.append(_unquoted(tokens[k + 1]))
            k += 2
        values: dict[str, str] = {}
        if k < len(tokens) and tokens[k] == "[":
            close = tokens.index("]", k) if "]" in tokens[k:] else -1
            row = [t for t in tokens[k + 1 : close] if t not in (",", ";")]
            if close < 0 or len(row) % 3 or any(sign != "=" for sign in row[1::3]):
                raise InputError(where, expected='attributes like [label="man"]', found=" ".join(tokens[k : k + 8]))
            values = {_unquoted(a): _unquoted(b) for a, b in zip(row[::3], row[2::3], strict=True)}
            k = close + 1
        if len(ends) > 2 or ends[0] in ("[", "]", "{", "}", "=", "->", "subgraph"):
            raise InputError(where, expected="nodes and edges between two nodes", found=" ".join(ends)[:80])
        yield ends, values
