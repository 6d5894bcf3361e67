"""`r1sgg report`: predictions, truth and training logs as one HTML file. The report itself is `r1sgg.viz.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli import app

_ON_TERMINAL = ("failure_rate", "AP50", "R@50", "mR@50", "precision", "relations_per_image")
"""Columns that fit a terminal of 80 characters beside the files' names; the page has them all."""


@app.command()
def report(
    predictions: Annotated[list[Path], typer.Argument(help="Predictions files (JSON Lines), a row each.")],
    ground_truth: Annotated[Path, typer.Option(help="Ground truth (JSON Lines) of the same images.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    vocabulary: Annotated[str, typer.Option(help="Names that count: vg150, psg, open, or a JSON file.")] = "open",
    protocol: Annotated[str, typer.Option(help="How predictions are counted: strict or reference.")] = "strict",
    runs: Annotated[
        list[Path] | None, typer.Option(help="Run folder with a metrics.jsonl, for its curves; may be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Scene graphs",
    limit: Annotated[int, typer.Option(min=0, help="Images shown of each predictions file.")] = 24,
    json: Annotated[Path | None, typer.Option(help="Write every file's results here, by its name.")] = None,
) -> None:
    """Write one self-contained HTML file: results, training curves, and images with both graphs, worst first.

    The file works without a network and without the files it was made from.

    Example: `r1sgg report sft.jsonl grpo.jsonl --ground-truth gt.jsonl --runs runs/sft --out report.html`
    """
    import orjson
    from rich.console import Console
    from rich.table import Table

    from r1sgg.errors import ConfigError
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.metrics.protocol import PROTOCOLS
    from r1sgg.viz.report import COLUMNS, RunRow, build_report

    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, found {protocol!r}")
    rows = [RunRow(name, path) for name, path in zip(_names(predictions), predictions, strict=True)]
    table, results = build_report(
        ground_truth,
        rows,
        runs or [],
        out,
        title,
        load_vocabulary(vocabulary),
        protocol=PROTOCOLS[protocol],
        limit=limit,
    )
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    shown = Table(title=title, caption="percent, but for relations per image")
    shown.add_column("", no_wrap=True)
    kept = [k for k, column in enumerate(COLUMNS) if column.key in _ON_TERMINAL]
    for k in kept:
        shown.add_column(COLUMNS[k].title, justify="right", no_wrap=True)
    for row in table:
        shown.add_row(row.name, *(row.cells[k].text for k in kept))
    Console().print(shown)
    typer.echo(f"{out}: {len(rows)} predictions file{'' if len(rows) == 1 else 's'}, {out.stat().st_size / 1e6:.1f} MB")


def _names(paths: list[Path]) -> list[str]:
    """The files' names without ending; with their folder where that does not tell them apart."""
    stems = [p.stem for p in paths]
    return stems if len(set(stems)) == len(stems) else [str(p.with_suffix("")) for p in paths]
