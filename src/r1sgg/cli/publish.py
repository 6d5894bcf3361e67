"""`r1sgg publish`: make a checkpoint of a trained run that others can use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app


@app.command()
def publish(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a run: a whole model or a LoRA adapter.")],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint.")],
    results: Annotated[
        Path | None, typer.Option(help="JSON file from `r1sgg evaluate --json`, for the model card.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Type of the weights: bfloat16, float16, float32, or auto (unchanged).")
    ] = "bfloat16",
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload the checkpoint to the Hub under this name.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: make it public.")] = False,
) -> None:
    """Merge an adapter into its base model, and write weights, processor, settings and a model card.

    The card states the training data with its hash, the recipe, the rewards and the results. Nothing is uploaded
    without --push, and uploads are private unless --public is given.

    Example: `r1sgg publish runs/grpo --out published --results results.json --push me/my-model`
    """
    from r1sgg.errors import ConfigError, require

    if public and push is None:
        raise ConfigError("--public: expected --push OWNER/NAME too, found none")
    require("transformers", "train")
    from transformers.utils import logging

    from r1sgg.models import publish as publishing
    from r1sgg.models.card import CARD

    logging.disable_progress_bar()
    publishing.publish(checkpoint, out, results=results, dtype=dtype, name=push)
    typer.echo(f"{out}: weights, processor, settings and {CARD}")
    if push is not None:
        typer.echo(publishing.push(out, push, private=not public))
