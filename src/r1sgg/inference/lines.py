"""A reading as a line of a predictions file (for the format see `r1sgg.data.base`)."""

from __future__ import annotations

import dataclasses
from typing import Any

from r1sgg.graph.records import graph_to_rows
from r1sgg.inference.reader import Reading
from r1sgg.inference.weights import log_weight


def prediction_line(reading: Reading, model: str, *, logprobs: bool = False, weight: bool = False) -> dict[str, Any]:
    """Return the line of one image without its id; only `error` if the engine failed.

    Args:
        reading: a completion and its graph.
        model: name of the model.
        logprobs: add {"sum", "mean"} of the tokens' log-probabilities if the engine has them.
        weight: to them the logarithm of a guided answer's importance weight (`r1sgg.inference.weights`), which has a
            meaning for samples at temperature 1 from all tokens.
    """
    completion = reading.completion
    if completion.error is not None:
        return {"error": spoken(completion.error)}
    line: dict[str, Any] = {
        "frame": list(reading.frame),
        "completion": spoken(completion.text),
        "model": model,
        "finish_reason": completion.finish_reason,
        "tokens": completion.tokens,
    }
    if completion.passes is not None:
        line["passes"] = completion.passes
    if logprobs and completion.logprobs is not None:
        line["logprobs"] = {key: round(value, 6) for key, value in dataclasses.asdict(completion.logprobs).items()}
        if weight and (found := log_weight(completion)) is not None:
            line["logprobs"]["weight"] = round(found, 6)
    if (graph := reading.parsed.graph).object_scores is not None:
        fractions = min(reading.frame) < 100  # of 1, as LLaVA's: 1/100 of them would be a coarse grid
        kept = graph.above(reading.threshold) if reading.threshold else graph
        line |= graph_to_rows(kept, reading.frame, digits=6 if fractions else 2)
        line["scores"] = "triplet"  # what a relationship's score is about (`r1sgg.data.base`)
    line |= reading.made_of()
    if reading.samples:
        line["completions"] = [spoken(sample.text) for sample in reading.samples]
    return line


def spoken(text: str) -> str:
    """Return text that JSON can hold: lone surrogates (in file names that are not UTF-8) become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
