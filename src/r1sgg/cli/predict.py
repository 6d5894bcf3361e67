"""`r1sgg predict`: read photos as scene graphs, written as JSON and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from r1sgg.cli import loading
from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.files import write_json

if TYPE_CHECKING:
    from r1sgg.inference.reader import Reading


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.json and NAME.overlay.png.")],
    model: loading.Model = "tiny",
    engine: loading.Engine = "hf",
    family: loading.Family = None,
    ask: loading.AskOption = "paper",
    temperature: loading.Temperature = 0.0,
    top_p: loading.TopP = 1.0,
    top_k: loading.TopK = 0,
    seed: loading.Seed = 0,
    max_new_tokens: loading.MaxNewTokens = 1024,
    prompt: loading.Prompt = None,
    think: loading.Think = None,
    vocabulary: loading.Vocabulary = None,
    answer_format: loading.Format = None,
    guide: loading.Guide = False,
    cut_loops: loading.CutLoops = True,
    samples: loading.Samples = 1,
    scores: loading.Scores = False,
    threshold: loading.Threshold = None,
    max_pixels: loading.MaxPixels = None,
    device: loading.Device = None,
    dtype: loading.Dtype = None,
    threads: loading.Threads = None,
) -> None:
    """Read photos as scene graphs.

    Each image gives a JSON file (objects and relationships, boxes in pixels, scores if requested, the raw completion
    and its issues) and a picture of the graph on the image. Images that cannot be opened are named and skipped; the
    exit code is then 1. The score of a relationship is that of the whole triplet, its objects included.

    Example: `r1sgg predict holiday/*.jpg --model runs/grpo --guide --threshold 0.3 --out graphs`
    """
    from rich.console import Console
    from rich.table import Table

    from r1sgg.drawing.draw import draw
    from r1sgg.errors import ImageError
    from r1sgg.inference.engine import Sampling
    from r1sgg.inference.engines import Opening
    from r1sgg.inference.reader import check_samples

    sampling = Sampling(temperature, top_p, top_k, max_new_tokens, seed, cut_loops)
    check_samples(samples, sampling)
    options = loading.prompt_options(prompt, vocabulary, answer_format, think, guide=guide)
    scores = scores or threshold is not None
    reader = loading.open_quietly(
        Opening(
            model,
            engine,
            device=device,
            dtype=dtype,
            max_pixels=max_pixels,
            threads=threads,
            family=family,
            ask=loading.ask_mode(ask),
            **options,
        )
    )
    loading.remark_calibration(reader, guide=guide, temperature=temperature, samples=samples)
    out.mkdir(parents=True, exist_ok=True)
    table = Table("image", "objects", "relationships", "written to", title=f"Scene graphs by {model}")
    failed = 0
    for path, name in zip(images, output_names(images, out), strict=True):
        try:
            (reading,) = reader.read_batch([path], sampling, guide=guide, samples=samples, scores=scores)
            fault = reading.completion.error
        except ImageError as error:
            fault = str(error)
        if fault is not None:
            typer.echo(f"r1sgg: {fault}", err=True)
            table.add_row(path.name, "", "failed", "")
            failed += 1
            continue
        if threshold is not None:
            reading = reading.above(threshold)
        record = reading.to_record(path.stem, path, model)
        write_json(out / f"{name}.json", record)
        draw(reading.image, reading.graph).save(out / f"{name}.overlay.png")
        table.add_row(path.name, str(len(reading.graph)), _describe(reading), f"{name}.json, {name}.overlay.png")
    reader.close()
    Console().print(table)
    if failed:
        raise typer.Exit(PARTLY_FAILED)


def output_names(images: list[Path], out: Path) -> list[str]:
    """Return a name for the outputs of each image: its stem, with -2, -3, ... if another image or an input has it."""
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


def _describe(reading: Reading, most: int = 5) -> str:
    """Describe the relationships for the table, or why there are none."""
    if failure := reading.parsed.failure:
        return f"no graph in the completion ({failure})"
    if not len(reading.graph):
        return f"no score of {reading.threshold:g} or higher"
    lines = [" ".join(triplet) for triplet in reading.graph.triplets]
    more = [f"{len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
