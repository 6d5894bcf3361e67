"""A reading as a line of a predictions file (`r1sgg.data.base` says what one holds)."""

from __future__ import annotations

import dataclasses
from typing import Any

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Frame
from r1sgg.inference.reader import Reading


def prediction_line(reading: Reading, model: str, *, logprobs: bool = False) -> dict[str, Any]:
    """The line of one image, without its id; `error` alone where the engine had no answer.

    Args:
        reading: what was said and read.
        model: its name.
        logprobs: add {"sum", "mean"} of the tokens' log-probabilities where the engine gives them.
    """
    said = reading.completion
    if said.error is not None:
        return {"error": spoken(said.error)}
    line: dict[str, Any] = {
        "frame": list(reading.frame),
        "completion": spoken(said.text),
        "model": model,
        "finish_reason": said.finish_reason,
        "tokens": said.tokens,
    }
    if said.passes is not None:
        line["passes"] = said.passes
    if logprobs and said.logprobs is not None:
        line["logprobs"] = {key: round(value, 6) for key, value in dataclasses.asdict(said.logprobs).items()}
    if reading.parsed.graph.object_scores is not None:
        line |= _rows(reading.parsed.graph, reading.frame)
    if reading.samples:
        line["completions"] = [spoken(sample.text) for sample in reading.samples]
    return line


def _rows(graph: SceneGraph, frame: Frame) -> dict[str, Any]:
    """Objects and relationships with their scores, boxes in units of the frame to 1/100."""
    sides = [*frame, *frame]
    objects = []
    for thing in graph.objects:
        box = [_short(value * side) for value, side in zip(thing.box, sides, strict=True)]
        objects.append({"id": thing.id, "bbox": box, "score": _score(thing.score)})
    relationships = []
    for row in graph.relationships:
        ends = {"subject": graph.ids[row.subject], "predicate": row.predicate, "object": graph.ids[row.object]}
        relationships.append({**ends, "score": _score(row.score)})
    return {"objects": objects, "relationships": relationships}


def _short(value: float) -> float | int:
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _score(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def spoken(text: str) -> str:
    """Text that JSON can hold: lone surrogates (of file names that are not UTF-8) are written out."""
    return text.encode("utf-8", "backslashreplace").decode()
