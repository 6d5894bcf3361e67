"""`r1sgg data scenes`: procedural scenes as a ground-truth file with images. It does not convert foreign data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import data_app


@data_app.command("scenes")
def scenes(
    count: Annotated[int, typer.Option(help="How many scenes.")],
    out: Annotated[Path, typer.Option(help="Folder for gt.jsonl and images/.")],
    seed: Annotated[int, typer.Option(help="Another seed gives other scenes.")] = 0,
    split: Annotated[str, typer.Option(help="train, validation or test; they never share a scene.")] = "train",
    preset: Annotated[
        str, typer.Option(help="standard, or small for models of a few million parameters.")
    ] = "standard",
    annotation: Annotated[
        str, typer.Option(help="full: gt.jsonl is the truth. vg: sparse as Visual Genome; the truth is in full.jsonl.")
    ] = "full",
) -> None:
    """Draw scenes with exact boxes and complete graphs, in names of Visual Genome's 150 / 50.

    Example: `r1sgg data scenes --count 1000 --seed 1 --split test --out scenes/test`
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from r1sgg.data.provenance import write_description
    from r1sgg.data.sources import open_data
    from r1sgg.data.splits import describe
    from r1sgg.errors import InputError
    from r1sgg.miniature.procedural.annotation import ANNOTATIONS
    from r1sgg.miniature.scenes import PRESETS, split_seeds, write_scenes

    if preset not in PRESETS:
        raise InputError("--preset", expected=f"one of {', '.join(PRESETS)}", found=repr(preset))
    if annotation not in ANNOTATIONS:
        raise InputError("--annotation", expected=f"one of {', '.join(ANNOTATIONS)}", found=repr(annotation))
    split_seeds(split, seed, count)  # refuses before a progress bar appears
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("scenes", total=count)
        path = write_scenes(
            out, count, seed, PRESETS[preset], split, lambda: progress.advance(task), ANNOTATIONS[annotation]
        )
    name = f"scenes:{count},seed={seed},preset={preset},split={split}"
    name += f",annotation={annotation}" if annotation != "full" else ""
    write_description(out, {**describe(open_data(str(path))), "name": name})
    typer.echo(f"{path}: {count} scenes")
