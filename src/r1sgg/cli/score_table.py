"""What `r1sgg score` prints: the mean of every term, and with --explain the details of each completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

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


def print_explanation(console: Console, line: dict[str, Any]) -> None:
    """Print one completion: its terms, then every object and triplet with its outcome and the reason."""
    terms = ", ".join(f"{k} {v:.3f}" for k, v in line.items() if isinstance(v, float))
    explained = line["explain"]
    rows = [f"image {line['image_id']}: {terms}", f"  format: {explained['format']}"]
    for kind in ("objects", "triplets"):
        for row in explained[kind]:
            credit = "" if row["credit"] is None else f" ({row['credit']:.3f})"
            rows.append(f"  {row['fate']:8} {_words(row['truth'])} <- {_words(row['predicted'])}{credit}: {row['why']}")
    rows += [f"  issue {issue['kind']} {issue['detail']}: {issue['policy']}" for issue in explained["issues"]]
    console.print("\n".join(rows), markup=False, highlight=False, soft_wrap=True)


def _words(value: Any) -> str:
    return "-" if value is None else " ".join(value) if isinstance(value, list) else str(value)
