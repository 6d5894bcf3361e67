"""Map the open names of a prediction to a closed vocabulary, and report every mapping.

There are three levels. "none": a name counts if it is in the vocabulary after `normalize_name`. "normal": also if its
normal form is (plural, spaces, verb form; a passive exchanges subject and object). "full": also by synonyms, by the
head noun of a compound, and by the nearest name of a label similarity. A name in the vocabulary is never mapped.

Object classes are mapped to object classes and predicates to predicates. WordNet is not used, because its distances
merge classes that a vocabulary distinguishes (man and boy, shirt and jacket).
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
"""Smallest cosine at which "full" takes the nearest name, chosen on the names of raw Visual Genome with the embedded
GloVe vectors. It is larger for predicates, because they have function words in common and so are similar to each
other."""


class Similarity(Protocol):
    """The part of a label similarity that mapping needs (see `r1sgg.judging.labels`)."""

    def __hash__(self) -> int:
        """`mapper` is cached by it."""

    def table(self, a: Sequence[str], b: Sequence[str]) -> npt.NDArray[np.floating]:
        """Return cosines in [-1, 1], of shape (len(a), len(b))."""


class Change(NamedTuple):
    """One mapping: `kind` is "object" or "predicate"; `to` is None if the name was dropped.

    `how`: "normal form", "passive" (subject and object change places), "synonym", "head noun", "nearest (0.87)" or
    "not in vocabulary".
    """

    kind: str
    name: str
    to: str | None
    how: str


class Mapped(NamedTuple):
    """A graph with names of the vocabulary only, and how its names were changed (each name once)."""

    graph: SceneGraph
    changes: tuple[Change, ...] = ()


def map_graph(
    graph: SceneGraph, vocabulary: Vocabulary, mapping: Level = "normal", similarity: Similarity | None = None
) -> Mapped:
    """Return a graph with names of the vocabulary only, and the changes.

    Objects whose class has no counterpart are dropped with their relationships, and so are relationships whose
    predicate has none. Order, ids and scores are kept. A graph that needs no change is returned itself.

    Args:
        graph: labels and predicates as `SceneGraph` holds them (normalised).
        vocabulary: an open side is left as it is.
        mapping: "none", "normal" or "full".
        similarity: for "full" only, and for names that no rule knows; hashable.

    Raises:
        ConfigError: no such mapping.
    """
    if vocabulary.covers(graph):
        return Mapped(graph)
    return mapper(vocabulary, mapping, similarity).map(graph)


@functools.lru_cache(64)
def mapper(vocabulary: Vocabulary, mapping: Level = "normal", similarity: Similarity | None = None) -> Mapper:
    """Return the mapper for these settings, which remembers the names that it has looked up.

    Raises:
        ConfigError: no such mapping.
    """
    if mapping not in LEVELS:
        raise ConfigError(f"mapping: expected one of {', '.join(LEVELS)}, found {mapping!r}")
    return Mapper(vocabulary, mapping, similarity if mapping == "full" else None)


class _Target(NamedTuple):
    """What a name is mapped to: None for no name; `swap` exchanges subject and object."""

    name: str | None
    how: str = ""
    swap: bool = False


_NOWHERE = _Target(None, "not in vocabulary")
_JOINING = frozenset(
    ("on", "in", "at", "by", "of", "to", "with", "from", "has", "have", "is", "are", "and", "near", "behind", "see")
)
"""A label with one of these words does not end with its head noun: "glasses on man"."""


@dataclass(frozen=True, eq=False)
class Mapper:
    """Maps names, each of which is looked up once. Use `mapper` to make it."""

    vocabulary: Vocabulary
    level: Level
    similarity: Similarity | None = None

    def map(self, graph: SceneGraph) -> Mapped:
        """Return the mapped graph; see `map_graph`."""
        labels = [self.object(label) for label in graph.labels]
        predicates = [self.predicate(name) for name in graph.predicates]
        found = [("object", name, t) for name, t in zip(graph.labels, labels, strict=True) if t.how]
        found += [("predicate", name, t) for name, t in zip(graph.predicates, predicates, strict=True) if t.how]
        objects = [k for k, t in enumerate(labels) if t.name is not None]
        kept = graph.take(objects, [k for k, t in enumerate(predicates) if t.name is not None])
        targets = [self.predicate(name) for name in kept.predicates]
        mapped = replace(
            kept,
            labels=tuple(str(self.object(label).name) for label in kept.labels),
            pairs=tuple((o, s) if t.swap else (s, o) for (s, o), t in zip(kept.pairs, targets, strict=True)),
            predicates=tuple(str(t.name) for t in targets),
        )
        changes = dict.fromkeys(Change(kind, name, t.name, t.how) for kind, name, t in found)
        return Mapped(mapped, tuple(changes))

    @functools.lru_cache(1 << 16)  # noqa: B019 - mappers are few, and themselves in a cache
    def object(self, label: str) -> _Target:
        """Return what an object class is mapped to."""
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
        """Return what a predicate is mapped to."""
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
        """Return a name; "" if the table says that there is none; None if it does not have the label."""
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
        """Normal form -> name; of two names with the same form ("man", "men") the one that equals its form is taken."""
        names = self.vocabulary.objects
        forms = {name: name for name in names if object_form(name) == name}
        for name in names:
            forms.setdefault(object_form(name), name)
        for name in names:  # PSG's "sky other merged", "door stuff": the last words are not part of the name
            words = name.split()
            while len(words) > 1 and words[-1] in ("merged", "other", "stuff"):
                words.pop()
                forms.setdefault(object_form(" ".join(words)), name)
        return forms

    @functools.cached_property
    def _predicate_forms(self) -> dict[str, _Target]:
        """Forms of the vocabulary's predicates -> what they are mapped to."""
        names = self.vocabulary.predicates
        forms = {name: _Target(name, "normal form") for name in names}
        for name in names:
            for form in verb_forms(name):
                forms.setdefault(form, _Target(name, "normal form"))
        for name in names:
            for form in passive_forms(name):
                forms.setdefault(form, _Target(name, "passive", swap=True))
        return forms
