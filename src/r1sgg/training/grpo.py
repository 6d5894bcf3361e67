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
from accelerate.utils import send_to_device
from transformers import AutoConfig
from trl import GRPOConfig, GRPOTrainer

from r1sgg.errors import ConfigError, require
from r1sgg.inference.threads import Threads
from r1sgg.judging.labels import load_similarity
from r1sgg.models.families import suppressed_token_ids
from r1sgg.rewards.adapters import trl_rewards
from r1sgg.rewards.rubric import Rubric
from r1sgg.training.checkpoints import KeepsWork
from r1sgg.training.logs import CompletionsLog
from r1sgg.training.parts import PartOptions, prepare_parts
from r1sgg.training.recipe import RewardOptions
from r1sgg.training.rollouts import (
    GuidedRollouts,
    RolloutOptions,
    cutting_loops,
    hold_to_schema,
    settle_correction,
)
from r1sgg.training.run import prepare


class GraphTrainer(KeepsWork, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, whose checkpoints hold the rollouts that wait for their steps, and whose rollouts are watched."""

    guided: GuidedRollouts | None = None
    cut_loops = False

    def progress(self) -> dict[str, Any]:
        """See `KeepsWork`: rollouts are sampled once for `steps_per_generation * num_iterations` steps."""
        waiting = self._step % (self.args.steps_per_generation * self.num_iterations) != 0
        return {**super().progress(), "step": self._step, "rollouts": self._buffered_inputs if waiting else None}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """See `KeepsWork`."""
        super().go_on(progress)
        self._step = progress["step"]
        if progress["rollouts"] is not None:
            self._buffered_inputs = [send_to_device(part, self.args.device) for part in progress["rollouts"]]

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm:
            return super()._generate_single_turn(*args, **kwargs)
        model = self.accelerator.unwrap_model(self.model_wrapped)
        threads = Threads(model)
        with threads.restored():
            threads.use(len(self._frames))
            if self.guided is not None:
                with self.accelerator.autocast(), self.guided.held(model, self._frames, threads):
                    return super()._generate_single_turn(*args, **kwargs)
            if not self.cut_loops:
                return super()._generate_single_turn(*args, **kwargs)
            with cutting_loops(model, self._tokenizer) as cut:
                completions, logprobs = super()._generate_single_turn(*args, **kwargs)
            for row, length in cut.items():
                del completions[row][length:]
            return completions, logprobs

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._frames = [tuple(row["frame"]) for row in inputs]
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.guards is not None and self.model.training:
            self.guards.images(output["prompt_ids"], output)
            self.guards.rollouts(self._metrics["train"]["frac_reward_zero_std"][-1])
        return output


def train_grpo(config: Path | None, arguments: Sequence[str]) -> int:
    """Train as the recipe says; returns how many images had to be left out.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
    """
    run = prepare("grpo", GRPOConfig, (RewardOptions, PartOptions, RolloutOptions), config, arguments, {})
    if not run.checkpoint.family.rollouts:
        raise ConfigError(
            f"model: {run.checkpoint.family.name} cannot be trained by GRPO, because TRL passes its model no "
            "qformer_input_ids; SFT works"
        )
    if run.arguments.use_transformers_continuous_batching:
        raise ConfigError(
            "use_transformers_continuous_batching: expected false, found true; TRL's continuous batching generates "
            "without the images"
        )
    guide, cut_loops = run.recipe.option(RolloutOptions).guide, run.recipe.option(RolloutOptions).cut_loops
    if cut_loops and run.arguments.use_vllm:
        raise ConfigError("cut_loops: expected false with use_vllm, found true; vLLM's answers can't be cut")
    if run.arguments.use_vllm:
        require("vllm", "vllm")
    if guide and run.arguments.use_vllm:
        hold_to_schema(run.arguments, run.checkpoint)
    settle_correction(run.arguments, run.recipe.chosen)
    wanted = run.recipe.option(RewardOptions)
    parts = prepare_parts(run.recipe.option(PartOptions), run.checkpoint, run.arguments.optim)
    rubric = rubric_of(wanted.rewards, wanted.similarity, clamp=wanted.clamp)
    functions, weights = trl_rewards(rubric)
    if run.arguments.reward_weights is None:
        run.arguments.reward_weights = weights
    model_config = AutoConfig.from_pretrained(run.checkpoint.path)
    suppressed = suppressed_token_ids(model_config, run.checkpoint.processor.tokenizer)
    run.arguments.generation_kwargs = without_images(
        run.arguments.generation_kwargs, suppressed, vllm=run.arguments.use_vllm
    )
    samples = CompletionsLog(run.folder, run.options.samples)
    trainer = GraphTrainer(
        model=run.checkpoint.path,
        args=run.arguments,
        processing_class=run.checkpoint.processor,
        reward_funcs=run.guards.watch(samples.watch(functions, run.arguments.reward_weights)),
        train_dataset=run.rows,
        eval_dataset=run.validation_rows,
        callbacks=[samples, *run.callbacks],
        **parts.arguments,
    )
    parts.freeze(trainer.model)
    trainer.cut_loops = cut_loops
    if guide and not run.arguments.use_vllm:
        tokens = run.arguments.max_completion_length
        trainer.guided = GuidedRollouts(run.checkpoint, tokens, trainer.eos_token_ids[0], suppressed)
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
