"""What `r1sgg evaluate` prints: a short table, or with --all every figure; never wider than 99 columns.

One file gives a row for each figure, several files give a row for each file. What is equal is said once: a completion
rarely has more than 20 relationships, and R@20, R@50 and R@100 are then the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from r1sgg.judging.protocol import CUTOFFS
from r1sgg.metrics.ratios import BUILT_IN, RATIOS
from r1sgg.metrics.table import EVERY, PLAIN, Cell, cell, conditions, number

WIDTH = 99

_SHORT = (
    *("failure_rate", "AP50", *(f"{prefix}R@{k}" for prefix in ("", "m") for k in CUTOFFS), "precision"),
    *("relations_per_image", *(name for name in RATIOS if name not in BUILT_IN)),
)
_IN_ROWS = ("failure_rate", "AP50", "R@50", "mR@50", "precision", "relations_per_image")
"""What fits beside the name of a file, intervals included."""

Column = tuple[str, Mapping[str, Any]]
"""A name and a result of `r1sgg.metrics.report.record`."""


def show(
    columns: Sequence[Column],
    against: Iterable[Mapping[str, Any]] = (),
    *,
    every: bool = False,
    again: Mapping[str, str] | None = None,
) -> None:
    """Print the figures of each file, then the differences from the first.

    Args:
        columns: the results, the first file's first.
        against: differences of the other files from the first (see `r1sgg.metrics.intervals.compare`).
        every: print all figures.
        again: columns that are a file under other conventions, and the file's first column: what is remarked on both
            is said of the first alone.
    """
    console = Console()
    console = Console(width=min(console.width, WIDTH) if console.is_terminal else WIDTH)
    console.print(conditions(columns[0][1]), markup=False, highlight=False)
    if every or len(columns) == 1:
        fitting = _fitting(columns)
        for k in range(0, len(columns), fitting):
            console.print(_by_figure(columns[k : k + fitting], every=every))
    else:
        console.print(_by_file(columns))
    unit = "percent, except relations and objects per image"
    console.print(unit if every else f"{unit}; every figure: --all", highlight=False)
    for name, row in columns:
        if row.get("open_vocabulary"):
            console.print(_parts(name, row["open_vocabulary"]))
    if (parts := columns[0][1].get("open_vocabulary")) and parts["unknown"]:
        said = "true relations have names that VG150 lacks; they are in no novel column (--vocabulary vg150 drops them)"
        console.print(f"{parts['unknown']:,} {said}", markup=False, highlight=False)
    if (zero_shot := columns[0][1]["zero_shot"]) and (counted := zero_shot.get("triplets")):
        published = "" if counted.startswith("listed") else "; published tables count a fixed list (--zero-shot)"
        relations = f"{zero_shot['relations']:,} true relations" if zero_shot["relations"] else "no true relation is"
        console.print(f"zR@K: {relations} {counted}{published}", markup=False, highlight=False)
    remarks = {name: tuple(_remarks(row)) for name, row in columns}
    about: dict[str, list[str]] = {}  # a remark on the ground truth is the same for every file
    for name, own in remarks.items():
        earlier = remarks.get((again or {}).get(name, ""), ())
        for remark in own:
            if remark not in earlier:
                about.setdefault(remark, []).append(name)
    for remark, names in about.items():
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        console.print(f"{who}: {remark}", markup=False)
    for other in against:
        console.print(f"\n{other['name']} minus {columns[0][0]}, same images:", markup=False, highlight=False)
        console.print(_differences(other, every=every))


def _fitting(columns: Sequence[Column]) -> int:
    """Return how many files fit beside the names of the figures."""
    widths = [max(len(name), 22 if row["intervals"] else 7) + 2 for name, row in columns]
    return max(1, (WIDTH - 24) // max(widths))


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for k, head in enumerate(heads):
        table.add_column(head, justify="right" if k else "left", overflow="fold")
    return table


def _by_figure(columns: Sequence[Column], *, every: bool) -> Table:
    table = _table("", *(name for name, _ in columns))
    rows = _rows(columns, EVERY if every else _SHORT, grouped=every)
    for label, cells in rows if every else [merged[:2] for merged in _merged(rows)]:
        table.add_row(label, *map(str, cells))
    return table


def _by_file(columns: Sequence[Column]) -> Table:
    """Return a table with a row for each file; an interval stands under its figure."""
    labels = {figure: label for label, _, figures in _merged(_rows(columns, _SHORT)) for figure in figures}
    table = _table("", *(labels[figure].replace("_", "\n").replace("R@", "R@\n") for figure in _IN_ROWS))
    room = 16 if any(row["intervals"] for _, row in columns) else 40
    table.columns[0].min_width = min(room, max(len(name) for name, _ in columns))
    for column in table.columns[1:]:
        column.no_wrap = True  # a long name is folded instead
    for name, row in columns:
        cells = [cell(row, figure) for figure in _IN_ROWS]
        table.add_row(name, *(f"{c.value}\n{'-'.join(c.interval)}" if c.interval else c.value for c in cells))
    return table


Rows = list[tuple[str, list[Cell]]]
"""A figure's name and its cells, one for each file."""


def _rows(columns: Sequence[Column], figures: Sequence[str], *, grouped: bool = False) -> Rows:
    """Return a row for each figure, with zero-shot recalls and groups of predicates if there is a training set.

    Args:
        columns: the results.
        figures: names of figures.
        grouped: add the groups of predicates also without a training set.
    """
    results = [row for _, row in columns]
    rows = [(figure, [cell(row, figure) for row in results]) for figure in figures]
    more: Rows = []
    if trained := any(row["zero_shot"] for row in results):
        for name in (f"zR@{k}" for k in CUTOFFS):
            more.append((name, [Cell(number((row["zero_shot"] or {}).get(name), 100)) for row in results]))
    for group in (results[0]["groups"] or ()) if grouped or trained else ():
        more.append(
            (
                f"{group} mR@50 ({results[0]['grouping']})",
                [Cell(number(row["groups"][group]["mR@50"], 100)) for row in results],
            )
        )
    plain = sum(figure in PLAIN for figure in figures)  # they come last
    return [*rows[: len(rows) - plain], *more, *rows[len(rows) - plain :]]


def _merged(rows: Rows) -> Iterator[tuple[str, list[Cell], list[str]]]:
    """Yield a label, the cells and the figures of each row; a figure that is the same at several K is one row."""
    for (_, cells), same in groupby(rows, key=lambda row: (row[0].rpartition("@")[0] or row[0], row[1])):
        figures = [figure for figure, _ in same]
        yield "/".join([figures[0], *(figure.rpartition("@")[2] for figure in figures[1:])]), cells, figures


def _remarks(row: Mapping[str, Any]) -> Iterator[str]:
    if row["failures"]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(row["failures"].items(), key=lambda kv: -kv[1]))
        yield f"failures: {kinds}"
    if calibration := _calibration(row["calibration"] or {}):
        yield f"confidence: {calibration}"
    if row["interval_remark"]:
        yield row["interval_remark"]
    dropped = sum(m["images"] for m in row["mappings"] if m["to"] is None)
    mapped = sum(m["images"] for m in row["mappings"]) - dropped
    if mapped or dropped:
        yield f"{mapped} names mapped, {dropped} dropped (not in the vocabulary)"
    if outside := row["counts"]["outside_vocabulary"]:
        yield f"{outside} true objects and relations are not in the vocabulary and do not count"


def _calibration(found: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{kind} ECE {100 * of['ECE']:.2f} %, Brier {of['brier']:.3f}, mean score {of['mean_score']:.2f}, "
        f"accuracy {of['accuracy']:.2f} of {of['count']}{_best(of['thresholds'])}"
        for kind, of in found.items()
        if of
    )


def _parts(name: str, found: Mapping[str, Any]) -> Table:
    """Return OvSGTR's columns of a file, each as a row."""
    table = _table(f"{name}, {found['mode']}", "count", *(f"R@{k}" for k in CUTOFFS), *(f"mR@{k}" for k in CUTOFFS))
    table.columns[0].min_width = max(len(name), *map(len, found["parts"])) if len(name) < 20 else 14
    for part, row in found["parts"].items():
        cells = [cell(row, f"{prefix}R@{k}") for prefix in ("", "m") for k in CUTOFFS]
        shown = (f"{c.value}\n{'-'.join(c.interval)}" if c.interval else c.value for c in cells)
        table.add_row(part, f"{row['relations']:,}", *shown)
    return table


def _best(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say at which threshold F1 is best."""
    best = max(rows, key=lambda row: row["f1"] or 0.0)
    return f", best F1 {100 * best['f1']:.1f} % from {best['threshold']:.2f} on" if best["f1"] else ""


def _differences(other: Mapping[str, Any], *, every: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    intervals = any(entry["interval"] for entry in other["differences"].values())
    for header in ("", "difference", "95 % interval")[: 3 if intervals else 2]:
        table.add_column(header, justify="right" if header else "left")
    rows: Rows = []
    for figure in EVERY if every else _SHORT:
        if (entry := other["differences"].get(figure)) is None:
            continue
        scale = 1 if figure in PLAIN else 100
        interval = entry["interval"]
        value = "" if entry["difference"] is None else f"{entry['difference'] * scale:+.2f}"
        ends = "" if interval is None else f"{interval[0] * scale:+.2f} .. {interval[1] * scale:+.2f}"
        rows.append((figure, [Cell(value), Cell(ends)] if intervals else [Cell(value)]))
    for label, cells in rows if every else [merged[:2] for merged in _merged(rows)]:
        table.add_row(label, *map(str, cells))
    return table
