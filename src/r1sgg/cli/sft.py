"""`r1sgg sft`: supervised fine-tuning from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.errors import require

OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Options that typer does not know go to the recipe reader, which accepts TRL's options and rejects all others."""


@app.command(context_settings=OPEN)
def sft(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML recipe, see configs/.")] = None,
) -> None:
    """Fine-tune a model on ground-truth graphs.

    Every key of a recipe is also an option, and so is every option of trl.SFTConfig (with TrainingArguments):

        r1sgg sft --config configs/tiny-sft.yaml --data train/gt.jsonl --output_dir runs/sft --max_steps 200

    Add --resume to continue from the last checkpoint. The output folder holds the trained checkpoint, metrics.jsonl and
    config.yaml.
    """
    require("trl", "train")
    from r1sgg.training.sft import train_sft

    if left_out := train_sft(config, context.args):
        typer.echo(f"{left_out} images could not be used", err=True)
        raise typer.Exit(PARTLY_FAILED)
