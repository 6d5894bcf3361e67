"""The table that `r1sgg evaluate` prints: one row per figure, one column per file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from r1sgg.metrics.ratios import RATIOS
from r1sgg.metrics.report import RECALLS

_PLAIN = tuple(name for name, ratio in RATIOS.items() if not ratio.percent)
_PERCENT = tuple(
    dict.fromkeys(
        ("failure_rate", "AP", "AP50", "AP75", *RECALLS, *(name for name, ratio in RATIOS.items() if ratio.percent))
    )
)


def show(columns: Sequence[tuple[str, Mapping[str, Any]]], against: Iterable[Mapping[str, Any]] = ()) -> None:
    """Print the figures of each column, then the differences from the first."""
    console = Console()
    one = columns[0][1]
    table = Table(
        title=f"{one['images']} images, {one['protocol']} protocol, vocabulary {one['vocabulary']}, "
        f"mapping {one['mapping']}, {one['task']}, claims: {one['claims']['convention']}",
        caption="percent, except relations and objects per image",
    )
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for figure in _PERCENT + _PLAIN:
        table.add_row(figure, *(_cell(row, figure) for _, row in columns))
    for k in (20, 50, 100):
        if any(row["zero_shot"] for _, row in columns):
            table.add_row(f"zR@{k}", *(_number((row["zero_shot"] or {}).get(f"zR@{k}"), 100) for _, row in columns))
    for group in one["groups"] or ():
        table.add_row(f"{group} mR@50 ({one['grouping']})", *(_number(row["groups"][group]["mR@50"], 100) for _, row in columns))
    console.print(table)
    for name, row in columns:
        if row["failures"]:
            kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(row["failures"].items(), key=lambda kv: -kv[1]))
            console.print(f"{name}: failures: {kinds}", markup=False)
        if calibration := _calibration(row["calibration"] or {}):
            console.print(f"{name}: confidence: {calibration}", markup=False)
        dropped = sum(m["images"] for m in row["mappings"] if m["to"] is None)
        mapped = sum(m["images"] for m in row["mappings"]) - dropped
        if mapped or dropped:
            console.print(f"{name}: {mapped} names mapped, {dropped} dropped (not in the vocabulary)", markup=False)
        if outside := row["counts"]["outside_vocabulary"]:
            console.print(
                f"{name}: {outside} true objects and relations are not in the vocabulary and do not count",
                markup=False,
            )
    for other in against:
        _show_differences(console, other, columns[0][0])


def _calibration(found: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{kind} ECE {100 * of['ECE']:.2f} %, Brier {of['brier']:.3f}, mean score {of['mean_score']:.2f}, "
        f"accuracy {of['accuracy']:.2f} of {of['count']}{_best(of['thresholds'])}"
        for kind, of in found.items()
        if of
    )


def _best(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say at which threshold F1 is best."""
    best = max(rows, key=lambda row: row["f1"] or 0.0)
    return f", best F1 {100 * best['f1']:.1f} % from {best['threshold']:.2f} on" if best["f1"] else ""


def _show_differences(console: Console, other: Mapping[str, Any], base: str) -> None:
    table = Table(title=f"{other['file']} minus {base}, same images")
    for header in ("", "difference", "95 % interval"):
        table.add_column(header, justify="left" if not header else "right")
    for figure in _PERCENT + _PLAIN:
        if (entry := other["differences"].get(figure)) is None:
            continue
        scale = 1 if figure in _PLAIN else 100
        interval = entry["interval"]
        shown = "" if interval is None else f"{interval[0] * scale:+.2f} .. {interval[1] * scale:+.2f}"
        value = entry["difference"]
        table.add_row(figure, "" if value is None else f"{value * scale:+.2f}", shown)
    console.print(table)


def _cell(row: Mapping[str, Any], figure: str) -> str:
    scale = 1 if figure in _PLAIN else 100
    text = _number(row[figure], scale)
    interval = (row["intervals"] or {}).get(figure)
    return text if interval is None else f"{text} [{interval[0] * scale:.1f}, {interval[1] * scale:.1f}]"


def _number(value: float | None, scale: int) -> str:
    return "-" if value is None else f"{value * scale:.2f}"
