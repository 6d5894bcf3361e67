"""Which predicted object stands for which true one: Hungarian matching (paper Eq. 3), for a whole batch at once.

A batch is kept flat: cell k of the arrays `cosines`, `ious`, `l1` is one (answer, true object, predicted object), so
that answers of any size cost what their own n x m costs, and all but the assignment itself runs on whole arrays.
It deliberately has no threshold: as in the paper, min(n, m) objects are matched however bad they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.labels import LabelTable

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class MatchCost:
    """Weights of Eq. 3: similarity x (1 - cos) + overlap x (1 - IoU) + distance x L1; `giou` as in the original."""

    similarity: float = 1.0
    overlap: float = 2.0
    distance: float = 5.0
    giou: bool = False


PAPER_COST = MatchCost()


@dataclass(frozen=True, slots=True)
class Side:
    """The graphs of one side of a batch, flat.

    Attributes:
        counts: (B,) objects of each graph.
        first: (B,) the graph's first row in the next two.
        boxes: (4, N) x1, y1, x2, y2 of all objects.
        labels: (N,) numbers of the labels in the `LabelTable`.
    """

    counts: Ints
    first: Ints
    boxes: Array
    labels: Ints


@dataclass(frozen=True, slots=True)
class Matched:
    """A batch of B answers compared with their truths.

    Attributes:
        truth, predicted: the two sides.
        first: (B,) each answer's first cell; cell (b, i, j) is first[b] + i * predicted.counts[b] + j.
        cosines, ious, l1: (K,) what each pair of objects has in common; L1 is over boxes in [0, 1].
        assigned: (K,) whether the pair is in the match.
        cells: (Q,) the assigned cells, answer by answer; owners: (Q,) their answers.
    """

    truth: Side
    predicted: Side
    first: Ints
    cosines: Array
    ious: Array
    l1: Array
    assigned: npt.NDArray[np.bool_]
    cells: Ints
    owners: Ints


def offsets(counts: Ints) -> Ints:
    """Where each group begins when groups of these sizes lie one after the other: (B,) -> (B,)."""
    ends = np.cumsum(counts)
    return np.asarray(ends - counts)


def ragged_pairs(n: Ints, m: Ints) -> tuple[Ints, Ints]:
    """All pairs (i, j) of B groups of n x m members, as (width, right).

    `width` says per left row how many pairs it has, so that np.repeat(column, width) gives each pair its left value;
    `right` is each pair's right row (flat), so that column[right] gives its right value.
    """
    width = np.repeat(m, n)
    shift = np.repeat(offsets(m), n) - offsets(width)
    return width, np.asarray(np.arange(int(width.sum())) + np.repeat(shift, width))


def side_of(counts: Sequence[int], boxes_N4: Array, labels: Iterable[str], table: LabelTable) -> Side:
    """Lay objects flat; `counts` are those of each graph."""
    sizes = np.array(counts, dtype=np.intp)
    return Side(sizes, offsets(sizes), np.ascontiguousarray(boxes_N4.T), table.numbers(labels))


def side_of_graphs(graphs: Sequence[SceneGraph], table: LabelTable) -> Side:
    """Lay the objects of graphs flat."""
    boxes = np.concatenate([g.boxes for g in graphs]) if graphs else np.zeros((0, 4))
    labels = chain.from_iterable([g.labels for g in graphs])
    return side_of([len(g.labels) for g in graphs], boxes, labels, table)


def keep_freed_memory() -> None:
    """Make glibc keep freed arrays for the next batch.

    By default it hands them back to the system, and every page then costs a fault: a fifth of the time. Freeing one
    larger block raises its threshold (the dynamic adjustment in mallopt(3)); elsewhere this does nothing.
    """
    np.empty(16 << 20, dtype=np.uint8)


def match(truth: Side, predicted: Side, table: LabelTable, cost: MatchCost = PAPER_COST) -> Matched:
    """Compare B predicted graphs with their truths and match their objects at the least total cost."""
    width, right = ragged_pairs(truth.counts, predicted.counts)
    first = offsets(truth.counts * predicted.counts)
    cosines = table.cosines(np.repeat(truth.labels, width), predicted.labels[right])
    ious, overlaps, l1 = _geometry(truth.boxes, predicted.boxes, width, right, cost.giou)
    costs = l1 * cost.distance
    costs -= overlaps * cost.overlap
    costs -= cosines * cost.similarity
    costs += cost.overlap + cost.similarity
    cells, owners = _assign(costs, truth.counts, predicted.counts, first)
    assigned = np.zeros(len(costs), dtype=np.bool_)
    assigned[cells] = True
    return Matched(truth, predicted, first, cosines, ious, l1, assigned, cells, owners)


def _geometry(a: Array, b: Array, width: Ints, right: Ints, giou: bool) -> tuple[Array, Array, Array]:
    """IoU, the overlap measure of the cost (IoU or GIoU) and L1 of the pairs of (4, N) and (4, M) boxes."""
    l1 = np.zeros(len(right))
    low, high, areas = [], [], (a[2] - a[0]) * (a[3] - a[1])
    union = np.repeat(areas, width) + ((b[2] - b[0]) * (b[3] - b[1]))[right]
    for k in range(4):
        p, q = np.repeat(a[k], width), b[k][right]
        low.append(np.minimum(p, q))
        high.append(np.maximum(p, q, out=p))
        q = high[k] - low[k]
        l1 += q
    inter = np.maximum(low[2] - high[0], 0.0)
    inter *= np.maximum(low[3] - high[1], 0.0)
    union -= inter
    iou = inter / np.where(union == 0, 1.0, union)
    if not giou:
        return iou, iou, l1
    hull = (high[2] - low[0]) * (high[3] - low[1])
    empty = (hull - union) / np.where(hull == 0, 1.0, hull)
    return iou, np.asarray(iou - empty), l1


def _assign(costs: Array, n: Ints, m: Ints, first: Ints) -> tuple[Ints, Ints]:
    """The cells of the cheapest one-to-one assignment of each group, and the groups they belong to."""
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
