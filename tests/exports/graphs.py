"""Any scene graph that may occur: odd ids, boxes with all digits, scores on objects, relationships, both or none."""

from __future__ import annotations

from hypothesis import strategies as st

from r1sgg.exports import GraphRecord
from r1sgg.graph.records import graph_of_rows
from r1sgg.graph.scene import SceneGraph, normalize_name

ODD = [
    '"quoted"',
    "a'b",
    "<b>&amp;</b>",
    "a & b",
    "line\nbreak",
    "tab\there",
    "carriage\rreturn",
    "back\\slash\\n",
    "ends in \\",
    "=1+1",
    "'apostrophe",
    "-minus",
    "@at",
    "猫.1",
    "ñandú",
    "😀.2",
    "مرحبا",
    "a;b,c",
    "]]>",
    "{x}->[y]",
    " spaces ",
    "\u2028sep",
    "<script>alert(1)</script>",
]
NAMES = st.one_of(st.sampled_from(ODD), st.text(min_size=1, max_size=12))
WORDS = NAMES.filter(normalize_name)
SCORES = st.floats(0, 1)
COORDINATES = st.floats(-0.5, 1.5, allow_nan=False)


@st.composite
def graphs(
    draw: st.DrawFn, *, names: st.SearchStrategy[str] = NAMES, words: st.SearchStrategy[str] = WORDS
) -> SceneGraph:
    ids = draw(st.lists(names, max_size=6, unique=True))
    scored, ranked = draw(st.booleans()), draw(st.booleans())
    objects = []
    for name in ids:
        box = [draw(COORDINATES) for _ in range(4)]
        objects.append({"id": name, "label": draw(words), "bbox": box, "score": draw(SCORES) if scored else None})
    relationships = []
    for _ in range(draw(st.integers(0, 6)) if ids else 0):
        ends = {"subject": draw(st.sampled_from(ids)), "object": draw(st.sampled_from(ids))}
        relationships.append({**ends, "predicate": draw(words), "score": draw(SCORES) if ranked else None})
    return graph_of_rows(objects, relationships, (1, 1), "drawn", exported=True)


@st.composite
def records(draw: st.DrawFn, **options: st.SearchStrategy[str]) -> GraphRecord:
    sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
    name, image = draw(st.one_of(st.just(""), NAMES)), draw(st.one_of(st.just(""), NAMES))
    return GraphRecord(draw(graphs(**options)), name, draw(st.one_of(st.none(), sizes)), image)
