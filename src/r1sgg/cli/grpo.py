"""`r1sgg grpo`: train with GRPO on scene-graph rewards, from a recipe."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.cli.sft import OPEN
from r1sgg.errors import require


@app.command(context_settings=OPEN)
def grpo(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML recipe, see configs/.")] = None,
) -> None:
    """Train a model with GRPO: completions are sampled, and rewarded by how well they match the ground truth.

    Every key of a recipe is also an option, and so is every option of trl.GRPOConfig (with TrainingArguments):

        r1sgg grpo --config configs/tiny-grpo.yaml --model runs/sft --data train/gt.jsonl --output_dir runs/grpo

    Add --resume to continue from the last checkpoint. The output folder holds the trained checkpoint, metrics.jsonl,
    completions.jsonl and config.yaml.
    """
    # TRL 1.16 declares vLLM to 0.31; this version was run with it (constraints-vllm.txt)
    warnings.filterwarnings("ignore", message=r"TRL currently supports vLLM .* You have version 0\.32\.")
    require("trl", "train")
    from r1sgg.training.grpo import train_grpo

    if left_out := train_grpo(config, context.args, partial(typer.echo, err=True)):
        typer.echo(f"{left_out} images could not be used", err=True)
        raise typer.Exit(PARTLY_FAILED)
