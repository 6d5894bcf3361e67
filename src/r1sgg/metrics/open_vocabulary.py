"""The open-vocabulary columns of OvSGTR, all from one set of predictions for the whole test set.

Predictions are ranked and matched once. A column then counts the true relations that belong to it: R@K is the mean over
images that have one, mR@K the mean over the predicates that occur in it. Precision and the like have no meaning there,
because a right relation of another column would be an error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from r1sgg.errors import ConfigError
from r1sgg.graph.open_vocabulary import PARTS, Mode
from r1sgg.graph.vocabulary import VG150, Vocabulary
from r1sgg.judging.protocol import Protocol
from r1sgg.metrics.columns import UNKNOWN, Columns
from r1sgg.metrics.figures import Figures
from r1sgg.metrics.intervals import intervals
from r1sgg.metrics.report import RECALLS, Evaluation


def check_vocabulary(vocabulary: Vocabulary) -> None:
    """See that the names of a vocabulary are VG150's, which alone are base or novel.

    Raises:
        ConfigError: one of them is not.
    """
    for names, known in ((vocabulary.objects, VG150.object_index), (vocabulary.predicates, VG150.predicate_index)):
        if other := next((name for name in names if name not in known), None):
            where = f"--open-vocabulary with --vocabulary {vocabulary.name}"
            raise ConfigError(f"{where}: expected names of VG150, which are base or novel, found {other!r}")


def part_of(columns: Columns, bit: int) -> Columns:
    """Return the numbers with the true relations of one column only; `bit` 0 keeps every relation."""
    kept = (columns.triplets[:, 5] & bit) == bit
    triplets = columns.triplets[kept]
    images = columns.images.copy()
    images[:, columns.count_names.index("true_relations")] = np.bincount(triplets[:, 0], minlength=len(images))
    return replace(columns, triplets=triplets, images=images)


def open_record(evaluation: Evaluation, mode: Mode, *, bootstrap: int = 0, seed: int = 0) -> dict[str, Any]:
    """Return the columns of a mode as JSON values.

    Args:
        evaluation: of the whole test set.
        mode: "ovd", "ovr" or "ovd+r".
        bootstrap: resamples for the 95 % intervals; 0: none.
        seed: random seed of the resamples.

    Returns:
        `mode`, `unknown` (true relations with a name that VG150 lacks) and `parts`: for each column the number of
        `relations`, of `images` that have one and of `predicates` that occur, every recall (None without relations)
        and `intervals`.
    """
    parts: dict[str, Any] = {}
    protocol: Protocol = replace(evaluation.evaluator.protocol, absent_predicates="skip")
    for name, bit in PARTS[mode].items():
        figures = Figures(part_of(evaluation.columns, bit), protocol, closed=False)
        values = figures.values()
        found = intervals(figures, bootstrap, seed) if bootstrap else None
        parts[name] = {
            "relations": len(figures.columns.triplets),
            "images": int((figures.columns.counts()["true_relations"] > 0).sum()),
            "predicates": len(figures.present),
            **{figure: values[figure] for figure in RECALLS},
            "intervals": found and {figure: found[figure] for figure in RECALLS},
        }
    unknown = int(((evaluation.columns.triplets[:, 5] & UNKNOWN) > 0).sum())
    return {"mode": mode, "unknown": unknown, "parts": parts}
