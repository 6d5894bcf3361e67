"""Why an answer scored what it scored: the fate of every object and triplet, with a reason in words.

Made of the same evidence as the scores, so the two cannot disagree; deliberately one answer at a time and slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import POLICIES, Frame
from r1sgg.judging.boxes import IOU_SLACK, IOU_THRESHOLD
from r1sgg.rewards.answers import answers_of
from r1sgg.rewards.evidence import Evidence, TripletPairs

if TYPE_CHECKING:
    from r1sgg.rewards.rubric import Rubric


def explain_answer(rubric: Rubric, text: str, truth: SceneGraph, frame: Frame) -> dict[str, Any]:
    """A diagnostic record of one answer, ready for JSON.

    Returns:
        `format` (a sentence); `objects` and `triplets`, a row each: `fate` ("matched", "weak", "missed", "spurious"),
        `truth` and `predicted` (ids; triplets as [subject, predicate, object]), `credit` (what it adds to `node` or
        `edge` before the division), `why`; triplets also say `hard` (counted by hard recall). Then `issues`, each with
        the policy applied.
    """
    parsed = rubric.read(text, truth, frame)
    evidence = rubric.evidence([text], answers_of([text], [parsed]), [truth], [frame])
    return {
        "format": _FORMAT[evidence.answers.formats[0]],
        "objects": _objects(evidence, truth, parsed.graph),
        "triplets": _triplets(evidence, truth, parsed.graph),
        "issues": [{"kind": i.kind, "detail": i.detail, "policy": POLICIES.get(i.kind, "")} for i in parsed.issues],
    }


_FORMAT = {
    1.0: "think and answer tags with both keywords: full mark",
    0.5: "a JSON object or compact lines without the tags: half a mark",
    0.0: "neither the tags nor an answer alone: no mark",
}


def _objects(evidence: Evidence, truth: SceneGraph, predicted: SceneGraph) -> list[dict[str, Any]]:
    m = evidence.matched
    width = max(len(predicted), 1)
    partner = {cell // width: cell % width for cell in m.cells.tolist()}
    rows: list[dict[str, Any]] = []
    for i, identifier in enumerate(truth.ids):
        if i not in partner:
            why = "the answer holds fewer objects than the truth" if len(predicted) else "the answer holds no object"
            rows.append({"fate": "missed", "truth": identifier, "predicted": None, "credit": 0.0, "why": why})
            continue
        j = partner[i]
        cell = i * width + j
        cosine, iou, l1 = float(m.cosines[cell]), float(m.ious[cell]), float(m.l1[cell])
        same = truth.labels[i] == predicted.labels[j]
        reasons = [] if same else [f"label {predicted.labels[j]!r} for {truth.labels[i]!r} (cosine {cosine:.2f})"]
        reasons.append(
            f"IoU {iou:.2f}, L1 {l1:.2f}" + ("" if iou >= IOU_THRESHOLD - IOU_SLACK else f": below {IOU_THRESHOLD}")
        )
        rows.append(
            {
                "fate": "matched" if same and iou >= IOU_THRESHOLD - IOU_SLACK else "weak",
                "truth": identifier,
                "predicted": predicted.ids[j],
                "credit": _node_credit(evidence, cell),
                "cosine": cosine,
                "iou": iou,
                "l1": l1,
                "why": "; ".join(reasons),
            }
        )
    used = set(partner.values())
    rows += [
        {
            "fate": "spurious",
            "truth": None,
            "predicted": identifier,
            "credit": None,
            "why": "no true object is left for it",
        }
        for j, identifier in enumerate(predicted.ids)
        if j not in used
    ]
    return rows


def _node_credit(evidence: Evidence, cell: int) -> float:
    m = evidence.matched
    cosine = float(evidence.cosines(m.cosines[cell : cell + 1])[0])
    return (cosine + 2 * float(m.ious[cell]) + 5 * float(np.exp(-m.l1[cell]))) / 8


def _triplets(evidence: Evidence, truth: SceneGraph, predicted: SceneGraph) -> list[dict[str, Any]]:
    pairs = evidence.pairs
    width = max(len(predicted), 1)
    partner = {cell // width: cell % width for cell in evidence.matched.cells.tolist()}
    rows: list[dict[str, Any]] = []
    useful: set[int] = set()
    for k, ((s, o), predicate) in enumerate(zip(truth.pairs, truth.predicates, strict=True)):
        mine = np.flatnonzero(pairs.left == k)
        hard = mine[pairs.boxes_found[mine] & pairs.same_labels[mine]]
        on_ends = mine[pairs.ends_matched[mine]]
        useful.update(pairs.right[hard].tolist(), pairs.right[on_ends].tolist())
        best = on_ends[np.argmax(pairs.product[on_ends])] if len(on_ends) else hard[0] if len(hard) else None
        credit = float(pairs.product[best]) if len(on_ends) else 0.0
        answer = None if best is None else _named(predicted, int(pairs.right[best]))
        if best is None:
            why = _why_missed(s, o, truth, partner, predicted)
        elif len(hard):
            why = "labels equal, both boxes found"
        else:
            why = _why_weak(int(best), pairs, truth.triplets[k], predicted)
        rows.append(
            {
                "fate": "matched" if len(hard) else "weak" if best is not None else "missed",
                "truth": [truth.ids[s], predicate, truth.ids[o]],
                "predicted": answer,
                "credit": credit,
                "hard": bool(len(hard)),
                "why": why,
            }
        )
    repeats = evidence.repeats
    for r in range(len(predicted.pairs)):
        if repeats[r]:
            why = "stands in the answer already"
        elif r not in useful:
            why = "no true triplet between the objects that these stand for" if truth.pairs else "nothing is annotated"
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


def _why_weak(best: int, pairs: TripletPairs, triplet: tuple[str, str, str], predicted: SceneGraph) -> str:
    found = predicted.triplets[int(pairs.right[best])]
    wrong = [
        f"{role} {a!r} for {b!r}"
        for role, a, b in zip(("subject", "predicate", "object"), found, triplet, strict=True)
        if a != b
    ]
    if not pairs.boxes_found[best]:
        wrong.append(f"a box below IoU {IOU_THRESHOLD}")
    return "; ".join(wrong)
