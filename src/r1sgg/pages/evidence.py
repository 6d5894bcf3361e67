"""What the report's browser knows of each image: columns to filter and sort by, and details to show.

Columns (`Columns.document`) are small and always loaded; details (`truth_detail`, `run_detail`) are read when an image
is opened. What was found, missed and made up is decided by `r1sgg.judging.outcomes`. Letters: relations
f found, p another predicate, r the other direction, u nothing between the objects, o an object not found, x no graph
(see `r1sgg.judging.outcomes.OUTCOMES`); objects and predicted relations m matched, x missed, s spurious.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r1sgg.data.predictions import Prediction
from r1sgg.drawing.style import display_names, shorten
from r1sgg.graph.mapping import Change
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import POLICIES
from r1sgg.judging.outcomes import Judgement

LETTERS = {"found": "f", "predicate": "p", "reversed": "r", "unrelated": "u", "object": "o", "failure": "x"}
_STATUS = {"matched": "m", "missed": "x", "spurious": "s"}
MAX_OBJECTS, MAX_RELATIONS = 200, 300
"""An answer caught in a loop is shown up to here."""
MAX_TEXT = 6000
"""Characters of a raw answer that are shown."""
MAX_ISSUES = 40
_SCALE = 10_000  # boxes are whole numbers of it
_MEANINGS = {
    "nothing_in_vocabulary": "no object of the answer is in the vocabulary",
    "nothing_tied": "no object of the answer stands for a true one",
    "missing": "the predictions file has no line for this image",
    "error": "the model gave no answer",
}


class Names:
    """Names as numbers, in the order of their first use."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def __iter__(self) -> Any:
        return iter(self.numbers)


class Columns:
    """The columns of all images: those of the truth once, those of each run."""

    def __init__(self, runs: Sequence[str]) -> None:
        self.classes, self.predicates, self.failures = Names(), Names(), Names()
        self.ids: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.truth: dict[str, list[Any]] = {"classes": [], "predicates": []}
        self.runs = [_run_columns(name) for name in runs]

    def add_truth(self, image_id: str, size: tuple[int, int], truth: SceneGraph) -> None:
        """The next image."""
        self.ids.append(image_id)
        self.sizes.append(size)
        self.truth["classes"].append([self.classes(name) for name in truth.labels])
        self.truth["predicates"].append([self.predicates(name) for name in truth.predicates])

    def row_of(self, judgement: Judgement) -> dict[str, Any]:
        """What a run's columns hold of one image."""
        outcomes = judgement.outcomes()
        graph = judgement.graph
        others = [o.predicted for o in outcomes if o.kind in ("predicate", "reversed") and o.predicted is not None]
        spurious = [j for j, status in enumerate(judgement.graph_statuses) if status == "spurious"][:MAX_RELATIONS]
        missed = [k for k, status in enumerate(judgement.true_object_statuses) if status == "missed"]
        made_up = [k for k, status in enumerate(judgement.object_statuses) if status == "spurious"][:MAX_OBJECTS]
        return {
            "failure": -1 if judgement.failure is None else self.failures(judgement.failure),
            "recall": _rounded(judgement.recall),
            "precision": _rounded(judgement.precision),
            "outcomes": "".join(LETTERS[o.kind] for o in outcomes),
            "taken": [self.predicates(graph.predicates[j]) for j in others],
            "spurious": [self.predicates(graph.predicates[j]) for j in spurious],
            "missedClasses": [self.classes(judgement.truth.labels[k]) for k in missed],
            "spuriousClasses": [self.classes(graph.labels[k]) for k in made_up],
        }

    def add_row(self, run: int, row: dict[str, Any]) -> None:
        """The next image of a run."""
        for key, value in row.items():
            self.runs[run][key].append(value)

    def document(self) -> dict[str, Any]:
        """The columns as JSON values."""
        return {
            "classes": list(self.classes),
            "predicates": list(self.predicates),
            "failures": list(self.failures),
            "ids": self.ids,
            "sizes": self.sizes,
            "truth": self.truth,
            "runs": self.runs,
        }


def _run_columns(name: str) -> dict[str, Any]:
    keys = ("failure", "recall", "precision", "outcomes", "taken", "spurious", "missedClasses", "spuriousClasses")
    return {"name": name, **{key: [] for key in keys}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# ---------------------------------------------------------------- details


def truth_detail(truth: SceneGraph) -> dict[str, Any]:
    """The true graph, as the viewer draws it."""
    return _graph(truth)


def run_detail(judgement: Judgement, prediction: Prediction | None, changes: Sequence[Change]) -> dict[str, Any]:
    """A run's answer to one image: its graph, what is right and wrong in it, and the raw text with its faults."""
    outcomes = judgement.outcomes()
    kind = judgement.failure or ""
    raw = prediction.completion if prediction is not None and prediction.completion is not None else ""
    detail: dict[str, Any] = {
        "graph": _graph(judgement.graph),
        "failure": kind,
        "meaning": _MEANINGS.get(kind) or POLICIES.get(kind, "").removeprefix("failure: ").partition(";")[0],
        "outcomes": "".join(LETTERS[o.kind] for o in outcomes),
        "taken": [-1 if o.predicted is None else o.predicted for o in outcomes],
        "trueObjects": "".join(_STATUS[s] for s in judgement.true_object_statuses),
        "objects": "".join(_STATUS[s] for s in judgement.object_statuses[:MAX_OBJECTS]),
        "relations": "".join(_STATUS[s] for s in judgement.graph_statuses),
        "text": raw[:MAX_TEXT],
        "issues": _issues(prediction, kind, changes),
    }
    if len(raw) > MAX_TEXT:
        detail["cut"] = len(raw) - MAX_TEXT
    return detail


def _graph(graph: SceneGraph) -> dict[str, Any]:
    """A graph in few characters: boxes are four whole numbers an object, relations [subject, predicate, object]."""
    boxes = (graph.boxes[:MAX_OBJECTS] * _SCALE).clip(-_SCALE, 2 * _SCALE).round().astype(int)
    shown = [
        [s, shorten(p, 60), o] if s < MAX_OBJECTS and o < MAX_OBJECTS else None
        for (s, o), p in zip(graph.pairs[:MAX_RELATIONS], graph.predicates[:MAX_RELATIONS], strict=True)
    ]
    out: dict[str, Any] = {
        "names": display_names(graph)[:MAX_OBJECTS],
        "boxes": boxes.ravel().tolist(),
        "relations": shown,
        "count": [len(graph), len(graph.pairs)],
    }
    if graph.object_scores is not None:
        out["scores"] = graph.object_scores[:MAX_OBJECTS].round(3).tolist()
    if graph.relationship_scores is not None:
        out["relationScores"] = graph.relationship_scores[:MAX_RELATIONS].round(3).tolist()
    return out


def _issues(prediction: Prediction | None, failure: str, changes: Sequence[Change]) -> list[list[str]]:
    """What was wrong with the text and which names were mapped, the failure itself left out: it has its own place."""
    if prediction is None:
        return []
    if prediction.error is not None:
        return [["error", prediction.error[:MAX_TEXT]]]
    notes = [[i.kind, i.detail] for i in prediction.read().issues if i.kind != failure]
    for change in changes:
        where = f"to {change.to!r} ({change.how})" if change.to else "is not in the vocabulary: dropped"
        notes.append(["mapped" if change.to else "dropped", f"{change.kind} {change.name!r} {where}"])
    left_out = len(notes) - MAX_ISSUES
    return [*notes[:MAX_ISSUES], ["more", f"and {left_out} more"]] if left_out > 0 else notes
