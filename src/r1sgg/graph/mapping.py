"""Map the open names of an answer onto a closed vocabulary, and say every mapping that was made.

Three levels: "none" (a name counts if it is in the vocabulary after `normalize_name`), "normal" (also its normal form:
plural, spaces, verb form, and passives turned round), "full" (also synonyms, the head noun of a compound, and the
nearest name by a label similarity). A name that is in the vocabulary is never mapped.

Object names are mapped onto object names and predicates onto predicates, never across. WordNet is deliberately not
used: its distances merge classes that a vocabulary keeps apart (man and boy, shirt and jacket).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from r1sgg.errors import ConfigError
from r1sgg.graph import synonyms
from r1sgg.graph.forms import bare_predicate, object_form, passive_forms, singular, verb_forms
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import Vocabulary

Level = Literal["none", "normal", "full"]
LEVELS: tuple[Level, ...] = get_args(Level)
NEAREST_OBJECT, NEAREST_PREDICATE = 0.9, 0.96
"""Smallest cosine at which "full" takes the nearest name; read off the names of raw Visual Genome with the embedded
GloVe vectors. Predicates share their function words, so that most of them are near to each other."""


class Similarity(Protocol):
    """The part of a label similarity that mapping needs (see `r1sgg.judging.labels`)."""

    def __hash__(self) -> int:
        """Mappers are remembered by it."""

    def table(self, a: Sequence[str], b: Sequence[str]) -> npt.NDArray[np.floating]:
        """Cosines in [-1, 1], (len(a), len(b))."""


class Change(NamedTuple):
    """One mapping: `kind` is "object" or "predicate", `to` is None where the name was dropped.

    `how`: "normal form", "passive" (subject and object change places), "synonym", "head noun", "nearest (0.87)" or
    "not in vocabulary".
    """

    kind: str
    name: str
    to: str | None
    how: str


class Mapped(NamedTuple):
    """A graph with names of the vocabulary only, and the changes that made it so (each name once)."""

    graph: SceneGraph
    changes: tuple[Change, ...] = ()


def map_graph(
    graph: SceneGraph, vocabulary: Vocabulary, mapping: Level = "normal", similarity: Similarity | None = None
) -> Mapped:
    """Restrict a graph to a vocabulary.

    Objects whose label has no counterpart are dropped with their relationships, and so are relationships whose
    predicate has none. Order, ids and scores are kept. A graph that needs nothing is returned itself.

    Args:
        graph: labels and predicates as `SceneGraph` holds them (normalised).
        vocabulary: an open side is left as it is.
        mapping: "none", "normal" or "full".
        similarity: used by "full" only, for names that no rule knows; hashable.

    Raises:
        ConfigError: no such mapping.
    """
    if vocabulary.covers(graph):
        return Mapped(graph)
    return mapper(vocabulary, mapping, similarity).map(graph)


@functools.lru_cache(64)
def mapper(vocabulary: Vocabulary, mapping: Level = "normal", similarity: Similarity | None = None) -> Mapper:
    """The mapper for these settings, with all that it has looked up so far.

    Raises:
        ConfigError: no such mapping.
    """
    if mapping not in LEVELS:
        raise ConfigError(f"mapping: expected one of {', '.join(LEVELS)}, found {mapping!r}")
    return Mapper(vocabulary, mapping, similarity if mapping == "full" else None)


class _Target(NamedTuple):
    """Where a name leads: `name` None is nowhere; `swap` turns the relationship round."""

    name: str | None
    how: str = ""
    swap: bool = False


_NOWHERE = _Target(None, "not in vocabulary")
_JOINING = frozenset(
    ("on", "in", "at", "by", "of", "to", "with", "from", "has", "have", "is", "are", "and", "near", "behind", "see")
)
"""Words after which the last word of a label is not its head: "glasses on man"."""


@dataclass(frozen=True, eq=False)
class Mapper:
    """Looks names up once and remembers them. Make it with `mapper`."""

    vocabulary: Vocabulary
    level: Level
    similarity: Similarity | None = None

    def map(self, graph: SceneGraph) -> Mapped:
        """See `map_graph`."""
        labels = [self.object(label) for label in graph.labels]
        predicates = [self.predicate(name) for name in graph.predicates]
        kept = [k for k, target in enumerate(labels) if target.name is not None]
        place = {old: new for new, old in enumerate(kept)}
        rows = [
            r for r, (s, o) in enumerate(graph.pairs) if predicates[r].name is not None and s in place and o in place
        ]
        pairs = [(place[graph.pairs[r][0]], place[graph.pairs[r][1]]) for r in rows]
        mapped = replace(
            graph,
            ids=tuple(graph.ids[k] for k in kept),
            labels=tuple(str(labels[k].name) for k in kept),
            boxes=graph.boxes[kept],
            pairs=tuple((o, s) if predicates[r].swap else (s, o) for r, (s, o) in zip(rows, pairs, strict=True)),
            predicates=tuple(str(predicates[r].name) for r in rows),
            object_scores=None if graph.object_scores is None else graph.object_scores[kept],
            relationship_scores=None if graph.relationship_scores is None else graph.relationship_scores[rows],
        )
        found = [("object", name, t) for name, t in zip(graph.labels, labels, strict=True) if t.how]
        found += [("predicate", name, t) for name, t in zip(graph.predicates, predicates, strict=True) if t.how]
        changes = dict.fromkeys(Change(kind, name, t.name, t.how) for kind, name, t in found)
        return Mapped(mapped, tuple(changes))

    @functools.lru_cache(1 << 16)  # noqa: B019 - mappers are few, and made by a cache themselves
    def object(self, label: str) -> _Target:
        """Where an object class leads."""
        if self.vocabulary.has_object(label):
            return _Target(label)
        if self.level == "none":
            return _NOWHERE
        if (name := self._by_form(label)) is not None:
            return _Target(name, "normal form")
        if self.level == "normal":
            return _NOWHERE
        if (name := self._by_synonym(label)) is not None:
            return _Target(name, "synonym") if name else _NOWHERE
        head = "" if _JOINING.intersection(label.split()) else label
        while " " in head:  # "red tennis racket" -> "tennis racket" -> "racket"
            head = head.partition(" ")[2]
            for name in (head if head in self._objects else None, self._by_form(head), self._by_synonym(head)):
                if name:
                    return _Target(name, "head noun")
        return self._nearest(label, self.vocabulary.objects, NEAREST_OBJECT)

    @functools.lru_cache(1 << 16)  # noqa: B019 - as above
    def predicate(self, name: str) -> _Target:
        """Where a predicate leads."""
        if self.vocabulary.has_predicate(name):
            return _Target(name)
        if self.level == "none":
            return _NOWHERE
        plain = bare_predicate(name)
        for form in (name, plain):
            if (target := self._predicate_forms.get(form)) is not None:
                return target
        if self.level == "normal":
            return _NOWHERE
        for form in (name, plain):
            for other in synonyms.of_predicate(form):
                if other in self.vocabulary.predicate_index:
                    return _Target(other, "synonym")
        return self._nearest(plain or name, self.vocabulary.predicates, NEAREST_PREDICATE)

    def _by_form(self, label: str) -> str | None:
        return self._object_forms.get(object_form(label))

    def _by_synonym(self, label: str) -> str | None:
        """A name; "" where the table says that there is none; None where it doesn't know the label."""
        forms = (label, singular(label))
        for form in forms:
            for other in synonyms.of_object(form):
                if other in self._objects:
                    return other
        return "" if synonyms.NOT_WHAT_THEY_SAY.intersection(forms) else None

    def _nearest(self, name: str, names: tuple[str, ...], least: float) -> _Target:
        if self.similarity is None or not names:
            return _NOWHERE
        cosines = np.asarray(self.similarity.table([name], names))[0]
        best = int(cosines.argmax())
        if not cosines[best] >= least:
            return _NOWHERE
        return _Target(names[best], f"nearest ({cosines[best]:.2f})")

    @property
    def _objects(self) -> dict[str, int]:
        return self.vocabulary.object_index

    @functools.cached_property
    def _object_forms(self) -> dict[str, str]:
        """Normal form -> name; of two names with one form ("man", "men") the one that is its own form counts."""
        names = self.vocabulary.objects
        forms = {name: name for name in names if object_form(name) == name}
        for name in names:
            forms.setdefault(object_form(name), name)
        for name in names:  # PSG's "sky other merged", "door stuff": the words behind are its bookkeeping
            words = name.split()
            while len(words) > 1 and words[-1] in ("merged", "other", "stuff"):
                words.pop()
                forms.setdefault(object_form(" ".join(words)), name)
        return forms

    @functools.cached_property
    def _predicate_forms(self) -> dict[str, _Target]:
        """Forms of the vocabulary's predicates -> what they stand for."""
        names = self.vocabulary.predicates
        forms = {name: _Target(name, "normal form") for name in names}
        for name in names:
            for form in verb_forms(name):
                forms.setdefault(form, _Target(name, "normal form"))
        for name in names:
            for form in passive_forms(name):
                forms.setdefault(form, _Target(name, "passive", swap=True))
        return forms
