"""Four-way questions about the relations of a ground truth: the true predicate and three that are not annotated.

    {"id": "2#0", "image_id": "2", "subject": "man.1", "object": "street.1", "subject_box": [119, 70, 197, 330],
     "object_box": [2, 280, 798, 598], "options": {"A": "on", "B": "walking on", "C": "has", "D": "near"},
     "answer": "B"}

Boxes are in pixels. A distractor may be true all the same if the annotation is incomplete. Distractors are seeded by
the question's own id, so they do not change when other questions are added or removed; the position of the answer may.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import orjson

from r1sgg.data.base import Example
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.metrics.frequency import TrainingStatistics

_T = TypeVar("_T")

LETTERS = ("A", "B", "C", "D")
Scheme = Literal["uniform", "frequency", "hard"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
"""Distractors: all predicates with equal probability; by their frequency; plausible for the classes of the pair."""


@dataclass(frozen=True, slots=True)
class Question:
    """A relation to recognise; `subject` and `object` are indices of the example's objects, `answer` of an option."""

    id: str
    example: Example
    subject: int
    object: int
    options: tuple[str, ...]
    answer: int

    @property
    def predicate(self) -> str:
        """The right option."""
        return self.options[self.answer]

    def to_record(self) -> dict[str, Any]:
        """Return the object for questions.jsonl."""
        graph, boxes = self.example.graph, self.example.pixel_boxes.tolist()
        return {
            "id": self.id,
            "image_id": self.example.image_id,
            "subject": graph.ids[self.subject],
            "object": graph.ids[self.object],
            "subject_box": boxes[self.subject],
            "object_box": boxes[self.object],
            "options": dict(zip(LETTERS, self.options, strict=True)),
            "answer": LETTERS[self.answer],
        }


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions in the order of the ground truth, and the number of relations without one, by reason."""

    questions: tuple[Question, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of questions.jsonl."""
        for question in self.questions:
            yield orjson.dumps(question.to_record()) + b"\n"

    @property
    def hash(self) -> str:
        """16 hex digits; two runs with the same hash were asked the same questions."""
        return hashlib.sha256(b"".join(self.lines())).hexdigest()[:16]


def build_questions(
    examples: Iterable[Example],
    *,
    vocabulary: Vocabulary = OPEN,
    scheme: Scheme = "uniform",
    statistics: TrainingStatistics | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> QuestionSet:
    """Make one question per relation; a triplet that the annotation repeats gives one question.

    A relation gives none if its predicate is not in the vocabulary ("outside_vocabulary"), or if fewer than three
    predicates are left beside those of its pair ("too_few_predicates"): with fewer options chance would not be a
    quarter. Among the first 4k questions, for any k, each letter is right k times.

    Args:
        examples: the ground truth.
        vocabulary: predicates to choose from; an open one means those that occur in `examples` and `statistics`.
        scheme: how distractors are drawn, always without replacement. "uniform": with equal probability. "frequency":
            in proportion to counts in `statistics`, or in `examples` without them. "hard": in proportion to the
            predicate's count for this pair of classes in `statistics`; if these run out, for either class in its role;
            then overall. If all counts run out, with equal probability.
        statistics: counts over a training set.
        seed: of distractors and positions.
        limit: use only this many examples, the first; counts and an open vocabulary still come from all.

    Raises:
        ConfigError: the scheme is unknown, or is "hard" without statistics.
        InputError: not one question can be asked.
    """
    if scheme not in SCHEMES:
        raise ConfigError(f"distractors: expected one of {', '.join(SCHEMES)}, found {scheme!r}")
    if scheme == "hard" and statistics is None:
        raise ConfigError(
            "distractors hard: expected a training set to count plausible predicates, found none; add --train"
        )
    held = list(examples)
    counts = Counter(p for e in held for p in e.graph.predicates) if statistics is None else statistics.predicates
    names = vocabulary.predicates or tuple(sorted({p for e in held for p in e.graph.predicates} | set(counts)))
    weigh = _Weights(scheme, names, counts, statistics)
    questions: list[Question] = []
    left_out: Counter[str] = Counter()
    for example in held[:limit]:
        graph = example.graph
        true: dict[tuple[int, int], list[str]] = {}
        for pair, predicate in zip(graph.pairs, graph.predicates, strict=True):
            true.setdefault(pair, []).append(predicate)
        relations = dict.fromkeys(zip(graph.pairs, graph.predicates, strict=True))
        for number, (pair, predicate) in enumerate(relations):
            name = f"{example.image_id}#{number}"
            if predicate not in weigh.known:
                left_out["outside_vocabulary"] += 1
                continue
            rng = _generator(seed, name)
            wrong = draw(weigh.tiers(graph.labels[pair[0]], graph.labels[pair[1]]), set(true[pair]), rng)
            if len(wrong) < len(LETTERS) - 1:
                left_out["too_few_predicates"] += 1
                continue
            place = _position(len(questions), seed)
            options = (*wrong[:place], predicate, *wrong[place:])
            questions.append(Question(name, example, *pair, options, place))
    if not questions:
        reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in left_out.items()) or "no relation"
        raise InputError("ground truth", expected="a relation and three predicates that it is not", found=reasons)
    return QuestionSet(tuple(questions), dict(left_out))


class _Weights:
    """For a pair of classes: tables of weights, each of which is used up before the next."""

    def __init__(
        self, scheme: Scheme, names: Sequence[str], counts: Counter[str], statistics: TrainingStatistics | None
    ) -> None:
        self.known = frozenset(names)
        self._last: list[dict[str, float]] = [dict.fromkeys(sorted(names), 1.0)]
        if scheme != "uniform":
            self._last.insert(0, self._kept(counts))
        self._pairs = statistics.pairs if scheme == "hard" and statistics is not None else None
        self._subjects: dict[str, Counter[str]] = {}
        self._objects: dict[str, Counter[str]] = {}
        for (subject, target), pair_counts in (self._pairs or {}).items():
            self._subjects.setdefault(subject, Counter()).update(pair_counts)
            self._objects.setdefault(target, Counter()).update(pair_counts)

    def tiers(self, subject: str, target: str) -> list[dict[str, float]]:
        """List the tables of weights (above 0) by predicate, in alphabetical order."""
        if self._pairs is None:
            return self._last
        either = self._subjects.get(subject, Counter()) + self._objects.get(target, Counter())
        return [self._kept(self._pairs.get((subject, target), Counter())), self._kept(either), *self._last]

    def _kept(self, counts: Mapping[str, int]) -> dict[str, float]:
        return {name: float(counts[name]) for name in sorted(counts) if counts[name] > 0 and name in self.known}


def draw(
    tiers: Iterable[Mapping[str, float]], forbidden: set[str], rng: random.Random, count: int = len(LETTERS) - 1
) -> list[str]:
    """Draw up to `count` names without replacement, in random order; a table is used when those before it are empty.

    Within a table the probability of a name is in proportion to its weight: the names with the largest keys
    log(u) / weight, for uniform u, are such a sample (Efraimidis and Spirakis 2006).
    """
    chosen: list[str] = []
    for table in tiers:
        keys = {
            name: math.log(1.0 - rng.random()) / weight
            for name, weight in table.items()
            if name not in forbidden and name not in chosen
        }
        chosen += sorted(keys, key=lambda name: -keys[name])[: count - len(chosen)]
        if len(chosen) == count:
            break
    return _shuffled(chosen, rng)  # drawn in order of probability, so the position would be a hint


def _position(number: int, seed: int) -> int:
    """Choose the position of the n-th question's answer: each block of four has each letter once."""
    block, place = divmod(number, len(LETTERS))
    return _shuffled(range(len(LETTERS)), _generator(seed, f"positions {block}"))[place]


def _shuffled(items: Iterable[_T], rng: random.Random) -> list[_T]:
    return [item for _, item in sorted(((rng.random(), item) for item in items), key=lambda pair: pair[0])]


def _generator(seed: int, name: str) -> random.Random:
    digest = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
