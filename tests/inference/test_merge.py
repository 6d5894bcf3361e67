"""Merging sampled graphs: what must not change anything, and what votes decide."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import number_ids
from r1sgg.inference.merge import merge
from r1sgg.judging.boxes import overlapping, pairwise_iou

LABELS = ("man", "dog")
PREDICATES = ("on", "near")


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    """Few classes and places: objects of different graphs are often the same, or nearly. No repeated triplet."""
    count = draw(st.integers(0, 4))
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=count, max_size=count))
    corner = st.sampled_from([(0, 0), (2, 0), (10, 10), (60, 60)])
    sides = st.sampled_from([(40, 40), (40, 30), (20, 40)])
    places = draw(st.lists(st.tuples(corner, sides), min_size=count, max_size=count))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in places]
    index = st.integers(0, max(0, count - 1))
    triplets = st.tuples(index, st.sampled_from(PREDICATES), index)
    rows = draw(st.lists(triplets, max_size=4, unique=True)) if count else []
    scored = draw(st.booleans())
    values = st.floats(0, 1)
    return SceneGraph(
        number_ids(labels),
        tuple(labels),
        np.array(boxes, float).reshape(-1, 4) / 100,
        tuple((s, o) for s, _, o in rows),
        tuple(p for _, p, _ in rows),
        np.array(draw(st.lists(values, min_size=count, max_size=count))) if scored else None,
        np.array(draw(st.lists(values, min_size=len(rows), max_size=len(rows)))) if scored else None,
    )


def with_ones(graph: SceneGraph) -> SceneGraph:
    """The graph with scores of 1 where it has none."""
    objects, rows = np.ones(len(graph)), np.ones(len(graph.pairs))
    return SceneGraph(
        graph.ids,
        graph.labels,
        graph.boxes,
        graph.pairs,
        graph.predicates,
        objects if graph.object_scores is None else graph.object_scores,
        rows if graph.relationship_scores is None else graph.relationship_scores,
    )


def content(graph: SceneGraph) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What a graph says, ids aside."""
    things = [(o.label, o.box, o.score) for o in graph.objects]
    return things, [(things[r.subject], r.predicate, things[r.object], r.score) for r in graph.relationships]


@given(graphs())
def test_one_graph_gives_that_graph(graph: SceneGraph) -> None:
    merged = merge([graph])
    assert merged == with_ones(graph)
    assert merged.object_scores is not None or not len(graph)


MEN = SceneGraph(
    ("man.1", "man.2", "man.3"),
    ("man",) * 3,
    np.array([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.4], [0.02, 0, 0.42, 0.4]]),
)
"""The second overlaps both others, which do not overlap."""


def doubles(graph: SceneGraph, least: float) -> list[tuple[int, int]]:
    """Pairs of objects of one class that overlap so much."""
    over = overlapping(pairwise_iou(graph.boxes, graph.boxes), least)  # with the tolerance of `merge`
    count = range(len(graph))
    return [(i, j) for j in count for i in range(j) if graph.labels[i] == graph.labels[j] and over[i, j]]


@given(graphs(), st.integers(2, 7))
def test_copies_of_a_graph_give_it_with_full_shares(graph: SceneGraph, copies: int) -> None:
    assume(not doubles(graph, 0.9))
    merged, scored = merge([graph] * copies), with_ones(graph)
    assert content(replace(merged, object_scores=None, relationship_scores=None)) == content(
        replace(graph, object_scores=None, relationship_scores=None)
    )
    for got, own in (
        (merged.object_scores, scored.object_scores),
        (merged.relationship_scores, scored.relationship_scores),
    ):
        if got is not None and own is not None:
            assert got == pytest.approx(1 - (1 - own) / 2 / copies)


@settings(max_examples=80)
@given(st.lists(graphs(), min_size=2, max_size=5))
@example([EMPTY, EMPTY, MEN])
def test_doubles_stay_only_where_half_the_samples_say_two(samples: list[SceneGraph]) -> None:
    merged = merge(samples)
    assert not doubles(merged, 0.9)
    for i, j in doubles(merged, 0.5):
        both = sum(
            merged.labels.count(merged.labels[i]) and graph.labels.count(merged.labels[j]) > 1 for graph in samples
        )
        assert 2 * both >= len(samples)


@settings(max_examples=80)
@given(st.lists(graphs(), max_size=5), st.randoms())
def test_the_order_of_the_samples_does_not_matter(samples: list[SceneGraph], rng) -> None:
    merged = merge(samples)
    shuffled = list(samples)
    rng.shuffle(shuffled)
    assert content(merge(shuffled)) == content(merged)


@settings(max_examples=80)
@given(st.lists(graphs(), min_size=1, max_size=5))
def test_every_sample_is_in_the_merged_graph_and_scores_are_shares(samples: list[SceneGraph]) -> None:
    merged = merge(samples)
    for scores, count in ((merged.object_scores, len(merged)), (merged.relationship_scores, len(merged.pairs))):
        if count:
            assert scores is not None
            assert ((scores >= 0) & (scores <= 1)).all()
    assert len(set(merged.ids)) == len(merged)
    assert (merged.boxes[:, :2] < merged.boxes[:, 2:]).all()
    assert len(merged) <= sum(map(len, samples))
    if len(samples) > 1 and not any(doubles(sample, 0.5) for sample in samples):
        assert max(map(len, samples)) <= len(merged)
    for sample in samples:
        assert set(sample.labels) <= set(merged.labels)
        apart = [t for t, (s, o) in zip(sample.triplets, sample.pairs, strict=True) if t[0] != t[2] or s == o]
        assert set(apart) <= set(merged.triplets)


@settings(max_examples=80)
@given(st.lists(graphs(), min_size=2, max_size=5))
def test_what_has_more_votes_scores_higher_whatever_its_probability(samples: list[SceneGraph]) -> None:
    merged = merge(samples)
    for scores in (merged.object_scores, merged.relationship_scores):
        for score in [] if scores is None else scores.tolist():
            votes = np.ceil(score * len(samples) - 1e-9)  # within half a vote below a share
            assert votes - 0.5 - 1e-9 <= score * len(samples) <= votes + 1e-9


@settings(max_examples=80)
@given(st.lists(graphs(), min_size=2, max_size=5))
def test_a_threshold_on_a_triplet_never_drops_it_for_its_objects(samples: list[SceneGraph]) -> None:
    whole = [s if s.relationship_scores is None else replace(s, relationship_scores=lower(s)) for s in samples]
    merged = merge(whole)
    if merged.relationship_scores is not None and merged.object_scores is not None:
        for (s, o), score in zip(merged.pairs, merged.relationship_scores.tolist(), strict=True):
            assert score <= min(merged.object_scores[s], merged.object_scores[o]) + 1e-9


def lower(graph: SceneGraph) -> np.ndarray:
    """Scores of triplets that are at most those of their objects, as `r1sgg.inference.confidence` gives them."""
    assert graph.relationship_scores is not None
    assert graph.object_scores is not None
    return graph.relationship_scores * graph.object_scores[np.array(graph.pairs, dtype=int).reshape(-1, 2)].prod(1)


def graph(rows, relations=(), scores=None) -> SceneGraph:
    labels = [label for label, _ in rows]
    return SceneGraph(
        number_ids(labels),
        tuple(labels),
        np.array([box for _, box in rows], float).reshape(-1, 4) / 100,
        tuple((s, o) for s, _, o in relations),
        tuple(p for _, p, _ in relations),
        scores and np.array(scores[0]),
        scores and np.array(scores[1]),
    )


SHIFTED_MAN = ("man", (10, 0, 50, 40))  # overlaps MAN by 0.6
MAN, NEAR_MAN, FAR_MAN, DOG = ("man", (0, 0, 40, 40)), ("man", (2, 0, 42, 40)), ("man", (50, 50, 90, 90)), (
    "dog", (0, 0, 40, 40))  # fmt: skip


def test_votes_and_medians() -> None:
    samples = [
        graph([MAN, DOG], [(0, "on", 1)]),
        graph([NEAR_MAN, FAR_MAN]),
        graph([("man", (4, 0, 44, 40)), DOG], [(0, "near", 1)]),
        EMPTY,
    ]
    merged = merge(samples)
    assert merged.labels == ("man", "dog", "man")
    assert merged.boxes.tolist()[0] == [0.02, 0.0, 0.42, 0.4]
    assert merged.object_scores.tolist() == [0.75, 0.5, 0.25]
    assert merged.triplets == (("man", "near", "dog"), ("man", "on", "dog"))
    assert merged.relationship_scores.tolist() == [0.25, 0.25]  # one sample of four holds the whole triplet
    assert merged.triplet_scores.tolist() == [0.25, 0.25]


def test_scores_of_the_samples_count() -> None:
    samples = [graph([MAN, DOG], [(0, "on", 1)], ([0.8, 0.6], [0.5])), graph([NEAR_MAN, DOG], [], ([0.4, 0.6], []))]
    merged = merge(samples)
    assert merged.object_scores == pytest.approx([1 - 0.4 / 4, 1 - 0.4 / 4])
    assert merged.relationship_scores == pytest.approx([(1 - 0.5 / 2) / 2])


def test_class_and_overlap_both_have_to_agree_and_a_sample_is_never_merged_with_itself() -> None:
    assert merge([graph([MAN]), graph([DOG])]).labels == ("dog", "man")
    assert len(merge([graph([MAN]), graph([FAR_MAN])])) == 2
    assert len(merge([graph([MAN, NEAR_MAN])])) == 2
    pair = merge([graph([MAN, SHIFTED_MAN]), graph([SHIFTED_MAN])])  # the best overlap takes it
    assert pair.object_scores.tolist() == [0.5, 1.0]


def test_doubles_of_few_samples_are_suppressed_and_their_relations_kept() -> None:
    alone = [graph([MAN, DOG], [(0, "on", 1)])] * 2
    double = graph([MAN, SHIFTED_MAN, DOG], [(1, "near", 2), (0, "near", 1)])
    merged = merge([*alone, double])
    assert merged.labels == ("man", "dog")
    assert merged.object_scores.tolist() == [1.0, 1.0]
    assert merged.triplets == (("man", "on", "dog"), ("man", "near", "dog"))
    assert merged.relationship_scores == pytest.approx([2 / 3, 1 / 3])
    said = merge([alone[0], double, double])
    assert said.labels == ("man", "man", "dog")
    assert merge([alone[0], *[graph([MAN, NEAR_MAN])] * 2]).labels == ("man", "dog"), "by 0.9 it is one object"


def test_repeats_in_a_sample_count_once() -> None:
    merged = merge([graph([MAN, DOG], [(0, "on", 1), (0, "on", 1)])])
    assert merged.triplets == (("man", "on", "dog"),)
    assert merged.relationship_scores.tolist() == [1.0]


def test_nothing_to_merge() -> None:
    assert merge([]) == merge([EMPTY, EMPTY]) == EMPTY
