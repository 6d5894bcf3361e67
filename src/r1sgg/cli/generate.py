"""`r1sgg generate`: predictions for every image of a ground-truth file. The work is in `r1sgg.inference.run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli import PARTLY_FAILED, app


@app.command()
def generate(
    ground_truth: Annotated[Path, typer.Option(help="Ground-truth JSONL; only its images are used.")],
    out: Annotated[Path, typer.Option(help="Predictions JSONL; an interrupted run is continued.")],
    model: Annotated[str, typer.Option(help="Checkpoint folder, name on the Hub (owner/name), or tiny.")] = "tiny",
    batch_size: Annotated[int, typer.Option(min=1, help="Images answered together.")] = 8,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling; 1 keeps all tokens.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample among so many tokens; 0 keeps all.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides all draws, an image's apart from the others'.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 1024,
    prompt: Annotated[
        str | None, typer.Option(help="open or closed (lists a vocabulary's names); else as the checkpoint says.")
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="What a closed prompt lists: vg150 (default), psg or a file.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1024, help="Reduce images to at most so many pixels.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Add log-probabilities to each line.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU where there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 on a CPU, else the checkpoint's own.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew where the file exists.")] = False,
) -> None:
    """Answer every image of a ground-truth file.

    Lines come in the file's order. A run that was killed is continued by the same command, and gives the file that an
    uninterrupted run gives. An image that cannot be opened gets a line with `error`; the exit code is then 1.

    Example: `r1sgg generate --ground-truth val/gt.jsonl --model runs/sft --out runs/sft/val.jsonl --batch-size 32`
    """
    from r1sgg.cli.loading import answer_settings, load_quietly, progress_bar
    from r1sgg.inference.engine import Sampling

    sampling = Sampling(temperature, top_p, top_k, max_new_tokens, seed)
    closed = answer_settings(prompt, vocabulary)
    reader = load_quietly(model, device, dtype, max_pixels, closed)
    from r1sgg.inference.run import run

    with progress_bar("generate") as progress:
        summary = run(
            ground_truth,
            out,
            reader.checkpoint,
            reader.engine,
            sampling,
            batch_size=batch_size,
            limit=limit,
            logprobs=logprobs,
            overwrite=overwrite,
            progress=progress,
        )
    done = f", {summary.resumed} of them by an earlier run" if summary.resumed else ""
    typer.echo(f"{out}: {summary.images} images{done}; {summary.failed} could not be read")
    if summary.failed:
        raise typer.Exit(PARTLY_FAILED)
