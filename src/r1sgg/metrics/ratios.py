"""The counts of each image, and the figures that are ratios of their sums over images.

To add a figure, add a row to `RATIOS`, and to `COUNTS` if it needs another count. The evaluator keeps every count, and
the results and the terminal show every ratio, with its bootstrap interval. Recalls are not here: they are means of
ratios per image or per predicate (`r1sgg.metrics.figures`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from r1sgg.errors import ConfigError
from r1sgg.judging.batch import Ints
from r1sgg.judging.triplets import Judged

COUNTS: dict[str, Callable[[Judged], Ints]] = {
    "true_objects": lambda judged: judged.evidence.true.counts,
    "objects": lambda judged: judged.evidence.predicted.counts,
    "true_relations": lambda judged: judged.evidence.true.triplet_counts,
    "relations": lambda judged: judged.evidence.predicted.triplet_counts,
    "true_positives": lambda judged: judged.true_positives,
    "repeats": lambda judged: judged.repeats,
    "self_loops": lambda judged: judged.self_loops,
    "distinct_true": lambda judged: judged.evidence.distinct_counts,
    "counted": lambda judged: judged.evidence.counted,
    "declared_again": lambda judged: judged.declared_again,
    "claiming": lambda judged: judged.evidence.claiming.astype(np.intp),
}
"""Counts of B judged images, (B,) each. `distinct_true` counts the true triplets without repeated ones,
`counted` the predicted ones without those that repeat a triplet as often as the annotation; `claiming` is 1 if claims
apply."""


class Ratio(NamedTuple):
    """A figure that is a ratio of sums over images.

    Attributes:
        over: names of the counts whose sum is the numerator; a name that occurs twice counts twice.
        under: names of the counts whose sum is the denominator. In addition to `COUNTS` there are "images" (1 for each
            image), "failed" and "skipped".
        percent: whether the terminal shows the figure in percent.
    """

    over: tuple[str, ...]
    under: tuple[str, ...]
    percent: bool = True


RATIOS: dict[str, Ratio] = {
    "failure_rate": Ratio(("failed",), ("images",)),
    "precision": Ratio(("true_positives",), ("counted",)),
    "recall": Ratio(("true_positives",), ("distinct_true",)),
    "f1": Ratio(("true_positives", "true_positives"), ("counted", "distinct_true")),
    "relations_per_image": Ratio(("relations",), ("images",), percent=False),
    "objects_per_image": Ratio(("objects",), ("images",), percent=False),
    "duplicate_rate": Ratio(("repeats",), ("counted",)),
    "redeclared_rate": Ratio(("declared_again",), ("objects",)),
    "self_loop_rate": Ratio(("self_loops",), ("relations",)),
}
"""Ratios by their names in results; `docs/metrics.md` defines each."""
BUILT_IN = frozenset(RATIOS)
"""The ratios of this package; others were added by a file of the user's (docs/howto/metric.md)."""


def image_columns() -> tuple[str, ...]:
    """Return the names of the numbers that are kept for each image: `COUNTS`, then "failed" and "skipped".

    Raises:
        ConfigError: a ratio names a count that does not exist.
    """
    names = (*COUNTS, "failed", "skipped")
    for figure, ratio in RATIOS.items():
        for name in (*ratio.over, *ratio.under):
            if name not in (*names, "images"):
                raise ConfigError(f"figure {figure}: expected counts among {', '.join(names)}, images, found {name!r}")
    return names
