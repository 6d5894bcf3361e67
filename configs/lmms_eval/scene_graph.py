"""Scene graphs as a task of lmms-eval: prompts, answers and figures by r1sgg, which must be installed beside it.

    lmms-eval --model qwen2_vl --tasks r1sgg_vg150 --include_path configs/lmms_eval

The YAML files beside this one name these functions. A task's frame is what the model's boxes are relative to: choose
the task by the model, see docs/others.md.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from r1sgg.graph.frames import Frame
from r1sgg.metrics.harness import Answer, FrameName, answer_of, figures_of, frame_of_size
from r1sgg.models.prompts import AnswerSettings, build_messages

VOCABULARY = "vg150"
PIXELS = (256 * 28 * 28, 1605632)
"""Fewest and most pixels of lmms-eval's qwen2_5_vl (its min_pixels and max_pixels); change both or neither."""

Doc = dict[str, Any]


def size_of(doc: Doc) -> tuple[int, int]:
    """Return width and height of the image in pixels."""
    if doc.get("width") and doc.get("height"):
        return doc["width"], doc["height"]
    return doc["image"].size


def doc_to_visual(doc: Doc) -> list[Any]:
    """Return the image."""
    return [doc["image"].convert("RGB")]


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
    """Return the paper's prompt with the vocabulary, its coordinates in the task's frame."""
    frame = _frame(doc, (lmms_eval_specific_kwargs or {}).get("frame", "thousandths"))
    return build_messages(AnswerSettings(vocabulary=VOCABULARY), frame)[-1]["content"]


def doc_to_target(doc: Doc) -> str:
    """Return the annotated relationships, for the log."""
    return str(doc["relationships"])


def _frame(doc: Doc, name: FrameName) -> Frame:
    return frame_of_size(name, size_of(doc), PIXELS)


def _process(frame: FrameName, doc: Doc, results: list[str]) -> dict[str, Answer]:
    width, height = size_of(doc)
    row = {key: doc[key] for key in ("image_id", "objects", "relationships")} | {"width": width, "height": height}
    answer = answer_of(row, results[0], _frame(doc, frame))
    return dict.fromkeys(FIGURES, answer)


process_thousandths = partial(_process, "thousandths")
process_pixels = partial(_process, "pixels")
process_resized = partial(_process, "resized")

FIGURES = {"failure_rate": "failure_rate", "AP50": "AP50", "R50": "R@50", "mR50": "mR@50", "precision": "precision"}
"""Names of the metrics in the YAML files, and of the figures; lmms-eval's names have no "@"."""


def _aggregate(figure: str, answers: list[Answer]) -> float:
    value = figures_of(answers, VOCABULARY)[figure]
    return float("nan") if value is None else 100 * value


failure_rate, ap50, r50, mr50, precision = (partial(_aggregate, figure) for figure in FIGURES.values())  # type: Callable[[list[Answer]], float]
