"""`r1sgg grpo`: train with GRPO on scene-graph rewards, from a recipe."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from r1sgg.cli.root import app
from r1sgg.cli.training import OPEN, TrainingCommand, check_given, check_names, check_values, finish, require_trl


@app.command(cls=TrainingCommand, context_settings=OPEN)
def grpo(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML recipe, see configs/.")] = None,
) -> None:
    """Train a model with GRPO: completions are sampled, and rewarded by how well they match the ground truth.

    Every key of a recipe is also an option, and so is every option of trl.GRPOConfig: `r1sgg grpo --help trl` lists
    them. `--include FILE...` reads more recipes after --config; options override all of them.

        r1sgg grpo --config configs/tiny-grpo.yaml --model runs/sft --data train/gt.jsonl --output_dir runs/grpo

    Add --resume to continue from the last checkpoint. The output folder gets the trained checkpoint with its model card
    (README.md), metrics.jsonl, completions.jsonl, config.yaml, and report.html: curves and sampled completions.
    """
    # TRL 1.16 declares vLLM to 0.31; this version was run with it (constraints-vllm.txt)
    warnings.filterwarnings("ignore", message=r"TRL currently supports vLLM .* You have version 0\.32\.")
    require_trl()
    check_names("grpo", config, context.args)
    check_values("grpo", config, context.args)
    check_given(config, context.args)
    from r1sgg.training.grpo import train_grpo

    finish(train_grpo(config, context.args, partial(typer.echo, err=True)))
