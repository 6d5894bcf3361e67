"""`r1sgg tiny`: a random-weight Qwen2-VL to train from, made in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app


@app.command()
def tiny(
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint.")],
    seed: Annotated[int, typer.Option(help="Names the random weights.")] = 0,
    max_pixels: Annotated[
        int, typer.Option(min=28 * 28, help="Images are reduced to at most so many pixels (784 a token).")
    ] = 336 * 336,
) -> None:
    """Make a tiny Qwen2-VL (3.1 million parameters) with random weights.

    It is an ordinary checkpoint folder: AutoProcessor and AutoModelForImageTextToText load it, and every command takes
    it as --model. It knows nothing yet: train it with `r1sgg sft`.

    Example: `r1sgg tiny --out runs/tiny --seed 0`
    """
    from r1sgg.errors import InputError, require

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(str(out), expected="a new or empty folder", found="one with files in it")
    require("transformers", "train")
    from transformers.utils import logging

    from r1sgg.miniature.tiny import build_tiny

    logging.disable_progress_bar()
    build_tiny(out, seed, max_pixels=max_pixels)
    typer.echo(f"{out}: a Qwen2-VL with random weights (seed {seed})")
