"""`r1sgg data view`: a page of images with their graphs drawn. The work is done by `r1sgg.pages.examples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import PARTLY_FAILED, data_app


@data_app.command("view")
def view(
    data: Annotated[str, typer.Option(help="A ground-truth file, or vg150:, psg:, coco:PATH, hub:NAME, scenes:COUNT.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    count: Annotated[int, typer.Option(min=1, help="Maximum number of images.")] = 24,
    seed: Annotated[
        int | None, typer.Option(help="Choose images at random with this seed; default: the first ones.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Only images with this class or predicate; may be repeated.")
    ] = None,
    id: Annotated[list[str] | None, typer.Option(help="Only the image with this id; may be repeated.")] = None,
) -> None:
    """Write one self-contained HTML file of images with their boxes, names and relationships.

    Example: `r1sgg data view --data vg150:VG,split=test --name riding --seed 1 --out riding.html`
    """
    from r1sgg.cli.loading import progress_bar, say_left_out
    from r1sgg.data.sources import open_data
    from r1sgg.pages.examples import choose, write_examples

    opened = open_data(data, strict=False)
    numbers = list(choose(opened, count, seed=seed, names=name or (), ids=id or ()))
    with progress_bar("images") as advance:
        unreadable = write_examples(out, opened, numbers, advance=advance)
    say_left_out(opened.notes)
    typer.echo(f"{out}: {len(numbers) - len(unreadable)} of {len(opened):,} images, {out.stat().st_size / 1e6:.1f} MB")
    for sentence in unreadable:
        typer.echo(sentence, err=True)
    if unreadable:
        raise typer.Exit(PARTLY_FAILED)
