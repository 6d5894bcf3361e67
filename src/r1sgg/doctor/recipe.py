"""Whether a recipe is one of SFT or of GRPO, and which extras of r1sgg it needs. Nothing of it is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1sgg.errors import ConfigError


def read_stage(config: Path, arguments: Sequence[str]) -> tuple[str, Any]:
    """Read a recipe as one of SFT or of GRPO, by the options that it has.

    Raises:
        ConfigError: the recipe is wrong, or has options of both.
    """
    from trl import GRPOConfig, SFTConfig

    from r1sgg.training.options import RewardOptions, RunOptions, TargetOptions
    from r1sgg.training.parts import PartOptions
    from r1sgg.training.recipe import read_keys, read_recipe
    from r1sgg.training.rollouts import RolloutOptions
    from r1sgg.training.run import machine_defaults
    from r1sgg.training.sft import DEFAULTS

    classes = {
        "sft": (SFTConfig, TargetOptions, PartOptions),
        "grpo": (GRPOConfig, RewardOptions, PartOptions, RolloutOptions),
    }
    names = {stage: {f.name for kind in kinds for f in dataclasses.fields(kind)} for stage, kinds in classes.items()}
    keys = read_keys(config, arguments)
    only = {stage: sorted(keys & (names[stage] - names[other])) for stage, other in (("sft", "grpo"), ("grpo", "sft"))}
    if only["sft"] and only["grpo"]:
        raise ConfigError(f"{config}: expected options of SFT or of GRPO, found {only['sft'][0]} and {only['grpo'][0]}")
    stage = "grpo" if only["grpo"] else "sft"
    defaults = {**machine_defaults(), **(DEFAULTS if stage == "sft" else {}), "output_dir": "doctor"}
    if "activation_checkpointing" not in keys and "gradient_checkpointing" not in keys:
        defaults["activation_checkpointing"] = True  # what `machine_defaults` chooses on a GPU
    return stage, read_recipe([RunOptions, *classes[stage]], config, list(arguments), defaults)


def needs_of(config: Path, arguments: Sequence[str]) -> list[str]:
    """Return the extras of r1sgg that a recipe needs.

    Raises:
        ConfigError: the recipe is wrong.
    """
    from r1sgg.training.parts import PartOptions, needs_bitsandbytes

    stage, recipe = read_stage(config, arguments)
    trainer, parts = recipe.options[1], recipe.option(PartOptions)
    optimizer = str(getattr(trainer.optim, "value", trainer.optim))
    needs = ["train"]
    needs += ["vllm"] if stage == "grpo" and trainer.use_vllm else []
    needs += ["qlora"] if parts.load_in_4bit or needs_bitsandbytes(optimizer) else []
    return needs
