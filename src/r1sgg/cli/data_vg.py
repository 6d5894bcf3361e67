"""`r1sgg data vg`: convert raw Visual Genome JSON to a ground-truth file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import data_app


@data_app.command("vg")
def vg(
    objects: Annotated[Path, typer.Option(help="objects.json, plain or .gz.")],
    relationships: Annotated[Path, typer.Option(help="relationships.json, plain or .gz.")],
    out: Annotated[Path, typer.Option(help="The ground-truth file to write.")],
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the image files, ID.jpg: for paths and sizes.")
    ] = None,
    image_data: Annotated[Path | None, typer.Option(help="image_data.json, for sizes.")] = None,
    vocabulary: Annotated[str, typer.Option(help="vg150, psg, open, or a JSON file.")] = "vg150",
    mapping: Annotated[str, typer.Option(help="How names are mapped: none, normal or full.")] = "normal",
) -> None:
    """Convert raw Visual Genome to ground truth, and list what was dropped.

    Entries that cannot be read are named and skipped; the published files contain some without an image_id.

    Example: `r1sgg data vg --objects objects.json --relationships relationships.json --images VG_100K --out gt.jsonl`
    """
    from rich.console import Console
    from rich.table import Table

    from r1sgg.data.base import write_ground_truth
    from r1sgg.data.visual_genome import Conversion, read_visual_genome
    from r1sgg.errors import ConfigError, InputError
    from r1sgg.graph.mapping import LEVELS
    from r1sgg.graph.vocabulary import load_vocabulary

    level = next((known for known in LEVELS if known == mapping), None)
    if level is None:
        raise ConfigError(f"--mapping: expected one of {', '.join(LEVELS)}, found {mapping!r}")
    if images is not None and not images.is_dir():
        raise InputError(f"--images {images}", expected="a folder", found="none", hint="check the path")
    log = Conversion()
    examples = read_visual_genome(
        objects,
        relationships,
        vocabulary=load_vocabulary(vocabulary),
        mapping=level,
        images=images,
        image_data=image_data,
        log=log,
    )
    write_ground_truth(out, examples)
    table = Table("step", "count", title=str(out))
    table.columns[1].justify = "right"
    for step, count in sorted(log.counts.items()):
        table.add_row(step, f"{count:,}")
    Console().print(table)
    for note in log.notes[:_NOTES]:
        typer.echo(f"note: {note}", err=True)
    if len(log.notes) > _NOTES:
        typer.echo(f"note: {len(log.notes) - _NOTES} more", err=True)


_NOTES = 20
