"""What a reward term reads: `r1sgg.judging.evidence` on a batch of completions, and the completions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from r1sgg.graph.parsed import Frame, Parsed
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.batch import batch_of_graphs, batch_of_parsed
from r1sgg.judging.evidence import OURS, Evidence, Rules
from r1sgg.judging.labels import LabelTable
from r1sgg.rewards.formats import format_of


class CompletionEvidence(Evidence):
    """A batch of B completions, parsed once and judged once.

    Attributes:
        texts: B raw completions.
        parsed: B results of the parser; `parsed[k].graph` is the predicted graph, `parsed[k].issues` its faults.
        truths: B true graphs.
        frames: B widths and heights that the completions' boxes are relative to.
    """

    def __init__(
        self,
        texts: Sequence[str],
        parsed: Sequence[Parsed],
        truths: Sequence[SceneGraph],
        frames: Sequence[Frame],
        table: LabelTable,
        rules: Rules = OURS,
    ) -> None:
        super().__init__(batch_of_graphs(truths, table), batch_of_parsed(parsed, table), table, rules)
        self.texts, self.parsed, self.truths, self.frames = texts, parsed, truths, frames

    @cached_property
    def formats(self) -> list[float]:
        """The format mark of each completion: 1, 0.5 or 0."""
        return [format_of(text, parsed) for text, parsed in zip(self.texts, self.parsed, strict=True)]
