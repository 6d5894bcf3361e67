"""The paper's table: a row for each model with its failures, AP50, recall and mean recall.

    | model | failure | AP@50 | R@50 | mR@50 |
    |---|---:|---:|---:|---:|
    | sft | 40.16 [38.8, 41.5] | 13.66 | 9.15 [8.4, 9.9] | 3.02 [2.6, 3.5] |

`FORMATS` writes it as Markdown, as LaTeX (booktabs) or as CSV, where an interval is two columns of its own. The figures
are those of `r1sgg.metrics.report.record`; nothing is computed here. Where results have OvSGTR's open-vocabulary
columns, a second table has a row for each model and each of them, and CSV has more columns ("Novel Object R@50").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from r1sgg.errors import ConfigError
from r1sgg.metrics.ratios import RATIOS
from r1sgg.metrics.report import RECALLS

Result = Mapping[str, Any]

PLAIN = frozenset(name for name, ratio in RATIOS.items() if not ratio.percent)
"""Figures that are no percentages."""

PAPER = ("failure_rate", "AP50", "R@50", "mR@50")
"""The figures of the paper's tables, in their order."""

EVERY = tuple(
    dict.fromkeys((*("failure_rate", "AP", "AP50", "AP75"), *RECALLS, *sorted(RATIOS, key=PLAIN.__contains__)))
)
"""All figures, percentages first."""

PART_FIGURES = tuple(name for name in RECALLS if not name.startswith("ng"))
"""The figures of an open-vocabulary column."""

_HEADS = {"failure_rate": "failure", "AP50": "AP@50", "AP75": "AP@75"}
_LOWER_IS_BETTER = frozenset(("failure_rate", "duplicate_rate", "redeclared_rate", "self_loop_rate"))


def distinct_names(sources: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Return a name for each predictions file: its file name without ending, or more where these are not distinct.

    Args:
        sources: as the user named them (`r1sgg.data.importers.registry`).
        paths: their files.

    Raises:
        ConfigError: a file is named twice.
    """
    names: list[str] = []
    for names in ([p.stem for p in paths], [str(p.with_suffix("")) for p in paths], [str(p) for p in paths]):
        if len(set(names)) == len(names):
            return names
    if len(set(sources)) == len(sources):
        return list(sources)
    twice = next(source for source in sources if sources.count(source) > 1)
    raise ConfigError(f"expected different predictions files, found {twice} again")


class Cell(NamedTuple):
    """A figure as text: its value ("-" where it is not defined), and the ends of its interval where it has one."""

    value: str
    interval: tuple[str, str] | None = None

    def __str__(self) -> str:
        return self.value if self.interval is None else f"{self.value} [{', '.join(self.interval)}]"


def cell(result: Result, figure: str) -> Cell:
    """Return a figure of a result, in percent unless it is no percentage."""
    scale = 1 if figure in PLAIN else 100
    interval = (result.get("intervals") or {}).get(figure)
    ends = None if interval is None else (f"{interval[0] * scale:.1f}", f"{interval[1] * scale:.1f}")
    return Cell(number(result[figure], scale), ends)


def open_parts(names: Sequence[str], results: Sequence[Result]) -> list[tuple[str, str, Result]]:
    """Return model, column and figures of every open-vocabulary column (`r1sgg.metrics.open_vocabulary`)."""
    return [
        (name, part, row)
        for name, result in zip(names, results, strict=True)
        for part, row in ((result.get("open_vocabulary") or {}).get("parts") or {}).items()
    ]


def number(value: float | None, scale: float) -> str:
    """Return a figure with two digits; "-" where it is not defined."""
    return "-" if value is None else f"{value * scale:.2f}"


def asked_name(name: str, result: Result) -> str:
    """Return the name of a row, with how the model was asked where that was not by the paper's prompt."""
    return f"{name} (asked natively)" if result["ask"] == "native" else name


def conditions(result: Result) -> str:
    """Return in one line how the figures were made."""
    made = (
        f"{result['images']:,} images, {result['protocol']} protocol, vocabulary {result['vocabulary']}, mapping "
        f"{result['mapping']}, {result['task']}, claims: {result['claims']['convention']}"
    )
    resamples = result["resamples"]
    return made + (f"; 95 % intervals of {resamples:,} resamples, seed {result['seed']}" if resamples else "")


def markdown(names: Sequence[str], results: Sequence[Result], figures: Sequence[str] = PAPER) -> str:
    """Return the table in Markdown, with a line under it that says how it was made."""
    lines = [f"| model | {' | '.join(map(_head, figures))} |", f"|---|{'---:|' * len(figures)}"]
    for name, result in zip(names, results, strict=True):
        name = name.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {name} | {' | '.join(str(cell(result, figure)) for figure in figures)} |")
    if found := open_parts(names, results):
        mode = results[0]["open_vocabulary"]["mode"]
        lines += ["", f"| model | {mode} | relations | {' | '.join(PART_FIGURES)} |"]
        lines.append(f"|---|---|{'---:|' * (1 + len(PART_FIGURES))}")
        for name, part, row in found:
            name = name.replace("|", "\\|").replace("\n", " ")
            cells = " | ".join(str(cell(row, figure)) for figure in PART_FIGURES)
            lines.append(f"| {name} | {part} | {row['relations']:,} | {cells} |")
    return "\n".join([*lines, "", f"{_remark(results[0])}.", ""])


_ESCAPES = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "\n": " "}
)


def latex(names: Sequence[str], results: Sequence[Result], figures: Sequence[str] = PAPER) -> str:
    r"""Return the table in LaTeX; it needs \usepackage{booktabs}."""
    heads = []
    for figure in figures:
        arrow = "" if figure in PLAIN else r" $\downarrow$" if figure in _LOWER_IS_BETTER else r" $\uparrow$"
        heads.append(_head(figure).translate(_ESCAPES) + arrow)
    lines = [
        f"% {_remark(results[0])}; needs \\usepackage{{booktabs}}",
        f"\\begin{{tabular}}{{l{'r' * len(figures)}}}",
        r"\toprule",
        f"Model & {' & '.join(heads)} \\\\",
        r"\midrule",
    ]
    for name, result in zip(names, results, strict=True):
        lines.append(f"{name.translate(_ESCAPES)} & {_latex_cells(result, figures)} \\\\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    if found := open_parts(names, results):
        mode = results[0]["open_vocabulary"]["mode"]
        lines.append(f"\\begin{{tabular}}{{llr{'r' * len(PART_FIGURES)}}}")
        lines += [r"\toprule", f"Model & {mode} & relations & {' & '.join(PART_FIGURES)} \\\\", r"\midrule"]
        for name, part, row in found:
            shown = f"{part} & {row['relations']} & {_latex_cells(row, PART_FIGURES)}"
            lines.append(f"{name.translate(_ESCAPES)} & {shown} \\\\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _latex_cells(result: Result, figures: Sequence[str]) -> str:
    cells = []
    for found in (cell(result, figure) for figure in figures):
        interval = "" if found.interval is None else rf" {{\scriptsize [{', '.join(found.interval)}]}}"
        cells.append(("--" if found.value == "-" else found.value) + interval)
    return " & ".join(cells)


def comma_separated(names: Sequence[str], results: Sequence[Result], figures: Sequence[str] = PAPER) -> str:
    """Return the table as CSV: figures by their names in the JSON, each with the ends of its interval if there are any.

    A figure that is not defined is an empty field.
    """
    with_intervals = any(result.get("intervals") for result in results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", "_low", "_high") if with_intervals else ("",)
    parts = dict.fromkeys(part for _, part, _ in open_parts(names, results))
    heads = [*figures, *(f"{part} {figure}" for part in parts for figure in PART_FIGURES)]
    writer.writerow(["model", *(f"{head}{end}" for head in heads for end in ends), "images", "version"])
    for name, result in zip(names, results, strict=True):
        row = [name]
        own = (result.get("open_vocabulary") or {}).get("parts", {})
        cells = [cell(result, figure) for figure in figures]
        cells += [cell(own[part], figure) if own else Cell("-") for part in parts for figure in PART_FIGURES]
        for found in cells:
            row.append("" if found.value == "-" else found.value)
            row += (found.interval or ("", "")) if with_intervals else ()
        writer.writerow([*row, result["images"], result["version"]])
    return text.getvalue()


FORMATS: dict[str, Callable[[Sequence[str], Sequence[Result], Sequence[str]], str]] = {
    ".md": markdown,
    ".tex": latex,
    ".csv": comma_separated,
}
"""The function that writes the table, by the ending of the file."""


def _head(figure: str) -> str:
    return _HEADS.get(figure, figure.replace("_", " "))


def _remark(result: Result) -> str:
    return f"Percent; {conditions(result)}; r1sgg {result['version']}"
