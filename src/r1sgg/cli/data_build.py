"""`r1sgg data build`: write any data set as parquet shards. The work is done by `r1sgg.data.build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import PARTLY_FAILED, data_app

_SHOWN = 10


@data_app.command("build")
def build(
    data: Annotated[str, typer.Option(help="scenes:COUNT, vg150:, psg:, coco: or jsonl:PATH, hub:NAME, or a file.")],
    out: Annotated[Path, typer.Option(help="Folder for data/*.parquet, gt.jsonl and dataset.json.")],
    images: Annotated[
        str,
        typer.Option(
            metavar="inside|path",
            help="How the shards hold images: inside, their bytes; path, absolute paths of files.",
        ),
    ] = "inside",
    shard_size: Annotated[int, typer.Option(min=1, help="Images per shard.")] = 1000,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
) -> None:
    """Write a prepared set: parquet shards that `hub:OUT` and `datasets.load_dataset` read, and its ground truth.

    Finished shards are kept. Run the same command again to continue after an interruption, or to retry failed images.

    Example: `r1sgg data build --data vg150:VG,split=train --out prepared/vg150-train`
    """
    from r1sgg.cli.loading import progress_bar
    from r1sgg.data.build import build
    from r1sgg.data.shards import IMAGE_MODES
    from r1sgg.errors import ConfigError, require

    mode = next((known for known in IMAGE_MODES if known == images), None)
    if mode is None:
        raise ConfigError(f"--images: expected one of {', '.join(IMAGE_MODES)}, found {images!r}")
    require("pyarrow", "train")
    with progress_bar("images") as advance:
        built = build(data, out, images=mode, shard_size=shard_size, workers=workers or _cores(), advance=advance)
    counts = built.description["counts"]
    typer.echo(
        f"{out}: {counts['images']:,} images, {counts['objects']:,} objects, {counts['relationships']:,} relationships "
        f"in {built.shards} shard{'' if built.shards == 1 else 's'}"
        + (f" ({built.kept} from an earlier run)" if built.kept else "")
    )
    typer.echo(f"hash of the annotations: {built.description['hashes']['annotations']}")
    if built.left_out:
        typer.echo(
            f"{built.left_out:,} objects, relationships or boxes were left out or clipped, see {out / 'errors.jsonl'}",
            err=True,
        )
    if built.failed:
        typer.echo(f"{built.failed:,} images failed and are not in the set, see {out / 'errors.jsonl'}", err=True)
        raise typer.Exit(PARTLY_FAILED)


def _cores() -> int:
    """Return the number of cores that this process may use; in a container often fewer than the machine has."""
    import os

    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
