"""What goes into a format comes out of it again, to the last digit, where the format can hold it."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from r1sgg.data.predictions import prediction_of_record
from r1sgg.errors import InputError
from r1sgg.exports import (
    GraphRecord,
    from_coco,
    from_csv,
    from_dot,
    from_graphml,
    from_json,
    from_jsonld,
    from_networkx,
    to_coco,
    to_csv,
    to_dot,
    to_graphml,
    to_json,
    to_jsonld,
    to_networkx,
)
from r1sgg.exports.record import xml_text
from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject, label_of_id

from .graphs import NAMES, graphs, records

BOX = (0.1, 0.2, 1 / 3, 0.7)
HORSE = SceneGraph.build(
    [SceneObject("man.1", "man", BOX, 0.9), SceneObject("horse.1", "horse", (0.2, 0.3, 0.8, 0.9), 0.25)],
    [Relationship(0, "riding", 1, 0.5), Relationship(0, "riding", 1, 0.1), Relationship(1, "under", 1, 1.0)],
)
IN_XML = NAMES.filter(lambda text: xml_text(text) == text)


def same(found: GraphRecord, record: GraphRecord) -> bool:
    return found.graph == record.graph and found.about() == record.about()


@given(records())
@example(GraphRecord(EMPTY))
@example(GraphRecord(HORSE, "2", (800, 600), "images/2.jpg"))
def test_json_holds_everything(record: GraphRecord) -> None:
    assert same(from_json(to_json(record)), record)
    assert "\n" not in to_json(record)


@given(records())
@example(GraphRecord(HORSE, "2", (800, 600), "images/2.jpg"))
def test_json_ld_holds_everything(record: GraphRecord) -> None:
    assert same(from_jsonld(to_jsonld(record)), record)


@given(records())
def test_networkx_holds_everything(record: GraphRecord) -> None:
    assert same(from_networkx(to_networkx(record)), record)


@given(records(names=IN_XML, words=st.sampled_from(["a&b", "<i>man", "猫", 'say "on"'])))
@example(GraphRecord(HORSE, "2", (800, 600), "images/2.jpg"))
def test_graphml_holds_everything_that_xml_can(record: GraphRecord) -> None:
    record = dataclasses.replace(record, image_id=xml_text(record.image_id), image=xml_text(record.image))
    assert same(from_graphml(to_graphml(record)), record)


@given(records())
def test_graphml_replaces_what_xml_cannot_hold_and_keeps_the_rest(record: GraphRecord) -> None:
    found = from_graphml(to_graphml(record)).graph
    assert np.array_equal(found.boxes, record.graph.boxes)
    assert found.pairs == record.graph.pairs
    for name, original in zip(found.ids, record.graph.ids, strict=True):
        assert re.fullmatch(re.escape(xml_text(original)) + r"( \(\d+\))?", name)
    assert len(set(found.ids)) == len(found)


def test_ids_that_differ_only_in_what_xml_cannot_hold_stay_apart() -> None:
    twins = SceneGraph(("a\x01", "a\x02", "a\ufffd"), ("a",) * 3, np.array([BOX] * 3))
    assert from_graphml(to_graphml(twins)).graph.ids == ("a\ufffd", "a\ufffd (2)", "a\ufffd (3)")


@given(records())
@example(GraphRecord(HORSE, "2", (800, 600), "images/2.jpg"))
def test_dot_holds_everything_but_nul(record: GraphRecord) -> None:
    def clean(text: str) -> str:
        return text.replace("\0", "\ufffd")

    found = from_dot(to_dot(record))
    if not any("\0" in name for name in record.graph.ids):
        clear = dataclasses.replace(record, image_id=clean(record.image_id), image=clean(record.image))
        assert same(found, clear)
    assert len(found.graph) == len(record.graph)


@given(st.lists(records(), max_size=3))
@settings(max_examples=60)
def test_coco_holds_all_but_the_last_digits_of_boxes(found: list[GraphRecord]) -> None:
    known = [dataclasses.replace(r, size=r.size or (640, 480)) for r in found]
    document = json.loads(json.dumps(to_coco(known)))
    back = from_coco(document)
    assert len(back) == len(known)
    for one, record in zip(back, known, strict=True):
        assert one.size == record.size
        assert one.image_id == record.image_id
        np.testing.assert_allclose(one.graph.boxes, record.graph.boxes, atol=1e-12)
        assert dataclasses.replace(one.graph, boxes=record.graph.boxes) == record.graph
    ids = [row["id"] for row in document["annotations"]]
    assert ids == list(range(1, len(ids) + 1))  # an id of 0 is "no match" to COCO's evaluation


def mentioned(graph: SceneGraph) -> SceneGraph:
    """The objects that have a relationship, in the order of their first mention."""
    order = list(dict.fromkeys(end for pair in graph.pairs for end in pair))
    return graph.take(order)


@given(st.lists(st.tuples(NAMES, graphs()), max_size=3, unique_by=lambda item: item[0]))
def test_csv_holds_relationships_and_their_objects(found: list[tuple[str, SceneGraph]]) -> None:
    text = to_csv([GraphRecord(graph, name) for name, graph in found])
    expected = [(name, mentioned(graph)) for name, graph in found if graph.pairs]
    assert [(r.image_id, r.graph) for r in from_csv(text)] == expected


def test_a_formula_is_not_one_in_a_spreadsheet() -> None:
    graph = SceneGraph(("=1+1", "-x"), ("a", "b"), np.array([BOX, BOX]), ((0, 1),), ("=cmd()",))
    text = to_csv([graph])
    assert ",'=cmd()," in text
    assert not re.search(r"(^|,)[=@]", text, re.MULTILINE)
    assert from_csv(text)[0].graph == graph


def test_our_json_is_a_predictions_line() -> None:
    row = json.loads(to_json(GraphRecord(HORSE, "2", (800, 600))))
    parsed = prediction_of_record(row, "line").read()
    assert parsed.failure is None
    assert parsed.graph == HORSE
    assert label_of_id(HORSE.ids[0]) == "man"
    assert all("label" not in o for o in row["objects"])


def test_an_id_of_another_class_keeps_its_label() -> None:
    graph = SceneGraph(("7",), ("man",), np.array([BOX]))
    assert json.loads(to_json(graph))["objects"][0]["label"] == "man"
    assert from_json(to_json(graph)).graph == graph


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (from_json, "no"),
        (from_json, "[]"),
        (from_json, '{"objects": [], "relationships": [1]}'),
        (from_json, '{"objects": [{"id": "a", "bbox": [0, 0, 1]}], "relationships": []}'),
        (from_json, '{"objects": [{"id": "a", "bbox": [0, 0, 1, "x"]}], "relationships": []}'),
        (from_json, '{"objects": [], "relationships": [{"subject": "a", "predicate": "on", "object": "b"}]}'),
        (from_jsonld, "{}"),
        (from_jsonld, '{"@type": "SceneGraph", "objects": [{}], "relationships": []}'),
        (from_graphml, "<a>"),
        (from_graphml, "<graphml/>"),
        (from_dot, "graph { a -- b }"),
        (from_dot, "digraph { a -> }"),
        (from_dot, 'digraph { a [label="x"]; }'),
        (from_dot, "digraph { a [label=; }"),
        (from_dot, 'digraph { a [label="x }'),
        (from_dot, 'digraph { a [label="x", box="0 0 1 nan"]; }'),
        (from_csv, "a,b\n"),
        (from_csv, to_csv([HORSE]).replace("0.5\r\n", "0.5,1\r\n")),
        (from_csv, to_csv([HORSE]).replace("0.7", "x")),
        (from_coco, {"images": []}),
        (from_coco, {**to_coco([GraphRecord(HORSE, "1", (10, 10))]), "categories": []}),
        (from_coco, {**to_coco([GraphRecord(HORSE, "1", (10, 10))]), "annotations": []}),
    ],
)
def test_something_else_is_one_sentence(read, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_coco_needs_the_image_size() -> None:
    with pytest.raises(InputError, match="width and height"):
        to_coco([GraphRecord(HORSE, "2")])
