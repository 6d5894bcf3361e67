"""The tables of the report: figures with intervals, differences between runs, and recall by predicate.

Numbers come from `r1sgg.metrics`; here they become text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; `better` is +1 where higher is better, -1 where lower is, 0 where neither."""

    key: str
    title: str
    meaning: str
    better: int
    style: str = "percent"


COLUMNS = (
    Column("failure_rate", "Failures", "Share of images without a usable graph", -1),
    Column("AP50", "AP50", "Average precision of the objects at IoU 0.5", 1),
    Column("R@50", "R@50", "Recall of true triplets, one predicate per pair, mean over images", 1),
    Column("mR@50", "mR@50", "Recall averaged over predicates", 1),
    Column("ngR@50", "ngR@50", "Recall with any number of predicates per pair", 1),
    Column("precision", "Precision", "Share of predicted triplets that match a true one", 1),
    Column("f1", "F1", "Harmonic mean of precision and recall", 1),
    Column("duplicate_rate", "Duplicates", "Share of predicted triplets that repeat another", -1),
    Column("relations_per_image", "Rel./image", "Predicted relations per image", 0, "decimal"),
    Column("images", "Images", "Images evaluated", 0, "count"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of the table as it is shown, with its interval ("" where it has none)."""

    text: str
    best: bool = False
    interval: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A run's cells, in the order of `COLUMNS`."""

    name: str
    cells: tuple[Cell, ...]


def results_table(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> tuple[TableRow, ...]:
    """Return a row for each run; `results` are of `r1sgg.metrics.report.record`."""
    best: dict[str, str] = {}
    for column in COLUMNS:
        values = [float(r[column.key]) for r in results if r.get(column.key) is not None]
        if column.better and len(values) > 1 and min(values) < max(values):
            best[column.key] = shown(max(values) if column.better > 0 else min(values), column)

    def cell(result: Mapping[str, Any], c: Column) -> Cell:
        text = shown(result.get(c.key), c)
        return Cell(text, best.get(c.key) == text, _interval((result.get("intervals") or {}).get(c.key), c))

    return tuple(TableRow(n, tuple(cell(r, c) for c in COLUMNS)) for n, r in zip(names, results, strict=True))


def differences_table(names: Sequence[str], differences: Sequence[Mapping[str, Any]]) -> tuple[TableRow, ...]:
    """Return a row for each run but the first: its difference to the first, bold where the interval excludes zero."""

    def cell(found: Mapping[str, Any], c: Column) -> Cell:
        entry = found.get(c.key) or {}
        interval = entry.get("interval")
        clear = interval is not None and (interval[0] > 0 or interval[1] < 0)
        return Cell(shown(entry.get("difference"), c, signed=True), clear, _interval(interval, c, signed=True))

    return tuple(TableRow(n, tuple(cell(d, c) for c in COLUMNS)) for n, d in zip(names, differences, strict=True))


def shown(value: float | None, column: Column, *, signed: bool = False) -> str:
    """Return a figure as text; "–" where it is not defined."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    if column.style == "count":
        return f"{value:,.0f}"
    text = f"{100 * value if column.style == 'percent' else value:{sign}.1f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def _interval(interval: Sequence[float] | None, column: Column, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (shown(v, column, signed=signed) for v in interval)
    return f"{low} to {high}" if signed else f"{low}–{high}"


def failure_kinds(result: Mapping[str, Any]) -> str:
    """Return names and numbers of the failures, the most frequent first."""
    kinds = {str(kind): int(n) for kind, n in (result.get("failures") or {}).items() if n}
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in ordered)


def predicate_rows(results: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return [name, true relations, [R@50 of each run]] for each predicate of the truth, the most frequent first."""
    recalls = [result.get("per_predicate") or {} for result in results]
    rows: list[list[Any]] = []
    for name in dict.fromkeys(name for found in recalls for name in found):
        entries = [found.get(name) or {} for found in recalls]
        count = max(int(entry.get("relations", 0)) for entry in entries)
        if count:
            rows.append([name, count, [rounded(entry.get("R@50")) for entry in entries]])
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def rounded(value: float | None) -> float | None:
    """Return a figure as the page's scripts need it; None where it is not defined."""
    return None if value is None else round(value, 4)
