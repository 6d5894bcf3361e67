"""`r1sgg data split`: cut a data set into parts that share no image, as ground-truth files (`r1sgg.data.splits`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.loading import say_left_out
from r1sgg.cli.root import data_app
from r1sgg.files import locked, refuse_inputs, write_json


@data_app.command("split")
def split(
    data: Annotated[str, typer.Option(help="A ground-truth file, or coco:FILE,images=FOLDER, vg150:, psg:PATH.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.jsonl of each part, and vocabulary.json.")],
    parts: Annotated[
        str, typer.Option(metavar="NAME=SHARE,...", help="The parts, each with its share; shares may be percent.")
    ] = "train=0.8,val=0.1,test=0.1",
    seed: Annotated[int, typer.Option(help="Another seed is another split.")] = 0,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Keep images together whose ids match the same text: '^[^_]+' for ids like video7_0031.",
        ),
    ] = None,
) -> None:
    """Split a data set into train, val and test: ground-truth files that share no image.

    An image's part follows from the seed and its id alone. So the same command gives the same split, and images that
    are added later leave the others where they are; the shares are met on average, not exactly. Images are not copied.
    vocabulary.json has the names of all parts, for --vocabulary.

    Example: `r1sgg data split --data coco:export.json,images=photos --out mine`
    """
    from r1sgg.data.base import write_ground_truth
    from r1sgg.data.sources import open_data
    from r1sgg.data.splits import parse_parts, partition
    from r1sgg.errors import ConfigError

    shares = parse_parts(parts)
    files = {name: out / f"{name}.jsonl" for name in shares}
    refuse_inputs(files.values())
    opened = open_data(data)
    if not opened.images_are_files:
        where = "drawn scenes have splits of their own (scenes:COUNT,split=)" if data.startswith("scenes:") else ""
        hint = where or "split=, where the set has it, chooses a part; `data build` writes one as shards"
        raise ConfigError(f"--data {data}: expected a set whose images are files, found one that holds them; {hint}")
    found = partition(opened, shares, seed, series)
    with locked(out):
        for name, path in files.items():
            write_ground_truth(path, found.examples(name))
        write_json(out / "vocabulary.json", found.vocabulary(out.resolve().name))
    say_left_out(opened.notes)
    for name, path in files.items():
        rows = len(found.rows[name])
        typer.echo(f"{path}: {rows:,} image{'' if rows == 1 else 's'} ({100 * rows / len(opened):.1f} %)")
    typer.echo(f"{out / 'vocabulary.json'}: {len(found.objects):,} classes, {len(found.predicates):,} predicates")
