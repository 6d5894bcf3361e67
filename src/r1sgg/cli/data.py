"""`r1sgg data scenes`: write procedural scenes as a ground-truth file with images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import data_app
from r1sgg.files import locked


@data_app.command("scenes")
def scenes(
    count: Annotated[int, typer.Option(help="Number of scenes.")],
    out: Annotated[Path, typer.Option(help="Folder for gt.jsonl and images/.")],
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    split: Annotated[str, typer.Option(help="train, validation or test; no scene is in two splits.")] = "train",
    preset: Annotated[
        str, typer.Option(help="small: what tiny reads. hard: larger images with more and smaller objects.")
    ] = "small",
    annotation: Annotated[
        str,
        typer.Option(
            help="full: all relationships. vg: as sparse as in Visual Genome, captions: made of captions by rules; "
            "full.jsonl then has all."
        ),
    ] = "full",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another set in the folder.")] = False,
) -> None:
    """Draw scenes with exact boxes and complete graphs, in the vocabulary VG150.

    Example: `r1sgg data scenes --count 1000 --seed 1 --split test --out scenes/test`
    """
    import contextlib

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from r1sgg.data.provenance import write_description
    from r1sgg.data.sources import open_data
    from r1sgg.data.splits import describe
    from r1sgg.errors import InputError
    from r1sgg.miniature.procedural.annotation import ANNOTATIONS
    from r1sgg.miniature.scenes import PRESETS, current_preset, split_seeds, write_scenes

    preset = current_preset(preset)
    if preset not in PRESETS:
        raise InputError("--preset", expected=f"one of {', '.join(PRESETS)}", found=repr(preset))
    if annotation not in ANNOTATIONS:
        raise InputError("--annotation", expected=f"one of {', '.join(ANNOTATIONS)}", found=repr(annotation))
    split_seeds(split, seed, count)  # raises before the progress bar appears
    name = f"scenes:{count},seed={seed},preset={preset},split={split}"
    name += f",annotation={annotation}" if annotation != "full" else ""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with locked(out), contextlib.ExitStack() as stack:
        _make_room(out, name, overwrite=overwrite)
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        task = progress.add_task("scenes", total=count)
        path = write_scenes(
            out, count, seed, PRESETS[preset], split, lambda: progress.advance(task), ANNOTATIONS[annotation]
        )
        write_description(out, {**describe(open_data(str(path))), "name": name})
    typer.echo(f"{path}: {count} scenes")


def _make_room(out: Path, name: str, *, overwrite: bool) -> None:
    """See that the folder holds no other set, or remove that set: its files, and the images that its lines name.

    Raises:
        InputError: it holds another set, and `overwrite` is false.
    """
    from r1sgg.data.base import read_ground_truth
    from r1sgg.data.jsonl import read_json
    from r1sgg.data.provenance import DESCRIPTION
    from r1sgg.errors import InputError

    truth, description = out / "gt.jsonl", out / DESCRIPTION
    record = read_json(description) if description.is_file() else None
    found = record.get("name", "a set without a name") if isinstance(record, dict) else "a set that nothing describes"
    if not truth.exists() or found == name:
        return
    if not overwrite:
        raise InputError(
            str(out), expected="no other set in the folder", found=str(found), hint="choose another, or use --overwrite"
        )
    images = [example.image for example in read_ground_truth(truth) if example.image is not None]
    for path in (
        truth,
        out / "full.jsonl",
        out / "captions.jsonl",
        description,
        *(image for image in images if image.parent == out / "images"),
    ):
        path.unlink(missing_ok=True)
