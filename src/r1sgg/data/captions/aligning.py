"""Names of captions to names of the vocabulary. Each distinct name is aligned once.

rules        `r1sgg.graph.mapping` without a similarity: normal form, synonym, head noun; then the predicate without a
             verb of posture ("sitting next to" is "next to")
embedding    the same, then the nearest name of the embedded word vectors, if it is near enough
ENGINE       the same rules, and what they leave is asked of a language model (`r1sgg.data.captions.asking`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from r1sgg.graph.forms import bare_predicate
from r1sgg.graph.mapping import Mapper, mapper
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.vocabulary import Vocabulary
from r1sgg.judging.labels import load_similarity


class Aligned(NamedTuple):
    """What a name became: None where the vocabulary has no counterpart.

    `how` says by which rule ("" where the name is in the vocabulary); `swap` exchanges subject and object.
    """

    name: str | None
    how: str = ""
    swap: bool = False


DROPPED = Aligned(None, "not in vocabulary")
_POSTURE = frozenset(
    (
        *("sitting", "seated", "standing", "lying", "laying", "parked", "placed", "located", "hanging", "resting"),
        *("walking", "running", "flying", "mounted", "set", "positioned", "situated", "riding", "leaning", "perched"),
        *("posing", "gathered", "stacked", "piled", "lined", "floating", "waiting", "playing", "sleeping", "growing"),
        *("relaxing", "lounging", "grazing", "driving", "traveling", "moving", "skiing", "surfing", "swimming"),
    )
)
"""Verbs without which a preposition says the same about place."""

Ask = Callable[[str, Sequence[str]], dict[str, str | None]]
"""Asks a language model: "object" or "predicate" and distinct names -> for each its name in the vocabulary, or None."""


@dataclass
class Aligner:
    """Aligns names with a vocabulary; an open side keeps every name, in its normal form.

    Attributes:
        vocabulary: the target.
        how: "rules", "embedding", or the name of an engine.
        ask: the engine, where there is one.
    """

    vocabulary: Vocabulary
    how: str = "rules"
    ask: Ask | None = None
    _objects: dict[str, Aligned] = field(default_factory=dict)
    _predicates: dict[str, Aligned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rules: Mapper = mapper(self.vocabulary, "full", None)
        nearest = self.how == "embedding"
        self._nearest: Mapper | None = mapper(self.vocabulary, "full", load_similarity("glove")) if nearest else None

    def prepare(self, objects: Iterable[str], predicates: Iterable[str]) -> None:
        """Align the names that are new, those that only an engine can align in one go."""
        for kind, names, known, rule in (
            ("object", objects, self._objects, self._object),
            ("predicate", predicates, self._predicates, self._predicate),
        ):
            unknown: list[str] = []
            for name in dict.fromkeys(names):
                if name in known:
                    continue
                found = known[name] = rule(name)
                if found.name is None and self.ask is not None and _can_be_asked(kind, name):
                    unknown.append(name)
            if unknown and self.ask is not None:
                for name, target in self.ask(kind, unknown).items():
                    known[name] = (
                        Aligned(target, self.how) if target is not None else Aligned(None, f"none ({self.how})")
                    )

    def object(self, name: str) -> Aligned:
        """Return what a noun became; `prepare` must have had it."""
        return self._objects[name]

    def predicate(self, name: str) -> Aligned:
        """Return what a predicate became; `prepare` must have had it."""
        return self._predicates[name]

    def _object(self, name: str) -> Aligned:
        label = normalize_name(name)
        if not label:
            return DROPPED
        if not self.vocabulary.objects:
            return Aligned(label)
        target = self._rules.object(label)
        if target.name is None and self._nearest is not None:
            target = self._nearest.object(label)
        return Aligned(*target)

    def _predicate(self, name: str) -> Aligned:
        label = normalize_name(name)
        if not label:
            return DROPPED
        if not self.vocabulary.predicates:
            return Aligned(bare_predicate(label) or label)
        target = self._rules.predicate(label)
        if target.name is not None:
            return Aligned(*target)
        verb, _, rest = label.partition(" ")
        if rest and verb in _POSTURE:
            shorter = self._rules.predicate(rest)
            if shorter.name is not None:
                return Aligned(
                    shorter.name, "without its verb" + (f", {shorter.how}" if shorter.how else ""), shorter.swap
                )
        if self._nearest is not None:
            target = self._nearest.predicate(label)
        return Aligned(*target)


def _can_be_asked(kind: str, name: str) -> bool:
    """Whether a name is worth a question: LLM4SGG's rules are that digits, and predicates of over 4 words, are none."""
    return not name.isdigit() and len(name.split()) <= (4 if kind == "predicate" else 6)
