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
        ("type2", "type"),
        ("person#4", "person"),
        ("person:4", "person"),
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


# ---------------------------------------------------------------- parts of a graph


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    """Any graph: with scores on objects, on relationships, both or none; twins, self-loops and repeats included."""
    count = draw(st.integers(0, 5))
    labels = draw(st.lists(st.sampled_from(["man", "dog"]), min_size=count, max_size=count))
    places = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(places, places), max_size=6)) if count else []
    predicates = draw(st.lists(st.sampled_from(["on", "near"]), min_size=len(pairs), max_size=len(pairs)))

    def scores(size: int) -> np.ndarray | None:
        share = st.floats(0, 1)
        return np.array(draw(st.lists(share, min_size=size, max_size=size))) if draw(st.booleans()) else None

    boxes = np.array(draw(st.lists(st.floats(0, 1), min_size=4 * count, max_size=4 * count))).reshape(-1, 4)
    return SceneGraph(
        number_ids(labels), tuple(labels), boxes, tuple(pairs), tuple(predicates), scores(count), scores(len(pairs))
    )


@given(graphs())
def test_taking_everything_changes_nothing(graph: SceneGraph) -> None:
    everything = graph.take(range(len(graph)))
    assert everything == graph
    assert graph.take(range(len(graph)), range(len(graph.pairs))) == graph
    for column in ("object_scores", "relationship_scores"):
        assert (getattr(everything, column) is None) == (getattr(graph, column) is None)


@given(graphs(), st.data())
def test_taking_keeps_rows_and_names_their_ends_anew(graph: SceneGraph, data: st.DataObject) -> None:
    """Against a plain loop over the rows."""
    objects = data.draw(st.lists(st.integers(0, len(graph) - 1), unique=True)) if len(graph) else []
    rows = data.draw(st.none() | st.permutations(range(len(graph.pairs))))
    taken = graph.take(objects, rows)
    assert taken.objects == tuple(graph.objects[k] for k in objects)
    kept = [graph.relationships[r] for r in (range(len(graph.pairs)) if rows is None else rows)]
    kept = [r for r in kept if r.subject in objects and r.object in objects]
    assert [(taken.ids[r.subject], r.predicate, taken.ids[r.object], r.score) for r in taken.relationships] == [
        (graph.ids[r.subject], r.predicate, graph.ids[r.object], r.score) for r in kept
    ]


@given(graphs(), st.data())
def test_taking_twice_is_taking_once(graph: SceneGraph, data: st.DataObject) -> None:
    first = data.draw(st.permutations(range(len(graph))))[: data.draw(st.integers(0, len(graph)))]
    second = data.draw(st.permutations(range(len(first))))[: data.draw(st.integers(0, len(first)))]
    assert graph.take(first).take(second) == graph.take([first[k] for k in second])


@given(graphs(), st.data())
def test_a_permutation_can_be_undone(graph: SceneGraph, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(graph))))
    rows = data.draw(st.permutations(range(len(graph.pairs))))
    shuffled = graph.take(order, rows)
    assert sorted(shuffled.triplets) == sorted(graph.triplets)
    assert shuffled.take(np.argsort(order).tolist(), np.argsort(rows).tolist()) == graph


@given(graphs())
def test_taking_nothing_is_the_empty_graph(graph: SceneGraph) -> None:
    assert graph.take([]) == EMPTY
    assert graph.take([]).boxes.shape == (0, 4)
    assert graph.take(range(len(graph)), []).objects == graph.objects
    assert graph.take(range(len(graph)), []).pairs == ()


@pytest.mark.parametrize("objects", [[0, 0], [-1], [2], [0, 1, 2]])
def test_places_that_do_not_exist_or_repeat_are_refused(objects: list[int]) -> None:
    graph = SceneGraph.build([MAN, DOG], [Relationship(0, "on", 1)])
    with pytest.raises(ValueError, match="expected different places from 0 to 1"):
        graph.take(objects)


@given(graphs(), st.floats(0, 1))
def test_above_keeps_what_a_plain_loop_keeps(graph: SceneGraph, threshold: float) -> None:
    if graph.triplet_scores is None:
        return
    kept = graph.above(threshold)
    objects = [o for o in graph.objects if o.score is None or o.score >= threshold]
    assert kept.objects == tuple(objects)
    rows = zip(graph.relationships, graph.triplet_scores.tolist(), strict=True)
    ids = {o.id for o in objects}
    ends = [(graph.ids[r.subject], r.predicate, graph.ids[r.object]) for r, score in rows if score >= threshold]
    expected = [row for row in ends if {row[0], row[2]} <= ids]
    assert [(kept.ids[r.subject], r.predicate, kept.ids[r.object]) for r in kept.relationships] == expected


@given(graphs())
def test_distinct_keeps_the_first_of_repeated_triplets(graph: SceneGraph) -> None:
    rows = [*range(len(graph.pairs)), *reversed(range(len(graph.pairs)))]
    objects = range(len(graph))
    expected: list[Relationship] = []
    for row in graph.relationships:
        if all((row.subject, row.predicate, row.object) != (e.subject, e.predicate, e.object) for e in expected):
            expected.append(row)
    assert graph.take(objects, rows).distinct() == graph.distinct()
    assert graph.distinct().relationships == tuple(expected)


def test_above_needs_scores() -> None:
    with pytest.raises(ValueError, match="found one without"):
        SceneGraph.build([MAN]).above(0.5)
    assert EMPTY.above(0.5) == EMPTY
