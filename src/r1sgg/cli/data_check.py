"""`r1sgg data check`: list faults of a data set and write a corrected copy. The work is done by `r1sgg.data.check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from r1sgg.cli.root import PARTLY_FAILED, data_app
from r1sgg.files import refuse_inputs, write_json

if TYPE_CHECKING:
    from r1sgg.data.check import CheckReport


@data_app.command("check")
def check(
    data: Annotated[str, typer.Option(help="A ground-truth file, or vg150:, psg:, coco:PATH, hub:NAME, scenes:COUNT.")],
    vocabulary: Annotated[str, typer.Option(help="Names that count: vg150, psg, open, or a JSON file.")] = "open",
    images: Annotated[
        str,
        typer.Option(
            metavar="decode|header|none",
            help="How images are checked: decode, each as a whole; header, sizes only; none, not at all.",
        ),
    ] = "decode",
    ignore: Annotated[list[str] | None, typer.Option(help="A kind of finding to ignore; may be repeated.")] = None,
    fix: Annotated[Path | None, typer.Option(help="File for the corrected set (JSON Lines).")] = None,
    log: Annotated[
        Path | None, typer.Option(help="File for one line per finding; default: beside the file of --fix.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="File for the counts as JSON; - is standard output.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = 4,
) -> None:
    """List faults of a data set: images, sizes, boxes, names, ids, relationships. The exit code is 1 if there are any.

    A ground-truth file is read to its end even if lines are broken. With --fix a corrected copy is written, and a log
    that names every change.

    Example: `r1sgg data check --data mine.jsonl --vocabulary vg150 --fix mine-fixed.jsonl`
    """
    from r1sgg.cli.loading import progress_bar
    from r1sgg.data.check import LOOKING, check
    from r1sgg.errors import ConfigError, InputError
    from r1sgg.graph.vocabulary import load_vocabulary

    looking = next((known for known in LOOKING if known == images), None)
    if looking is None:
        raise ConfigError(f"--images: expected one of {', '.join(LOOKING)}, found {images!r}")
    if fix is not None and log is None:
        log = fix.with_name(f"{fix.stem}.changes.jsonl")
        refuse_inputs([log])
        if json is not None and os.path.realpath(log) == os.path.realpath(json):
            raise InputError(str(json), expected="a file for each output", found="the name of the log of --fix")
    names = load_vocabulary(vocabulary)
    with progress_bar("lines") as advance:
        report = check(
            data,
            vocabulary=names,
            ignore=ignore or (),
            looking=looking,
            workers=workers,
            fix=fix,
            log=log,
            advance=advance,
        )
    if json is not None:
        first = {kind: {"where": f.where, **f.finding._asdict()} for kind, f in report.first.items()}
        record = {
            "data": data,
            "lines": report.lines,
            "kept": report.kept,
            "changed": report.changed,
            "findings": report.found,
            "lines_with": report.in_lines,
            "first": first,
        }
        if report.captions.images:
            record["captions"] = report.captions.record()
        write_json(json, record)
    _show(data, report)
    if report.captions.images:
        for name, value in report.captions.lines(names):
            typer.echo(f"{name}: {value}")
    if fix is not None and report.unit is not None:
        typer.echo(f"{fix}: not written: {report.unit}: {report.unit.remedy}", err=True)
    elif fix is not None:
        typer.echo(
            f"{fix}: {report.kept:,} of {report.lines:,} lines, {report.changed:,} of them changed; "
            f"{sum(report.found.values()):,} findings in {log}"
        )
    if report.found:
        raise typer.Exit(PARTLY_FAILED)


def _show(data: str, report: CheckReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from r1sgg.data.findings import KINDS
    from r1sgg.data.spec import parse_spec

    unit = "lines" if parse_spec(data).kind == "jsonl" else "images"
    if not report.found:
        typer.echo(f"{data}: {report.lines:,} {unit}, nothing is wrong")
        return
    table = Table(title=Text(f"{data}: {report.lines:,} {unit}"), show_lines=True)
    table.add_column("finding", min_width=max(len(kind) for kind in KINDS if report.found[kind]))
    table.add_column("times", justify="right", no_wrap=True)
    table.add_column(unit, justify="right", no_wrap=True)
    table.add_column("with --fix", overflow="fold")
    table.add_column("first occurrence", overflow="fold")
    for kind, (meaning, remedy) in KINDS.items():
        if (times := report.found[kind]) == 0:
            continue
        where, finding = report.first[kind]
        table.add_row(
            Text(f"{kind}\n{meaning}"),
            f"{times:,}",
            f"{report.in_lines[kind]:,}",
            Text(remedy),
            Text(f"{where}\n{finding.found}"),
        )
    Console().print(table)
    if report.unit is not None:
        typer.echo(f"{report.unit}: {report.unit.remedy}")
    elif report.like_sizes:
        typer.echo(f"boxes that look like [x, y, width, height]: {report.like_sizes:,}; a bbox is [x1, y1, x2, y2]")
