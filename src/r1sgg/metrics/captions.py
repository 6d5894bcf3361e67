"""How far captions say what a scene graph holds: precision, coverage, invented objects, statement by statement.

    precision     statements that the graph supports, over all statements
    coverage      relationships of the graph that a caption of its image states, over all relationships
    CHAIR_i       mentioned nouns that the graph has no object for, over all mentioned nouns (each once a caption)
    CHAIR_s       captions with such a noun, over all captions

CHAIR is that of Rohrbach et al. (Object Hallucination in Image Captioning, 2018), with all nouns that the rules take
for things instead of COCO's 80 classes, against whatever graph is given. What is judged: `r1sgg.judging.statements`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from r1sgg.data.captions.phrases import Extraction
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.labels import LabelSimilarity
from r1sgg.judging.statements import OUTCOMES, Names, Statements, judge_statements


@dataclass(frozen=True)
class CheckedCaption:
    """One caption and what became of it."""

    image_id: str
    text: str
    statements: tuple[Names, ...]
    judged: Statements

    def rows(self, graph: SceneGraph) -> Iterator[dict[str, Any]]:
        """Yield a record for each statement, then one for each invented noun."""
        for names, verdict in zip(self.statements, self.judged.verdicts, strict=True):
            row: dict[str, Any] = {"image_id": self.image_id, "caption": self.text, "statement": list(names)}
            row["outcome"] = verdict.kind
            if verdict.relationship is not None:
                row["graph"] = list(graph.triplets[verdict.relationship])
            yield row
        for name in self.judged.invented:
            yield {"image_id": self.image_id, "caption": self.text, "object": name, "outcome": "invented"}


@dataclass(slots=True)
class CaptionFigures:
    """Counts over images; see the module for the figures."""

    images: int = 0
    captions: int = 0
    without: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    mentioned: int = 0
    invented: Counter[str] = field(default_factory=Counter)
    captions_with_invented: int = 0
    relationships: int = 0
    covered: int = 0

    def add(self, checked: Sequence[CheckedCaption], graph: SceneGraph) -> None:
        """Count the captions of one image."""
        self.images += 1
        covered: set[tuple[str, str, str]] = set()
        triplets = graph.triplets
        for caption in checked:
            judged = caption.judged
            self.captions += 1
            self.without += not judged.verdicts
            self.outcomes.update(verdict.kind for verdict in judged.verdicts)
            self.mentioned += judged.mentioned
            self.invented.update(judged.invented)
            self.captions_with_invented += bool(judged.invented)
            covered |= {triplets[k] for k in judged.covered}
        self.relationships += len(set(triplets))
        self.covered += len(covered)

    def record(self) -> dict[str, Any]:
        """Return the figures (0 to 1, None without a denominator) and the counts that they are made of."""
        statements = self.outcomes.total()
        return {
            "precision": _share(self.outcomes["supported"], statements),
            "coverage": _share(self.covered, self.relationships),
            "CHAIR_i": _share(self.invented.total(), self.mentioned),
            "CHAIR_s": _share(self.captions_with_invented, self.captions),
            "images": self.images,
            "captions": self.captions,
            "captions without a statement": self.without,
            "statements": statements,
            "outcomes": {kind: self.outcomes[kind] for kind in OUTCOMES},
            "mentioned nouns": self.mentioned,
            "relationships": self.relationships,
            "covered relationships": self.covered,
            "invented": dict(self.invented.most_common(100)),
        }


def check_captions(
    image_id: str,
    texts: Sequence[str],
    extractions: Sequence[Extraction],
    graph: SceneGraph,
    similarity: LabelSimilarity | None = None,
    *,
    exact: bool = False,
) -> list[CheckedCaption]:
    """Return the captions of one image, judged against its graph.

    Args:
        image_id: the image.
        texts: its captions.
        extractions: what was read in them (see `r1sgg.data.captions`).
        graph: predicted or true.
        similarity: see `r1sgg.judging.statements.judge_statements`, also for `exact`.
        exact: as there.
    """
    checked = []
    for k, text in enumerate(texts):
        found = [extraction for extraction in extractions if extraction.caption == k]
        statements = tuple(dict.fromkeys(names for extraction in found for names in extraction.names))
        nouns = [phrase.name for extraction in found for phrase in extraction.phrases if phrase.name]
        judged = judge_statements(statements, nouns, graph, similarity, exact=exact)
        checked.append(CheckedCaption(image_id, text, statements, judged))
    return checked


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
