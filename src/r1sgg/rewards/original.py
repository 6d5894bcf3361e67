"""The original code's rewards, conventions and faults included, to compare with published runs (reward set "original").

What it does otherwise than the paper and than `Rubric`: GIoU in the matching cost; the last of several predictions on a
pair counts, not the best; objects are looked up by id, in hard recall the last one of a repeated id; a class is what
stands before an id's first dot; the word "json" is deleted from the answer; inverted boxes and booleans are read; one
malformed object empties the answer; a bare JSON object gets no format mark. Deliberately not repeated: scores that were
zero because an exception was swallowed (the format mark of every answer with objects), and NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from r1sgg.graph.document import find_document
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import Frame, Issue, Parsed
from r1sgg.judging.assignment import Array, MatchCost
from r1sgg.judging.labels import LabelSimilarity
from r1sgg.rewards.answers import Answers, answers_of
from r1sgg.rewards.evidence import Evidence
from r1sgg.rewards.rubric import Rubric

_TAGS = re.compile(r"<think>.*</think>\s*<answer>.*</answer>", re.DOTALL)
_FARTHEST = 1e6
Document = dict[str, Any] | None


class OriginalRubric(Rubric):
    """A rubric that repeats the original's values."""

    cost = MatchCost(giou=True)
    last_predicate = True

    def __init__(
        self,
        weights: Mapping[str, float],
        similarity: LabelSimilarity | None = None,
        *,
        clamp: bool = False,
        **options: Any,
    ) -> None:
        """As `Rubric`; cosines are not clamped."""
        super().__init__(weights, similarity, clamp=clamp, **options)
        self._use(BeforeDot(self.similarity))

    def answers(self, texts: Sequence[str], truths: Sequence[SceneGraph], frames: Sequence[Frame]) -> Answers:
        """See `Rubric`; never in columns."""
        return answers_of(texts, [self.read(*row) for row in zip(texts, truths, frames, strict=True)])

    def read(self, completion: str, truth: SceneGraph, frame: Frame) -> Parsed:
        """Read an answer as the original does."""
        issues: list[Issue] = []
        document = self._document(completion, truth, frame, issues)
        return Parsed(_graph(document, frame, last=False), tuple(issues))

    def term(self, name: str, evidence: Evidence) -> Array:
        """One term; the hard ones look repeated ids up differently."""
        if name == "format":
            return np.array([self._format(text) for text in evidence.texts])
        if name == "edge" or name.startswith("hard_"):
            evidence = self._by_id(evidence, last=name != "edge")
        return super().term(name, evidence)

    def _by_id(self, evidence: Evidence, *, last: bool) -> Evidence:
        """The same answers with relationships between the last objects of their ids, or between any of them."""
        graphs = [
            _graph(self._document(text, truth, frame), frame, last=last)
            for text, truth, frame in zip(evidence.texts, evidence.truths, evidence.frames, strict=True)
        ]
        answers = answers_of(evidence.texts, [Parsed(g) for g in graphs])
        fresh = self.evidence(evidence.texts, answers, evidence.truths, evidence.frames)
        if not last:  # relationships point to the first object of an id: what is matched to another one counts for it
            m = fresh.matched
            first = [{name: k for k, name in reversed(list(enumerate(g.ids)))} for g in graphs]
            shift = np.array(
                [f[i] - k for g, f in zip(graphs, first, strict=True) for k, i in enumerate(g.ids)], np.intp
            )
            columns = (m.cells - m.first[m.owners]) % m.predicted.counts[m.owners]
            m.assigned[m.cells + shift[m.predicted.first[m.owners] + columns]] = True
        return fresh

    def _document(self, text: str, truth: SceneGraph, frame: Frame, issues: list[Issue] | None = None) -> Document:
        document = _document(text, [] if issues is None else issues)
        if self.task == "cls" and document is not None and "objects" not in document:
            return {**document, "objects": _rows(truth, frame)}
        return document

    def _format(self, text: str) -> float:
        document = _document(text, [])
        keys = {"sgg": ("objects", "relationships"), "det": ("objects",), "cls": ("relationships",)}[self.task]
        if document is None or not all(key in document for key in keys) or not _TAGS.fullmatch(text):
            return 0.0
        declared = {o.get("id") for o in _dicts(document.get("objects")) if isinstance(o.get("id"), str)}
        ends = [r.get(k) for r in _dicts(document.get("relationships")) for k in ("subject", "object")]
        return float(self.task != "sgg" or all(isinstance(e, str) and e in declared for e in ends))


class BeforeDot:
    """Compares what stands before the first dot."""

    def __init__(self, inner: LabelSimilarity) -> None:
        """Wrap a similarity."""
        self.inner, self.name = inner, inner.name

    def table(self, a: Sequence[str], b: Sequence[str]) -> Array:
        """See `LabelSimilarity`."""
        return self.inner.table([s.split(".")[0] for s in a], [s.split(".")[0] for s in b])


def _document(text: str, issues: list[Issue]) -> Document:
    text = text.replace("```", " ").replace("json", " ").strip()
    _, opening, rest = text.partition("<answer>")
    return find_document(rest.partition("</answer>")[0] if opening else text, issues, repair=False)


def _graph(document: Document, frame: Frame, *, last: bool) -> SceneGraph:
    """The graph; a relationship holds between the first or the last objects of its ids."""
    boxes: list[list[float]] = []
    ids: list[str] = []
    rows = document.get("objects") if document else None
    for row in rows if isinstance(rows, list) else ():
        name, box = (row.get("id"), row.get("bbox")) if isinstance(row, dict) else (None, None)
        if not (isinstance(name, str) and isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            return EMPTY
        fractions = [v / frame[k % 2] for k, v in enumerate(box)]
        if not all(abs(v) <= _FARTHEST for v in fractions):
            return EMPTY
        ids.append(_plain(name))
        boxes.append(fractions)
    order = enumerate(ids) if last else reversed(list(enumerate(ids)))
    place = {name: k for k, name in order}
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    for row in _dicts(document.get("relationships") if document else None):
        if not all(isinstance(row.get(k), str) for k in ("subject", "predicate", "object")):
            continue
        subject, target = place.get(_plain(row["subject"])), place.get(_plain(row["object"]))
        if subject is not None and target is not None:
            pairs.append((subject, target))
            predicates.append(_plain(row["predicate"]))
    labels = tuple(name.split(".")[0].strip() for name in ids)
    return SceneGraph(tuple(ids), labels, np.array(boxes).reshape(-1, 4), tuple(pairs), tuple(predicates))


def _dicts(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _plain(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").lower()


def _rows(graph: SceneGraph, frame: Frame) -> list[dict[str, Any]]:
    boxes = (graph.boxes * (*frame, *frame)).tolist()
    return [{"id": i, "bbox": box} for i, box in zip(graph.ids, boxes, strict=True)]
