"""What a prediction got right on one image, in the form that pictures and the report need.

Every decision was made in `r1sgg.judging.evidence`: this file only rearranges what was paired with what, and says of
each true relationship that was missed how it was missed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import Mask
from r1sgg.judging.evidence import NEVER, Evidence
from r1sgg.judging.triplets import TripletMatch, judge, match_triplets

CUTOFF = 50
"""Recall of an image is R@50, as in the paper's figures."""

OUTCOMES = ("found", "predicate", "reversed", "unrelated", "object", "failure")
"""What became of a true relationship: it was found; another predicate was predicted between its objects; it was
predicted in the other direction only; nothing was predicted between them; an object was not found (its class and a box
with an IoU of 1/2); the answer could not be read."""


class Outcome(NamedTuple):
    """One of `OUTCOMES`, and the predicted relationship that was taken for it (by index), where there is one."""

    kind: str
    predicted: int | None = None


@dataclass(frozen=True)
class Judgement:
    """A predicted graph against the true one.

    Attributes:
        truth, graph: the two graphs, both in the vocabulary.
        found: true relationships that some predicted one finds.
        partners: for predicted relationships that are matched one to one, the true one.
        recall: R@50; None where there is no relationship to find.
        precision: share of the predicted relationships that are matched; None where there are none.
        failure: why there is no predicted graph, or None.
    """

    truth: SceneGraph
    graph: SceneGraph
    found: frozenset[int]
    partners: Mapping[int, int]
    recall: float | None
    precision: float | None
    failure: str | None = None

    @classmethod
    def of_match(cls, truth: SceneGraph, graph: SceneGraph, match: TripletMatch, failure: str | None = None) -> Self:
        """From two graphs and their match."""
        total = len(truth.pairs)
        partners = {j: i for j, i in enumerate(match.partners) if i >= 0}
        found = {i for i, rank in enumerate(match.ranks) if rank != NEVER} | set(partners.values())
        return cls(
            truth=truth,
            graph=graph,
            found=frozenset(found),
            partners=partners,
            recall=sum(rank < CUTOFF for rank in match.ranks) / total if total else None,
            precision=match.true_positives / match.counted if match.counted else None,
            failure=failure,
        )

    @property
    def truth_statuses(self) -> list[str]:
        """ "matched" or "missed", for each true relationship."""
        return ["matched" if i in self.found else "missed" for i in range(len(self.truth.pairs))]

    @property
    def graph_statuses(self) -> list[str]:
        """ "matched" or "spurious", for each predicted relationship."""
        return ["matched" if j in self.partners else "spurious" for j in range(len(self.graph.pairs))]

    @functools.cached_property
    def object_partners(self) -> dict[int, int]:
        """Of predicted objects that are a true one, that one: the ends of paired triplets, then what they took."""
        partners: dict[int, int] = {}
        for j, i in self.partners.items():
            for made, true in zip(self.graph.pairs[j], self.truth.pairs[i], strict=True):
                partners.setdefault(made, true)
        taken = set(partners.values())
        for true, made in enumerate(self._evidence.claims.taker.tolist()):
            if made >= 0 and made not in partners and true not in taken:
                partners[made] = true
        return partners

    @functools.cached_property
    def true_object_statuses(self) -> list[str]:
        """ "matched" or "missed", for each true object."""
        found = set(self.object_partners.values())
        found |= {end for i in self.found for end in self.truth.pairs[i]}
        return ["matched" if k in found else "missed" for k in range(len(self.truth))]

    @property
    def object_statuses(self) -> list[str]:
        """ "matched" or "spurious", for each predicted object."""
        return ["matched" if k in self.object_partners else "spurious" for k in range(len(self.graph))]

    def outcomes(self) -> list[Outcome]:
        """What became of each true relationship."""
        if self.failure is not None:
            return [Outcome("failure")] * len(self.truth.pairs)
        back = {i: j for j, i in self.partners.items()}
        same = [set(np.flatnonzero(column).tolist()) for column in self._same.T]
        out = []
        for i, (s, o) in enumerate(self.truth.pairs):
            subjects, objects = same[s], same[o]
            if i in self.found:
                out.append(Outcome("found", back.get(i)))
            elif not subjects or not objects:
                out.append(Outcome("object"))
            elif (j := self._first(subjects, objects, self.truth.predicates[i])) is not None:
                out.append(Outcome("predicate", j))
            elif (j := self._first(objects, subjects)) is not None:
                out.append(Outcome("reversed", j))
            else:
                out.append(Outcome("unrelated"))
        return out

    def _first(self, subjects: set[int], objects: set[int], but: str | None = None) -> int | None:
        """The first predicted relationship from one set to the other, those that are matched with none preferred.

        Not one with the predicate `but`: a true triplet that is annotated twice is found once.
        """
        rows = enumerate(zip(self.graph.pairs, self.graph.predicates, strict=True))
        between = [j for j, ((s, o), predicate) in rows if s in subjects and o in objects and predicate != but]
        free = [j for j in between if j not in self.partners]
        return next(iter(free or between), None)

    @functools.cached_property
    def _evidence(self) -> Evidence:
        return judge([self.truth], [self.graph]).evidence

    @functools.cached_property
    def _same(self) -> Mask:
        """(predicted, true): whether an object is the other by class and box."""
        return self._evidence.same_object.reshape(len(self.truth), len(self.graph)).T


def compare(truth: SceneGraph, graph: SceneGraph) -> Judgement:
    """Match two graphs of one image, whatever names they use."""
    return Judgement.of_match(truth, graph, match_triplets(truth, graph))
