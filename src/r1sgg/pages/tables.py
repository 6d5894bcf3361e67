"""The report's tables: figures with their intervals, differences between runs, and recall by predicate.

Numbers come from `r1sgg.metrics`; this file writes them as text.
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
    Column("failure_rate", "Failures", "Share of answers without a usable graph", -1),
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
    notes: str
    cells: tuple[Cell, ...]


def results_table(names: Sequence[tuple[str, str]], results: Sequence[Mapping[str, Any]]) -> tuple[TableRow, ...]:
    """A row for each run; `names` are its name and notes."""
    best: dict[str, str] = {}
    for column in COLUMNS:
        values = [float(r[column.key]) for r in results if r.get(column.key) is not None]
        if column.better and len(values) > 1 and min(values) < max(values):
            best[column.key] = shown(max(values) if column.better > 0 else min(values), column)
    table = []
    for (name, notes), result in zip(names, results, strict=True):
        cells = []
        for c in COLUMNS:
            text = shown(result.get(c.key), c)
            cells.append(Cell(text, best.get(c.key) == text, _interval((result.get("intervals") or {}).get(c.key), c)))
        table.append(TableRow(name, notes, tuple(cells)))
    return tuple(table)


def differences_table(names: Sequence[str], differences: Sequence[Mapping[str, Any]]) -> tuple[TableRow, ...]:
    """A row for each run but the first: its difference to the first, marked where the interval leaves out zero."""
    table = []
    for name, found in zip(names, differences, strict=True):
        cells = []
        for c in COLUMNS:
            entry = found.get(c.key)
            value, interval = (entry["difference"], entry["interval"]) if entry else (None, None)
            clear = interval is not None and (interval[0] > 0 or interval[1] < 0)
            cells.append(Cell(shown(value, c, signed=True), clear, _interval(interval, c, signed=True)))
        table.append(TableRow(name, "", tuple(cells)))
    return tuple(table)


def shown(value: float | None, column: Column, *, signed: bool = False) -> str:
    """A figure as text; "–" where it is not defined."""
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
    """Names and numbers of the failures, the most frequent first."""
    kinds = {str(kind): int(n) for kind, n in (result.get("failures") or {}).items() if n}
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in ordered)


def predicate_rows(results: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """[name, true relations, [R@50 of each run]] of each predicate that is true somewhere, the most frequent first."""
    recalls = [result.get("per_predicate") or {} for result in results]
    names = dict.fromkeys(name for found in recalls for name in found)
    rows: list[list[Any]] = []
    for name in names:
        entries = [found.get(name) or {} for found in recalls]
        count = max((int(entry.get("relations", 0)) for entry in entries), default=0)
        if count:
            rows.append([name, count, [_rounded(entry.get("R@50")) for entry in entries]])
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
