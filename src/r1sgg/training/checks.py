"""What a recipe must not ask for, found out from the recipe and the checkpoint's files alone: no weights, no data.

`r1sgg sft` and `r1sgg grpo` refuse these at their start, `r1sgg doctor` before the first stage of a script.
"""

from __future__ import annotations

from typing import Any, Literal

from r1sgg.errors import ConfigError
from r1sgg.judging.labels import load_similarity
from r1sgg.models.families import Checkpoint
from r1sgg.models.family import Capability, ModelFamily
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
    family = checkpoint.family
    if (reason := family.cannot.get("grpo")) is not None:
        raise ConfigError(f"model: {family.name} cannot be trained by GRPO, because {reason}; use another model")
    if arguments.use_transformers_continuous_batching:
        raise ConfigError(
            "use_transformers_continuous_batching: expected false, found true; TRL's continuous batching generates "
            "without the images"
        )
    if options.guide_share != 1 and (not options.guide or arguments.use_vllm):
        raise ConfigError("guide_share: expected guide: true and rollouts by transformers, found other settings")
    if options.cut_loops and arguments.use_vllm:
        raise ConfigError("cut_loops: expected false with use_vllm, found true; vLLM's answers can't be cut")
    steps_between(options.parity)
    if arguments.use_vllm:
        _check_mode(family, "server" if arguments.vllm_mode == "server" else "colocate")


def _check_mode(family: ModelFamily, mode: Literal["colocate", "server"]) -> None:
    """Refuse rollouts by vLLM that the family cannot have, with the reason."""
    if (reason := family.cannot.get(mode)) is None:
        return
    ways: tuple[Capability, ...] = ("colocate", "server")
    others = [f"vllm_mode: expected {way}" for way in ways if way not in family.cannot]
    expected = (*others, "use_vllm: expected false")[0]
    raise ConfigError(f"{expected} for {family.name}, found {mode}, because {reason}")


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
