"""Evaluation inside other harnesses: they keep an answer for each image, and all of them become the figures.

    answer = answer_of(row, completion, "thousandths")     # once for each image; JSON values, so it can be logged
    figures_of(answers, "vg150")["R@50"]                   # once, over all of them

A row has the columns of `r1sgg data build`, and of the R1-SGG authors' sets: image_id, objects and relationships
(lists, or JSON texts of them), and width and height. configs/lmms_eval and configs/vlmevalkit use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

from r1sgg.data.base import Example
from r1sgg.data.hub import example_of_row
from r1sgg.data.importers.layout import resized_size
from r1sgg.data.jsonl import add_image_id
from r1sgg.data.predictions import Prediction, Predictions
from r1sgg.errors import ConfigError
from r1sgg.graph.dialects.registry import AUTO
from r1sgg.graph.frames import Frame
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.judging.protocol import PROTOCOLS
from r1sgg.metrics.columns import Evaluator
from r1sgg.metrics.report import record, run

Answer = dict[str, Any]
"""A ground-truth row with "completion" and "frame"."""

FrameName = Literal["thousandths", "pixels", "resized"]
_TRUTH = ("image_id", "width", "height", "objects", "relationships")


def frame_of_size(name: FrameName, size: tuple[float, float], pixels: tuple[int, int], factor: int = 28) -> Frame:
    """Return what the boxes of a completion are relative to.

    Args:
        name: "thousandths" (Qwen2-VL, Qwen3-VL, InternVL), "pixels" of the image, or "resized", the pixels of the
            image as Qwen2.5-VL's processor resizes it.
        size: width and height of the image in pixels.
        pixels: the fewest and the most pixels of a resized image, as the harness sets them for its model.
        factor: the multiple of which its sides are.

    Raises:
        ConfigError: another name.
    """
    if name not in get_args(FrameName):
        raise ConfigError(f"frame: expected one of {', '.join(get_args(FrameName))}, found {name!r}")
    if name == "resized":
        return resized_size(size, factor, *pixels)
    return (1000.0, 1000.0) if name == "thousandths" else size


def answer_of(row: Mapping[str, Any], completion: str, frame: Frame) -> Answer:
    """Return what `figures_of` needs of an image: its ground truth, the raw completion and its frame."""
    return {**{key: row[key] for key in _TRUTH}, "completion": completion, "frame": list(frame)}


def figures_of(
    answers: Iterable[Answer], vocabulary: str = "open", protocol: str = "strict", dialect: str = AUTO
) -> dict[str, Any]:
    """Return the results that `r1sgg evaluate --json` writes, its ledger included.

    Args:
        answers: of `answer_of`, in any order.
        vocabulary: "vg150", "psg", "open" or the path of a JSON file.
        protocol: "strict" or "reference".
        dialect: see `r1sgg.data.predictions.read_predictions`.

    Raises:
        InputError: two answers for one image, or a row of another kind.
        ConfigError: no such protocol or dialect.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, found {protocol!r}")
    kept, seen = list(answers), set[str]()
    for answer in kept:
        add_image_id(str(answer["image_id"]), seen, "answers")

    def predictions() -> Iterator[Prediction]:
        for answer in kept:
            frame = float(answer["frame"][0]), float(answer["frame"][1])
            yield Prediction(str(answer["image_id"]), frame, answer["completion"])

    evaluator = Evaluator(load_vocabulary(vocabulary), PROTOCOLS[protocol])
    examples = (_example(answer, k) for k, answer in enumerate(kept))
    return record(run(examples, Predictions(predictions, "answers", dialect), evaluator, "answers"))


def _example(answer: Answer, k: int) -> Example:
    row = {**answer, "image": {"path": str(answer["image_id"])}}  # the image itself is not needed
    return example_of_row(row, k, None, "answers", None)[0]
