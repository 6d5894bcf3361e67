"""What an answer got right on one image, in the form that pictures need.

Every decision is the evaluation's (`r1sgg.metrics`): this file only rearranges what was matched with what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from r1sgg.graph.scene import SceneGraph
from r1sgg.metrics.triplets import NEVER, TripletMatch, match_triplets

if TYPE_CHECKING:
    from r1sgg.metrics.columns import ImageResult

CUTOFF = 50
"""Recall of an image is R@50, as in the paper's figures."""

Rank = tuple[bool, bool, float, float, str]
"""Sorts images from bad to good; the last item is the image id."""


@dataclass(frozen=True, slots=True)
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
    def of(cls, result: ImageResult) -> Self:
        """From an image as it was counted."""
        return cls.of_match(result.truth, result.graph, result.match, result.failure)

    @classmethod
    def of_match(cls, truth: SceneGraph, graph: SceneGraph, match: TripletMatch, failure: str | None = None) -> Self:
        """From two graphs and their match."""
        total, made = len(truth.pairs), len(graph.pairs)
        partners = {j: i for j, i in enumerate(match.partners) if i >= 0}
        found = {i for i, rank in enumerate(match.ranks) if rank != NEVER} | set(partners.values())
        return cls(
            truth=truth,
            graph=graph,
            found=frozenset(found),
            partners=partners,
            recall=sum(rank < CUTOFF for rank in match.ranks) / total if total else None,
            precision=match.true_positives / made if made else None,
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


def compare(truth: SceneGraph, graph: SceneGraph) -> Judgement:
    """Match two graphs of one image, whatever names they use."""
    return Judgement.of_match(truth, graph, match_triplets(truth, graph))


def rank(result: ImageResult) -> Rank:
    """Failures first, then low recall, then low precision; last the images without a relation to find."""
    judgement = Judgement.of(result)
    nothing_to_find = judgement.recall is None
    return (
        nothing_to_find,
        result.failure is None,
        judgement.recall or 0.0,
        judgement.precision or 0.0,
        result.image_id,
    )
