"""The reward terms, one function each: evidence on B answers -> (B,) scores, NaN where a term does not apply.

A term is a fraction: 0 is worst, 1 is best, and the gold answer gets 1. Terms of relationships do not apply to an image
without true relationships, `node` and its halves not to one without true objects. Deliberately no weights here
(`rubric.py`) and no failures to handle: an unreadable answer arrives as the empty graph. Equations are those of
arXiv 2504.13617.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import AnswerFormat, Frame, render
from r1sgg.judging.assignment import Array, Ints, offsets
from r1sgg.rewards.evidence import Evidence, Mask
from r1sgg.rewards.formats import written_format

Term = Callable[[Evidence], Array]

# ---------------------------------------------------------------- the paper's


def format(evidence: Evidence) -> Array:
    """1 for <think>..</think><answer>..</answer> and the keywords in the answer, 0.5 for a bare answer, else 0."""
    return np.array(evidence.answers.formats, dtype=np.float64)


def node(evidence: Evidence) -> Array:
    """Eq. 4-5: (cos + 2 IoU + 5 exp(-L1)) / 8 of the matched objects, summed, over the number of true objects."""
    m = evidence.matched
    cells = m.cells
    credit = (evidence.cosines(m.cosines[cells]) + 2 * m.ious[cells] + 5 * np.exp(-m.l1[cells])) / 8
    return _share(_sum_per_answer(evidence, m.owners, credit), m.truth.counts)


def node_label(evidence: Evidence) -> Array:
    """The label half of `node`: cosines of the matched objects, over the number of true objects."""
    m = evidence.matched
    return _share(_sum_per_answer(evidence, m.owners, evidence.cosines(m.cosines[m.cells])), m.truth.counts)


def node_box(evidence: Evidence) -> Array:
    """The box half of `node`: (2 IoU + 5 exp(-L1)) / 7 of the matched objects, over the number of true objects."""
    m = evidence.matched
    credit = (2 * m.ious[m.cells] + 5 * np.exp(-m.l1[m.cells])) / 7
    return _share(_sum_per_answer(evidence, m.owners, credit), m.truth.counts)


def edge(evidence: Evidence) -> Array:
    """Eq. 6-7: per true triplet whose ends are matched, the best product of three cosines; over the true triplets."""
    return _best_share(evidence, evidence.pairs.ends_matched)


def edge_by_label(evidence: Evidence) -> Array:
    """`edge` where the objects are given (task "cls"): triplets paired one to one by their labels, boxes ignored."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    pairs, true, predicted = evidence.pairs, evidence.truth_triplets, evidence.predicted_triplets
    sums = np.zeros(len(evidence))
    starts = offsets(true.counts * predicted.counts)
    for k in np.flatnonzero(true.counts * predicted.counts).tolist():
        rows, columns = int(true.counts[k]), int(predicted.counts[k])
        matrix = pairs.product[starts[k] : starts[k] + rows * columns].reshape(rows, columns)
        sums[k] = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
    return _share(sums, true.counts)


def hard_recall(evidence: Evidence) -> Array:
    """Share of true triplets that some predicted one repeats: three equal labels, both IoU >= 0.5 (R@K without K)."""
    pairs = evidence.pairs
    found = np.zeros(len(evidence.truth_triplets.owners))
    found[pairs.left[pairs.boxes_found & pairs.same_labels]] = 1.0
    return _share(_sum_per_answer(evidence, evidence.truth_triplets.owners, found), evidence.truth_triplets.counts)


def hard_recall_relax(evidence: Evidence) -> Array:
    """Hard recall with the product of the three cosines in place of label equality; the best prediction counts."""
    return _best_share(evidence, evidence.pairs.boxes_found)


# ---------------------------------------------------------------- opt-in: against enumeration


def precision(evidence: Evidence) -> Array:
    """Share of predicted triplets that are right: labels, IoU >= 0.5, one to one; a repeated triplet is never right."""
    hits, predicted = _hits(evidence), evidence.predicted_triplets.counts
    return _applies(evidence, np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0))


def f1(evidence: Evidence) -> Array:
    """Harmonic mean of `precision` and recall, both one to one."""
    return _harmonic(evidence, _hits(evidence))


def edge_f1(evidence: Evidence) -> Array:
    """`edge` one to one, against all predicted triplets too: 2 x summed products / (true + predicted triplets)."""
    pairs = evidence.pairs
    return _harmonic(
        evidence, _one_to_one(evidence, pairs.ends_matched & ~evidence.repeats[pairs.right], pairs.product)
    )


def distinct(evidence: Evidence) -> Array:
    """Duplicate penalty: the share of predicted triplets that do not stand there already; 0 if there are none."""
    predicted = evidence.predicted_triplets
    fresh = _sum_per_answer(evidence, predicted.owners, (~evidence.repeats).astype(np.float64))
    return _applies(evidence, np.divide(fresh, predicted.counts, out=np.zeros_like(fresh), where=predicted.counts > 0))


def restraint(evidence: Evidence) -> Array:
    """Against enumeration: 1 up to twice as many triplets as are true, then falling as 1 / count; 0 for none."""
    predicted, true = evidence.predicted_triplets.counts, evidence.truth_triplets.counts
    share = np.divide(2.0 * true, predicted, out=np.zeros(len(evidence)), where=predicted > 0)
    return _applies(evidence, np.minimum(share, 1.0))


def brevity(evidence: Evidence) -> Array:
    """Length penalty: 1 up to twice the characters of the gold answer, then falling as 1 / length; 0 if unreadable."""
    gold: dict[tuple[int, Frame, AnswerFormat], int] = {}
    scores = np.zeros(len(evidence))
    for k, (text, truth, frame) in enumerate(zip(evidence.texts, evidence.truths, evidence.frames, strict=True)):
        if evidence.answers.counts[k]:
            answer_format = written_format(text)
            key = (id(truth), frame, answer_format)
            length = gold.get(key) or gold.setdefault(key, _gold_length(truth, frame, answer_format))
            scores[k] = min(1.0, 2 * length / len(text))
    return scores


_ALL: tuple[Term, ...] = (
    *(format, node, edge, hard_recall, hard_recall_relax),
    *(node_label, node_box, precision, f1, edge_f1, distinct, restraint, brevity),
)
TERMS: dict[str, Term] = {term.__name__: term for term in _ALL}
"""Every term by name."""

NEEDS_RELATIONSHIPS = frozenset(
    ("edge", "hard_recall", "hard_recall_relax", "precision", "f1", "edge_f1", "distinct", "restraint")
)
NEEDS_OBJECTS = frozenset(("node", "node_label", "node_box"))

# ---------------------------------------------------------------- parts of terms


def _gold_length(truth: SceneGraph, frame: Frame, answer_format: AnswerFormat) -> int:
    return len(render(truth, frame, think=True, answer_format=answer_format))


def _sum_per_answer(evidence: Evidence, owners: Ints, values: Array) -> Array:
    return np.asarray(np.bincount(owners, weights=values, minlength=len(evidence)), dtype=np.float64)


def _share(sums: Array, counts: Ints) -> Array:
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def _applies(evidence: Evidence, scores: Array) -> Array:
    return np.asarray(np.where(evidence.truth_triplets.counts > 0, scores, np.nan))


def _best_share(evidence: Evidence, allowed: Mask) -> Array:
    """Per true triplet the largest product among the allowed pairs (0 without one), summed, over the true triplets."""
    pairs, truth = evidence.pairs, evidence.truth_triplets
    best = np.zeros(len(truth.owners))
    if len(pairs.right):
        rows = np.flatnonzero(pairs.width)
        starts = offsets(pairs.width)[rows]
        found = np.maximum.reduceat(np.where(allowed, pairs.product, -np.inf), starts)
        best[rows] = np.where(np.isneginf(found), 0.0, found)
    return _share(_sum_per_answer(evidence, truth.owners, best), truth.counts)


def _hits(evidence: Evidence) -> Array:
    """(B,) right predicted triplets, one to one."""
    pairs = evidence.pairs
    right = pairs.boxes_found & pairs.same_labels & ~evidence.repeats[pairs.right]
    return _one_to_one(evidence, right, np.ones(len(right)))


def _harmonic(evidence: Evidence, sums: Array) -> Array:
    total = evidence.truth_triplets.counts + evidence.predicted_triplets.counts
    return _applies(evidence, np.divide(2 * sums, total, out=np.zeros_like(sums), where=total > 0))


def _one_to_one(evidence: Evidence, allowed: Mask, values: Array) -> Array:
    """(B,) largest sum of `values` over allowed triplet pairs such that no triplet is used twice."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    pairs = evidence.pairs
    cells = np.flatnonzero(allowed)
    left, right, values = pairs.left[cells], pairs.right[cells], values[cells]
    owners = evidence.truth_triplets.owners[left]
    contested = (np.bincount(left)[left] > 1) | (np.bincount(right)[right] > 1) if len(cells) else allowed[:0]
    if not contested.any():
        return _sum_per_answer(evidence, owners, values)
    busy = np.zeros(len(evidence), dtype=np.bool_)
    busy[owners[contested]] = True
    sums = _sum_per_answer(evidence, owners, np.where(busy[owners], 0.0, values))
    for answer in np.flatnonzero(busy).tolist():
        mine = owners == answer
        rows, i = np.unique(left[mine], return_inverse=True)
        columns, j = np.unique(right[mine], return_inverse=True)
        matrix = np.zeros((len(rows), len(columns)))
        matrix[i, j] = np.maximum(values[mine], 0.0)
        sums[answer] = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
    return sums
