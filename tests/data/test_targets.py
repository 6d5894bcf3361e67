"""SFT targets: nothing is invented, the same seed and epoch give the same target, and limits keep what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.targets import ORDERS, target
from r1sgg.errors import ConfigError
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import number_ids
from r1sgg.miniature.scenes import HARD, scene

LABELS = ("man", "dog", "man", "tree")
BOXES = np.array([[0.6, 0.1, 0.8, 0.5], [0.1, 0.4, 0.2, 0.5], [0.0, 0.0, 0.3, 0.9], [0.1, 0.1, 0.2, 0.2]])
GRAPH = SceneGraph(
    number_ids(LABELS),
    LABELS,
    BOXES,
    ((0, 1), (0, 1), (2, 1), (0, 1), (3, 2)),
    ("holding", "near", "watching", "holding", "behind"),
)


def things(graph):
    """What a graph says, whatever its order and ids."""
    where = [(label, *box) for label, box in zip(graph.labels, graph.boxes.tolist(), strict=True)]
    said = [(where[s], p, where[o]) for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    return sorted(where), sorted(said)


@given(st.integers(0, 500), st.sampled_from(ORDERS), st.integers(0, 3), st.integers(0, 3))
def test_an_order_changes_nothing_but_the_order(number, order, seed, epoch):
    graph = scene(number).example.graph
    assert things(target(graph, order, seed, epoch)) == things(graph)


def test_as_annotated_and_the_first_epoch_are_the_graph_itself():
    assert target(GRAPH) == GRAPH
    assert target(GRAPH, "shuffled", epoch=0) == GRAPH


def test_by_position():
    assert target(GRAPH, "position").ids == ("tree.1", "dog.1", "man.2", "man.1")
    assert target(GRAPH, "position").triplets == GRAPH.triplets


def test_shuffles_are_seeded_differ_by_epoch_and_number_afresh():
    graph = scene(7, HARD).example.graph
    first = target(graph, "shuffled", 3, 1)
    assert first == target(graph, "shuffled", 3, 1)
    assert first.ids == number_ids(first.labels)
    orders = {target(graph, "shuffled", seed, epoch).boxes.tobytes() for seed in range(3) for epoch in range(1, 4)}
    assert len(orders) > 6


def test_a_limit_on_objects_keeps_the_connected_then_the_large():
    kept = target(GRAPH, max_objects=2)
    assert kept.ids == ("man.1", "dog.1")  # 3 and 4 relationships against 2 and 1
    assert kept.triplets == (("man", "holding", "dog"), ("man", "near", "dog"), ("man", "holding", "dog"))
    alone = SceneGraph(number_ids(LABELS), LABELS, BOXES)
    assert target(alone, max_objects=2).ids == ("man.1", "man.2")


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (0, ()),
        (2, ("holding", "watching")),
        (3, ("holding", "watching", "behind")),
        (4, ("holding", "near", "watching", "behind")),
        (5, GRAPH.predicates),
    ],
)
def test_a_limit_on_relationships_keeps_one_of_each_pair_first(limit, kept):
    assert target(GRAPH, max_relationships=limit).predicates == kept


@given(st.integers(0, 500), st.integers(1, 6), st.integers(0, 6), st.sampled_from(ORDERS))
def test_limits_hold_together_and_references_stay_right(number, objects, relationships, order):
    graph = scene(number).example.graph
    kept = target(graph, order, 1, 1, objects, relationships)
    assert len(kept) == min(objects, len(graph))
    assert len(kept.pairs) <= relationships
    boxes, said = things(graph)
    less_boxes, less_said = things(kept)
    assert set(less_boxes) <= set(boxes)
    assert set(less_said) <= set(said)


def test_scores_follow_their_rows():
    scored = SceneGraph(
        GRAPH.ids, LABELS, BOXES, GRAPH.pairs, GRAPH.predicates, np.array([0.1, 0.2, 0.3, 0.4]), np.arange(5) / 10
    )
    kept = target(scored, "position", max_objects=3, max_relationships=2)
    assert dict(zip(kept.ids, kept.object_scores.tolist(), strict=True)) == {"dog.1": 0.2, "man.2": 0.3, "man.1": 0.1}
    assert kept.relationship_scores.tolist() == [0.0, 0.2]


def test_an_empty_graph_is_its_own_target():
    for order in ORDERS:
        assert target(EMPTY, order, 0, 2, 1, 0) == EMPTY


@pytest.mark.parametrize("wrong", [{"order": "size"}, {"max_objects": 0}, {"max_relationships": -1}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        target(GRAPH, **wrong)
