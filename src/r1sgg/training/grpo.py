"""GRPO on scene-graph rewards: TRL's GRPOTrainer, one named reward per term of the rubric.

    r1sgg grpo --config configs/tiny-grpo.yaml --model runs/sft --output_dir runs/grpo

Each term is logged under its own name and weighted by the rubric. Image tokens are never sampled: at temperature 1 they
come up by chance, and the next pass over such a completion fails because it has more image tokens than images. With
vLLM the trainer and its engine are compared (`r1sgg.training.gate`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from transformers import AutoConfig
from trl import GRPOConfig, GRPOTrainer

from r1sgg.errors import require
from r1sgg.guiding.table import suppressed_token_ids
from r1sgg.inference.threads import Threads
from r1sgg.rewards.adapters import trl_rewards
from r1sgg.training.checkpoints import ResumableTrainer
from r1sgg.training.checks import check_rollouts, rubric_of
from r1sgg.training.engine import RolloutEngine, made_for, name_weights, replies_read, set_surroundings, unexpanded
from r1sgg.training.gate import ParityGate, precision_of, steps_between
from r1sgg.training.memory import sampled_at_once, vllm_bytes, vllm_share
from r1sgg.training.options import RewardOptions
from r1sgg.training.parts import PartOptions, prepare_parts
from r1sgg.training.rollouts import (
    GuidedRollouts,
    RolloutOptions,
    add_schema,
    cutting_loops,
    guided_of_group,
    settle_correction,
)
from r1sgg.training.run import Run, Trained, prepared
from r1sgg.training.samples import CompletionsLog
from r1sgg.training.shape import shape_of

_log = logging.getLogger(__name__)


class GraphTrainer(ResumableTrainer, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer whose checkpoints include rollouts in use, and whose rollouts are guided and checked.

    Private methods that it overrides, and why: `r1sgg.training.upstream`.
    """

    guided: GuidedRollouts | None = None
    cut_loops = False
    gate: ParityGate | None = None
    samples: CompletionsLog | None = None

    def resume_state(self) -> dict[str, Any]:
        """Add the rollouts to `ResumableTrainer.resume_state`.

        TRL samples once for `steps_per_generation * num_iterations` passes. A checkpoint in between needs the rollouts
        of the rest; at the end of such a round they are spent and not stored.
        """
        in_use = self._step % (self.args.steps_per_generation * self.num_iterations) != 0
        return {**super().resume_state(), "step": self._step, "rollouts": self._buffered_inputs if in_use else None}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `resume_state` returned."""
        super().load_resume_state(state)
        self._step = state["step"]
        if state["rollouts"] is not None:
            self._buffered_inputs = [send_to_device(part, self.args.device) for part in state["rollouts"]]

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        tokenized = super()._tokenize_prompts(prompts)
        if self.use_vllm:
            self._texts = self.processing_class.apply_chat_template(
                prompts,
                chat_template=self.chat_template,
                add_generation_prompt=True,
                tokenize=False,
                **self.chat_template_kwargs,
            )
        return tokenized

    def _by_vllm(self, prompt_ids: Any, images: Any, fields: Any, group: int) -> Any:
        """Sample with vLLM, which expands image placeholders itself; a server gets image features and expanded ids."""
        server = self.vllm_generation.mode == "server"
        sent = prompt_ids if server else unexpanded(self.processing_class, self._texts)
        if self.gate is None or not self.model.training:
            return super()._generate_single_turn(sent, images, fields, group)
        with self.gate.rollouts(prompt_ids, group):
            output = super()._generate_single_turn(sent, images, fields, group)
        if self.gate.due:
            self.gate.check(sent, prompt_ids, self._texts, images, self._frames, group)
        return output

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm:
            return self._by_vllm(*args, **kwargs)
        model = self.accelerator.unwrap_model(self.model_wrapped)
        threads = Threads(model)
        with threads.restored():
            threads.use(len(self._frames))
            if self.guided is not None:
                with self.accelerator.autocast(), self.guided.applied(model, self._frames, threads):
                    return super()._generate_single_turn(*args, **kwargs)
            if not self.cut_loops:
                return super()._generate_single_turn(*args, **kwargs)
            with cutting_loops(model, self.processing_class.tokenizer) as cut:
                completions, logprobs = super()._generate_single_turn(*args, **kwargs)
            for row, length in cut.items():
                del completions[row][length:]
            return completions, logprobs

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._frames = [tuple(row["frame"]) for row in inputs]  # TRL passes prompts and images on, not the rows
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.guided is not None and self.model.training:
            self.guided.keep_good(output["advantages"])
        if self.guards is not None and self.model.training:
            self.guards.images(output["prompt_ids"], output)
            self.guards.rollouts(self._metrics["train"]["frac_reward_zero_std"][-1])
        if self.samples is not None and self.model.training:
            self.samples.advantages(output["advantages"].tolist())
        return output


def train_grpo(config: Path | None, arguments: Sequence[str], say: Callable[[str], None] = _log.warning) -> Trained:
    """Train as the recipe says.

    Args:
        config: YAML recipe.
        arguments: options as on the command line.
        say: gets what the user has to see: progress, and the table of the first comparison with vLLM.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
    """
    with prepared("grpo", GRPOConfig, (RewardOptions, PartOptions, RolloutOptions), config, arguments, {}) as run:
        return _train(run, say)


def _train(run: Run, say: Callable[[str], None]) -> Trained:
    check_rollouts(run.arguments, run.recipe.option(RolloutOptions), run.checkpoint)
    guide, cut_loops = run.recipe.option(RolloutOptions).guide, run.recipe.option(RolloutOptions).cut_loops
    every = steps_between(run.recipe.option(RolloutOptions).parity)
    if run.arguments.use_vllm:
        set_surroundings()
        require("vllm", "vllm")
        _share_the_card(run)
    if guide and run.arguments.use_vllm:
        add_schema(run.arguments, run.checkpoint)
    settle_correction(run.arguments, run.recipe.chosen)
    parts = prepare_parts(run.recipe.option(PartOptions), run.checkpoint, run.arguments.optim)
    rubric = rubric_of(run.arguments, run.recipe.option(RewardOptions))
    samples = CompletionsLog(
        run.folder, run.options.logged_completions, dict(zip(rubric.weights, run.arguments.reward_weights, strict=True))
    )
    functions, _ = trl_rewards(rubric, (run.guards.sampled, samples.sampled))
    model_config = AutoConfig.from_pretrained(run.checkpoint.path)
    suppressed = suppressed_token_ids(model_config, run.checkpoint.processor.tokenizer)
    run.arguments.generation_kwargs = without_tokens(
        run.arguments.generation_kwargs, suppressed, vllm=run.arguments.use_vllm
    )
    colocated = run.arguments.use_vllm and run.arguments.vllm_mode == "colocate"
    with made_for(run.checkpoint, precision_of(run.arguments)) if colocated else nullcontext():
        trainer = GraphTrainer(
            model=run.checkpoint.path,
            args=run.arguments,
            processing_class=run.checkpoint.processor,
            reward_funcs=functions,
            train_dataset=run.rows,
            eval_dataset=run.validation_rows,
            callbacks=[samples, *run.callbacks],
            **parts.arguments,
        )
    parts.freeze(trainer.model)
    trainer.cut_loops, trainer.samples = cut_loops, samples
    if run.arguments.use_vllm:
        name_weights(trainer.vllm_generation, run.checkpoint)
        if every is not None:
            engine = RolloutEngine(trainer.vllm_generation, run.checkpoint.processor)
            trainer.gate = ParityGate(
                trainer, engine, every, suppressed, pixel_frames=run.checkpoint.family.writes_pixels, say=say
            )
    else:
        _log.info("parity: not checked, because the model that is trained samples the completions itself")
    if guide and not run.arguments.use_vllm:
        tokens = run.arguments.max_completion_length
        group = run.arguments.num_generations
        guided = guided_of_group(run.recipe.option(RolloutOptions).guide_share, group)
        trainer.guided = GuidedRollouts(
            run.checkpoint, tokens, trainer.eos_token_ids[0], suppressed, guided=guided, group=group
        )
    server = run.arguments.use_vllm and not colocated
    with replies_read() if server else nullcontext():
        return run.train(trainer, say)


def _share_the_card(run: Run) -> None:
    """Give colocated vLLM as much of the card as it needs, unless the recipe says how much (`training.memory`)."""
    arguments = run.arguments
    if arguments.vllm_mode != "colocate" or "vllm_gpu_memory_utilization" in run.recipe.chosen:
        return
    if not torch.cuda.is_available():
        return
    rollouts = sampled_at_once(arguments, arguments.generation_batch_size // arguments.world_size)
    card = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    shape = shape_of(run.checkpoint)
    arguments.vllm_gpu_memory_utilization = vllm_share(shape, rollouts, card)
    _log.info("vLLM gets %.2f of the card: %s", arguments.vllm_gpu_memory_utilization, vllm_bytes(shape, rollouts).how)


def without_tokens(kwargs: Mapping[str, Any] | None, tokens: Sequence[int], *, vllm: bool) -> dict[str, Any]:
    """Return the recipe's generation options with the sampling of `tokens` switched off."""
    options = dict(kwargs or {})
    if vllm:
        options["logit_bias"] = {**dict.fromkeys(tokens, -100.0), **options.get("logit_bias", {})}
    else:
        options["suppress_tokens"] = sorted({*tokens, *(options.get("suppress_tokens") or ())})
    return options
