"""`r1sgg data captions`: captions to training graphs. The work is done by `r1sgg.data.captions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from r1sgg.cli import loading
from r1sgg.cli.root import PARTLY_FAILED, data_app

_SHOWN = 5


@data_app.command("captions")
def captions(
    file: Annotated[Path, typer.Argument(metavar="INPUT", help="File of captions.")],
    out: Annotated[Path, typer.Option(help="The ground-truth file to write; an interrupted run is resumed.")],
    source: Annotated[str, typer.Option(help="jsonl, coco, vg-regions or narratives.")] = "jsonl",
    extract: Annotated[
        str,
        typer.Option(metavar="HOW", help="Triplets by rules, rules:PIPELINE (spaCy), rules:plain, or by an ENGINE."),
    ] = "rules",
    align: Annotated[str, typer.Option(metavar="HOW", help="Names by rules, embedding, or by an ENGINE.")] = "rules",
    ground: Annotated[
        str,
        typer.Option(metavar="HOW", help="Boxes: given, whole, trace, FILE (a detector's), or by an ENGINE."),
    ] = "given",
    vocabulary: Annotated[str, typer.Option(help="Names of the graphs: vg150, psg, open, or a JSON file.")] = "open",
    leak: Annotated[
        str | None,
        typer.Option(help="Images to leave out: none, vg150-test:DIR, or a file of ids; needed for vg150 and psg."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="What an extracting ENGINE is asked: caption, paraphrase, objects or image.")
    ] = "caption",
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the image files: for sizes, paths and engines.")
    ] = None,
    image_data: Annotated[Path | None, typer.Option(help="Visual Genome's image_data.json, for sizes.")] = None,
    model: loading.Model = "tiny",
    max_new_tokens: loading.MaxNewTokens = 1024,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: its address, auto or local.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on the cluster; default: one per CPU.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over if the file exists.")] = False,
) -> None:
    """Make training graphs of captions: extract triplets, align names, ground objects; each step is counted.

    Graphs for vg150 and psg need a leak policy, because test images have captions, too. ENGINE is what `generate
    --engine` takes, with the same --model; its answers are kept in OUT.answers.jsonl, so that nothing is asked twice.

    Example: `r1sgg data captions captions.jsonl --vocabulary vg150 --leak vg150-test:VG --out train.jsonl`
    """
    from rich.console import Console
    from rich.table import Table

    from r1sgg.bulk.captions import Job, make
    from r1sgg.data.captions.plan import Plan, Recipe
    from r1sgg.data.captions.provenance import lines
    from r1sgg.data.captions.run import LEFT_OUT, REPEATED
    from r1sgg.data.captions.sources import Source
    from r1sgg.errors import ConfigError

    if ray is None and workers is not None:
        raise ConfigError("--workers: expected --ray ADDRESS too, because without Ray there is one process")
    plan = Plan(
        file,
        cast("Source", source),
        extract=extract,
        align=align,
        ground=ground,
        vocabulary=vocabulary,
        leak=leak,
        recipe=cast("Recipe", recipe),
        images=images,
        image_data=image_data,
    )
    job = Job(plan, model=model, max_new_tokens=max_new_tokens, answers=out.with_name(out.name + ".answers.jsonl"))
    if extract == "rules" and job.extractor_name == "rules (plain)":
        typer.echo("no English pipeline of spaCy is installed: captions are read by the plain parser", err=True)
    with loading.progress_bar("captions") as progress:
        result = make(
            job, out, ray=ray, workers=workers, overwrite=overwrite, advance=lambda done: progress(done, done)
        )
    table = Table("step", "", title=str(out))
    table.columns[1].justify = "right"
    left_out = sum(n for step, n in result.counts.items() if step.startswith(LEFT_OUT))
    for step, value in lines(result.counts, result.counts["images read"] - left_out):
        table.add_row(step, value)
    Console().print(table)
    if result.parts == 0:
        typer.echo(f"{out}: made by an earlier run with the same settings")
    elif result.kept:
        typer.echo(f"{out}: {result.kept:,} of {result.parts:,} parts are of an earlier run")
    if not left_out:
        typer.echo(f"leak policy: {leak or 'none'}; no image was left out", err=True)
    if vocabulary.lower() == "psg" and (leak or "").startswith("vg150-test"):
        typer.echo("leak policy: PSG has a test split of its own; give its ids as a file to leave them out", err=True)
    if repeated := result.counts[REPEATED]:
        said = "make several graphs of one image; give all captions of an image in one record"
        typer.echo(f"{repeated:,} {REPEATED}: they {said}", err=True)
    for note in result.notes.first[:_SHOWN]:
        typer.echo(f"note: {note}", err=True)
    if result.notes.count > _SHOWN:
        typer.echo(f"note: {result.notes.count - _SHOWN:,} more", err=True)
    if result.notes.count and (plan.extracts_by_engine or plan.aligns_by_engine or plan.grounds_by_engine):
        typer.echo("--overwrite asks the engine again what it did not answer; answers are kept", err=True)
    if result.notes.count:
        raise typer.Exit(PARTLY_FAILED)
