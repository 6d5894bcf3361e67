"""Claims and hits on small scenes that a person can check."""

from dataclasses import replace

import numpy as np
import pytest

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.evidence import NEVER
from r1sgg.judging.protocol import REFERENCE, STRICT
from r1sgg.judging.triplets import judge, match_triplets

from ..metrics.conftest import scene

LEFT, MIDDLE, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.08, 0.0, 0.48, 0.4), (0.13, 0.0, 0.53, 0.4)
FAR = (0.6, 0.6, 0.9, 0.9)


def claimants(truth: SceneGraph, graph: SceneGraph) -> list[int]:
    return judge([truth], [graph]).evidence.claims.claimant.tolist()


def units(truth: SceneGraph, graph: SceneGraph) -> list[int]:
    return judge([truth], [graph]).evidence.claims.unit.tolist()


def test_a_true_object_is_claimed_by_the_best_scored():
    truth = scene(("man", "dog"), (), [(0, 0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)])
    said = scene(
        ("man", "man", "dog", "dog"),
        (),
        [(0, 0, 0.4, 0.4), (0, 0, 0.4, 0.41), (0, 0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.69)],
    )
    for scores, want in (([0.1, 0.9, 0.5, 0.5], [1, -1]), ([0.9, 0.1, 0.5, 0.5], [0, -1])):
        assert claimants(truth, replace(said, object_scores=np.array(scores))) == want
    assert claimants(truth, said) == [0, -1]  # the first, without scores
    assert claimants(scene((), ()), said) == []
    assert claimants(truth, scene((), ())) == [-1, -1]


def test_each_takes_the_free_one_that_it_overlaps_most():
    truth = scene(("man", "man"), (), [LEFT, RIGHT])
    assert claimants(truth, scene(("man", "man"), (), [MIDDLE, LEFT])) == [1, 0]
    assert claimants(truth, scene(("man",), (), [MIDDLE])) == [0, 0]  # one box for two men who overlap
    assert claimants(truth, scene(("dog", "man"), (), [LEFT, RIGHT])) == [1, 1]


def test_an_object_declared_again_is_the_first_one():
    truth = scene(("man", "dog"), (), [LEFT, FAR])
    assert units(truth, scene(("man", "man", "dog"), (), [LEFT, LEFT, FAR])) == [0, 0, 2]
    assert units(truth, scene(("man", "man", "dog"), (), [LEFT, MIDDLE, FAR])) == [0, 0, 2]  # both overlap one man
    assert units(truth, scene(("man", "man", "dog"), (), [LEFT, FAR, FAR])) == [0, 1, 2]  # somewhere else
    assert units(truth, scene(("man", "boy", "dog"), (), [LEFT, LEFT, FAR])) == [0, 1, 2]  # another class


def twice(*triplets: tuple[int, str, int]) -> SceneGraph:
    """Two overlapping men and a horse; the second man lies exactly where the first does."""
    return scene(("man", "man", "horse"), triplets, [LEFT, LEFT, FAR])


def test_one_man_under_two_ids_is_right_once():
    """Two overlapping men ride a horse; the completion has one of them twice."""
    truth = scene(("man", "man", "horse"), ((0, "riding", 2), (1, "riding", 2)), [LEFT, MIDDLE, FAR])
    one, both = scene(("man", "horse"), ((0, "riding", 1),), [LEFT, FAR]), twice((0, "riding", 2), (1, "riding", 2))
    for graph, repeats, again in ((one, 0, 0), (both, 1, 1)):
        found = match_triplets(truth, graph)
        assert (found.true_positives, found.repeats, found.declared_again) == (1, repeats, again)
        assert found.ranks == (0, 0)  # it finds both: one prediction may recall several true triplets


def test_a_fresh_id_does_not_get_past_the_graph_constraint():
    truth = scene(("man", "horse"), ((0, "riding", 1),), [LEFT, FAR])
    for box in (LEFT, MIDDLE):
        graph = scene(("man", "man", "horse"), ((0, "near", 2), (1, "riding", 2)), [LEFT, box, FAR])
        found = match_triplets(truth, graph)
        assert (found.ranks, found.ranks_ng) == ((NEVER,), (1,))
        off = replace(STRICT, claims="none")
        assert match_triplets(truth, graph, off).ranks == (1,)
        assert match_triplets(truth, graph, completion=False).ranks == (1,)  # detector rows
        assert match_triplets(truth, graph, replace(STRICT, claims="all"), completion=False).ranks == (NEVER,)


def test_what_the_annotation_repeats_is_forgiven():
    truth = twice((0, "riding", 2), (1, "riding", 2), (0, "riding", 2))
    for count, repeats in ((1, 0), (3, 0), (4, 1)):
        graph = scene(("man", "horse"), ((0, "riding", 1),) * count, [LEFT, FAR])
        found = match_triplets(truth, graph)
        assert (found.true_positives, found.distinct_true, found.repeats) == (1, 1, repeats)
        assert found.counted == 1 + repeats
    gold = match_triplets(truth, truth)
    assert (gold.true_positives, gold.counted, gold.declared_again) == (1, 1, 0)


@pytest.mark.parametrize("protocol", [STRICT, REFERENCE])
def test_nothing_beside_nothing(protocol):
    empty = scene((), ())
    found = match_triplets(empty, empty, protocol)
    assert (found.ranks, found.partners, found.counted) == ((), (), 0)
