"""What the report's browser knows about each image: columns to filter and sort by, and details to show.

Columns (`Columns.document`) are small and always loaded; details (`graph_detail`, `run_detail`) are read when an image
is opened. `r1sgg.judging.outcomes` decides what was found, missed and spurious. To keep the page small,

    a true relationship is   f found, p another predicate, r the other direction, u nothing predicted between the
                             objects, o an object not found, x no graph (`r1sgg.judging.outcomes.OUTCOMES`)
    all else is              m matched, x missed, s spurious
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from r1sgg.data.predictions import Prediction
from r1sgg.drawing.style import display_names, shorten
from r1sgg.graph.mapping import Change
from r1sgg.graph.parsed import Parsed
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import POLICIES
from r1sgg.judging.outcomes import Judgement
from r1sgg.pages.tables import rounded

LETTERS = {"found": "f", "predicate": "p", "reversed": "r", "unrelated": "u", "object": "o", "failure": "x"}
_STATUS = {"matched": "m", "missed": "x", "spurious": "s"}
MAX_OBJECTS, MAX_RELATIONS = 200, 300
"""Of a longer graph (a model that repeats itself) only so much is shown."""
MAX_TEXT = 6000
"""Characters of a completion that are shown."""
MAX_ISSUES = 40
MAX_THUMBNAIL = 30
"""Boxes on an image in the gallery."""
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
"""In which the boxes of the gallery are written: a 64th of the image is enough there."""
_SCALE = 10_000  # boxes are written as whole numbers from 0 to this
_MEANINGS = {
    "nothing_in_vocabulary": "no object of the completion is in the vocabulary",
    "nothing_tied": "no object of the completion matches a true one",
    "missing": "the predictions file has no line for this image",
    "error": "the model returned an error instead of a completion",
}


class Names(dict[str, int]):
    """Numbers of names, in the order of their first use: `names["dog"]`."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class Columns:
    """The columns of all images: those of the truth once, and those of each run."""

    def __init__(self) -> None:
        self._classes, self._predicates, self._failures = Names(), Names(), Names()
        self._ids: list[str] = []
        self._sizes: list[tuple[int, int]] = []
        self._boxes: list[str] = []
        self._truth: dict[str, list[list[int]]] = {"classes": [], "predicates": []}
        self._rows: list[Sequence[Mapping[str, Any]]] = []

    def row_of(self, judgement: Judgement) -> dict[str, Any]:
        """Return what a run's columns hold about one image."""
        outcomes = judgement.outcomes()
        graph = judgement.graph
        others = [o.predicted for o in outcomes if o.kind in ("predicate", "reversed") and o.predicted is not None]
        spurious = [j for j, status in enumerate(judgement.graph_statuses) if status == "spurious"][:MAX_RELATIONS]
        missed = [k for k, status in enumerate(judgement.true_object_statuses) if status == "missed"]
        made_up = [k for k, status in enumerate(judgement.object_statuses) if status == "spurious"][:MAX_OBJECTS]
        return {
            "failure": -1 if judgement.failure is None else self._failures[judgement.failure],
            "recall": rounded(judgement.recall),
            "precision": rounded(judgement.precision),
            "objects": "".join(_STATUS[s] for s in judgement.true_object_statuses[:MAX_THUMBNAIL]),
            "outcomes": "".join(LETTERS[o.kind] for o in outcomes),
            "taken": [self._predicates[graph.predicates[j]] for j in others],
            "spurious": [self._predicates[graph.predicates[j]] for j in spurious],
            "missedClasses": [self._classes[judgement.truth.labels[k]] for k in missed],
            "spuriousClasses": [self._classes[graph.labels[k]] for k in made_up],
        }

    def add(self, image_id: str, size: tuple[int, int], truth: SceneGraph, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the next image; `rows` has for each run what `row_of` returned."""
        self._ids.append(image_id)
        self._sizes.append(size)
        corners = (truth.boxes[:MAX_THUMBNAIL].clip(0, 1) * (len(DIGITS) - 1)).round().astype(int)
        self._boxes.append("".join(DIGITS[v] for v in corners.ravel().tolist()))
        self._truth["classes"].append([self._classes[name] for name in truth.labels])
        self._truth["predicates"].append([self._predicates[name] for name in truth.predicates])
        self._rows.append(rows)

    def document(self, runs: Sequence[str]) -> dict[str, Any]:
        """Return the columns of at least one image as JSON values; `runs` are the names of the runs."""
        of_runs = zip(runs, zip(*self._rows, strict=True), strict=True)
        return {
            "classes": list(self._classes),
            "predicates": list(self._predicates),
            "failures": list(self._failures),
            "ids": self._ids,
            "sizes": self._sizes,
            "boxes": self._boxes,
            "truth": self._truth,
            "runs": [{"name": name, **{key: [row[key] for row in rows] for key in rows[0]}} for name, rows in of_runs],
        }


# ---------------------------------------------------------------- details


def run_detail(
    judgement: Judgement, prediction: Prediction | None, read: Parsed | None, changes: Sequence[Change]
) -> dict[str, Any]:
    """Return a run's prediction for one image: its graph, what is right and wrong in it, the completion, its issues.

    Args:
        judgement: of the image.
        prediction: of the image.
        read: what was read in it; None without a prediction, or if the model failed.
        changes: names that were mapped.
    """
    outcomes = judgement.outcomes()
    kind = judgement.failure or ""
    raw = prediction.completion if prediction is not None and prediction.completion is not None else ""
    return {
        "graph": graph_detail(judgement.graph),
        "failure": kind,
        "meaning": _MEANINGS.get(kind) or POLICIES.get(kind, "").removeprefix("failure: ").partition(";")[0],
        "outcomes": "".join(LETTERS[o.kind] for o in outcomes),
        "taken": [-1 if o.predicted is None else o.predicted for o in outcomes],
        "trueObjects": "".join(_STATUS[s] for s in judgement.true_object_statuses),
        "objects": "".join(_STATUS[s] for s in judgement.object_statuses[:MAX_OBJECTS]),
        "relations": "".join(_STATUS[s] for s in judgement.graph_statuses),
        "text": raw[:MAX_TEXT],
        "issues": _issues(prediction, read, kind, changes),
        **({"cut": len(raw) - MAX_TEXT} if len(raw) > MAX_TEXT else {}),
    }


def graph_detail(graph: SceneGraph) -> dict[str, Any]:
    """Return a graph in few characters: four whole numbers for each box, relations as [subject, predicate, object]."""
    boxes = (graph.boxes[:MAX_OBJECTS] * _SCALE).clip(-_SCALE, 2 * _SCALE).round().astype(int)
    shown = [
        [s, shorten(p, 60), o] if s < MAX_OBJECTS and o < MAX_OBJECTS else None
        for (s, o), p in zip(graph.pairs[:MAX_RELATIONS], graph.predicates[:MAX_RELATIONS], strict=True)
    ]
    detail: dict[str, Any] = {
        "names": display_names(graph)[:MAX_OBJECTS],
        "boxes": boxes.ravel().tolist(),
        "relations": shown,
        "count": [len(graph), len(graph.pairs)],
    }
    if graph.relationship_scores is not None:
        detail["relationScores"] = graph.relationship_scores[:MAX_RELATIONS].round(3).tolist()
    return detail


def _issues(
    prediction: Prediction | None, read: Parsed | None, failure: str, changes: Sequence[Change]
) -> list[list[str]]:
    """Return the parser's issues and the names that were mapped; not the failure itself, which has its own place."""
    if prediction is not None and prediction.error is not None:
        return [["error", prediction.error[:MAX_TEXT]]]
    if read is None:
        return []
    notes = [[i.kind, i.detail] for i in read.issues if i.kind != failure]
    for change in changes:
        where = f"to {change.to!r} ({change.how})" if change.to else "is not in the vocabulary: dropped"
        notes.append(["mapped" if change.to else "dropped", f"{change.kind} {change.name!r} {where}"])
    left_out = len(notes) - MAX_ISSUES
    return [*notes[:MAX_ISSUES], ["more", f"and {left_out} more"]] if left_out > 0 else notes
