"""Objects of one class and exactly one box in the matching of Eq. 3: which of them is matched with which.

Every way of matching such twins costs the same, so the assignment's choice among them is an accident of their order.
The edge reward depends on it, because relationships name one of the twins. Here the choice that earns most is taken.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from r1sgg.judging.boxes import Array, Mask

if TYPE_CHECKING:
    from r1sgg.judging.evidence import Evidence


def settle(evidence: Evidence, assigned: Mask) -> Mask:
    """The assignment with twins matched in the way that the relationships between them earn most.

    Exact where no relationship holds between two groups of twins; otherwise each group is settled by what its
    relationships could earn at most.

    Args:
        evidence: with matched objects.
        assigned: (K,) cells of the assignment; not changed.
    """
    assigned = assigned.copy()
    true_groups = _groups(evidence.true_things.twins)
    predicted_groups = _groups(evidence.predicted_things.twins)
    true, predicted = evidence.true, evidence.predicted
    graphs = {int(true.owners[r]) for r in true_groups} | {int(predicted.owners[r]) for r in predicted_groups}
    worth = _Worth(evidence)
    for graph in sorted(graphs):
        n, m, start = int(true.counts[graph]), int(predicted.counts[graph]), int(evidence.cells.first[graph])
        if not n * m:
            continue
        block = assigned[start : start + n * m].reshape(n, m)  # a view: what is written here is written there
        row, column = int(true.first[graph]), int(predicted.first[graph])
        left = [sorted(x - row for x in true_groups.get(row + i, {row + i})) for i in range(n)]
        right = [sorted(x - column for x in predicted_groups.get(column + j, {column + j})) for j in range(m)]
        pairs = {(left[i][0], right[j][0]) for i, j in np.argwhere(block).tolist()}
        for i, j in sorted(pairs):
            if len(left[i]) * len(right[j]) > 1:
                _settle_group(block, left[i], right[j], worth, row, column)
    return assigned


def _settle_group(block: Mask, rows: list[int], columns: list[int], worth: _Worth, row: int, column: int) -> None:
    """Match the twins of one group with those of another anew, as many as before."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    inside = block[np.ix_(rows, columns)]
    count = int(inside.sum())
    # twins that are matched outside of these two groups stay there
    rows = [i for k, i in enumerate(rows) if block[i].sum() == inside[k].sum()]
    columns = [j for k, j in enumerate(columns) if block[:, j].sum() == inside[:, k].sum()]
    values = np.array([[worth(row + i, column + j) for j in columns] for i in rows])
    i, j = linear_sum_assignment(values, maximize=True)
    best = np.argsort(-values[i, j], kind="stable")[:count]
    block[np.ix_(rows, columns)] = False
    block[np.array(rows)[i[best]], np.array(columns)[j[best]]] = True


class _Worth:
    """What a true and a predicted object could earn with their relationships if they were matched."""

    def __init__(self, evidence: Evidence) -> None:
        t, p, e = evidence.true, evidence.predicted, evidence
        self.ends = [
            (t.subjects[e.left], p.subjects[e.right], t.objects[e.left], p.objects[e.right]),
            (t.objects[e.left], p.objects[e.right], t.subjects[e.left], p.subjects[e.right]),
        ]
        self.evidence = evidence

    def __call__(self, true: int, predicted: int) -> float:
        e = self.evidence
        total = 0.0
        for here, there, other_true, other_predicted in self.ends:
            mine = np.flatnonzero((here == true) & (there == predicted))
            if not len(mine):
                continue
            others = e.cells.cell(other_true[mine], other_predicted[mine])
            mine = mine[self._may_match(others)]
            best: dict[int, float] = {}
            products: Array = e.products[mine]
            for triplet, product in zip(e.left[mine].tolist(), products.tolist(), strict=True):
                best[triplet] = max(best.get(triplet, 0.0), product)
            total += sum(best.values())
        return total

    def _may_match(self, cells: np.ndarray) -> Mask:
        """Cells that are assigned, or whose twins may be."""
        return np.asarray(self.evidence.matched.assigned[cells] | self._twin_cells[cells])

    @cached_property
    def _twin_cells(self) -> Mask:
        e = self.evidence
        true = np.zeros(len(e.true.labels), dtype=np.bool_)
        true[[r for pair in e.true_things.twins for r in pair]] = True
        predicted = np.zeros(len(e.predicted.labels), dtype=np.bool_)
        predicted[[r for pair in e.predicted_things.twins for r in pair]] = True
        return true[e.cells.left] | predicted[e.cells.right]


def _groups(twins: list[tuple[int, int]]) -> dict[int, set[int]]:
    """For each row that has a twin all rows of its group."""
    groups: dict[int, set[int]] = {}
    for a, b in twins:
        group = groups.setdefault(a, {a}) | groups.setdefault(b, {b})
        for row in group:
            groups[row] = group
    return groups
