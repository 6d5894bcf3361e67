"""What `r1sgg score` prints: the mean of every term, and with --explain what is wrong in each completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from r1sgg.drawing.style import shorten
from r1sgg.rewards.explain import FULL_MARK

if TYPE_CHECKING:
    from r1sgg.rewards.rubric import Rubric, Score


def print_summary(console: Console, scores: Sequence[Score], rubric: Rubric, failed: int) -> None:
    """Print the mean of every term over the completions it applies to, and the issues by kind."""
    table = Table(
        title=f"{len(scores)} completions, similarity {rubric.similarity.name}"
        + (f", {failed} unreadable" if failed else "")
    )
    for column in ("term", "weight", "mean", "completions"):
        table.add_column(column, justify="left" if column == "term" else "right")
    for name in rubric.names:
        values = [v for s in scores if (v := s.terms[name]) is not None]
        mean = f"{sum(values) / len(values):.4f}" if values else "-"
        table.add_row(name, f"{rubric.weights.get(name, 0):g}", mean, str(len(values)))
    totals = [s.total for s in scores]
    table.add_row("total", "", f"{sum(totals) / len(totals):.4f}" if totals else "-", str(len(totals)))
    console.print(table)
    kinds = Counter(issue.kind for s in scores for issue in s.issues)
    if kinds:
        console.print("issues: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()), markup=False)


def print_explanation(console: Console, line: dict[str, Any], weights: Mapping[str, float], place: str) -> None:
    """Print one completion: its terms, then what is wrong in it, a line a fault, under objects, triplets and reading.

    What is right is counted. The file of the scores has every object and triplet, and texts that are cut here.

    Args:
        console: where to.
        line: of the scores, with `explain`.
        weights: of the reward; terms without a weight are not shown.
        place: of the completion in its file, such as "line 3".
    """
    explained = line["explain"]
    terms = [f"{name} {'-' if line[name] is None else f'{line[name]:.3f}'}" for name in weights]
    rows = [f"image {line['image_id']} ({place}): total {line['total']:.3f} ({', '.join(terms)})"]
    if (text := explained["format"]) != FULL_MARK:
        rows.append(f"  format: {text}")
    unread = not any(row["predicted"] for kind in ("objects", "triplets") for row in explained[kind])
    for kind in ("objects", "triplets"):
        true = [row for row in explained[kind] if row["truth"] is not None]
        matched = sum(row["fate"] == "matched" for row in true)
        rows.append(f"  {kind}: {matched} of {len(true)} matched")
        faults = [] if unread else [row for row in explained[kind] if row["fate"] != "matched"]
        rows += _limited([f"    {row['fate']:8} {_what(row)}: {row['why']}" for row in faults])
    if issues := explained["issues"]:
        rows.append("  reading:")
        rows += _limited([f"    {issue['kind']}: {issue['detail'] or issue['policy']}" for issue in issues])
    for row in rows:
        console.print(shorten(row, WIDTH), markup=False, highlight=False, soft_wrap=True)


WIDTH = 99
MOST_FAULTS = 10
"""Faults of one completion that are printed under one heading."""


def _limited(rows: list[str]) -> list[str]:
    more = len(rows) - MOST_FAULTS
    return rows if more <= 1 else [*rows[:MOST_FAULTS], f"    and {more} more"]


def _what(row: Mapping[str, Any]) -> str:
    """Name an object or triplet: the true one, and what was predicted for it where that reads otherwise."""
    truth, predicted = _words(row["truth"]), _words(row["predicted"])
    if row["truth"] is None:
        return predicted
    return truth if row["predicted"] is None or predicted == truth else f"{truth}, predicted {predicted}"


def _words(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
