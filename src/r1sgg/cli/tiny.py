"""`r1sgg tiny`: create a small Qwen2-VL with random weights, to train from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app


@app.command()
def tiny(
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the weights.")] = 0,
    max_pixels: Annotated[
        int, typer.Option(min=28 * 28, help="Images are resized to at most this many pixels (784 per image token).")
    ] = 112 * 112,
    vision_steps: Annotated[
        int, typer.Option(min=0, help="Pre-train the image encoder on drawn scenes for this many steps of 32 scenes.")
    ] = 0,
) -> None:
    """Create a tiny Qwen2-VL (3.1 million parameters) with random weights.

    It is an ordinary checkpoint folder that AutoProcessor and AutoModelForImageTextToText load, and that every command
    accepts as --model. It is untrained; train it with `r1sgg sft`.

    Example: `r1sgg tiny --out runs/tiny --seed 0`
    """
    from r1sgg.errors import require
    from r1sgg.files import new_folder

    with new_folder(out) as folder:
        require("transformers", "train")
        from transformers.utils import logging

        from r1sgg.miniature.tiny import build_tiny

        logging.disable_progress_bar()
        build_tiny(folder, seed, max_pixels=max_pixels, vision_steps=vision_steps)
    seeing = f", its image encoder trained for {vision_steps} steps" if vision_steps else ""
    typer.echo(f"{out}: a Qwen2-VL with random weights (seed {seed}){seeing}")
