"""A rubric: named, weighted terms over one parse and one match per answer.

    >>> from r1sgg.judging.labels import load_similarity
    >>> rubric = Rubric(REWARD_SETS["paper-v4"].weights, load_similarity("exact"))

The named sets are in `REWARD_SETS`. Deliberately no training here (trainers call `r1sgg.rewards.adapters`), and no
guessing: what to score against, and in which frame the answer's boxes are, is passed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Literal, NamedTuple

import numpy as np

from r1sgg.errors import ConfigError
from r1sgg.graph.document import find_document
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import Frame, Issue, Parsed, graph_of_document, parse
from r1sgg.judging.assignment import PAPER_COST, Array, MatchCost, keep_freed_memory
from r1sgg.judging.labels import LabelSimilarity, LabelTable, load_similarity
from r1sgg.rewards.answers import Answers, answers_of, read_answers
from r1sgg.rewards.evidence import Evidence
from r1sgg.rewards.terms import NEEDS_OBJECTS, NEEDS_RELATIONSHIPS, TERMS, edge_by_label

STANDARD_TERMS = ("format", "node", "edge", "hard_recall", "hard_recall_relax")
"""Always computed; those without a weight do not enter the total."""

Task = Literal["sgg", "det", "cls"]


@dataclass(frozen=True, slots=True)
class RewardSet:
    """Weights, and what they are for."""

    weights: Mapping[str, float]
    about: str


REWARD_SETS: dict[str, RewardSet] = {
    "paper-v1": RewardSet({"format": 1.0, "node": 2.0, "edge": 5.0}, "format + soft node + soft edge"),
    "paper-v4": RewardSet({"format": 1.0, "hard_recall": 5.0}, "format + hard recall (best published mR)"),
    "paper-v4-relax": RewardSet({"format": 1.0, "hard_recall_relax": 5.0}, "format + relaxed hard recall"),
    "balanced": RewardSet(
        {"format": 0.5, "node": 0.5, "edge_f1": 1.0, "distinct": 0.1},
        "format + soft node + one-to-one soft F1 of triplets: listing everything does not pay",
    ),
    "original": RewardSet(
        {"format": 1.0, "node_label": 2.0, "node_box": 2.0, "edge": 5.0, "hard_recall": 5.0, "hard_recall_relax": 5.0},
        "the original code's six functions with its weights and conventions (see `r1sgg.rewards.original`)",
    ),
}
"""Reward sets by name."""

DEFAULT_WEIGHTS: Mapping[str, float] = REWARD_SETS["paper-v1"].weights


class Score(NamedTuple):
    """One answer's scores.

    Attributes:
        terms: each term's fraction in [0, 1] (in [-1, 1] where cosines are not clamped), None where it does not apply.
        total: weighted mean of the terms that apply and have a weight.
        issues: what was wrong with the text.
    """

    terms: dict[str, float | None]
    total: float
    issues: tuple[Issue, ...]


class Rubric:
    """Scores answers against true graphs.

    Attributes:
        cost: of matching objects (Eq. 3).
        last_predicate: of several predictions on one ordered pair the last counts in `edge`, not the best.
    """

    cost: MatchCost = PAPER_COST
    last_predicate: bool = False

    def __init__(
        self,
        weights: Mapping[str, float] = DEFAULT_WEIGHTS,
        similarity: LabelSimilarity | None = None,
        *,
        clamp: bool = True,
        task: Task = "sgg",
        repair: bool = False,
    ) -> None:
        """Choose what counts.

        Args:
            weights: weight of each term (names: `r1sgg.rewards.terms.TERMS`), none negative.
            similarity: how labels are compared; the embedded word vectors if None.
            clamp: count negative cosines as 0, so that the product of two wrong labels does not pay.
            task: "sgg"; "det" (objects only: terms of relationships do not apply); "cls" (relationships between given
                objects: terms of objects do not apply, `edge` pairs triplets by their labels alone, and an answer
                without objects refers to the true ones).
            repair: read truncated JSON as far as it goes instead of counting a failure.

        Raises:
            ConfigError: an unknown term or task, or a weight that is negative or not finite.
        """
        if unknown := sorted(set(weights) - set(TERMS)):
            raise ConfigError(f"reward weights: expected terms among {', '.join(TERMS)}, found {unknown[0]!r}")
        if bad := [f"{k}: {v}" for k, v in weights.items() if not 0 <= v < float("inf")]:
            raise ConfigError(f"reward weights: expected numbers of at least 0, found {bad[0]}")
        if task not in ("sgg", "det", "cls"):
            raise ConfigError(f"task: expected 'sgg', 'det' or 'cls', found {task!r}")
        self.weights = dict(weights)
        self.clamp, self.task, self.repair = clamp, task, repair
        self.names = tuple(dict.fromkeys((*STANDARD_TERMS, *weights)))
        self._use(load_similarity("glove") if similarity is None else similarity)
        keep_freed_memory()

    def _use(self, similarity: LabelSimilarity) -> None:
        self.similarity = similarity
        self._table = LabelTable(similarity)

    @classmethod
    def named(cls, name: str, similarity: LabelSimilarity | None = None, **options: Any) -> Rubric:
        """The rubric of a named reward set; `options` as for the class.

        Raises:
            ConfigError: no set has this name.
        """
        if name not in REWARD_SETS:
            raise ConfigError(f"rewards: expected one of {', '.join(REWARD_SETS)}, found {name!r}")
        if name == "original":
            from r1sgg.rewards.original import OriginalRubric

            return OriginalRubric(REWARD_SETS[name].weights, similarity, **options)
        return cls(REWARD_SETS[name].weights, similarity, **options)

    def score(self, completions: Sequence[str], truths: Sequence[SceneGraph], frames: Sequence[Frame]) -> list[Score]:
        """Score a batch: completion k against truths[k], its boxes relative to frames[k].

        Raises:
            ValueError: the three differ in length.
        """
        if not len(completions) == len(truths) == len(frames):
            raise ValueError(
                f"expected as many truths and frames as completions ({len(completions)}), "
                f"found {len(truths)} and {len(frames)}"
            )
        scores: list[Score] = []
        for start in range(0, len(completions), _BATCH):
            part = slice(start, start + _BATCH)
            scores += self._score(completions[part], truths[part], frames[part])
        return scores

    def _score(self, texts: Sequence[str], truths: Sequence[SceneGraph], frames: Sequence[Frame]) -> list[Score]:
        answers = self.answers(texts, truths, frames)
        if len(texts) > 1 and _cells(truths, answers) > _MOST_CELLS:
            half = len(texts) // 2
            return [s for k in (slice(half), slice(half, None)) for s in self._score(texts[k], truths[k], frames[k])]
        return self._scores(self.evidence(texts, answers, truths, frames))

    def answers(self, texts: Sequence[str], truths: Sequence[SceneGraph], frames: Sequence[Frame]) -> Answers:
        """Read a batch."""
        if self.task != "cls" and not self.repair:
            return read_answers(texts, frames)
        return answers_of(texts, [self.read(*row) for row in zip(texts, truths, frames, strict=True)])

    def read(self, completion: str, truth: SceneGraph, frame: Frame) -> Parsed:
        """Parse one answer as the task asks for."""
        if self.task != "cls":
            return parse(completion, frame, repair=self.repair)
        issues: list[Issue] = []
        document = find_document(completion, issues, repair=self.repair)
        if document is None:
            return Parsed(EMPTY, tuple(issues))
        if "objects" not in document:
            boxes = (truth.boxes * (*frame, *frame)).tolist()
            document["objects"] = [{"id": i, "bbox": box} for i, box in zip(truth.ids, boxes, strict=True)]
        return Parsed(graph_of_document(document, frame, issues), tuple(issues))

    def evidence(
        self, texts: Sequence[str], answers: Answers, truths: Sequence[SceneGraph], frames: Sequence[Frame]
    ) -> Evidence:
        """Match answers with their truths, by this rubric's conventions."""
        self._table.make_room()
        return Evidence(
            texts,
            answers,
            truths,
            frames,
            self._table,
            cost=self.cost,
            clamp=self.clamp,
            last_predicate=self.last_predicate,
        )

    def term(self, name: str, evidence: Evidence) -> Array:
        """One term of a batch, (B,): NaN where it does not apply."""
        if (self.task == "det" and name in NEEDS_RELATIONSHIPS) or (self.task == "cls" and name in NEEDS_OBJECTS):
            return np.full(len(evidence), np.nan)
        values = edge_by_label(evidence) if self.task == "cls" and name == "edge" else TERMS[name](evidence)
        return np.clip(values, 0.0 if self.clamp else -1.0, 1.0)  # sums of exact fractions may end in 1 + 1e-16

    def _scores(self, evidence: Evidence) -> list[Score]:
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
            Score(dict(zip(names, row, strict=True)), total, issues)
            for row, total, issues in zip(zip(*columns, strict=True), totals, evidence.answers.issues, strict=True)
        ]


_BATCH = 256
_MOST_CELLS = 1_000_000  # pairs of objects or triplets in one go: bounds memory whatever the answers hold


def _cells(truths: Sequence[SceneGraph], answers: Answers) -> int:
    objects, triplets = [len(t.labels) for t in truths], [len(t.pairs) for t in truths]
    return int(sum(map(mul, objects, answers.counts)) + sum(map(mul, triplets, answers.triplets)))
