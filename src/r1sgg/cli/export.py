"""`r1sgg export` and `r1sgg draw`: write graphs in the formats of other tools, or as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.files import protect, refuse_inputs

_FILE = (
    "Any data set (gt.jsonl, vg150:DIR, scenes:COUNT, ...), anybody's predictions (swift:FILE, ...), or what `r1sgg "
    "predict` wrote: a file or its folder."
)
_TRUTH = "Ground truth of the predictions, any data set, for images and sizes"
_IDS = "Only the image with this id; may be repeated."


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


@app.command()
def export(
    file: Annotated[str, typer.Argument(metavar="GRAPHS", help=_FILE)],
    out: Annotated[Path, typer.Option(help="File to write; for graphml, jsonld and dot a folder.")],
    format: Annotated[str, typer.Option(help="json, graphml, jsonld, dot, coco or csv.")],
    ground_truth: Annotated[str | None, typer.Option(metavar="DATA", help=f"{_TRUTH}; required for coco.")] = None,
    id: Annotated[list[str] | None, typer.Option(help=_IDS)] = None,
) -> None:
    """Write scene graphs for networkx, Gephi, RDF stores, Graphviz, COCO tools or a spreadsheet.

    Example: `r1sgg export predictions.jsonl --ground-truth gt.jsonl --format coco --out coco.json`
    """
    from r1sgg.exports.files import write_export
    from r1sgg.exports.reading import read_graphs

    found = list(read_graphs(file, ground_truth, id or (), _say))
    paths = write_export([item.record for item in found], format, out)
    size = sum(path.stat().st_size for path in paths)
    shown = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
    typer.echo(f"{out}: {len(paths)} file{'' if len(paths) == 1 else 's'}, {shown}")
    if failed := sum(item.failure is not None for item in found):
        what = (
            "prediction could not be read; its graph is"
            if failed == 1
            else "predictions could not be read; their graphs are"
        )
        typer.echo(f"{failed} {what} empty", err=True)
        raise typer.Exit(PARTLY_FAILED)


@app.command()
def draw(
    file: Annotated[str, typer.Argument(metavar="GRAPHS", help=_FILE)],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, one per image.")],
    format: Annotated[str, typer.Option(help="png or svg.")] = "png",
    ground_truth: Annotated[str | None, typer.Option(metavar="DATA", help=f"{_TRUTH}, and for the comparison.")] = None,
    graph: Annotated[bool, typer.Option(help="Draw the graph beside its image.")] = True,
    compare: Annotated[
        bool, typer.Option(help="Draw predictions beside the ground truth, hits and misses in colour.")
    ] = True,
    id: Annotated[list[str] | None, typer.Option(help=_IDS)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of pictures.")] = 100,
) -> None:
    """Draw scene graphs on their images: boxes, names, relations and a legend; predictions beside the ground truth.

    Images that cannot be opened are named and skipped; the exit code is then 1.

    Example: `r1sgg draw scenes:12,preset=small --out pictures`

    Example: `r1sgg draw predictions.jsonl --ground-truth gt.jsonl --id 2417 --format svg --out pictures`
    """
    import itertools

    from r1sgg.drawing.draw import draw as drawn
    from r1sgg.drawing.shapes import FORMATS
    from r1sgg.errors import ConfigError, ImageError
    from r1sgg.exports.files import file_names
    from r1sgg.exports.reading import read_graphs

    if format not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, found {format!r}")
    found = list(itertools.islice(read_graphs(file, ground_truth, id or (), _say), None if id else limit))
    names = file_names([f.record.image_id for f in found])
    protect(Path(f.record.image) for f in found if f.record.image)
    refuse_inputs(out / f"{name}.{format}" for name in names)
    failed = 0
    for item, name in zip(found, names, strict=True):
        record = item.record
        truth = item.truth.graph if item.truth is not None and compare else None
        try:
            if not record.image and item.picture is None:
                hint = "" if ground_truth else "; pass --ground-truth"
                raise ImageError(f"image {record.image_id!r}", expected="the path of its file", found=f"none{hint}")
            image = record.image if item.picture is None else item.picture()
            picture = drawn(image, record.graph, truth, beside=graph, title=name)
        except ImageError as error:
            typer.echo(f"r1sgg: {error}", err=True)
            failed += 1
            continue
        picture.save(out / f"{name}.{format}")
    typer.echo(f"{out}: {len(found) - failed} pictures")
    if failed:
        raise typer.Exit(PARTLY_FAILED)
