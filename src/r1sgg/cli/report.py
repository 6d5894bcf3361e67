"""`r1sgg report`: predictions, truth and training logs as an HTML page. The report itself is `r1sgg.pages.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app

_ON_TERMINAL = ("failure_rate", "AP50", "R@50", "mR@50", "precision", "relations_per_image")
"""Columns that fit a terminal of 80 characters beside the files' names; the page has them all."""


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="The HTML file to write; what is large goes into a folder beside it.")],
    predictions: Annotated[
        list[Path] | None, typer.Argument(help="Predictions files (JSON Lines), a row each.")
    ] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="Ground truth (JSON Lines) of the same images.")] = None,
    vocabulary: Annotated[str, typer.Option(help="Names that count: vg150, psg, open, or a JSON file.")] = "open",
    protocol: Annotated[str, typer.Option(help="How predictions are counted: strict or reference.")] = "strict",
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run folder: curves of its metrics.jsonl, samples of its completions.jsonl; may be repeated."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Scene graphs",
    limit: Annotated[int | None, typer.Option(min=0, help="Most images that can be opened, bad ones first.")] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")] = 1000,
    embed: Annotated[
        bool | None, typer.Option(help="Put all into the page, or the images into the folder; else by size.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every file's results here, by its name.")] = None,
) -> None:
    """Write a page with results, training curves, and a browser of errors: every image with truth and prediction.

    The page works from a file, without a network and without the files it was made from. Without predictions it shows
    run folders alone.

    Example: `r1sgg report sft.jsonl grpo.jsonl --ground-truth gt.jsonl --runs runs/sft --out report.html`
    """
    import orjson
    from rich.console import Console
    from rich.table import Table

    from r1sgg.errors import ConfigError
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.judging.protocol import PROTOCOLS
    from r1sgg.pages.report import build_report
    from r1sgg.pages.tables import COLUMNS

    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, found {protocol!r}")
    files = predictions or []
    built = build_report(
        out,
        ground_truth,
        list(zip(_names(files), files, strict=True)),
        runs or [],
        title=title,
        vocabulary=load_vocabulary(vocabulary),
        protocol=PROTOCOLS[protocol],
        limit=limit,
        bootstrap=bootstrap,
        embed=embed,
    )
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(orjson.dumps(built.results, option=orjson.OPT_INDENT_2) + b"\n")
    if built.table:
        shown = Table(title=title, caption="percent, except relations per image")
        shown.add_column("", no_wrap=True)
        kept = [k for k, column in enumerate(COLUMNS) if column.key in _ON_TERMINAL]
        for k in kept:
            shown.add_column(COLUMNS[k].title, justify="right", no_wrap=True)
        for row in built.table:
            shown.add_row(row.name, *(row.cells[k].text for k in kept))
        Console().print(shown)
    count = f"{len(files)} predictions file{'' if len(files) == 1 else 's'}"
    typer.echo(f"{out}: {count}, {built.images:,} images, {built.size / 1e6:.1f} MB")


def _names(paths: list[Path]) -> list[str]:
    """The files' names without ending; with their folder where that does not tell them apart."""
    stems = [p.stem for p in paths]
    return stems if len(set(stems)) == len(stems) else [str(p.with_suffix("")) for p in paths]
