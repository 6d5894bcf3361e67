"""The tools that the formats are for read what we write: networkx, rdflib, pycocotools, Graphviz, our coco reader."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import networkx
import numpy as np
import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from r1sgg.data.sources import open_data
from r1sgg.exports import (
    GraphRecord,
    from_dot,
    from_graphml,
    from_networkx,
    to_coco,
    to_dot,
    to_graphml,
    to_jsonld,
    to_networkx,
)
from r1sgg.exports.linked import VOCABULARY
from r1sgg.exports.record import xml_text
from r1sgg.graph.scene import SceneGraph

from .graphs import NAMES, graphs, records
from .test_round_trips import HORSE, same

PLAIN = st.sampled_from(["man", "a&b", "<i>man", "猫", 'say "on"'])
IN_XML = NAMES.filter(lambda text: xml_text(text) == text)
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # rdflib's own
SOME = settings(max_examples=40)
R1 = rdflib.Namespace(VOCABULARY)


@given(graphs(names=IN_XML, words=PLAIN))
@SOME
def test_networkx_reads_our_graphml_and_we_read_what_it_writes(graph: SceneGraph) -> None:
    read = networkx.parse_graphml(to_graphml(graph))
    assert from_networkx(read).graph == graph
    if "\r" in "".join(graph.ids):
        return  # networkx writes it bare, which XML reads as a line end
    assert {d["identifier"] for _, d in read.nodes(data=True)} == set(graph.ids)
    out = io.BytesIO()
    networkx.write_graphml_xml(read, out)
    assert from_graphml(out.getvalue()).graph == graph


def test_a_networkx_graph_works_with_its_algorithms() -> None:
    graph = to_networkx(HORSE)
    assert list(networkx.topological_generations(networkx.DiGraph([("man.1", "horse.1")]))) == [["man.1"], ["horse.1"]]
    assert graph.number_of_edges("man.1", "horse.1") == 2
    assert networkx.degree(graph)["horse.1"] == 4
    assert graph.nodes["man.1"]["score"] == 0.9
    networkx.write_gexf(graph, io.BytesIO())
    assert networkx.node_link_graph(networkx.node_link_data(graph)).nodes == graph.nodes


def triples(graph: SceneGraph, document: str) -> list[tuple[str, str, str]]:
    """The relationships that RDF holds, in their order."""
    found = rdflib.Graph().parse(data=document, format="json-ld")
    (scene,) = found.subjects(rdflib.RDF.type, R1.SceneGraph)
    rows = rdflib.collection.Collection(found, found.value(scene, R1.relationships))

    def name(row: rdflib.term.Node, end: str) -> str:
        return str(found.value(found.value(row, R1[end]), R1.identifier))

    return [(name(row, "subject"), str(found.value(row, R1.predicate)), name(row, "object")) for row in rows]


@given(graphs())
@SOME
def test_rdflib_reads_our_json_ld(graph: SceneGraph) -> None:
    expected = [(graph.ids[s], p, graph.ids[o]) for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    assert triples(graph, to_jsonld(graph)) == expected


def test_rdf_keeps_numbers_as_doubles_and_answers_sparql() -> None:
    found = rdflib.Graph().parse(data=to_jsonld(GraphRecord(HORSE, "2", (800, 600))), format="json-ld")
    query = f"""PREFIX r: <{VOCABULARY}> SELECT ?name ?score WHERE {{
        ?r a r:Relationship ; r:predicate "riding" ; r:score ?score ; r:object / r:label ?name }} ORDER BY ?score"""
    rows = [(str(name), score.toPython()) for name, score in found.query(query)]
    assert rows == [("horse", 0.1), ("horse", 0.5)]
    (scene,) = found.subjects(R1.width, rdflib.Literal(800))
    objects = rdflib.collection.Collection(found, found.value(scene, R1.objects))
    box = [v.toPython() for v in rdflib.collection.Collection(found, found.value(objects[0], R1.bbox))]
    assert box == HORSE.boxes[0].tolist()
    assert all(isinstance(v, float) for v in box)


@given(st.lists(records(), min_size=1, max_size=3))
@SOME
def test_pycocotools_loads_our_coco(found: list[GraphRecord]) -> None:
    known = [GraphRecord(r.graph, r.image_id, r.size or (640, 480), r.image) for r in found]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(to_coco(known)))
        coco.createIndex()
    assert len(coco.getImgIds()) == len(known)
    for image_id, record in zip(sorted(coco.getImgIds()), known, strict=True):
        rows = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        assert tuple(coco.loadCats([r["category_id"] for r in rows])[k]["name"] for k in range(len(rows))) == (
            record.graph.labels
        )
        boxes = np.array([r["bbox"] for r in rows]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, record.graph.boxes * (record.size * 2), rtol=1e-9, atol=1e-6)


def test_data_coco_reads_our_coco(tmp_path: Path) -> None:
    record = GraphRecord(HORSE, "2", (800, 600), "2.jpg")
    (tmp_path / "set.json").write_text(json.dumps(to_coco([record])))
    (example,) = open_data(f"coco:{tmp_path / 'set.json'}", strict=False)
    assert example.image_id == "2"
    assert set(example.graph.triplets) == {("man", "riding", "horse")}  # self-loops and repeats are not read
    np.testing.assert_allclose(example.graph.boxes, HORSE.boxes, atol=1e-4)


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz (the command dot)")
def test_graphviz_draws_our_dot_and_we_read_what_it_writes() -> None:
    import hypothesis

    @given(records(names=NAMES.filter(lambda text: "\0" not in text and not re.search(r"[\x00-\x08\x0e-\x1f]", text))))
    @settings(max_examples=12, suppress_health_check=list(hypothesis.HealthCheck))
    def check(record: GraphRecord) -> None:
        record = GraphRecord(record.graph, "2", record.size)
        done = subprocess.run(["dot", "-Tcanon"], input=to_dot(record).encode(), capture_output=True, check=True)
        assert done.stderr == b""
        assert same(from_dot(done.stdout.decode()), record)

    check()
    svg = subprocess.run(
        ["dot", "-Tsvg"], input=to_dot(HORSE).encode(), capture_output=True, check=True
    ).stdout.decode()
    assert ">man</text>" in svg
    assert 'id="man.1"' in svg
