"""Protocols: every convention on which two scene-graph evaluations of the same files can differ, as a named switch.

`STRICT` is the field's classic meaning and the default; `REFERENCE` repeats the numbers that the R1-SGG authors' code
prints, faults included. Both read the same files. A protocol of your own is `dataclasses.replace(STRICT, ...)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

CUTOFFS = (20, 50, 100)
"""The K of R@K."""

Claims = Literal["completions", "all", "none"]
CLAIMS: tuple[Claims, ...] = get_args(Claims)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How predictions are counted. Each field is one convention; the defaults are the strict ones.

    Attributes:
        name: how results call it.
        claims: for which predictions each true object is claimed by at most one predicted object (see
            `r1sgg.judging.claims`): "completions" (nothing has suppressed duplicates there; detector rows count as
            classic code counts them), "all" or "none".
        pixel_plus_one: IoU of pixel boxes whose sides are x2 - x1 + 1, as in old detection code; in R@K, not in AP.
        graph_constraint: R@K and mR@K keep one predicate for each ordered pair of predicted objects: the best scored,
            or the first where there are no scores.
        use_scores: rank triplets and boxes by their scores where all have one; otherwise, and without this, the order
            in the file is the rank.
        count_answers_without_relations: an image whose answer has objects but no relation counts 0 in R@K; without
            this it is left out of the mean.
        pad_without_constraint: the lists of ngR@K are filled up with every other predicate of the vocabulary for each
            predicted pair, at score 0, in the vocabulary's order.
        absent_predicates: mR@K divides by all predicates of a closed vocabulary, those without a true relation
            counting "zero"; "skip" divides by the predicates that occur. An open vocabulary always skips.
        one_bad_item_fails: an answer with one malformed object or relation counts as a failure as a whole, instead of
            losing that item.
        empty_is_failure: answers without any usable object (an empty graph, or nothing in the vocabulary) are failures
            as well as those that cannot be read.
        first_box_counts: False repeats a slip of annotation ids that start at 0, which AP code reads as "no match": the
            first true box of the first image can then never be found.
    """

    name: str = "strict"
    claims: Claims = "completions"
    pixel_plus_one: bool = False
    graph_constraint: bool = True
    use_scores: bool = True
    count_answers_without_relations: bool = True
    pad_without_constraint: bool = False
    absent_predicates: Literal["zero", "skip"] = "zero"
    one_bad_item_fails: bool = False
    empty_is_failure: bool = True
    first_box_counts: bool = True

    def claiming(self, *, completion: bool) -> bool:
        """Whether claims hold for a prediction; `completion`: a model wrote it as text."""
        return self.claims == "all" or (self.claims == "completions" and completion)


STRICT = Protocol()
"""The default: see `docs/metrics.md`."""

REFERENCE = Protocol(
    name="reference",
    claims="none",
    pixel_plus_one=True,
    graph_constraint=False,
    use_scores=False,
    count_answers_without_relations=False,
    pad_without_constraint=True,
    absent_predicates="zero",
    one_bad_item_fails=True,
    empty_is_failure=False,
    first_box_counts=False,
)
"""What the original evaluation counts (R1-SGG, commit e4de64d)."""

PROTOCOLS = {p.name: p for p in (STRICT, REFERENCE)}
