"""Objects of one class and exactly one box in the matching of Eq. 3: which of them is matched with which.

Every way of matching such twins costs the same, so the assignment's choice among them is an accident of their order.
The edge reward depends on it, because relationships name one of the twins. Here the choice that earns most is taken.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from r1sgg.judging.assignment import Cells
from r1sgg.judging.batch import Ints
from r1sgg.judging.boxes import Array, Mask

_MOST_WAYS = 1000
"""Ways of matching the twins of a graph that are all tried; of more, groups are settled one after the other."""
_MOST_STEPS = 200_000
"""Ways times relations that are looked at in a graph: bounds the time that a completion in a loop takes."""

Twins = list[tuple[int, int]]
"""Pairs of rows of one side with one class and one box."""
Cell = tuple[int, int]
"""A true and a predicted object of one graph, each counted from the graph's first."""


class _Group(NamedTuple):
    """Twins on either side, and the ways in which as many of them as before can be matched."""

    rows: list[int]
    columns: list[int]
    ways: list[tuple[Cell, ...]]


class Pairs(NamedTuple):
    """The pairs of true and predicted triplets, (P,) columns: their rows, and what each earns if its ends match."""

    left: Ints
    right: Ints
    products: Array


def settle(cells: Cells, true_twins: Twins, predicted_twins: Twins, pairs: Pairs, assigned: Mask) -> Mask:
    """Return the assignment with twins matched so that the relationships between matched objects earn most.

    With very many twins (`_MOST_WAYS`) each group is settled by itself, the others fixed, which earns no less than the
    assignment itself.

    Args:
        cells: all pairs of objects.
        true_twins: of the true objects.
        predicted_twins: of the predicted objects.
        pairs: all pairs of triplets.
        assigned: (K,) cells of the assignment; not changed.
    """
    assigned = assigned.copy()
    true, predicted = cells.true, cells.predicted
    true_groups, predicted_groups = _twins(true_twins), _twins(predicted_twins)
    graphs = {int(true.owners[r]) for r in true_groups} | {int(predicted.owners[r]) for r in predicted_groups}
    for graph in sorted(graphs):
        n, m, start = int(true.counts[graph]), int(predicted.counts[graph]), int(cells.first[graph])
        if not n * m:
            continue
        block = assigned[start : start + n * m].reshape(n, m)  # a view: what is written here is written there
        row, column = int(true.first[graph]), int(predicted.first[graph])
        relations = _relations(cells, pairs, graph)
        most = max(1, min(_MOST_WAYS, _MOST_STEPS // max(1, len(relations))))
        groups = _groups(block, _members(true_groups, row, n), _members(predicted_groups, column, m), most)
        if groups:
            _settle_graph(block, groups, relations, most)
    return assigned


def _members(groups: dict[int, set[int]], start: int, count: int) -> list[list[int]]:
    """For each object of a graph its group, counted from the graph's first object; most are alone."""
    members: list[list[int]] = [[k] for k in range(count)]
    done: set[int] = set()
    for k in range(count):
        if start + k in groups and k not in done:
            own = sorted(row - start for row in groups[start + k])
            done.update(own)
            for other in own:
                members[other] = own
    return members


def _groups(block: Mask, left: list[list[int]], right: list[list[int]], most: int) -> list[_Group]:
    """The groups of twins of a graph that can be matched in several ways, with at most so many ways."""
    groups = []
    for i, j in sorted({(left[i][0], right[j][0]) for i, j in np.argwhere(block).tolist()}):
        inside = block[np.ix_(left[i], right[j])]
        # twins that are matched outside of these two groups stay there
        rows = [r for k, r in enumerate(left[i]) if block[r].sum() == inside[k].sum()]
        columns = [c for k, c in enumerate(right[j]) if block[:, c].sum() == inside[:, k].sum()]
        count = int(inside.sum())
        if math.comb(len(rows), count) * math.perm(len(columns), count) > 1:
            now = tuple((r, c) for r in rows for c in columns if block[r, c])
            # a generator, because `itertools.product` would first hold all permutations
            chosen = (
                (some, order)
                for some in itertools.combinations(rows, count)
                for order in itertools.permutations(columns, count)
            )
            others = (tuple(zip(a, b, strict=True)) for a, b in itertools.islice(chosen, most))
            groups.append(_Group(rows, columns, [now, *others]))  # first, so that it stays where nothing earns more
    return groups


class _Relation(NamedTuple):
    """A true and a predicted triplet, the cells that their ends must be matched in, and what that earns."""

    triplet: int
    subjects: Cell
    objects: Cell
    product: float


def _relations(cells: Cells, pairs: Pairs, graph: int) -> list[_Relation]:
    t, p = cells.true, cells.predicted
    found = []
    for k in np.flatnonzero((t.triplet_owners[pairs.left] == graph) & (pairs.products > 0)).tolist():
        g, r = int(pairs.left[k]), int(pairs.right[k])
        ends = ((int(t.subjects[g]), int(p.subjects[r])), (int(t.objects[g]), int(p.objects[r])))
        own = [(a - int(t.first[graph]), b - int(p.first[graph])) for a, b in ends]
        found.append(_Relation(g, own[0], own[1], float(pairs.products[k])))
    return found


def _settle_graph(block: Mask, groups: list[_Group], relations: list[_Relation], most: int) -> None:
    few = math.prod(len(group.ways) for group in groups) <= most
    together = [groups] if few else [[group] for group in groups]
    for some in together:
        earned = ((_earned(block, some, ways, relations), ways) for ways in itertools.product(*(g.ways for g in some)))
        _write(block, some, max(earned, key=lambda found: found[0])[1])


def _write(block: Mask, groups: list[_Group], ways: tuple[tuple[Cell, ...], ...]) -> None:
    for group, way in zip(groups, ways, strict=True):
        block[np.ix_(group.rows, group.columns)] = False
        for cell in way:
            block[cell] = True


def _earned(block: Mask, groups: list[_Group], ways: tuple[tuple[Cell, ...], ...], relations: list[_Relation]) -> float:
    """The sum over true triplets of the best product whose ends are matched; rounded, so that equal ways are equal."""
    settled = block.copy()
    _write(settled, groups, ways)
    best: dict[int, float] = {}
    for triplet, subjects, objects, product in relations:
        if settled[subjects] and settled[objects]:
            best[triplet] = max(best.get(triplet, 0.0), product)
    return round(sum(best.values()), 9)


def _twins(pairs: Twins) -> dict[int, set[int]]:
    """For each row that has a twin all rows of its group."""
    groups: dict[int, set[int]] = {}
    for a, b in pairs:
        group = groups.setdefault(a, {a}) | groups.setdefault(b, {b})
        for row in group:
            groups[row] = group
    return groups
