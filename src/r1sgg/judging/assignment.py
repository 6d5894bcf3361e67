"""Which predicted object is matched with which true one: Hungarian matching (paper Eq. 3), for a whole batch at once.

A batch is kept flat: cell k of the arrays is one (graph, true object, predicted object), so that completions of any
size cost what their own n x m costs, and all but the assignment itself runs on whole arrays. There is no threshold: as
in the paper, min(n, m) objects are matched however bad they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r1sgg.judging.batch import Batch, Ints, offsets, ragged_pairs
from r1sgg.judging.boxes import Array, BoxPairs, Mask
from r1sgg.judging.labels import LabelTable

LABEL_WEIGHT, IOU_WEIGHT, L1_WEIGHT = 1.0, 2.0, 5.0
"""The paper's weights of label, overlap and distance, in the matching cost (Eq. 3) and in the node reward (Eq. 4)."""


class Cells:
    """All (true, predicted) pairs of objects of each graph, (K,) columns.

    Attributes:
        true, predicted: the two sides.
        width: (N,) pairs of each true object; they lie one after the other.
        left, right: (K,) rows of the true and of the predicted object.
        first: (B,) each graph's first cell; the cell of rows (i, j) is `cell(i, j)`.
        boxes: the pairs of boxes.
    """

    def __init__(self, true: Batch, predicted: Batch, plus_one: float = 0.0) -> None:
        self.true, self.predicted = true, predicted
        self.width, self.right = ragged_pairs(true.counts, predicted.counts)
        self.left = np.repeat(np.arange(len(true.labels)), self.width)
        self.first = offsets(true.counts * predicted.counts)
        right = np.take(predicted.boxes, self.right, axis=1)  # four times faster than boxes[:, right]
        self.boxes = BoxPairs(np.repeat(true.boxes, self.width, axis=1), right, plus_one)

    def cell(self, rows: Ints, columns: Ints) -> Ints:
        """The cells of true rows and predicted rows of the same graphs."""
        graph = self.true.owners[rows]
        return np.asarray(
            self.first[graph]
            + (rows - self.true.first[graph]) * self.predicted.counts[graph]
            + (columns - self.predicted.first[graph])
        )


@dataclass(frozen=True, slots=True)
class Matched:
    """The optimal assignment.

    Attributes:
        cosines: (K,) similarity of the classes of each pair of objects.
        assigned: (K,) whether the pair is in the assignment.
        cells: (Q,) the assigned cells, graph by graph; owners: (Q,) their graphs.
    """

    cosines: Array
    assigned: Mask
    cells: Ints
    owners: Ints


def match(pairs: Cells, table: LabelTable, *, giou: bool = False) -> Matched:
    """Match the objects of each graph at the least total cost of Eq. 3; `giou` in place of IoU, as in the original."""
    cosines = table.cosines(np.repeat(pairs.true.labels, pairs.width), pairs.predicted.labels[pairs.right])
    costs = pairs.boxes.l1 * L1_WEIGHT
    costs -= (pairs.boxes.giou if giou else pairs.boxes.iou) * IOU_WEIGHT
    costs -= cosines * LABEL_WEIGHT
    costs += IOU_WEIGHT + LABEL_WEIGHT
    cells, owners = _assign(costs, pairs.true.counts, pairs.predicted.counts, pairs.first)
    assigned = np.zeros(len(costs), dtype=np.bool_)
    assigned[cells] = True
    return Matched(cosines, assigned, cells, owners)


def _assign(costs: Array, n: Ints, m: Ints, first: Ints) -> tuple[Ints, Ints]:
    """The cells of the cheapest one-to-one assignment of each graph, and the graphs they belong to."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    left: list[Ints] = []
    right: list[Ints] = []
    start = 0
    for rows, columns in zip(n.tolist(), m.tolist(), strict=True):
        if size := rows * columns:
            i, j = linear_sum_assignment(costs[start : start + size].reshape(rows, columns))
            left.append(i)
            right.append(j)
            start += size
    owners = np.repeat(np.arange(len(n)), np.minimum(n, m))
    if not left:
        return np.zeros(0, dtype=np.intp), owners
    return np.asarray(first[owners] + np.concatenate(left) * m[owners] + np.concatenate(right)), owners


def one_to_one(left: Ints, right: Ints, values: Array, owners: Ints) -> Ints:
    """Choose pairs so that no row is used twice and the sum of `values` is largest.

    Args:
        left: (E,) rows of one side; a pair of rows occurs at most once.
        right: (E,) rows of the other.
        values: (E,) what each pair is worth, above 0.
        owners: (E,) the graph of each pair; rows of different graphs are different.

    Returns:
        Places of the chosen pairs, ascending.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    if not len(left):
        return np.zeros(0, dtype=np.intp)
    contested = (np.bincount(left)[left] > 1) | (np.bincount(right)[right] > 1)
    chosen = [np.flatnonzero(~contested)]  # a row in one pair only loses nothing by taking it
    for graph in np.unique(owners[contested]).tolist():
        mine = np.flatnonzero(contested & (owners == graph))
        rows, i = np.unique(left[mine], return_inverse=True)
        columns, j = np.unique(right[mine], return_inverse=True)
        worth, place = np.zeros((len(rows), len(columns))), np.full((len(rows), len(columns)), -1)
        worth[i, j], place[i, j] = values[mine], mine
        picked = place[linear_sum_assignment(worth, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.sort(np.concatenate(chosen))


def keep_freed_memory() -> None:
    """Make glibc keep freed arrays for the next batch.

    By default it hands them back to the system, and every page then costs a fault: a fifth of the time. Freeing one
    larger block raises its threshold (the dynamic adjustment in mallopt(3)); elsewhere this does nothing.
    """
    np.empty(16 << 20, dtype=np.uint8)
