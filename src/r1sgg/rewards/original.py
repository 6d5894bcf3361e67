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
from r1sgg.graph.parsed import Frame, Parsed
from r1sgg.graph.policies import Issue
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.judging.boxes import Array
from r1sgg.judging.evidence import Rules
from r1sgg.judging.labels import LabelSimilarity
from r1sgg.rewards import terms
from r1sgg.rewards.conventions import Conventions, Task
from r1sgg.rewards.evidence import CompletionEvidence

_TAGS = re.compile(r"<think>.*</think>\s*<answer>.*</answer>", re.DOTALL)
_FARTHEST = 1e6
_KEYS = {"sgg": ("objects", "relationships"), "det": ("objects",), "cls": ("relationships",)}
Document = dict[str, Any] | None


def read(text: str, truth: SceneGraph, frame: Frame, task: Task, repair: bool) -> Parsed:
    """Read a completion as the original does; it repairs nothing."""
    issues: list[Issue] = []
    document = _given(_document(text, issues), truth, frame, task)
    return Parsed(_graph(document, frame, last=False), issues)


def _given(document: Document, truth: SceneGraph, frame: Frame, task: Task) -> Document:
    if task != "cls" or document is None or "objects" in document:
        return document
    boxes = (truth.boxes * (*frame, *frame)).tolist()
    return {**document, "objects": [{"id": i, "bbox": box} for i, box in zip(truth.ids, boxes, strict=True)]}


def _terms(task: Task) -> Mapping[str, terms.Term]:
    edge = terms.edge_by_label if task == "cls" else terms.edge
    return {
        "format": lambda e: np.array([_format(text, task) for text in e.texts]),
        "edge": lambda e: edge(_by_id(e, task, last=False)),
        "hard_recall": lambda e: terms.hard_recall(_by_id(e, task, last=True)),
        "hard_recall_relax": lambda e: terms.hard_recall_relax(_by_id(e, task, last=True)),
    }


def _by_id(evidence: CompletionEvidence, task: Task, *, last: bool) -> CompletionEvidence:
    """The same completions with relationships between the last objects of their ids, or between any of them."""
    rows = zip(evidence.texts, evidence.truths, evidence.frames, strict=True)
    graphs = [_graph(_given(_document(x, []), truth, frame, task), frame, last=last) for x, truth, frame in rows]
    parsed = [Parsed(g) for g in graphs]
    fresh = CompletionEvidence(evidence.texts, parsed, evidence.truths, evidence.frames, evidence.table, evidence.rules)
    if last:
        return fresh
    # relationships point to the first object of an id: what is matched with another object of that id counts for it
    first = [{name: k for k, name in reversed(list(enumerate(g.ids)))} for g in graphs]
    rank = np.array([places[name] for g, places in zip(graphs, first, strict=True) for name in g.ids], dtype=np.intp)
    m, cells, predicted = fresh.matched, fresh.cells, fresh.predicted
    columns = cells.right[m.cells]
    m.assigned[cells.cell(cells.left[m.cells], predicted.first[predicted.owners[columns]] + rank[columns])] = True
    return fresh


def _format(text: str, task: Task) -> float:
    document = _document(text, [])
    if document is None or not all(key in document for key in _KEYS[task]) or not _TAGS.fullmatch(text):
        return 0.0
    declared = {o.get("id") for o in _dicts(document.get("objects")) if isinstance(o.get("id"), str)}
    ends = [r.get(k) for r in _dicts(document.get("relationships")) for k in ("subject", "object")]
    return float(task != "sgg" or all(isinstance(e, str) and e in declared for e in ends))


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


ORIGINAL = Conventions(
    Rules(claims=False, clamp=False, giou=True, last_predicate=True, settle_twins=False),
    read=read,
    similarity=BeforeDot,
    terms=_terms,
)
