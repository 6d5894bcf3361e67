"""What a caption states, judged against a scene graph: each statement is a triplet of names, without boxes.

A name of the caption may mean several classes of the graph: itself, another word for it ("bike": bicycle), or a more
special one ("person": the graph's woman). A predicate also means the same with a verb of posture before it, which says
more: a graph with "sitting on" supports "on". With `exact` only normal forms count (number, spaces, forms of a verb).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from r1sgg.graph import synonyms
from r1sgg.graph.forms import bare_predicate, object_form
from r1sgg.graph.mapping import Mapper
from r1sgg.graph.scene import SceneGraph, normalize_name
from r1sgg.graph.vocabulary import Vocabulary
from r1sgg.judging.labels import LabelSimilarity

Names = tuple[str, str, str]
"""Subject, predicate, object, as a caption names them."""

OUTCOMES = ("supported", "predicate", "reversed", "unrelated", "invented")
"""What becomes of a statement: the graph has it; it relates the two things by something else; it has it in the other
direction only; it has both things, not related; it lacks the subject or the object."""


class Verdict(NamedTuple):
    """One of `OUTCOMES`, and the relationship of the graph that decided it (by index), where there is one."""

    kind: str
    relationship: int | None = None


@dataclass(frozen=True)
class Statements:
    """What a caption says, judged.

    Attributes:
        verdicts: of each statement.
        invented: mentioned names that the graph has no object for.
        mentioned: how many names were judged.
        covered: relationships of the graph that a statement says, by index.
    """

    verdicts: tuple[Verdict, ...]
    invented: tuple[str, ...]
    mentioned: int
    covered: frozenset[int]


def judge_statements(
    statements: Sequence[Names],
    mentioned: Iterable[str],
    graph: SceneGraph,
    similarity: LabelSimilarity | None = None,
    *,
    exact: bool = False,
) -> Statements:
    """Judge what a caption says against a graph.

    Args:
        statements: triplets of the caption.
        mentioned: nouns of the caption, in a statement or not; each counts once.
        graph: predicted or true.
        similarity: takes the nearest name where no rule knows one (see `r1sgg.graph.mapping`).
        exact: names count in their normal form only, without synonyms.
    """
    names = _names(tuple(sorted(set(graph.labels))), tuple(sorted(set(graph.predicates))), similarity, exact)
    rows: dict[tuple[str, str], list[int]] = {}
    for k, (subject, _, target) in enumerate(graph.triplets):
        rows.setdefault((subject, target), []).append(k)
    verdicts: list[Verdict] = []
    covered: set[int] = set()
    for subject, predicate, target in statements:
        ends = names.classes(subject), names.classes(target)
        said, turned = names.predicates(predicate)
        if not ends[0] or not ends[1]:
            verdicts.append(Verdict("invented"))
            continue
        ahead = [k for a in sorted(ends[0]) for b in sorted(ends[1]) for k in rows.get((a, b), ())]
        back = [k for a in sorted(ends[0]) for b in sorted(ends[1]) for k in rows.get((b, a), ())]
        found = [k for k in ahead if graph.predicates[k] in said] + [k for k in back if graph.predicates[k] in turned]
        covered.update(found)
        if found:
            verdicts.append(Verdict("supported", found[0]))
        elif ahead:
            verdicts.append(Verdict("predicate", ahead[0]))
        elif back:
            same = [k for k in back if graph.predicates[k] in said]
            verdicts.append(Verdict("reversed" if same else "predicate", (same or back)[0]))
        else:
            verdicts.append(Verdict("unrelated"))
    nouns = dict.fromkeys(mentioned)
    invented = tuple(name for name in nouns if not names.classes(name))
    return Statements(tuple(verdicts), invented, len(nouns), frozenset(covered))


@functools.lru_cache(256)
def _names(
    labels: tuple[str, ...], predicates: tuple[str, ...], similarity: LabelSimilarity | None, exact: bool
) -> _GraphNames:
    return _GraphNames(labels, predicates, similarity, exact)


class _GraphNames:
    """The names of a graph, looked up by those of a caption."""

    def __init__(
        self, labels: tuple[str, ...], predicates: tuple[str, ...], similarity: LabelSimilarity | None, exact: bool
    ) -> None:
        vocabulary = Vocabulary("graph", labels, predicates)
        self._labels, self._predicates, self._exact = labels, predicates, exact
        self._mapper = Mapper(vocabulary, "normal" if exact else "full", None if exact else similarity)
        self._classes: dict[str, frozenset[str]] = {}

    def classes(self, name: str) -> frozenset[str]:
        """Return the classes of the graph that a noun means."""
        found = self._classes.get(name)
        if found is None:
            found = self._classes[name] = self._find(normalize_name(name))
        return found

    def _find(self, name: str) -> frozenset[str]:
        if not name or not self._labels:
            return frozenset()
        form = object_form(name)
        found = {label for label in self._labels if object_form(label) == form}
        if not self._exact:
            words = {name, form, *synonyms.of_object(name), *synonyms.of_object(form)}
            found |= {x for x in self._labels if x in words or words & {name, form} & set(synonyms.of_object(x))}
        if not found and (target := self._mapper.object(name).name) is not None:
            found = {target}
        return frozenset(found)

    def predicates(self, name: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return the predicates of the graph that say the same, and those that say it turned round."""
        if not self._predicates:
            return frozenset(), frozenset()
        plain = bare_predicate(normalize_name(name)) or normalize_name(name)
        said, turned = set[str](), set[str]()
        for form in dict.fromkeys((normalize_name(name), plain, *self._shorter(plain))):
            target = self._mapper.predicate(form) if form else None
            if target is not None and target.name is not None:
                (turned if target.swap else said).add(target.name)
        if not self._exact:
            said |= {
                p for p in self._predicates if p.endswith(f" {plain}") and p.partition(" ")[0].endswith(("ing", "ed"))
            }
            said |= {p for p in self._predicates if plain == "on" and p == "riding"}
        return frozenset(said), frozenset(turned)

    def _shorter(self, plain: str) -> tuple[str, ...]:
        """Return a predicate without its verb: "sitting next to" -> "next to"."""
        verb, _, rest = plain.partition(" ")
        return (rest,) if rest and not self._exact and verb.endswith(("ing", "ed", "seated")) else ()
