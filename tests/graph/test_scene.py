"""SceneGraph: what `build` checks, equality, rows; and the forms of names."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject, label_of_id, normalize_name
from r1sgg.graph.text import number_ids

MAN = SceneObject("man.1", "man", (0.1, 0.2, 0.3, 0.4))
DOG = SceneObject("dog.1", "Dog", (0.0, 0.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Traffic_Light", "traffic light"),
        ("t-shirt", "t shirt"),
        ("  on  top\tof ", "on top of"),
        ("wearing.", "wearing"),
        ('"man"', "man"),
        ("u.s. flag", "u.s. flag"),
        ("человек", "человек"),
        ("人", "人"),
        ("🐶", "🐶"),
        ("747", "747"),
        ("red\x1b[31m", "red [31m"),
        ("a\x00b", "a b"),
        ("", ""),
        ("???", ""),
        ("_-_", ""),
    ],
)
def test_normalize_name(name: str, form: str) -> None:
    assert normalize_name(name) == form


@pytest.mark.parametrize(
    ("identifier", "label"),
    [
        ("person.1", "person"),
        ("traffic-light.12", "traffic light"),
        ("traffic_light_2", "traffic light"),
        ("person 3", "person"),
        (" Person.1 ", "person"),
        ("person", "person"),
        ("boeing 747.1", "boeing 747"),
        ("u.s. flag.2", "u.s. flag"),
        ("type2", "type2"),
        ("", ""),
        ("🐶.1", "🐶"),
        (".1", ""),
        ("7", ""),
        ("7.1", ""),
    ],
)
def test_label_of_id(identifier: str, label: str) -> None:
    assert label_of_id(identifier) == label


@given(st.text())
def test_normal_form_is_final_and_has_no_edges(name: str) -> None:
    form = normalize_name(name)
    assert normalize_name(form) == form
    assert form == form.strip()
    assert not set("_-\n\t") & set(form)


@given(st.lists(st.sampled_from(["man", "dog", "traffic light", "boeing 747"])))
def test_numbered_ids_are_unique_and_name_their_class(labels: list[str]) -> None:
    ids = number_ids(labels)
    assert len(set(ids)) == len(labels)
    assert list(map(label_of_id, ids)) == labels


def test_build_and_rows() -> None:
    graph = SceneGraph.build([MAN, DOG], [Relationship(0, "Walking_with", 1)])
    assert graph.labels == ("man", "dog")
    assert graph.boxes.shape == (2, 4)
    assert graph.triplets == (("man", "walking with", "dog"),)
    assert graph.objects[0] == MAN
    assert graph.relationships == (Relationship(0, "walking with", 1),)
    assert len(graph) == 2
    assert repr(graph) == "SceneGraph(2 objects, 1 relationships)"
    assert SceneGraph.build(graph.objects, graph.relationships) == graph


def test_build_of_nothing() -> None:
    assert SceneGraph.build([]) == EMPTY
    assert EMPTY.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("objects", "relationships", "says"),
    [
        ([MAN, MAN], [], "unique, found ['man.1'] twice"),
        ([SceneObject("a.1", "a", (0.5, 0, 0.5, 1))], [], "box of 'a.1': expected 0 <= x1 < x2 <= 1"),
        ([MAN, SceneObject("a.1", "a", (0, 0, 1, 1.01))], [], "found [0.0, 0.0, 1.0, 1.01]"),
        ([SceneObject("a.1", "a", (0, 0.9, 1, 0.1))], [], "0 <= y1 < y2 <= 1"),
        ([SceneObject("a.1", "a", (math.nan, 0, 1, 1))], [], "box of 'a.1'"),
        ([SceneObject("a.1", "a", (0, 0)), SceneObject("b.1", "b", (1, 1))], [], "box of 'a.1': expected (x1, y1"),  # type: ignore[arg-type]
        ([SceneObject("a.1", "...", (0, 0, 1, 1))], [], "labels and predicates with a letter"),
        ([MAN, DOG], [Relationship(0, "", 1)], "labels and predicates with a letter"),
        ([MAN, DOG], [Relationship(0, "on", 2)], "names an object outside 0..1"),
        ([MAN, DOG], [Relationship(-1, "on", 0)], "names an object outside 0..1"),
        ([], [Relationship(0, "on", 0)], "names an object outside"),
    ],
)
def test_build_says_what_is_wrong(objects: list[SceneObject], relationships: list[Relationship], says: str) -> None:
    with pytest.raises(ValueError) as error:
        SceneGraph.build(objects, relationships)
    assert says in str(error.value)


def test_scores_are_kept_only_where_every_row_has_one() -> None:
    scored = [SceneObject("a.1", "a", (0, 0, 1, 1), 0.5), SceneObject("b.1", "b", (0, 0, 1, 1), 0.25)]
    graph = SceneGraph.build(scored, [Relationship(0, "on", 1, 0.75)])
    assert graph.object_scores is not None
    assert graph.object_scores.tolist() == [0.5, 0.25]
    assert [r.score for r in graph.relationships] == [0.75]
    assert SceneGraph.build([scored[0], MAN]).object_scores is None


def test_equality_and_hash() -> None:
    graph = SceneGraph.build([MAN, DOG], [Relationship(0, "on", 1)])
    other = SceneGraph.build([MAN, DOG], [Relationship(1, "on", 0)])
    assert graph != other
    assert graph != "a graph"
    plus, minus = (SceneGraph(("a.1",), ("a",), np.array([[zero, 0, 1, 1]])) for zero in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)
