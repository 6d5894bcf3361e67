"""From answers to figures: accuracy by setting, the effect of masking, and conclusions. All figures are fractions.

Accuracy is over all questions that were asked, so an answer that cannot be read is wrong, as in the paper. Two more
figures show what that hides: the share of such answers, and the accuracy over the others. Intervals contain 95 % of the
bootstrap resamples of images; all settings use the same resamples, so differences and quotients are paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from r1sgg.metrics.intervals import LEVEL, intervals
from r1sgg.probing.prompts import Setting
from r1sgg.probing.questions import LETTERS, Question

CHANCE = 1 / len(LETTERS)
Array = npt.NDArray[np.float64]


class ProbeFigures:
    """Counts by setting and image; see `r1sgg.metrics.intervals.Resampled`."""

    def __init__(self, settings: Sequence[Setting], asked_SI: Array, right_SI: Array, read_SI: Array) -> None:
        self.count = asked_SI.shape[1]
        self._settings, self._asked, self._right, self._read = settings, asked_SI, right_SI, read_SI
        self._there = (asked_SI > 0).astype(np.float64)
        self._means = np.divide(right_SI, asked_SI, out=np.zeros_like(right_SI), where=asked_SI > 0)

    def values(self, weights: Array | None = None) -> dict[str, float | None]:
        """Compute {"SETTING FIGURE": value}, with a weight per image (a resample) or unweighted.

        "difference" and "text_bias" compare with the same text and the original image, "without" with the full text and
        the same image.
        """
        weights = np.ones(self.count) if weights is None else weights
        sums = [table @ weights for table in (self._asked, self._right, self._read, self._means, self._there)]
        out: dict[str, float | None] = {}
        accuracy: dict[Setting, float | None] = {}
        for setting, asked, right, read, means, there in zip(
            self._settings, *map(np.ndarray.tolist, sums), strict=True
        ):
            accuracy[setting] = _ratio(right, asked)
            out[f"{setting} acc"] = accuracy[setting]
            out[f"{setting} macc"] = _ratio(means, there)
            out[f"{setting} acc_parsed"] = _ratio(right, read)
            out[f"{setting} unparsed"] = _ratio(asked - read, asked)
        for setting, value in accuracy.items():
            original, full = Setting("original", setting.told), Setting(setting.shown, "names+boxes")
            if setting != original and original in accuracy:
                out[f"{setting} difference"] = _difference(value, accuracy[original])
                out[f"{setting} text_bias"] = _quotient(value, accuracy[original])
            if setting != full and full in accuracy:
                out[f"{setting} without"] = _difference(value, accuracy[full])
        return out


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _quotient(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def results(
    questions: Sequence[Question], rows: Sequence[Mapping[str, Any]], settings: Sequence[Setting], resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """Compute the figures of each setting, as defined in docs/probe.md.

    Args:
        questions: in the order in which they were asked.
        rows: lines of answers.jsonl: for each setting, in order, one per question.
        settings: in order.
        resamples: bootstrap resamples; 0: no intervals.
    """
    images = {image_id: k for k, image_id in enumerate(dict.fromkeys(q.example.image_id for q in questions))}
    asked, right, read = np.zeros((3, len(settings), len(images)))
    parts = [rows[k * len(questions) : (k + 1) * len(questions)] for k in range(len(settings))]
    out: dict[str, dict[str, Any]] = {}
    for k, (setting, part) in enumerate(zip(settings, parts, strict=True)):
        for question, row in zip(questions, part, strict=True):
            i = images[question.example.image_id]
            asked[k, i] += "error" not in row
            read[k, i] += row.get("choice") is not None
            right[k, i] += _is_right(question, row)
        out[str(setting)] = _counts(questions, part)
    figures = ProbeFigures(settings, asked, right, read)
    values = figures.values()
    spans = intervals(figures, resamples)
    for setting in settings:
        rates = {name: values[f"{setting} {name}"] for name in ("acc", "macc", "acc_parsed", "unparsed")}
        record = out[str(setting)] = {**rates, **out[str(setting)]}
        record["intervals"] = {name: spans.get(f"{setting} {name}") for name in ("acc", "macc", "acc_parsed")}
        record["chance"] = {"acc": CHANCE, "interval": chance_interval(record["n"])}
        if f"{setting} difference" in values:
            record["against_original"] = {
                name: {"value": values[f"{setting} {name}"], "interval": spans.get(f"{setting} {name}")}
                for name in ("difference", "text_bias")
            }
        if f"{setting} without" in values:
            record["against_names_and_boxes"] = {
                "difference": {"value": values[f"{setting} without"], "interval": spans.get(f"{setting} without")}
            }
    return out


def _is_right(question: Question, row: Mapping[str, Any]) -> bool:
    return row.get("choice") == LETTERS[question.answer]


def _counts(questions: Sequence[Question], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compute what has no interval: counts, refusals, letters, accuracy per predicate."""
    asked = [(q, row) for q, row in zip(questions, rows, strict=True) if "error" not in row]
    n = len(asked)
    letters = Counter(row["choice"] for _, row in asked)
    total = Counter(q.predicate for q, _ in asked)
    right = Counter(q.predicate for q, row in asked if _is_right(q, row))
    return {
        "n": n,
        "images": len({q.example.image_id for q, _ in asked}),
        "errors": len(rows) - n,
        "refused": sum(row["kind"] == "refusal" for _, row in asked) / n if n else None,
        "letters": {letter: letters[letter] / n if n else None for letter in LETTERS},
        "per_predicate": {
            name: {"n": count, "acc": right[name] / count}
            for name, count in sorted(total.items(), key=lambda item: (-item[1], item[0]))
        },
    }


def chance_interval(n: int) -> list[float] | None:
    """Return [low, high], which contains the accuracy of 95 % of models that guess n answers; None if n is 0."""
    if n == 0:
        return None
    return [float(binom.ppf(share, n, CHANCE)) / n for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]


_NAMES = {
    "original": "the original image",
    "masked-objects": "both objects black",
    "masked-image": "noise instead of the image",
}


def conclusions(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Put the figures into sentences: whether the model uses the image, and accuracies that refusals lower."""
    out = []
    for told in dict.fromkeys(name.partition("/")[2] for name in results):
        rows = {shown: results.get(f"{shown}/{told}") for shown in _NAMES}
        given = {shown: row for shown, row in rows.items() if row is not None and row["acc"] is not None}
        if len(given) > 1:
            ranked = sorted(given, key=lambda shown: -given[shown]["acc"])
            out.append(f"{told}: " + ", ".join(f"{_NAMES[s]} {_percent(given[s]['acc'])}" for s in ranked) + ".")
        if (original := given.pop("original", None)) is not None:
            out += [f"{told}: {_masking(_NAMES[shown], row, original)}" for shown, row in given.items()]
    for name, row in results.items():
        if row["acc"] is not None and (sentence := _hidden(row)):
            out.append(f"{name}: {sentence}")
    return out


def _masking(shown: str, masked: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    """Say how much of the accuracy is left when the image is masked."""
    low, high = original["chance"]["interval"]
    if original["acc"] <= high:
        return (
            f"with the original image the accuracy is not above chance ({_percent(low)} to {_percent(high)} for this "
            f"number of questions), so the text-bias index of {shown} says nothing."
        )
    index, change = (masked["against_original"][name] for name in ("text_bias", "difference"))
    start = f"with {shown}, {_percent(index['value'])} of the accuracy is left ({100 * change['value']:+.1f} points"
    if change["interval"] is None:
        return start + ")."
    low, high = change["interval"]
    start += f", 95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
    if high < 0:
        return start + ": the model uses what was hidden."
    if low > 0:
        return start + ": the accuracy is higher without what was hidden."
    return start + ": no use of what was hidden can be shown."


def _hidden(row: Mapping[str, Any]) -> str:
    """Explain an accuracy below chance, or one with many unreadable answers; "" if there is nothing to explain."""
    low, _ = row["chance"]["interval"]
    if row["acc"] >= low and row["unparsed"] < 0.01:
        return ""
    start = f"{_percent(row['acc'])} is below what guessing gives. " if row["acc"] < low else ""
    if not row["unparsed"]:
        return start + "All answers could be read."
    parsed = row["acc_parsed"]
    rest = "none could be read" if parsed is None else f"of the others {_percent(parsed)} are right"
    choose = f"{_percent(row['unparsed'])} of the answers choose nothing ({_percent(row['refused'])} refuse)"
    return f"{start}{choose}; {rest}."


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
