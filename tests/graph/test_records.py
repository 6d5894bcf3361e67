"""The codec between rows and graphs: exact round trips, what a writer leaves out, and one sentence for each fault."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from r1sgg.errors import InputError
from r1sgg.graph.records import clip_box, graph_of_rows, graph_to_rows, rounded_boxes
from r1sgg.graph.scene import SceneGraph, label_of_id
from r1sgg.graph.text import number_ids

NAMES = st.sampled_from(["man", "traffic light", "café", "人"])
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@st.composite
def graphs(draw: st.DrawFn, size: tuple[int, int], *, digits: int | None = 2) -> SceneGraph:
    """Graphs whose corners are multiples of 1/100 of `size`, or any number for None; with and without scores."""
    labels = draw(st.lists(NAMES, max_size=4))

    def span(side: int) -> tuple[float, float]:
        steps = st.floats(-1, 2, allow_nan=False) if digits is None else st.integers(0, 100 * side)
        low, high = sorted(draw(st.lists(steps, min_size=2, max_size=2, unique=True)))
        return (low, high) if digits is None else (low / 100 / side, high / 100 / side)

    corners = [(span(size[0]), span(size[1])) for _ in labels]
    boxes = np.array([(x[0], y[0], x[1], y[1]) for x, y in corners]).reshape(-1, 4)
    place = st.integers(0, max(len(labels) - 1, 0))
    pairs = draw(st.lists(st.tuples(place, place), max_size=4)) if labels else []

    def scores(count: int) -> np.ndarray | None:
        values = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
        return np.array(values) if count and digits is None and draw(st.booleans()) else None

    predicates = tuple(draw(st.sampled_from(["on", "in front of"])) for _ in pairs)
    ids = number_ids(labels)
    return SceneGraph(ids, tuple(labels), boxes, tuple(pairs), predicates, scores(len(labels)), scores(len(pairs)))


def through_json(graph: SceneGraph, size: tuple[float, float], *, exported: bool, digits: int | None) -> SceneGraph:
    rows = json.loads(json.dumps(graph_to_rows(graph, size, digits=digits)))
    return graph_of_rows(rows["objects"], rows["relationships"], size, "here", exported=exported)


@given(SIZES, st.data())
def test_ground_truth_comes_back_exactly(size: tuple[int, int], data: st.DataObject) -> None:
    graph = data.draw(graphs(size))
    back = through_json(graph, size, exported=False, digits=2)
    np.testing.assert_allclose(back.boxes, graph.boxes, rtol=0, atol=1e-12)
    assert (back.ids, back.labels, back.pairs, back.predicates) == (
        graph.ids, graph.labels, graph.pairs, graph.predicates
    )  # fmt: skip
    assert graph_to_rows(back, size) == graph_to_rows(graph, size)


@given(st.data())
def test_an_export_comes_back_to_the_last_bit(data: st.DataObject) -> None:
    graph = data.draw(graphs((1, 1), digits=None))
    back = through_json(graph, (1, 1), exported=True, digits=None)
    assert back == graph
    assert back.boxes.tobytes() == graph.boxes.tobytes() or (back.boxes == graph.boxes).all()  # -0.0 is 0.0


def test_a_label_is_written_only_where_the_id_does_not_name_it() -> None:
    graph = SceneGraph(("man.1", "7"), ("man", "dog"), np.array([[0, 0, 1, 1.0]] * 2))
    first, second = graph_to_rows(graph, (1, 1), digits=None)["objects"]
    assert "label" not in first
    assert second["label"] == "dog"
    assert label_of_id(second["id"]) == ""
    assert through_json(graph, (1, 1), exported=True, digits=None) == graph


def test_scores_are_written_unless_the_rows_are_ground_truth() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 1, 1]])
    scores = np.array([1 / 3, 0.25]), np.array([0.123456789])
    graph = SceneGraph(("man.1", "dog.1"), ("man", "dog"), boxes, ((0, 1),), ("on",), *scores)
    rows = graph_to_rows(graph, (100, 100))
    assert [row["score"] for row in rows["objects"]] == [0.333333, 0.25]
    assert rows["relationships"] == [{"subject": "man.1", "predicate": "on", "object": "dog.1", "score": 0.123457}]
    assert rows["objects"][0]["bbox"] == [0, 0, 50, 50]
    assert all(type(v) is int for v in rows["objects"][0]["bbox"])
    bare = graph_to_rows(graph, (100, 100), scores=False)
    assert not any("score" in row for row in (*bare["objects"], *bare["relationships"]))
    assert graph_to_rows(graph, (100, 100), digits=None)["objects"][0]["score"] == 1 / 3


@given(SIZES, st.integers(0, 6), st.data())
def test_rounding_leaves_every_box_its_area(size: tuple[int, int], digits: int, data: st.DataObject) -> None:
    graph = data.draw(graphs((1, 1), digits=None))
    exact = graph.boxes * (size * 2)
    assume(((exact[:, :2] < exact[:, 2:]).all(1)).all())
    rounded = rounded_boxes(graph, size, digits)
    assert (rounded[:, :2] < rounded[:, 2:]).all()
    assert (np.abs(rounded - exact) <= 0.5 * 10.0**-digits + 1e-9 * np.abs(exact)).all()


@given(st.lists(st.floats(-20, 130), min_size=4, max_size=4))
def test_a_clipped_box_is_inside_or_gone(box: list[float]) -> None:
    inside, far = clip_box(box, 100, 80)
    assert far == (min(box[:2]) < -1 or box[2] > 101 or box[3] > 81)
    if inside is not None:
        assert 0 <= inside[0] < inside[2] <= 100
        assert 0 <= inside[1] < inside[3] <= 80
        assert clip_box(inside, 100, 80) == (inside, False)


# ---------------------------------------------------------------- faults

MAN = {"id": "man.1", "bbox": [0, 0, 5, 5]}
DOG = {"id": "dog.1", "bbox": [1, 1, 9, 9]}
ON = {"subject": "man.1", "predicate": "on", "object": "dog.1"}


@pytest.mark.parametrize(
    ("objects", "relationships", "says"),
    [
        (None, [], "here: objects: expected a list, found None"),
        ([MAN], {}, "here: relationships: expected a list, found {}"),
        (["man.1"], [], "here: objects[0]: expected a JSON object, found 'man.1'"),
        ([MAN], [[]], "here: relationships[0]: expected a JSON object, found []"),
        ([{**MAN, "id": 7}], [], "here: objects[0]: expected an object with an"),
        ([{**MAN, "bbox": [0, 0, 5]}], [], "here: objects[0].bbox: expected [x1, y1, x2, y2], found [0, 0, 5]"),
        ([{**MAN, "bbox": (0, 0, 5, 5)}], [], "here: objects[0].bbox: expected [x1, y1, x2, y2]"),
        ([{**MAN, "bbox": [0, 0, 5, "x"]}], [], "here: objects[0].bbox: expected a finite number, found 'x'"),
        ([{**MAN, "bbox": [0, 0, 5, True]}], [], "here: objects[0].bbox: expected a finite number, found True"),
        ([{**MAN, "bbox": [0, 0, 5, 10**400]}], [], "here: objects[0].bbox: expected a finite number, found 1000"),
        ([{**MAN, "bbox": [0, 0, 5, math.inf]}], [], "here: objects[0].bbox: expected a finite number, found inf"),
        ([{**MAN, "id": "7"}], [], "here: objects[0].label: expected a name with a letter or digit in it"),
        ([{**MAN, "label": "?"}], [], "here: objects[0].label: expected a name with a letter or digit in it"),
        ([{**MAN, "label": None}], [], "here: objects[0].label: expected a name with a letter or digit in it"),
        ([{**MAN, "score": "high"}], [], "here: objects[0].score: expected a finite number, found 'high'"),
        ([MAN, DOG, MAN], [], "here: objects[2].id: expected ids that differ, found 'man.1' again"),
        ([MAN], [ON], "here: relationships[0].object: expected the \"id\" of one of the objects, found 'dog.1'"),
        ([MAN], [{**ON, "subject": []}], 'here: relationships[0].subject: expected the "id" of one'),
        ([MAN, DOG], [{**ON, "object": None}], 'here: relationships[0].object: expected the "id" of one'),
        ([MAN, DOG], [{**ON, "predicate": "."}], "here: relationships[0].predicate: expected a name"),
        ([MAN, DOG], [ON, {**ON, "score": [1]}], "here: relationships[1].score: expected a finite number"),
    ],
)
def test_a_fault_of_an_export_is_one_sentence_with_its_field(objects, relationships, says) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        graph_of_rows(objects, relationships, (10, 10), "here", exported=True)
    assert "\n" not in str(caught.value)


def test_an_export_may_say_what_ground_truth_may_not() -> None:
    odd = {"id": "7.1", "label": "Traffic_Light", "bbox": ["-5", "3", 2.5, "1e1"], "score": "0.5", "mine": 1}
    (thing,) = graph_of_rows([odd], [], (10, 10), "here", exported=True).objects
    assert (thing.id, thing.label, thing.box, thing.score) == ("7.1", "traffic light", (-0.5, 0.3, 0.25, 1.0), 0.5)
    for row in (odd, MAN | {"score": 0.5}, MAN | {"label": "man"}, MAN | {"bbox": [0, 0, 5, 99]}):
        with pytest.raises(InputError):
            graph_of_rows([row], [], (10, 10), "here")


def test_scores_are_kept_where_all_rows_have_one() -> None:
    rows = [MAN | {"score": 0.5}, DOG | {"score": ""}]
    graph = graph_of_rows(rows, [ON | {"score": 0.25}], (10, 10), "here", exported=True)
    assert graph.object_scores is None
    assert graph.relationship_scores is not None
    assert graph.relationship_scores.tolist() == [0.25]


def test_relationships_may_refer_to_objects_by_another_key() -> None:
    rows = [{**MAN, "@id": "_:o0"}, {**DOG, "@id": "_:o1"}]
    ends = {"subject": "_:o1", "predicate": "near", "object": "_:o0"}
    graph = graph_of_rows(rows, [ends], (10, 10), "here", exported=True, key="@id")
    assert graph.triplets == (("dog", "near", "man"),)
    for wrong, says in (
        ([rows[0], {**DOG, "@id": "_:o0"}], "objects[1].@id: expected ids that differ"),
        ([rows[0], {**MAN, "@id": "_:o1"}], "objects: expected ids that differ, found 'man.1' again"),
        ([rows[0], {**DOG, "@id": []}], 'objects[1]: expected an object with an "id" and a "@id"'),
        ([MAN], 'objects[0]: expected an object with an "id" and a "@id"'),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            graph_of_rows(wrong, [], (10, 10), "here", exported=True, key="@id")
