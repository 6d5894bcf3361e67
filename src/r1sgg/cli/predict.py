"""`r1sgg predict`: the scene graphs of any photos, as JSON and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from r1sgg.cli import PARTLY_FAILED, app

if TYPE_CHECKING:
    from r1sgg.inference.reader import Reading


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files of any kind.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.json and NAME.overlay.png.")],
    model: Annotated[str, typer.Option(help="Checkpoint folder, name on the Hub (owner/name), or tiny.")] = "tiny",
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling; 1 keeps all tokens.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample among so many tokens; 0 keeps all.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides all draws.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 1024,
    prompt: Annotated[
        str | None, typer.Option(help="open or closed (lists a vocabulary's names); else as the checkpoint says.")
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="What a closed prompt lists: vg150 (default), psg or a file.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1024, help="Reduce images to at most so many pixels.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU where there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 on a CPU, else the checkpoint's own.")] = None,
) -> None:
    """Read photos as scene graphs.

    Each image gives a JSON file (objects and relationships, boxes in pixels, the raw answer and what was wrong with it)
    and a picture of the graph on the image. Images that cannot be opened are named, the others are done all the same,
    and the exit code is 1.

    Example: `r1sgg predict holiday/*.jpg --model tiny --out graphs`
    """
    import orjson
    from rich.console import Console
    from rich.table import Table

    from r1sgg.cli.loading import answer_settings, load_quietly
    from r1sgg.errors import ImageError
    from r1sgg.inference.engine import Sampling
    from r1sgg.viz.draw import draw_graph

    sampling = Sampling(temperature, top_p, top_k, max_new_tokens, seed)
    reader = load_quietly(model, device, dtype, max_pixels, answer_settings(prompt, vocabulary))
    out.mkdir(parents=True, exist_ok=True)
    table = Table("image", "objects", "relationships", "written to", title=f"Scene graphs by {model}")
    failed = 0
    for path, name in zip(images, output_names(images, out), strict=True):
        try:
            reading = reader.read(path, sampling)
        except ImageError as error:
            typer.echo(f"r1sgg: {error}", err=True)
            table.add_row(path.name, "", "cannot be opened", "")
            failed += 1
            continue
        record = reading.to_record(path.stem, path, model)
        (out / f"{name}.json").write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
        draw_graph(reading.image, reading.graph).save(out / f"{name}.overlay.png")
        table.add_row(path.name, str(len(reading.graph)), _in_words(reading), f"{name}.json, {name}.overlay.png")
    Console().print(table)
    if failed:
        raise typer.Exit(PARTLY_FAILED)


def output_names(images: list[Path], out: Path) -> list[str]:
    """A name for each image's outputs: its stem, with -2, -3, ... where an earlier image, or an input, has it."""
    inputs = {image.resolve() for image in images}
    taken: set[str] = set()
    names = []
    for image in images:
        name, number = image.stem, 1
        while name.lower() in taken or not inputs.isdisjoint(
            {(out / f"{name}{end}").resolve() for end in (".json", ".overlay.png")}
        ):
            number += 1
            name = f"{image.stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _in_words(reading: Reading, most: int = 5) -> str:
    """The relationships for the table, or why there are none."""
    if failure := reading.parsed.failure:
        return f"no graph in the answer ({failure})"
    lines = [" ".join(triplet) for triplet in reading.graph.triplets]
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
