"""Compute the figures: recalls, precision and rates, for all images or for a weighted resample of them.

Every figure is a ratio of sums over images, or a mean of such ratios over predicates, so a bootstrap resample is a
weight per image. The exception is average precision, which has no interval. `docs/metrics.md` defines each figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from r1sgg.judging.protocol import CUTOFFS, Protocol
from r1sgg.metrics.columns import Columns
from r1sgg.metrics.ratios import RATIOS

Array = npt.NDArray[np.float64]
Values = dict[str, float | None]
FEW_IMAGES = 5


class Figures:
    """The figures of one evaluation."""

    def __init__(
        self,
        columns: Columns,
        protocol: Protocol,
        *,
        closed: bool,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        zero_shot: bool = False,
    ) -> None:
        """Prepare the terms of all sums.

        Args:
            columns: the numbers kept by an evaluator.
            protocol: the conventions.
            closed: whether the vocabulary lists its predicates, so that absent ones can count 0 in mean recalls.
            groups: names of predicates by group (head, body, tail).
            zero_shot: whether the columns say which triplets are unseen in training.
        """
        self.columns, self.count = columns, len(columns.image_ids)
        self._divide_by_all = closed and protocol.absent_predicates == "zero"
        counts = {name: column.astype(np.float64) for name, column in columns.counts().items()}
        image: dict[str, Array] = {**counts, "images": np.ones(self.count)}
        row, predicate, rank, rank_ng, unseen = columns.triplets[:, :5].T
        true = image["true_relations"]
        counted = (true > 0) & (image["skipped"] == 0)
        self._ratios: dict[str, tuple[Array, Array]] = {
            name: (_sum(image, ratio.over), _sum(image, ratio.under)) for name, ratio in RATIOS.items()
        }
        found = {
            f"{prefix}R@{k}": (ranks < k).astype(np.float64)
            for prefix, ranks in (("", rank), ("ng", rank_ng))
            for k in CUTOFFS
        }
        self.per_image: dict[str, Array] = {}
        for name, hit in found.items():
            self._add_recall(name, hit, row, true, counted, pooled=True)
            if zero_shot:
                new = np.asarray(np.bincount(row, weights=unseen, minlength=self.count), dtype=np.float64)
                self._add_recall("z" + name, hit * unseen, row, new, (new > 0) & counted, pooled=False)
        keep = counted[row] if len(row) else np.zeros(0, bool)
        self._prepare_cells(row[keep], predicate[keep], {name: hit[keep] for name, hit in found.items()})
        # of all predicates, named "", and of each group
        self._members = {"": np.arange(len(columns.predicates))}
        for group, names in (groups or {}).items():
            places = [k for k, name in enumerate(columns.predicates) if name in set(names)]
            self._members[group] = np.array(places, dtype=np.int64)
        self._held = {
            group: float(np.isin(members, self.present).mean()) if len(members) else 0.0
            for group, members in self._members.items()
        }

    def _add_recall(
        self,
        name: str,
        hit: Array,
        row: npt.NDArray[np.int64],
        true: Array,
        counted: npt.NDArray[np.bool_],
        pooled: bool,
    ) -> None:
        hits = np.asarray(np.bincount(row, weights=hit, minlength=self.count), dtype=np.float64)
        recall = np.divide(hits, true, out=np.zeros(self.count), where=counted)
        self._ratios[name] = (recall, counted.astype(np.float64))
        self.per_image[name] = np.where(counted, recall, np.nan)
        if pooled:
            self._ratios[f"pooled {name}"] = (hits * counted, true * counted)

    def _prepare_cells(
        self, row: npt.NDArray[np.int64], predicate: npt.NDArray[np.int64], found: dict[str, Array]
    ) -> None:
        """Compute the recall of each predicate on each image that has it, sorted by predicate.

        A cell is one (predicate, image) that occurs in the ground truth. Cells are sorted by predicate, so the cells of
        a predicate are consecutive, and `np.add.reduceat` at `_starts` sums them.
        """
        key, cell, size = np.unique(predicate * self.count + row, return_inverse=True, return_counts=True)
        self._cell_row = key % max(1, self.count)
        self._cell_predicate = key // max(1, self.count)
        self._names = list(found)
        self._cell_recall = np.stack(
            [np.bincount(cell, weights=hit, minlength=len(key)) / size for hit in found.values()], axis=1
        ).reshape(len(key), len(found))
        self.present, self._starts = np.unique(self._cell_predicate, return_index=True)
        self.relations = np.bincount(predicate, minlength=len(self.columns.predicates))

    def values(self, weights: Array | None = None) -> Values:
        """Return every figure, with each image counted `weights` times (default: once); None if the divisor is 0."""
        weights = np.ones(self.count) if weights is None else weights
        out = {name: _ratio(float(a @ weights), float(b @ weights)) for name, (a, b) in self._ratios.items()}
        recall, there = self.predicate_recalls(weights)
        for group, members in self._members.items():
            means = self._means(recall[members], there[members], self._held[group])
            for name, mean in zip(self._names, means, strict=True):
                figure = f"m{name}" if not name.startswith("ng") else f"ngm{name[2:]}"
                out[f"{group} {figure}" if group else figure] = mean
        return out

    def predicate_recalls(self, weights: Array | None = None) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return the recall of each predicate, (P, 6) for R@20/50/100 and ngR@20/50/100, and which predicates occur."""
        total = len(self.columns.predicates)
        recall, there = np.zeros((total, len(self._names))), np.zeros(total, dtype=bool)
        if len(self.present):
            weights = np.ones(self.count) if weights is None else weights
            weight = weights[self._cell_row]
            sums = np.add.reduceat(self._cell_recall * weight[:, None], self._starts, axis=0)
            counts = np.add.reduceat(weight, self._starts)
            some = counts > 0
            recall[self.present[some]] = sums[some] / counts[some, None]
            there[self.present[some]] = True
        return recall, there

    def per_predicate(self) -> dict[str, dict[str, Any]]:
        """Return recalls and number of true relations by predicate; None for recalls of one that does not occur."""
        recall, there = self.predicate_recalls()
        names = [n for n in self._names if not n.startswith("ng")]
        return {
            name: {"relations": int(self.relations[k])}
            | {n: float(recall[k, self._names.index(n)]) if there[k] else None for n in names}
            for k, name in enumerate(self.columns.predicates)
        }

    def _means(self, recall: Array, there: npt.NDArray[np.bool_], held: float) -> list[float | None]:
        """Return the mean of each column over some predicates; those that never occur count 0 if the protocol says so.

        A resample lacks rare predicates that the images hold. Counting these as 0 too would pull every resample down,
        so its mean over those that it holds stands for all that the images hold, which are the share `held`.
        """
        count = int(there.sum())
        if not count:
            return [None] * recall.shape[1]
        means: list[float | None] = (recall.sum(axis=0) / count * (held if self._divide_by_all else 1)).tolist()
        return means

    def rare_predicates(self) -> str | None:
        """Return one sentence if predicates are on so few images that intervals of mean recall are too narrow."""
        images = np.diff(np.append(self._starts, len(self._cell_predicate)))
        rare = int((images < FEW_IMAGES).sum())
        if not rare:
            return None
        return (
            f"intervals of mR@K and ngmR@K are too narrow: {rare} of {len(images)} predicates occur on fewer than "
            f"{FEW_IMAGES} images"
        )


def _sum(columns: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """Return the sum of the named counts of each image, (N,)."""
    return np.asarray(np.sum([columns[name] for name in names], axis=0), dtype=np.float64)


def _ratio(a: float, b: float) -> float | None:
    return a / b if b > 0 else None
