"""GRPO on scene-graph rewards: TRL's GRPOTrainer, one named reward per term of the rubric.

    r1sgg grpo --config configs/tiny-grpo.yaml --model runs/sft --output_dir runs/grpo

Each term is logged under its own name and weighted by the rubric. Tokens that stand for images are never sampled: at
temperature 1 they come up by chance, and a completion that holds one cannot be scored by the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from transformers import AutoConfig
from trl import GRPOConfig, GRPOTrainer

from r1sgg.errors import ConfigError
from r1sgg.matching.labels import load_similarity
from r1sgg.models.families import suppressed_token_ids
from r1sgg.rewards.rubric import Rubric, trl_rewards
from r1sgg.training.logs import CompletionsLog
from r1sgg.training.recipe import RewardOptions
from r1sgg.training.run import LoadsByConversion, prepare


class GraphTrainer(LoadsByConversion, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer."""


def train_grpo(config: Path | None, arguments: Sequence[str]) -> int:
    """Train as the recipe says; returns how many images had to be left out.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
    """
    run = prepare("grpo", GRPOConfig, (RewardOptions,), config, arguments, {})
    wanted = run.recipe.options[2]
    rubric = rubric_of(wanted.rewards, wanted.similarity, clamp=wanted.clamp)
    functions, weights = trl_rewards(rubric)
    if run.arguments.reward_weights is None:
        run.arguments.reward_weights = weights
    model_config = AutoConfig.from_pretrained(run.checkpoint.path)
    run.arguments.generation_kwargs = without_images(
        run.arguments.generation_kwargs,
        suppressed_token_ids(model_config, run.checkpoint.processor.tokenizer),
        vllm=run.arguments.use_vllm,
    )
    samples = CompletionsLog(run.folder, run.options.samples)
    trainer = GraphTrainer(
        model=run.checkpoint.path,
        args=run.arguments,
        processing_class=run.checkpoint.processor,
        reward_funcs=samples.watch(functions, run.arguments.reward_weights),
        train_dataset=run.rows,
        eval_dataset=run.validation_rows,
        callbacks=[samples, *run.callbacks],
    )
    return run.train(trainer)


def rubric_of(rewards: str | Mapping[str, float], similarity: str, *, clamp: bool | None) -> Rubric:
    """The rubric that a recipe asks for.

    Args:
        rewards: a reward set's name, a mapping of terms to weights, or JSON text of one.
        similarity: how labels are compared, see `load_similarity`.
        clamp: whether negative cosines count as 0; None leaves it to the reward set.

    Raises:
        ConfigError: an unknown set or term, or a weight that is not a number.
    """
    labels = load_similarity(similarity)
    options: dict[str, Any] = {} if clamp is None else {"clamp": clamp}
    if isinstance(rewards, str) and not rewards.lstrip().startswith("{"):
        return Rubric.named(rewards, labels, **options)
    if isinstance(rewards, str):
        try:
            rewards = orjson.loads(rewards)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f'rewards: expected terms and weights like {{"format": 1}}, found {rewards!r}') from error
    if not isinstance(rewards, Mapping) or not rewards:
        raise ConfigError(f"rewards: expected a reward set or terms and weights, found {rewards!r}")
    for term, weight in rewards.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"rewards: {term}: expected a number, found {weight!r}")
    return Rubric({str(term): float(weight) for term, weight in rewards.items()}, labels, **options)


def without_images(kwargs: Mapping[str, Any] | None, tokens: Sequence[int], *, vllm: bool) -> dict[str, Any]:
    """Generation options under which none of `tokens` is sampled, beside those that the recipe gives."""
    options = dict(kwargs or {})
    if vllm:
        options["logit_bias"] = {**dict.fromkeys(tokens, -100.0), **options.get("logit_bias", {})}
    else:
        options["suppress_tokens"] = sorted({*tokens, *(options.get("suppress_tokens") or ())})
    return options
