"""Matching on one image, by properties; test_one_judgement.py holds it against plain loops."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.judging.evidence import NEVER
from r1sgg.judging.protocol import STRICT
from r1sgg.judging.triplets import match_triplets

from ..metrics.conftest import graphs, scene


@given(graphs(), graphs(), st.randoms())
def test_order_of_objects_changes_nothing(truth, graph, random):
    order = list(range(len(graph)))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    shuffled = SceneGraph(
        tuple(graph.ids[k] for k in order),
        tuple(graph.labels[k] for k in order),
        graph.boxes[order],
        tuple((place[s], place[o]) for s, o in graph.pairs),
        graph.predicates,
    )
    a, b = (match_triplets(truth, g, completion=False) for g in (graph, shuffled))
    assert (a.ranks, a.ranks_ng) == (b.ranks, b.ranks_ng)
    if len(set(graph.labels)) == len(graph):  # of several objects of one class the first claims first
        assert match_triplets(truth, graph) == match_triplets(truth, shuffled)


@given(graphs(), graphs())
def test_order_of_relations_changes_no_count(truth, graph):
    turned = replace(graph, pairs=graph.pairs[::-1], predicates=graph.predicates[::-1])
    a, b = match_triplets(truth, graph), match_triplets(truth, turned)
    assert (a.true_positives, a.repeats) == (b.true_positives, b.repeats)


@given(graphs(), graphs(), st.data())
def test_repeating_predictions_never_raises_precision(truth, graph, data):
    assume(graph.pairs)
    again = data.draw(st.lists(st.integers(0, len(graph.pairs) - 1), min_size=1, max_size=4))
    longer = replace(
        graph,
        pairs=graph.pairs + tuple(graph.pairs[k] for k in again),
        predicates=graph.predicates + tuple(graph.predicates[k] for k in again),
    )
    a, b = match_triplets(truth, graph), match_triplets(truth, longer)
    assert b.true_positives == a.true_positives
    assert b.repeats + b.forgiven == a.repeats + a.forgiven + len(again)
    assert b.true_positives * max(a.counted, 1) <= a.true_positives * max(b.counted, 1)
    assert b.ranks_ng == a.ranks_ng


@given(graphs(), graphs(), st.data())
def test_repeating_objects_under_new_ids_never_raises_precision(truth, graph, data):
    assume(graph.pairs)
    n = len(graph)
    twin = SceneGraph(
        graph.ids + tuple(f"{i} again" for i in graph.ids),
        graph.labels * 2,
        np.concatenate([graph.boxes, graph.boxes]),
        graph.pairs + tuple((s + n, o + n) for s, o in graph.pairs),
        graph.predicates * 2,
    )
    assert match_triplets(truth, twin).true_positives == match_triplets(truth, graph).true_positives


@given(graphs(min_objects=2), graphs(), st.data())
def test_adding_a_correct_triplet_never_lowers_recall(truth, graph, data):
    assume(truth.pairs)
    g = data.draw(st.integers(0, len(truth.pairs) - 1))
    (s, o), n = truth.pairs[g], len(graph)
    more = SceneGraph(
        (*graph.ids, "added 1", "added 2"),
        (*graph.labels, truth.labels[s], truth.labels[o]),
        np.concatenate([graph.boxes, truth.boxes[[s, o]]]),
        (*graph.pairs, (n, n + 1)),
        (*graph.predicates, truth.predicates[g]),
    )
    before, after = (match_triplets(truth, g, completion=False) for g in (graph, more))
    assert all(b <= a for a, b in zip(before.ranks, after.ranks, strict=True))
    assert all(b <= a for a, b in zip(before.ranks_ng, after.ranks_ng, strict=True))
    assert after.ranks_ng[g] < NEVER
    assert after.true_positives >= before.true_positives


@given(graphs())
def test_truth_finds_itself(truth):
    match = match_triplets(truth, truth)
    assert all(rank < NEVER for rank in match.ranks_ng)
    assert match.true_positives == match.distinct_true == match.counted
    assert match.repeats == match.declared_again == 0


def test_empty_sides():
    truth = scene(("man", "dog"), ((0, "on", 1),))
    assert match_triplets(truth, EMPTY).ranks == (NEVER,)
    assert match_triplets(EMPTY, truth).partners == (-1,)
    assert match_triplets(EMPTY, EMPTY).ranks == ()


def test_graph_constraint_keeps_the_first_or_the_best_scored_predicate():
    truth = scene(("man", "dog"), ((0, "on", 1),))
    two = scene(("man", "dog"), ((0, "near", 1), (0, "on", 1)))
    assert match_triplets(truth, two).ranks == (NEVER,)
    assert match_triplets(truth, two).ranks_ng == (1,)
    scored = replace(two, relationship_scores=np.array([0.2, 0.9]))
    assert match_triplets(truth, scored).ranks == (0,)
    assert match_triplets(truth, scored, replace(STRICT, use_scores=False)).ranks == (NEVER,)
    assert match_triplets(truth, two, replace(STRICT, graph_constraint=False)).ranks == (1,)


def test_a_relationship_s_score_is_the_triplet_s_and_without_them_object_scores_multiply():
    graph = replace(
        scene(("man", "dog", "tree"), ((0, "on", 1), (0, "on", 2)), scores=[0.9, 0.5]),
        object_scores=np.array([1.0, 0.1, 0.8]),
    )
    assert graph.triplet_scores == pytest.approx([0.9, 0.5])
    assert replace(graph, relationship_scores=None).triplet_scores == pytest.approx([0.1, 0.8])
    assert scene(("man",), ()).triplet_scores is None


def test_pixel_convention():
    truth = scene(("man", "dog"), ((0, "on", 1),), [(0, 0, 0.3, 0.3), (0.5, 0.5, 0.9, 0.9)])
    graph = scene(("man", "dog"), ((0, "on", 1),), [(0, 0, 0.3, 0.1), (0.5, 0.5, 0.9, 0.9)])
    plus = replace(STRICT, pixel_plus_one=True)
    assert match_triplets(truth, graph, size=(10, 10)).ranks == (NEVER,)
    assert match_triplets(truth, graph, plus, size=(10, 10)).ranks == (0,)


def test_padding_fills_up_with_other_predicates():
    truth = scene(("man", "dog"), ((0, "on", 1),))
    wrong = scene(("man", "dog"), ((0, "near", 1),))
    padded = replace(STRICT, pad_without_constraint=True)
    assert match_triplets(truth, wrong, predicates=("near", "with", "on")).ranks_ng == (NEVER,)
    assert match_triplets(truth, wrong, padded, predicates=("near", "with", "on")).ranks_ng == (2,)
    assert match_triplets(truth, wrong, padded, predicates=("near", "with", "on")).ranks == (NEVER,)


def test_hard_ambiguity_is_matched_best():
    """One prediction fits two true triplets, the other only one: both find a partner, whatever the order."""
    boxes = [(0, 0, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9), (0.13, 0, 0.53, 0.4)]
    truth = scene(("man", "dog", "man"), ((0, "on", 1), (2, "on", 1)), boxes)
    between, left = (0.08, 0, 0.48, 0.4), (0, 0, 0.35, 0.4)
    for order in ((0, 1), (1, 0)):
        said = [between, left]
        graph = scene(("man", "man", "dog"), ((order[0], "on", 2), (order[1], "on", 2)), [*said, boxes[1]])
        assert match_triplets(truth, graph).true_positives == 2
