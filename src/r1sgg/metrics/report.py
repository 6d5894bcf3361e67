"""Evaluate predictions against ground truth, in one call that returns a dictionary of figures.

    >>> evaluate(read_ground_truth(truth), read_predictions(predictions), VG150)["R@50"]

Both arguments may be lists or streams. Nothing is printed here: `r1sgg evaluate` shows the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from r1sgg import __version__
from r1sgg.data.base import Example
from r1sgg.data.dataset import hash_of_ids
from r1sgg.data.predictions import Prediction, Predictions
from r1sgg.errors import ConfigError
from r1sgg.graph.mapping import Level, Similarity
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.judging.diagnosis import diagnosis
from r1sgg.judging.protocol import CUTOFFS, PROTOCOLS, STRICT, Protocol
from r1sgg.metrics.baselines import FrequencyBaseline
from r1sgg.metrics.calibration import summary
from r1sgg.metrics.columns import Columns, Evaluator
from r1sgg.metrics.figures import Figures
from r1sgg.metrics.frequency import TrainingStatistics
from r1sgg.metrics.groups import named_groups
from r1sgg.metrics.intervals import intervals
from r1sgg.metrics.ratios import RATIOS
from r1sgg.metrics.streams import join
from r1sgg.metrics.tasks import Task

RECALLS = tuple(f"{prefix}{k}" for prefix in ("R@", "mR@", "ngR@", "ngmR@") for k in CUTOFFS)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation: its settings, the counts, and the figures."""

    evaluator: Evaluator
    columns: Columns
    figures: Figures


def run(
    examples: Iterable[Example], predictions: Iterable[Prediction], evaluator: Evaluator, where: str = "predictions"
) -> Evaluation:
    """Evaluate two streams.

    Raises:
        InputError: a prediction for an image that is not in the ground truth.
    """
    if isinstance(predictions, Predictions):
        evaluator.ledger.dialect, evaluator.ledger.opened_as = predictions.choice, predictions.opened_as
    evaluator.add(join(examples, predictions, where))
    return finish(evaluator)


def run_baseline(examples: Iterable[Example], baseline: FrequencyBaseline, evaluator: Evaluator) -> Evaluation:
    """Evaluate a baseline on the true objects; on a model's, it is the `rewrite` of an evaluator of its predictions."""
    evaluator.add_graphs(
        (number, example, baseline(evaluator.restrict(example.graph))) for number, example in enumerate(examples)
    )
    return finish(evaluator)


def baseline_record(evaluation: Evaluation, *, bootstrap: int = 0, seed: int = 0) -> dict[str, Any]:
    """Return the results of a baseline, which ranks 100 relations and more: what counts them is None."""
    unmeant = ("precision", "f1", "recall", "relations_per_image", "duplicate_rate", "self_loop_rate", "calibration")
    return record(evaluation, bootstrap=bootstrap, seed=seed) | dict.fromkeys(unmeant)


def finish(evaluator: Evaluator) -> Evaluation:
    """Compute the figures of an evaluator."""
    columns = evaluator.finish()
    figures = Figures(
        columns,
        evaluator.protocol,
        closed=bool(evaluator.vocabulary.predicates),
        groups=named_groups(evaluator.groups, evaluator.vocabulary, evaluator.statistics)[1],
        zero_shot=evaluator.statistics is not None or evaluator.zero_shot is not None,
    )
    return Evaluation(evaluator, columns, figures)


def evaluate(
    examples: Iterable[Example],
    predictions: Iterable[Prediction],
    vocabulary: Vocabulary = OPEN,
    protocol: Protocol | str = STRICT,
    *,
    mapping: Level = "normal",
    similarity: Similarity | None = None,
    repair: bool = False,
    task: Task = "sgdet",
    statistics: TrainingStatistics | None = None,
    groups: str | None = None,
    threshold: float | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute all figures of a set of predictions.

    Args:
        examples: the ground truth.
        predictions: at most one per image; images without one are failures ("missing").
        vocabulary: names outside it are mapped or dropped.
        protocol: `STRICT`, `REFERENCE`, one of their names, or your own.
        mapping: how open names are mapped: "none", "normal" or "full".
        similarity: label similarity for `mapping="full"`.
        repair: keep the complete items of broken or truncated completions.
        task: "sgdet", "sgcls" or "predcls".
        statistics: of the training set, for zero-shot recall and groups of predicates.
        groups: "bgnn", "thirds" or a file, see `r1sgg.metrics.groups`.
        threshold: leave out predicted objects and relationships with lower scores.
        bootstrap: number of resamples for the 95 % intervals; 0: no intervals.
        seed: random seed of the resamples.

    Returns:
        Figures by name, as fractions; None for a figure that is not defined. See `docs/metrics.md`.

    Raises:
        InputError: a prediction for an image that is not in the ground truth.
        ConfigError: an unknown protocol.
    """
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, found {protocol!r}")
        protocol = PROTOCOLS[protocol]
    evaluator = Evaluator(
        vocabulary,
        protocol,
        mapping=mapping,
        similarity=similarity,
        repair=repair,
        task=task,
        statistics=statistics,
        groups=groups,
        threshold=threshold,
    )
    return record(run(examples, predictions, evaluator), bootstrap=bootstrap, seed=seed)


def record(evaluation: Evaluation, *, bootstrap: int = 0, seed: int = 0) -> dict[str, Any]:
    """Return the results of an evaluation as JSON values; `intervals` is None if `bootstrap` is 0."""
    evaluator, columns, figures = evaluation.evaluator, evaluation.columns, evaluation.figures
    values = figures.values()
    grouping, groups = named_groups(evaluator.groups, evaluator.vocabulary, evaluator.statistics)
    totals = {name: int(column.sum()) for name, column in columns.counts().items()}
    changes = sorted(columns.changes.items(), key=lambda item: (-item[1], item[0].kind, item[0].name))
    mean_names = [n for n in RECALLS if "mR@" in n]
    zero_shot = evaluator.statistics is not None or evaluator.zero_shot is not None
    unseen = int(columns.triplets[:, 4].sum())
    return {
        "version": __version__,
        "images": figures.count,
        "protocol": evaluator.protocol.name,
        "failures": columns.failures,
        **columns.precision,
        **{name: values[name] for name in (*RECALLS, *RATIOS)},
        "pooled": {n: values[f"pooled {n}"] for n in RECALLS if "mR@" not in n},
        "zero_shot": {f"z{n}": values[f"z{n}"] for n in RECALLS if "mR@" not in n} | {"relations": unseen}
        if zero_shot
        else None,
        "groups": {
            g: {"predicates": list(names)} | {n: values[f"{g} {n}"] for n in mean_names} for g, names in groups.items()
        }
        or None,
        "grouping": grouping,
        "per_predicate": figures.per_predicate(),
        "calibration": calibration(columns),
        "intervals": intervals(figures, bootstrap, seed) if bootstrap else None,
        "interval_remark": figures.rare_predicates() if bootstrap else None,
        "resamples": bootstrap,
        "seed": seed,
        "counts": {
            "images_with_relations": int((columns.counts()["true_relations"] > 0).sum()),
            "images_skipped": totals["skipped"],
            "true_objects": totals["true_objects"],
            "true_relations": totals["true_relations"],
            "objects": totals["objects"],
            "relations": totals["relations"],
            "outside_vocabulary": columns.outside,
            "predicates_present": len(figures.present),
        },
        "claims": {
            "convention": evaluator.protocol.claims,
            "images": totals["claiming"],
        },
        "task": evaluator.task,
        "ask": evaluator.ask or "paper",
        "repair": evaluator.repair,
        "threshold": evaluator.threshold,
        "vocabulary": evaluator.vocabulary.name,
        "mapping": evaluator.mapping,
        "mappings": [{**change._asdict(), "images": n} for change, n in changes],
        "similarity": getattr(evaluator.similarity, "name", None),
        "data_hash": columns.data_hash,
        "image_hash": hash_of_ids(columns.image_ids),
        "model": ", ".join(columns.models) or None,
        "switches": asdict(evaluator.protocol),
        "ledger": diagnosis(evaluator.ledger, evaluator.evidence, evaluator.vocabulary),
    }


def calibration(columns: Columns) -> dict[str, Any] | None:
    """Return the calibration of "objects" and "triplets" (see `r1sgg.metrics.calibration.summary`).

    None if no prediction has scores.
    """
    totals = {name: int(column.sum()) for name, column in columns.counts().items()}
    found = {
        kind: summary(*columns.confidences[kind], totals[total])
        for kind, total in (("objects", "true_objects"), ("triplets", "true_relations"))
    }
    return found if any(found.values()) else None
