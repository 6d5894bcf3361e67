"""What a recipe must not ask for, found out from the recipe and the checkpoint's files alone: no weights, no data.

`r1sgg sft` and `r1sgg grpo` refuse these at their start, `r1sgg doctor` before the first stage of a script.
"""

from __future__ import annotations

from typing import Any

from r1sgg.errors import ConfigError
from r1sgg.judging.labels import load_similarity
from r1sgg.models.families import Checkpoint
from r1sgg.rewards.rubric import Rubric
from r1sgg.training.gate import steps_between
from r1sgg.training.options import RewardOptions
from r1sgg.training.rollouts import RolloutOptions


def check_rollouts(arguments: Any, options: RolloutOptions, checkpoint: Checkpoint) -> None:
    """See that GRPO can sample completions of this model in this way.

    Args:
        arguments: TRL's GRPOConfig.
        options: our own.
        checkpoint: the model to train.

    Raises:
        ConfigError: it cannot.
    """
    if not checkpoint.family.rollouts:
        raise ConfigError(
            f"model: {checkpoint.family.name} cannot be trained by GRPO, because TRL passes its model no "
            "qformer_input_ids; use SFT, or another model"
        )
    if arguments.use_transformers_continuous_batching:
        raise ConfigError(
            "use_transformers_continuous_batching: expected false, found true; TRL's continuous batching generates "
            "without the images"
        )
    if options.cut_loops and arguments.use_vllm:
        raise ConfigError("cut_loops: expected false with use_vllm, found true; vLLM's answers can't be cut")
    steps_between(options.parity)
    if arguments.use_vllm and arguments.vllm_mode == "server" and checkpoint.family.name == "SmolVLM":
        raise ConfigError(
            "vllm_mode: expected colocate for SmolVLM, found server; TRL takes one run of image tokens per image"
        )


def rubric_of(arguments: Any, options: RewardOptions) -> Rubric:
    """Return the rewards of a recipe, and give TRL their weights unless the recipe has its own.

    Args:
        arguments: TRL's GRPOConfig, changed in place.
        options: our own.

    Raises:
        ConfigError, InputError: there are no such rewards, or not as many weights as terms.
    """
    rubric = Rubric.of(options.rewards, load_similarity(options.similarity), clamp=options.clamp)
    if arguments.reward_weights is None:
        arguments.reward_weights = list(rubric.weights.values())
    elif len(arguments.reward_weights) != len(rubric.weights):
        raise ConfigError(
            f"reward_weights: expected one for each of {', '.join(rubric.weights)}, "
            f"found {len(arguments.reward_weights)}"
        )
    return rubric
