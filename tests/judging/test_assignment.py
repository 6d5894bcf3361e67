"""Hungarian matching: against every permutation, batched against single, both cost conventions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.judging.assignment import MatchCost, Matched, match, ragged_pairs, side_of_graphs
from r1sgg.judging.boxes import pairwise_giou, pairwise_iou, pairwise_l1
from r1sgg.judging.labels import LabelTable, load_similarity

LABELS = ("man", "person", "bike", "dog")
SIMILARITY = load_similarity("glove")


def graph(seed: int, count: int) -> SceneGraph:
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2)) * 0.7
    boxes = np.concatenate([low, low + 0.05 + rng.random((count, 2)) * 0.25], axis=1)
    labels = tuple(rng.choice(LABELS, count).tolist())
    return SceneGraph(tuple(f"{name}.{k}" for k, name in enumerate(labels)), labels, boxes)


def matched(truths: list[SceneGraph], answers: list[SceneGraph], cost: MatchCost) -> Matched:
    table = LabelTable(SIMILARITY)
    return match(side_of_graphs(truths, table), side_of_graphs(answers, table), table, cost)


def cost_matrix(truth: SceneGraph, answer: SceneGraph, cost: MatchCost) -> np.ndarray:
    overlap = (pairwise_giou if cost.giou else pairwise_iou)(truth.boxes, answer.boxes)
    cosines = SIMILARITY.table(truth.labels, answer.labels)
    return (
        cost.similarity * (1 - cosines)
        + cost.overlap * (1 - overlap)
        + cost.distance * pairwise_l1(truth.boxes, answer.boxes)
    )


@given(st.integers(0, 999), st.integers(0, 5), st.integers(0, 5), st.booleans())
@settings(deadline=None)
def test_the_match_is_the_cheapest_of_all(seed: int, n: int, m: int, giou: bool) -> None:
    truth, answer, cost = graph(seed, n), graph(seed + 1, m), MatchCost(giou=giou)
    found = matched([truth], [answer], cost)
    assert len(found.cells) == min(n, m)
    if n and m:
        matrix = cost_matrix(truth, answer, cost)
        small = matrix if n <= m else matrix.T
        best = min(
            sum(small[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(max(n, m)), min(n, m))
        )
        assert matrix.ravel()[found.cells].sum() == pytest.approx(best, abs=1e-9)
        rows, columns = np.divmod(found.cells, m)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(n, m)


def test_a_batch_equals_its_members_whatever_their_sizes() -> None:
    sizes = [(3, 4), (0, 2), (5, 1), (2, 0), (0, 0), (4, 4)]
    truths = [graph(k, n) for k, (n, _) in enumerate(sizes)]
    answers = [graph(50 + k, m) for k, (_, m) in enumerate(sizes)]
    batch = matched(truths, answers, MatchCost())
    for k, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        alone = matched([truth], [answer], MatchCost())
        mine = batch.owners == k
        assert (batch.cells[mine] - batch.first[k]).tolist() == alone.cells.tolist()
        cells = slice(batch.first[k], batch.first[k] + len(truth) * len(answer))
        assert np.array_equal(batch.ious[cells], pairwise_iou(truth.boxes, answer.boxes).ravel())
        assert np.allclose(batch.l1[cells], pairwise_l1(truth.boxes, answer.boxes).ravel(), atol=1e-12)
    assert matched([], [], MatchCost()).cells.tolist() == []
    assert matched([EMPTY], [EMPTY], MatchCost()).cells.tolist() == []


def test_giou_changes_the_match_where_boxes_do_not_touch() -> None:
    """A far thin box against a near one that no box overlaps: GIoU sees a difference, IoU none."""
    rng = range(400)
    differ = [
        k
        for k in rng
        if matched([graph(k, 3)], [graph(k + 1, 3)], MatchCost()).cells.tolist()
        != matched([graph(k, 3)], [graph(k + 1, 3)], MatchCost(giou=True)).cells.tolist()
    ]
    assert differ


def test_ragged_pairs_are_all_pairs_in_order() -> None:
    n, m = np.array([2, 0, 1]), np.array([3, 2, 1])
    width, right = ragged_pairs(n, m)
    assert width.tolist() == [3, 3, 1]
    assert right.tolist() == [0, 1, 2, 0, 1, 2, 5]


@given(st.integers(0, 999))
def test_iou_is_symmetric_and_in_range(seed: int) -> None:
    a, b = graph(seed, 4).boxes, graph(seed + 7, 3).boxes
    iou = pairwise_iou(a, b)
    assert np.allclose(iou, pairwise_iou(b, a).T, atol=1e-15)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.allclose(np.diag(pairwise_iou(a, a)), 1.0)
    assert ((pairwise_giou(a, b) >= -1) & (pairwise_giou(a, b) <= iou + 1e-12)).all()
