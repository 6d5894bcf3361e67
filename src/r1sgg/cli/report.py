"""`r1sgg report`: results and training logs as an HTML page. The work is done by `r1sgg.pages.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app
from r1sgg.files import locked, write_file, write_json

_ON_TERMINAL = ("failure_rate", "AP50", "R@50", "mR@50", "precision", "relations_per_image")
"""Columns that fit into 80 characters beside the names of the files; the page has all columns."""


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="HTML file to write; large data goes into a folder beside it.")],
    predictions: Annotated[
        list[str] | None, typer.Argument(help="Predictions, one row each: JSON Lines, or another tool's (swift:FILE).")
    ] = None,
    ground_truth: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Ground truth of the same images: JSON Lines, or any data set (coco:FILE,images=DIR, ...).",
        ),
    ] = None,
    vocabulary: Annotated[str, typer.Option(help="Vocabulary: vg150, psg, open, or a JSON file.")] = "open",
    protocol: Annotated[str, typer.Option(help="Protocol of the figures: strict or reference.")] = "strict",
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a training run, for its curves and sampled completions; may be repeated."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="SVG file for the paper's Fig. 2 of the runs: mean and range of their seeds.")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Scene graphs",
    limit: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of images in the browser, worst first.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for 95 % intervals; 0: no intervals.")] = 1000,
    embed: Annotated[
        bool | None, typer.Option(help="Embed images in the page, or put them into the folder; default: by size.")
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="How completions are written: auto (decided from the whole file), or a name.")
    ] = "auto",
    task: Annotated[
        str, typer.Option(help="sgdet; sgcls (boxes were given); predcls (boxes and classes were given).")
    ] = "sgdet",
    json: Annotated[
        Path | None,
        typer.Option(help="File for the results as JSON, by the name of the predictions file; - is standard output."),
    ] = None,
) -> None:
    """Write a page with results, training curves, and a browser of errors: ground truth and prediction of every image.

    The page can be opened from disk, needs no network and none of the files it was made from. Without predictions it
    shows training runs only.

    Example: `r1sgg report sft.jsonl grpo.jsonl --ground-truth gt.jsonl --runs runs/sft --out report.html`
    """
    from rich.console import Console
    from rich.table import Table

    from r1sgg.data.importers.registry import predictions_spec
    from r1sgg.errors import ConfigError, InputError
    from r1sgg.graph.given import TASKS
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.judging.protocol import PROTOCOLS
    from r1sgg.metrics.table import distinct_names
    from r1sgg.pages.figure2 import figure_2
    from r1sgg.pages.report import build_report
    from r1sgg.pages.shards import data_folder
    from r1sgg.pages.tables import COLUMNS

    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, found {protocol!r}")
    if task not in TASKS:
        raise ConfigError(f"--task: expected one of {', '.join(TASKS)}, found {task!r}")
    if figure and figure.suffix.lower() != ".svg":
        raise ConfigError(f"--figure: expected a file name that ends in .svg, found {figure}")
    drawn = figure_2(runs or []) if figure else ""
    files = predictions or []
    if json is not None and json.resolve().parent == data_folder(out).resolve():
        raise InputError(
            str(json), expected="a folder of its own", found="that of the page's data", hint="choose another"
        )
    names = distinct_names(files, [predictions_spec(text).path for text in files])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"report: expected different predictions files, found {twice} again")
    with locked(out):
        built = build_report(
            out,
            ground_truth,
            list(zip(names, files, strict=True)),
            runs or [],
            title=title,
            vocabulary=load_vocabulary(vocabulary),
            protocol=PROTOCOLS[protocol],
            limit=limit,
            bootstrap=bootstrap,
            embed=embed,
            dialect=dialect,
            task=task,
        )
    if figure:
        write_file(figure, drawn)
    for name, results in built.results.items():
        for finding in results["ledger"]["findings"]:
            typer.echo(f"{name}: {finding['said']}", err=True)
    if json:
        write_json(json, built.results)
    if built.table:
        shown = Table(title=title, caption="percent, except relations per image")
        shown.add_column("", no_wrap=True)
        kept = [k for k, column in enumerate(COLUMNS) if column.key in _ON_TERMINAL]
        for k in kept:
            shown.add_column(COLUMNS[k].title, justify="right", no_wrap=True)
        for row in built.table:
            shown.add_row(row.name, *(row.cells[k].text for k in kept))
        Console().print(shown)
    counted = ((len(files), "predictions file"), (len(runs or []), "run"), (built.images, "image"))
    counts = ", ".join(f"{number:,} {what}{'' if number == 1 else 's'}" for number, what in counted if number)
    typer.echo(f"{out}: {counts}, {built.size / 1e6:.1f} MB")
