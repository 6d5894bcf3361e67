"""The reward terms, one function each: evidence on B completions -> (B,) values, NaN where a term does not apply.

A term is a fraction: 0 is worst, 1 is best, and the ground truth scores 1. Terms of relationships do not apply to an
image without true relationships, terms of objects not to one without true objects. There are no weights here
(`rubric.py`) and no failures to handle: an unreadable completion arrives as the empty graph. Nothing is compared here
either: what is right, matched or repeated was decided by `r1sgg.judging`. Equations are those of arXiv 2504.13617.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from r1sgg.graph.parsed import Frame
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import AnswerFormat, render
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.assignment import IOU_WEIGHT, L1_WEIGHT, LABEL_WEIGHT
from r1sgg.judging.batch import Ints, offsets
from r1sgg.judging.boxes import Array, Mask
from r1sgg.rewards.evidence import CompletionEvidence
from r1sgg.rewards.formats import written_format
from r1sgg.rewards.sparse import triplet_pu

Term = Callable[[CompletionEvidence], Array]

# ---------------------------------------------------------------- the paper's


def format(evidence: CompletionEvidence) -> Array:
    """1 for <think>..</think><answer>..</answer> and the keywords in the answer, 0.5 for a bare answer, else 0."""
    return np.array(evidence.formats, dtype=np.float64)


def node(evidence: CompletionEvidence) -> Array:
    """Eq. 4-5: (cos + 2 IoU + 5 exp(-L1)) / 8 of the matched objects, summed, over the number of true objects."""
    return _share(_sum_matched(evidence, node_credit(evidence)), evidence.true.counts)


def node_label(evidence: CompletionEvidence) -> Array:
    """The label half of `node`: cosines of the matched objects, over the number of true objects."""
    return _share(_sum_matched(evidence, _label_credit(evidence)), evidence.true.counts)


def node_box(evidence: CompletionEvidence) -> Array:
    """The box half of `node`: (2 IoU + 5 exp(-L1)) / 7 of the matched objects, over the number of true objects."""
    return _share(_sum_matched(evidence, _box_credit(evidence)), evidence.true.counts)


def edge(evidence: CompletionEvidence) -> Array:
    """Eq. 6-7: per true triplet whose ends are matched, the best product of three cosines; over the true triplets."""
    return _best_share(evidence, evidence.ends_matched)


def hard_recall(evidence: CompletionEvidence) -> Array:
    """Share of true triplets that a predicted one hits: the recall of ngR@K without K."""
    found = np.zeros(len(evidence.true.predicates))
    found[evidence.left[evidence.hits]] = 1.0
    return _share(evidence.sum_per_graph(evidence.true.triplet_owners, found), evidence.true.triplet_counts)


def hard_recall_relax(evidence: CompletionEvidence) -> Array:
    """Per true triplet the best product of three cosines where both boxes overlap by one half; over the true ones."""
    return _best_share(evidence, evidence.ends_overlap)


# ---------------------------------------------------------------- what the metric counts


def graph_format(evidence: CompletionEvidence) -> Array:
    """`format`, and 0 unless an object can be read: keywords alone earn nothing. Where none is true none is needed."""
    readable = (evidence.predicted.counts > 0) | (evidence.true.counts == 0)
    return np.where(readable, format(evidence), 0.0)


def node_f1(evidence: CompletionEvidence) -> Array:
    """Soft F1 of objects, one to one: label times box credit of the matched ones, over the mean of true and predicted.

    The label counts by its similarity above chance, the box by (2 IoU + 5 exp(-L1)) / 7. Spurious objects cost, also
    where none is true; it does not apply where none is true and none predicted.
    """
    c, m = evidence.cells, evidence.matched
    true, predicted = evidence.true.labels[c.left[m.cells]], evidence.predicted.labels[c.right[m.cells]]
    credit = evidence.table.above_chance(true, predicted, VG150.objects) * _box_credit(evidence)
    return _share(2 * _sum_matched(evidence, credit), evidence.true.counts + evidence.predicted.counts)


def triplet_f1(evidence: CompletionEvidence) -> Array:
    """Soft F1 of triplets, one to one: both ends claimed, the predicate by its similarity above chance.

    Over the mean of true and predicted triplets; what the truth repeats counts once. With exact names it is `f1`, but
    for an image without true relationships: there it is 0 if any is predicted, and does not apply otherwise.
    """
    true, predicted = evidence.true.predicates[evidence.left], evidence.predicted.predicates[evidence.right]
    values = evidence.table.above_chance(true, predicted, VG150.predicates)
    return _share(2 * _paired(evidence, evidence.ends_claimed, values), evidence.distinct_counts + evidence.counted)


# ---------------------------------------------------------------- opt-in: against enumeration


def precision(evidence: CompletionEvidence) -> Array:
    """Share of predicted triplets that are right, one to one; a repeated triplet is never right."""
    hits, counted = _hits(evidence), evidence.counted
    return _applies(evidence, np.divide(hits, counted, out=np.zeros_like(hits), where=counted > 0))


def f1(evidence: CompletionEvidence) -> Array:
    """Harmonic mean of `precision` and recall, both one to one."""
    return _harmonic(evidence, _hits(evidence))


def edge_f1(evidence: CompletionEvidence) -> Array:
    """`edge` one to one, against all predicted triplets too: 2 x summed products / (true + predicted triplets)."""
    return _harmonic(evidence, _paired(evidence, evidence.ends_matched, evidence.products))


def distinct(evidence: CompletionEvidence) -> Array:
    """The share of predicted triplets that do not repeat another one; 0 if there are none."""
    counted = evidence.counted
    fresh = (counted - evidence.per_graph(evidence.predicted.triplet_owners[evidence.repeats])).astype(np.float64)
    return _applies(evidence, np.divide(fresh, counted, out=np.zeros_like(fresh), where=counted > 0))


def restraint(evidence: CompletionEvidence) -> Array:
    """Against enumeration: 1 up to twice as many triplets as are true, then falling as 1 / count; 0 for none."""
    predicted, true = evidence.predicted.triplet_counts, evidence.true.triplet_counts
    share = np.divide(2.0 * true, predicted, out=np.zeros(len(evidence)), where=predicted > 0)
    return _applies(evidence, np.minimum(share, 1.0))


def brevity(evidence: CompletionEvidence) -> Array:
    """Length penalty: 1 up to twice the characters of the true graph as text, then as 1 / length; 0 if unreadable."""
    gold: dict[tuple[int, Frame, AnswerFormat], int] = {}
    scores = np.zeros(len(evidence))
    for k, (text, truth, frame) in enumerate(zip(evidence.texts, evidence.truths, evidence.frames, strict=True)):
        if evidence.predicted.counts[k]:
            answer_format = written_format(text)
            key = (id(truth), frame, answer_format)
            length = gold.get(key) or gold.setdefault(key, _gold_length(truth, frame, answer_format))
            scores[k] = min(1.0, 2 * length / len(text))
    return scores


_ALL: tuple[Term, ...] = (
    *(format, node, edge, hard_recall, hard_recall_relax, node_label, node_box),
    *(graph_format, node_f1, triplet_f1, triplet_pu),
    *(precision, f1, edge_f1, distinct, restraint, brevity),
)
TERMS: dict[str, Term] = {term.__name__: term for term in _ALL}
"""Every term by name."""

NEEDS_RELATIONSHIPS = frozenset(
    (
        *("edge", "hard_recall", "hard_recall_relax", "triplet_f1", "triplet_pu"),
        *("precision", "f1", "edge_f1", "distinct", "restraint"),
    )
)
NEEDS_OBJECTS = frozenset(("node", "node_label", "node_box", "node_f1"))


def edge_by_label(evidence: CompletionEvidence) -> Array:
    """`edge` where the objects are given (task "cls"): triplets paired one to one by their labels, boxes ignored."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    true, predicted = evidence.true.triplet_counts, evidence.predicted.triplet_counts
    sums = np.zeros(len(evidence))
    starts = offsets(true * predicted)
    for k in np.flatnonzero(true * predicted).tolist():
        rows, columns = int(true[k]), int(predicted[k])
        matrix = evidence.products[starts[k] : starts[k] + rows * columns].reshape(rows, columns)
        sums[k] = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
    return _share(sums, true)


# ---------------------------------------------------------------- parts of terms

_BOX_WEIGHT = IOU_WEIGHT + L1_WEIGHT
_NODE_WEIGHT = LABEL_WEIGHT + _BOX_WEIGHT


def node_credit(evidence: CompletionEvidence) -> Array:
    """(Q,) Eq. 4 for each matched pair of objects, in [0, 1]: label and box credit by their weights."""
    return np.asarray((LABEL_WEIGHT * _label_credit(evidence) + _BOX_WEIGHT * _box_credit(evidence)) / _NODE_WEIGHT)


def _label_credit(evidence: CompletionEvidence) -> Array:
    return evidence.cosines(evidence.matched.cosines[evidence.matched.cells])


def _box_credit(evidence: CompletionEvidence) -> Array:
    cells, boxes = evidence.matched.cells, evidence.cells.boxes
    return np.asarray((IOU_WEIGHT * boxes.iou[cells] + L1_WEIGHT * np.exp(-boxes.l1[cells])) / _BOX_WEIGHT)


def _sum_matched(evidence: CompletionEvidence, credit: Array) -> Array:
    return evidence.sum_per_graph(evidence.matched.owners, credit)


def _gold_length(truth: SceneGraph, frame: Frame, answer_format: AnswerFormat) -> int:
    return len(render(truth, frame, think=True, answer_format=answer_format))


def _share(sums: Array, counts: Ints) -> Array:
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def _applies(evidence: CompletionEvidence, scores: Array) -> Array:
    return np.asarray(np.where(evidence.true.triplet_counts > 0, scores, np.nan))


def _best_share(evidence: CompletionEvidence, allowed: Mask) -> Array:
    """Per true triplet the largest product among the allowed pairs (0 without one), summed, over the true triplets."""
    best = np.zeros(len(evidence.width))
    if len(evidence.right):
        rows = np.flatnonzero(evidence.width)
        starts = offsets(evidence.width)[rows]
        found = np.maximum.reduceat(np.where(allowed, evidence.products, -np.inf), starts)
        best[rows] = np.where(np.isneginf(found), 0.0, found)
    return _share(evidence.sum_per_graph(evidence.true.triplet_owners, best), evidence.true.triplet_counts)


def _hits(evidence: CompletionEvidence) -> Array:
    """(B,) right predicted triplets, one to one."""
    found = evidence.predicted.triplet_owners[evidence.partners >= 0]
    return evidence.per_graph(found).astype(np.float64)


def _harmonic(evidence: CompletionEvidence, sums: Array) -> Array:
    total = evidence.distinct_counts + evidence.counted
    return _applies(evidence, np.divide(2 * sums, total, out=np.zeros_like(sums), where=total > 0))


def _paired(evidence: CompletionEvidence, allowed: Mask, values: Array) -> Array:
    """(B,) the largest sum of values over pairs of triplets such that no triplet is used twice."""
    left, _, worth = evidence.pair_up(allowed, values)
    return evidence.sum_per_graph(evidence.true.triplet_owners[left], worth)
