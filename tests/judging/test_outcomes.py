"""What is said of each object and relation agrees with what the metrics count."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject
from r1sgg.judging.outcomes import OUTCOMES, compare
from r1sgg.judging.triplets import judge, match_triplets

BOXES = [(0.1, 0.1, 0.4, 0.4), (0.12, 0.1, 0.42, 0.4), (0.5, 0.5, 0.9, 0.9), (0.0, 0.0, 1.0, 1.0), (0.6, 0.1, 0.7, 0.2)]


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    count = draw(st.integers(0, 6))
    scores = draw(st.sampled_from([st.floats(0, 1), st.none()]))
    objects = [
        SceneObject(f"o.{k}", draw(st.sampled_from("ab")), draw(st.sampled_from(BOXES)), draw(scores))
        for k in range(count)
    ]
    ends = st.integers(0, count - 1)
    relationships = [
        Relationship(draw(ends), draw(st.sampled_from(["on", "near"])), draw(ends))
        for _ in range(draw(st.integers(0, 6)) if count else 0)
    ]
    return SceneGraph.build(objects, relationships)


@given(graphs(), graphs())
def test_statuses_and_outcomes_agree_with_the_metrics(truth: SceneGraph, graph: SceneGraph) -> None:
    judgement = compare(truth, graph)
    match = match_triplets(truth, graph)
    outcomes = judgement.outcomes()
    assert judgement.graph_statuses.count("matched") == match.true_positives
    assert [o.kind == "found" for o in outcomes] == [s == "matched" for s in judgement.truth_statuses]
    assert {o.kind for o in outcomes} <= set(OUTCOMES)
    for (s, o), predicate, outcome in zip(truth.pairs, truth.predicates, outcomes, strict=True):
        if outcome.kind == "found":
            assert judgement.true_object_statuses[s] == judgement.true_object_statuses[o] == "matched"
        if outcome.kind == "predicate":
            assert outcome.predicted is not None
            assert graph.predicates[outcome.predicted] != predicate
            made = graph.pairs[outcome.predicted]
            assert [graph.labels[k] for k in made] == [truth.labels[s], truth.labels[o]]
        if outcome.kind == "reversed":
            assert outcome.predicted is not None
            made = graph.pairs[outcome.predicted]
            assert [graph.labels[k] for k in made] == [truth.labels[o], truth.labels[s]]
    for j, made in enumerate(graph.pairs):
        if judgement.graph_statuses[j] == "matched":
            assert all(judgement.object_statuses[k] == "matched" for k in made)


@given(graphs(), graphs())
def test_objects_without_relations_are_matched_as_ap_matches_them(truth: SceneGraph, graph: SceneGraph) -> None:
    bare = [SceneGraph(g.ids, g.labels, g.boxes, object_scores=g.object_scores) for g in (truth, graph)]
    judgement = compare(*bare)
    partners = list(judgement.object_partners.values())
    assert len(set(partners)) == len(partners)
    takers = set(judge(bare[:1], bare[1:]).evidence.claims.taker.tolist())
    assert [s == "matched" for s in judgement.object_statuses] == [k in takers for k in range(len(graph))]


def test_gold_is_all_found_and_nothing_is_all_missed() -> None:
    objects = [SceneObject(f"a.{k}", "a", box) for k, box in enumerate(BOXES)]
    gold = SceneGraph.build(objects, [Relationship(0, "on", 2), Relationship(3, "near", 4)])
    judgement = compare(gold, gold)
    assert {o.kind for o in judgement.outcomes()} == {"found"}
    assert set(judgement.object_statuses) == set(judgement.true_object_statuses) == {"matched"}
    nothing = compare(gold, EMPTY)
    assert {o.kind for o in nothing.outcomes()} == {"object"}
    assert set(nothing.true_object_statuses) == {"missed"}
    assert nothing.precision is None


def test_a_relation_between_the_right_objects_is_told_apart_by_how_it_is_wrong() -> None:
    a, b = SceneObject("a.1", "a", BOXES[0]), SceneObject("b.1", "b", BOXES[2])
    truth = SceneGraph.build([a, b], [Relationship(0, "on", 1)])
    for made, kind in (
        ([Relationship(0, "near", 1)], "predicate"),
        ([Relationship(1, "on", 0)], "reversed"),
        ([], "unrelated"),
        ([Relationship(1, "on", 0), Relationship(0, "near", 1)], "predicate"),
    ):
        assert [o.kind for o in compare(truth, SceneGraph.build([a, b], made)).outcomes()] == [kind]
    elsewhere = SceneGraph.build([a, SceneObject("b.1", "b", BOXES[4])], [Relationship(0, "on", 1)])
    assert [o.kind for o in compare(truth, elsewhere).outcomes()] == ["object"]
    assert np.array_equal(truth.boxes[0], elsewhere.boxes[0])
