"""`r1sgg publish`: a trained run becomes a checkpoint for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app


@app.command()
def publish(
    checkpoint: Annotated[str, typer.Argument(help="A run's folder, whole or a LoRA adapter.")],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint.")],
    results: Annotated[
        Path | None, typer.Option(help="What `r1sgg evaluate --json` measured of it, for the model card.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Weights: bfloat16, float16, float32, or auto (as is).")] = "bfloat16",
    push: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Upload it to the Hub as this.")] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: everybody may see it.")] = False,
) -> None:
    """Merge an adapter into its base model, and write weights, processor, settings and a model card.

    The card says what the model was trained on (with the data's hash), the recipe, the rewards and what was measured.
    Nothing is uploaded without --push, and what is uploaded is private without --public.

    Example: `r1sgg publish runs/grpo --out published --results results.json --push me/my-model`
    """
    from r1sgg.errors import ConfigError, require

    if public and push is None:
        raise ConfigError("--public: expected --push OWNER/NAME beside it, found none")
    require("transformers", "train")
    from transformers.utils import logging

    from r1sgg.models import publish as publishing

    logging.disable_progress_bar()
    publishing.publish(checkpoint, out, results=results, dtype=dtype, name=push)
    typer.echo(f"{out}: weights, processor, settings and {publishing.CARD}")
    if push is not None:
        typer.echo(publishing.push(out, push, private=not public))
