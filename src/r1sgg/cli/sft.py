"""`r1sgg sft`: supervised fine-tuning from a recipe."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app
from r1sgg.cli.training import OPEN, TrainingCommand, check_given, check_names, check_values, finish, require_trl


@app.command(cls=TrainingCommand, context_settings=OPEN)
def sft(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML recipe, see configs/.")] = None,
) -> None:
    """Fine-tune a model on ground-truth graphs.

    Every key of a recipe is also an option, and so is every option of trl.SFTConfig: `r1sgg sft --help trl` lists them.
    `--include FILE...` reads more recipes after --config; options override all of them.

        r1sgg sft --config configs/tiny-sft.yaml --data train/gt.jsonl --output_dir runs/sft --max_steps 200

    Add --resume to continue from the last checkpoint. The output folder gets the trained checkpoint with its model card
    (README.md), metrics.jsonl, completions.jsonl, config.yaml, and report.html: curves and sampled completions.
    """
    require_trl()
    check_names("sft", config, context.args)
    check_values("sft", config, context.args)
    check_given(config, context.args)
    from r1sgg.training.sft import train_sft

    finish(train_sft(config, context.args, partial(typer.echo, err=True)))
