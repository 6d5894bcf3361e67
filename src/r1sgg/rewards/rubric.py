"""A rubric: named, weighted terms over one parse and one judgement per completion.

    >>> from r1sgg import Rubric
    >>> rubric = Rubric.of("balanced")

The named sets are in `REWARD_SETS`. There is no training here (trainers call `r1sgg.rewards.adapters`), and no
guessing: what to score against, and in which frame a completion's boxes are, is passed in.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r1sgg.errors import ConfigError, choices
from r1sgg.files import user_path
from r1sgg.graph.parsed import Frame, Parsed
from r1sgg.graph.policies import Issue
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.assignment import keep_freed_memory
from r1sgg.judging.boxes import Array
from r1sgg.judging.labels import LabelSimilarity, LabelTable, load_similarity
from r1sgg.rewards.conventions import PAPER, TASKS, Conventions, Task
from r1sgg.rewards.custom import check_term, is_custom, load_term, name_of, weights_of
from r1sgg.rewards.evidence import CompletionEvidence
from r1sgg.rewards.original import ORIGINAL
from r1sgg.rewards.sparse import ClassDensity
from r1sgg.rewards.terms import NEEDS_OBJECTS, NEEDS_RELATIONSHIPS, edge_by_label

STANDARD_TERMS = ("format", "node", "edge", "hard_recall", "hard_recall_relax")
"""Always computed; those without a weight do not enter the total."""


@dataclass(frozen=True, slots=True)
class RewardSet:
    """Weights, what they are for, and the conventions they are computed by."""

    weights: Mapping[str, float]
    about: str
    conventions: Conventions = PAPER


REWARD_SETS: dict[str, RewardSet] = {
    "paper-v1": RewardSet({"format": 1.0, "node": 2.0, "edge": 5.0}, "format + soft node + soft edge"),
    "paper-v4": RewardSet({"format": 1.0, "hard_recall": 5.0}, "format + hard recall (best published mR)"),
    "paper-v4-relax": RewardSet({"format": 1.0, "hard_recall_relax": 5.0}, "format + relaxed hard recall"),
    "balanced": RewardSet(
        {"graph_format": 0.5, "node_f1": 1.0, "triplet_f1": 2.0},
        "what the metric counts: one-to-one soft F1 of objects and of triplets, a readable graph required",
    ),
    "sparse": RewardSet(
        {"graph_format": 0.5, "node_f1": 1.0, "triplet_pu": 2.0},
        "balanced for incomplete graphs, as captions give them: an unmatched triplet costs as densely as its image is "
        "annotated (see `r1sgg.rewards.sparse`)",
    ),
    "original": RewardSet(
        {"format": 1.0, "node_label": 2.0, "node_box": 2.0, "edge": 5.0, "hard_recall": 5.0, "hard_recall_relax": 5.0},
        "the original code's six functions with its weights and conventions (see `r1sgg.rewards.original`)",
        ORIGINAL,
    ),
}
"""Reward sets by name."""

DEFAULT_SET = "paper-v1"
"""What is scored and trained with where nothing is named."""


def check_rewards(rewards: str | Mapping[str, Any]) -> None:
    """Refuse what `Rubric.of` would refuse by its name, before anything large is imported; no file of terms is run.

    Raises:
        ConfigError: no such set, term, file or function, or a weight that is no number of at least 0.
        InputError: the file of sparse:FILE is none.
    """
    if isinstance(rewards, str) and rewards in REWARD_SETS:
        return
    if isinstance(rewards, str) and rewards.startswith("sparse:"):
        ClassDensity.read(user_path(rewards.removeprefix("sparse:")))
        return
    weights = _terms_of(rewards)
    _check_weights(weights)
    for name in weights:
        check_term(name)


def files_of(rewards: str | Mapping[str, Any]) -> list[Path]:
    """Return the files that a rewards option names, FILE.py of terms and sparse:FILE; what these import is not in it.

    Raises:
        ConfigError: see `check_rewards`.
    """
    if isinstance(rewards, str) and rewards in REWARD_SETS:
        return []
    if isinstance(rewards, str) and rewards.startswith("sparse:"):
        return [user_path(rewards.removeprefix("sparse:"))]
    places = (name.rpartition(":")[0] for name in _terms_of(rewards) if is_custom(name))
    return [user_path(place) for place in places if place.endswith(".py")]


def _terms_of(rewards: str | Mapping[str, Any]) -> dict[str, float]:
    if isinstance(rewards, str) and not is_custom(rewards) and not rewards.lstrip().startswith("{"):
        raise ConfigError(
            f"rewards: expected one of {choices(REWARD_SETS, rewards)}, terms and weights as JSON, or "
            f"FILE.py:FUNCTION, found {rewards!r}"
        )
    return weights_of(rewards)


def _check_weights(weights: Mapping[str, float]) -> None:
    if bad := [f"{k}: {v}" for k, v in weights.items() if not 0 <= v < float("inf")]:
        raise ConfigError(f"reward weights: expected numbers of at least 0, found {bad[0]}")


class Score(NamedTuple):
    """One completion's scores.

    Attributes:
        terms: each term's fraction in [0, 1] (in [-1, 1] where cosines are not clamped), None where it does not apply.
        total: weighted mean of the terms that apply and have a weight.
        issues: what was wrong with the text.
    """

    terms: dict[str, float | None]
    total: float
    issues: tuple[Issue, ...]


class Rubric:
    """Scores completions against true graphs.

    Attributes:
        weights: the weight of each term, by the name it has in logs and results.
        names: the terms that are computed.
        conventions: how completions are read and judged.
    """

    def __init__(
        self,
        weights: Mapping[str, float] = REWARD_SETS[DEFAULT_SET].weights,
        similarity: LabelSimilarity | None = None,
        *,
        clamp: bool | None = None,
        task: Task = "sgg",
        repair: bool = False,
        conventions: Conventions = PAPER,
    ) -> None:
        """Choose what counts.

        Args:
            weights: weight of each term, none negative; a term is a name of `r1sgg.rewards.terms.TERMS`, or
                FILE.py:FUNCTION (see `r1sgg.rewards.custom`).
            similarity: how labels are compared; the embedded word vectors if None.
            clamp: count negative cosines as 0, so that the product of two wrong labels earns nothing; None as the
                conventions say.
            task: "sgg"; "det" (objects only: terms of relationships do not apply); "cls" (relationships between given
                objects: terms of objects do not apply, `edge` pairs triplets by their labels alone, and a completion
                without objects refers to the true ones).
            repair: read truncated JSON as far as it goes instead of counting a failure.
            conventions: how completions are read and judged.

        Raises:
            ConfigError: an unknown term or task, or a weight that is negative or not finite.
        """
        _check_weights(weights)
        if task not in TASKS:
            raise ConfigError(f"task: expected one of {', '.join(TASKS)}, found {task!r}")
        self.task, self.repair, self.conventions = task, repair, conventions
        rules = conventions.rules
        self.rules = rules if clamp is None else replace(rules, clamp=clamp)
        self.weights = {name_of(name): weight for name, weight in weights.items()}
        if len(self.weights) < len(weights):
            raise ConfigError(f"reward weights: expected functions with names that differ, found {', '.join(weights)}")
        spelt = {name_of(name): name for name in weights}
        self.names = tuple(dict.fromkeys((*STANDARD_TERMS, *spelt)))
        self._terms = {name: load_term(spelt.get(name, name)) for name in self.names}
        self._custom = {name for name, written in spelt.items() if is_custom(written)}
        if task == "cls":
            self._terms["edge"] = edge_by_label
        self._terms |= {k: v for k, v in conventions.terms(task).items() if k in self._terms}
        given = load_similarity("glove") if similarity is None else similarity
        self.similarity = conventions.similarity(given)
        self._table = LabelTable(self.similarity)
        keep_freed_memory()

    @classmethod
    def of(
        cls, rewards: str | Mapping[str, Any] = DEFAULT_SET, similarity: LabelSimilarity | None = None, **options: Any
    ) -> Rubric:
        """The rubric that `--rewards` or a recipe asks for.

        Args:
            rewards: a reward set's name, a mapping of terms to weights, JSON text of one, or FILE.py:FUNCTION;
                sparse:FILE takes the class statistics of a training set (`r1sgg.rewards.sparse.ClassDensity`).
            similarity: as for the class.
            **options: as for the class.

        Raises:
            ConfigError: no such set, term or file, or a weight that is no number.
        """
        if isinstance(rewards, str) and rewards in REWARD_SETS:
            chosen = REWARD_SETS[rewards]
            return cls(chosen.weights, similarity, conventions=chosen.conventions, **options)
        if isinstance(rewards, str) and rewards.startswith("sparse:"):
            rubric = cls.of("sparse", similarity, **options)
            rubric._terms["triplet_pu"] = ClassDensity.read(user_path(rewards.removeprefix("sparse:")))
            return rubric
        return cls(_terms_of(rewards), similarity, **options)

    @classmethod
    def named(cls, name: str, similarity: LabelSimilarity | None = None, **options: Any) -> Rubric:
        """Call `of`, which this was named until version 0.1.0; removed in 0.3."""
        warnings.warn("Rubric.named is now Rubric.of, which also takes terms", DeprecationWarning, stacklevel=2)
        return cls.of(name, similarity, **options)

    def score(self, completions: Sequence[str], truths: Sequence[SceneGraph], frames: Sequence[Frame]) -> list[Score]:
        """Score a batch: completion k against truths[k], its boxes relative to frames[k].

        Raises:
            ValueError: the three differ in length.
        """
        return self.score_parsed(completions, self.read(completions, truths, frames), truths, frames)

    def read(self, completions: Sequence[str], truths: Sequence[SceneGraph], frames: Sequence[Frame]) -> list[Parsed]:
        """Parse completions as the task and the conventions ask for.

        Raises:
            ValueError: the three differ in length.
        """
        if not len(completions) == len(truths) == len(frames):
            raise ValueError(
                f"expected as many truths and frames as completions ({len(completions)}), "
                f"found {len(truths)} and {len(frames)}"
            )
        rows = zip(completions, truths, frames, strict=True)
        return [self.conventions.read(*row, self.task, self.repair) for row in rows]

    def score_parsed(
        self,
        completions: Sequence[str],
        parsed: Sequence[Parsed],
        truths: Sequence[SceneGraph],
        frames: Sequence[Frame],
    ) -> list[Score]:
        """Score completions that have been parsed by `read`."""
        scores: list[Score] = []
        for part in _parts(parsed, truths):
            scores += self._scores(self.evidence(completions[part], parsed[part], truths[part], frames[part]))
        return scores

    def evidence(
        self,
        completions: Sequence[str],
        parsed: Sequence[Parsed],
        truths: Sequence[SceneGraph],
        frames: Sequence[Frame],
    ) -> CompletionEvidence:
        """Judge completions against their truths, by this rubric's conventions."""
        self._table.make_room()
        return CompletionEvidence(completions, parsed, truths, frames, self._table, self.rules)

    def about(self, name: str) -> str | None:
        """The docstring of a term."""
        return self._terms[name].__doc__

    def term(self, name: str, evidence: CompletionEvidence) -> Array:
        """One term of a batch, (B,): NaN where it does not apply."""
        if (self.task == "det" and name in NEEDS_RELATIONSHIPS) or (self.task == "cls" and name in NEEDS_OBJECTS):
            return np.full(len(evidence), np.nan)
        values = self._terms[name](evidence)
        if name in self._custom:
            return values
        return np.clip(values, 0.0 if self.rules.clamp else -1.0, 1.0)  # sums of exact fractions may end in 1 + 1e-16

    def _scores(self, evidence: CompletionEvidence) -> list[Score]:
        columns: list[list[float | None]] = []
        sums, weights = np.zeros(len(evidence)), np.zeros(len(evidence))
        for name in self.names:
            values = self.term(name, evidence)
            share = self.weights.get(name, 0.0)
            applies = ~np.isnan(values)
            if not applies.all():
                columns.append([v if ok else None for v, ok in zip(values.tolist(), applies.tolist(), strict=True)])
                values = np.where(applies, values, 0.0)
            else:
                columns.append(values.tolist())
            if share:
                sums += share * values
                weights += share * applies
        totals = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0).tolist()
        names = self.names
        return [
            Score(dict(zip(names, row, strict=True)), total, parsed.issues)
            for row, total, parsed in zip(zip(*columns, strict=True), totals, evidence.parsed, strict=True)
        ]


_BATCH = 256
_MOST_CELLS = 1_000_000  # pairs of objects or triplets in one go: bounds memory whatever the completions hold


def _parts(parsed: Sequence[Parsed], truths: Sequence[SceneGraph]) -> list[slice]:
    """The batch in parts that fit into memory."""
    parts: list[slice] = []
    start = cells = 0
    for k, (p, truth) in enumerate(zip(parsed, truths, strict=True)):
        columns = p.columns
        own = len(columns.labels) * len(truth) + len(columns.predicates) * len(truth.pairs)
        if k > start and (k - start == _BATCH or cells + own > _MOST_CELLS):
            parts.append(slice(start, k))
            start, cells = k, 0
        cells += own
    return [*parts, slice(start, len(parsed))] if len(parsed) else []
