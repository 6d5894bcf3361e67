"""Hungarian matching: against every permutation, batched against single, both cost conventions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.judging.assignment import Cells, Matched, match
from r1sgg.judging.batch import batch_of_graphs, ragged_pairs
from r1sgg.judging.boxes import BoxPairs, overlapping, pairwise_iou
from r1sgg.judging.labels import LabelTable, load_similarity
from r1sgg.rewards.rubric import Rubric

LABELS = ("man", "person", "bike", "dog")
SIMILARITY = load_similarity("glove")


def graph(seed: int, count: int) -> SceneGraph:
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2)) * 0.7
    boxes = np.concatenate([low, low + 0.05 + rng.random((count, 2)) * 0.25], axis=1)
    labels = tuple(rng.choice(LABELS, count).tolist())
    return SceneGraph(tuple(f"{name}.{k}" for k, name in enumerate(labels)), labels, boxes)


def matched(truths: list[SceneGraph], answers: list[SceneGraph], *, giou: bool = False) -> tuple[Matched, Cells]:
    table = LabelTable(SIMILARITY)
    cells = Cells(batch_of_graphs(truths, table), batch_of_graphs(answers, table))
    return match(cells, table, giou=giou), cells


def pairs_of(a: np.ndarray, b: np.ndarray) -> BoxPairs:
    return BoxPairs(a.T[:, :, None], b.T[:, None, :])


def l1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a[:, None, :] - b[None, :, :]).sum(-1)


def cost_matrix(truth: SceneGraph, answer: SceneGraph, *, giou: bool) -> np.ndarray:
    pairs = pairs_of(truth.boxes, answer.boxes)
    cosines = SIMILARITY.table(truth.labels, answer.labels)
    return (1 - cosines) + 2 * (1 - (pairs.giou if giou else pairs.iou)) + 5 * l1(truth.boxes, answer.boxes)


@given(st.integers(0, 999), st.integers(0, 5), st.integers(0, 5), st.booleans())
@settings(deadline=None)
def test_the_match_is_the_cheapest_of_all(seed: int, n: int, m: int, giou: bool) -> None:
    truth, answer = graph(seed, n), graph(seed + 1, m)
    found, _ = matched([truth], [answer], giou=giou)
    assert len(found.cells) == min(n, m)
    if n and m:
        matrix = cost_matrix(truth, answer, giou=giou)
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
    batch, cells = matched(truths, answers)
    for k, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        alone, _ = matched([truth], [answer])
        mine, first = batch.owners == k, int(cells.first[k])
        assert (batch.cells[mine] - first).tolist() == alone.cells.tolist()
        own = slice(first, first + len(truth) * len(answer))
        assert np.array_equal(cells.boxes.iou[own], pairwise_iou(truth.boxes, answer.boxes).ravel())
        assert np.allclose(cells.boxes.l1[own], l1(truth.boxes, answer.boxes).ravel(), atol=1e-12)
    assert matched([], [])[0].cells.tolist() == []
    assert matched([EMPTY], [EMPTY])[0].cells.tolist() == []


def test_giou_changes_the_match_where_boxes_do_not_touch() -> None:
    """A far thin box against a near one that no box overlaps: GIoU sees a difference, IoU none."""
    rng = range(400)
    differ = [
        k
        for k in rng
        if matched([graph(k, 3)], [graph(k + 1, 3)])[0].cells.tolist()
        != matched([graph(k, 3)], [graph(k + 1, 3)], giou=True)[0].cells.tolist()
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
    assert ((pairs_of(a, b).giou >= -1) & (pairs_of(a, b).giou <= iou + 1e-12)).all()


def test_boxes_overlap_from_exactly_one_half_on() -> None:
    a, b = np.array([[0.0, 0.0, 3.0, 3.0]]), np.array([[0.0, 0.0, 3.0, 1.0]])
    assert not overlapping(pairwise_iou(a, b)).any()  # 1/3
    assert overlapping(BoxPairs(a.T, b.T, plus_one=1.0).iou).all()  # 8/16
    thirds = np.array([[0, 0, 1 / 3, 1 / 3]]), np.array([[0, 0, 1 / 3, 1 / 6]])
    assert overlapping(pairwise_iou(*thirds)).all()  # 1/2 but for rounding


def test_twins_are_matched_as_their_relationships_earn_most() -> None:
    """Two objects of one class share a box; whichever is declared first, the edge reward is the same."""
    box, far = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)
    men = [SceneObject("man.1", "man", box), SceneObject("man.2", "man", box), SceneObject("dog.1", "dog", far)]
    truth = SceneGraph.build(men, [Relationship(0, "riding", 2), Relationship(1, "on", 2)])
    rubric = Rubric({"edge": 1.0, "node": 1.0}, load_similarity("exact"))
    frame = (1000.0, 1000.0)
    for said in (((0, "riding"), (1, "on")), ((1, "riding"), (0, "on"))):
        answer = SceneGraph.build(men, [Relationship(k, predicate, 2) for k, predicate in said])
        (score,) = rubric.score([render(answer, frame)], [truth], [frame])
        assert (score.terms["edge"], score.terms["node"]) == (1.0, pytest.approx(1.0))
    one = SceneGraph.build(men, [Relationship(1, "riding", 2)])
    assert rubric.score([render(one, frame)], [truth], [frame])[0].terms["edge"] == 0.5
