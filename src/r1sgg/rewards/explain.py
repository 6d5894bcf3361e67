"""Why a completion scored what it scored: what became of every object and triplet, with a reason in words.

Made of the same evidence as the scores, so the two agree. One completion at a time, and slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from r1sgg.graph.parsed import Frame
from r1sgg.graph.policies import POLICIES
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import IOU_THRESHOLD
from r1sgg.rewards.evidence import CompletionEvidence
from r1sgg.rewards.terms import node_credit

if TYPE_CHECKING:
    from r1sgg.rewards.rubric import Rubric


def explain_completion(rubric: Rubric, text: str, truth: SceneGraph, frame: Frame) -> dict[str, Any]:
    """Return a diagnostic record of one completion, ready for JSON.

    Returns:
        `format` (a sentence); `objects` and `triplets`, a row each: `fate` ("matched", "weak", "missed", "spurious"),
        `truth` and `predicted` (ids; triplets as [subject, predicate, object]), `credit` (what it adds to `node` or
        `edge` before the division), `why`; triplets also say `hard` (counted by hard recall). Then `issues`, each with
        the policy applied.
    """
    (parsed,) = rubric.read([text], [truth], [frame])
    evidence = rubric.evidence([text], [parsed], [truth], [frame])
    return {
        "format": _FORMAT[evidence.formats[0]],
        "objects": _objects(evidence, truth, parsed.graph),
        "triplets": _triplets(evidence, truth, parsed.graph),
        "issues": [{"kind": i.kind, "detail": i.detail, "policy": POLICIES.get(i.kind, "")} for i in parsed.issues],
    }


FULL_MARK = "think and answer tags with both keywords: full mark"
_FORMAT = {
    1.0: FULL_MARK,
    0.5: "a JSON object or compact lines without the tags: half a mark",
    0.0: "neither the tags nor an answer alone: no mark",
}


def _partners(evidence: CompletionEvidence) -> dict[int, tuple[int, int]]:
    """For each matched true object the predicted one, and the place of the match among the matched cells."""
    cells, matched = evidence.cells, evidence.matched.cells
    pairs = zip(cells.left[matched].tolist(), cells.right[matched].tolist(), strict=True)
    return {i: (j, k) for k, (i, j) in enumerate(pairs)}


def _objects(evidence: CompletionEvidence, truth: SceneGraph, predicted: SceneGraph) -> list[dict[str, Any]]:
    m, boxes = evidence.matched, evidence.cells.boxes
    partners, credits = _partners(evidence), node_credit(evidence)
    rows: list[dict[str, Any]] = []
    for i, identifier in enumerate(truth.ids):
        if i not in partners:
            why = "all predicted objects were matched with others" if len(predicted) else "the completion has no object"
            rows.append({"fate": "missed", "truth": identifier, "predicted": None, "credit": 0.0, "why": why})
            continue
        j, k = partners[i]
        cell = int(m.cells[k])
        cosine, iou, l1 = float(m.cosines[cell]), float(boxes.iou[cell]), float(boxes.l1[cell])
        same_class = truth.labels[i] == predicted.labels[j]
        reasons = [] if same_class else [f"label {predicted.labels[j]!r} for {truth.labels[i]!r} (cosine {cosine:.2f})"]
        below = "" if evidence.boxes_overlap[cell] else f": below {IOU_THRESHOLD}"
        reasons.append(f"IoU {iou:.2f}, L1 {l1:.2f}{below}")
        rows.append(
            {
                "fate": "matched" if evidence.same_object[cell] else "weak",
                "truth": identifier,
                "predicted": predicted.ids[j],
                "credit": float(credits[k]),
                "cosine": cosine,
                "iou": iou,
                "l1": l1,
                "why": "; ".join(reasons),
            }
        )
    used = {j for j, _ in partners.values()}
    rows += [
        {"fate": "spurious", "truth": None, "predicted": identifier, "credit": None, "why": _why_spurious(evidence, j)}
        for j, identifier in enumerate(predicted.ids)
        if j not in used
    ]
    return rows


def _why_spurious(evidence: CompletionEvidence, row: int) -> str:
    if evidence.declared_again[row]:
        return "an object declared before, with the same class and about the same box"
    return "no true object is left for it"


def _triplets(evidence: CompletionEvidence, truth: SceneGraph, predicted: SceneGraph) -> list[dict[str, Any]]:
    partner = {i: j for i, (j, _) in _partners(evidence).items()}
    rows: list[dict[str, Any]] = []
    useful: set[int] = set()
    for k, ((s, o), predicate) in enumerate(zip(truth.pairs, truth.predicates, strict=True)):
        mine = np.flatnonzero(evidence.left == k)
        hard = mine[evidence.hits[mine]]
        on_ends = mine[evidence.ends_matched[mine]]
        useful.update(evidence.right[hard].tolist(), evidence.right[on_ends].tolist())
        best = on_ends[np.argmax(evidence.products[on_ends])] if len(on_ends) else hard[0] if len(hard) else None
        if best is None:
            why = _why_missed(s, o, truth, partner, predicted)
        elif len(hard):
            why = "labels equal, both objects found"
        else:
            why = _why_weak(int(best), evidence, truth.triplets[k], predicted)
        rows.append(
            {
                "fate": "matched" if len(hard) else "weak" if best is not None else "missed",
                "truth": [truth.ids[s], predicate, truth.ids[o]],
                "predicted": None if best is None else _named(predicted, int(evidence.right[best])),
                "credit": float(evidence.products[best]) if len(on_ends) else 0.0,
                "hard": bool(len(hard)),
                "why": why,
            }
        )
    for r in range(len(predicted.pairs)):
        if evidence.repeats[r] or evidence.forgiven[r]:
            why = "repeats another triplet" + (", as the annotation does" if evidence.forgiven[r] else "")
        elif r not in useful:
            why = "no true triplet between the objects matched with these" if truth.pairs else "none is annotated"
        else:
            continue
        rows.append({"fate": "spurious", "truth": None, "predicted": _named(predicted, r), "credit": None, "why": why})
    return rows


def _named(graph: SceneGraph, r: int) -> list[str]:
    s, o = graph.pairs[r]
    return [graph.ids[s], graph.predicates[r], graph.ids[o]]


def _why_missed(s: int, o: int, truth: SceneGraph, partner: dict[int, int], predicted: SceneGraph) -> str:
    for role, end in (("subject", s), ("object", o)):
        if end not in partner:
            return f"{role} {truth.ids[end]} has no predicted counterpart"
    subject, target = predicted.ids[partner[s]], predicted.ids[partner[o]]
    if (partner[o], partner[s]) in predicted.pairs:
        return f"predicted in the other direction only: {target} to {subject}"
    return f"nothing is predicted from {subject} to {target}"


def _why_weak(best: int, evidence: CompletionEvidence, triplet: tuple[str, str, str], predicted: SceneGraph) -> str:
    found = predicted.triplets[int(evidence.right[best])]
    wrong = [
        f"{role} {a!r} for {b!r}"
        for role, a, b in zip(("subject", "predicate", "object"), found, triplet, strict=True)
        if a != b
    ]
    if not evidence.ends_overlap[best]:
        wrong.append(f"a box below IoU {IOU_THRESHOLD}")
    return "; ".join(wrong) or "an end is claimed by another object of its class"
