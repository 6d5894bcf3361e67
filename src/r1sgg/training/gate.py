"""The parity gate: stop a GRPO run whose rollouts do not come from the model that is trained.

At every rollout the prompts and image features that vLLM ran are compared with those that are trained, which costs
nothing. On the first rollout and every N steps (`--parity N`, `--parity off`), a few completions are sampled once more
from the whole distribution, and the trainer computes their log-probabilities as it does in training. Beyond
`r1sgg.inference.parity.LIMITS` the run stops with one sentence before the weights change.

Rollouts by transformers come from the trained model itself, so there is nothing to compare.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object

from r1sgg.errors import ConfigError, TrainingError
from r1sgg.inference.parity import LIMITS, Parity, Ran, input_fault
from r1sgg.inference.vllm_inputs import patch_of
from r1sgg.training.diagnosis import image_token_of
from r1sgg.training.engine import RolloutEngine

_log = logging.getLogger(__name__)

COMPLETIONS = 4
"""Sampled by each process for one comparison."""
TOKENS = 256
"""The longest of them."""

MEANS = (
    "the engine runs other inputs or other weights than the trainer, so the gradient belongs to completions that this "
    "model does not write"
)
DO = (
    "install the versions of constraints-vllm.txt, use the checkpoint's own chat template, and start a server with the "
    "run's max_pixels and dtype; --parity off trains all the same"
)


def steps_between(text: str) -> int | None:
    """Read the option `parity`.

    Returns:
        Steps between two comparisons; None for off.

    Raises:
        ConfigError: neither a number of steps nor off.
    """
    if text.lower() in ("off", "false"):  # YAML reads off as false
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(f"parity: expected a number of steps from 1 on, or off, found {text!r}")
    return int(text)


class ParityGate:
    """Compares a trainer with its engine.

    Args:
        trainer: TRL's, with an engine.
        engine: the same engine.
        every: steps between two comparisons of log-probabilities.
        suppressed: tokens that end a sampled completion, because the model cannot read them.
        pixel_frames: the family writes boxes in pixels of the resized image.
        say: gets the table of the first comparison.
    """

    def __init__(
        self,
        trainer: Any,
        engine: RolloutEngine,
        every: int,
        suppressed: Sequence[int],
        *,
        pixel_frames: bool,
        say: Callable[[str], None],
    ) -> None:
        self._trainer, self._engine, self._every = trainer, engine, every
        self._suppressed, self._pixel_frames, self._say = list(suppressed), pixel_frames, say
        self._checked_at: int | None = None
        self._shown = False

    @contextmanager
    def rollouts(self, prompt_ids: Sequence[Sequence[int]], group: int) -> Iterator[None]:
        """Compare the inputs of the rollouts within the block.

        Args:
            prompt_ids: prompts that are trained.
            group: completions per prompt.

        Raises:
            TrainingError: the engine ran other inputs.
        """
        with self._engine.noted(prompt_ids, group) as ran:
            yield
        for one, ids in zip(ran, prompt_ids, strict=False):
            if fault := input_fault(one, Ran(tuple(ids), self._features(ids))):
                raise TrainingError(self._message(fault))

    @property
    def due(self) -> bool:
        """Whether the next rollout is one to compare."""
        return self._checked_at is None or self._trainer.state.global_step - self._checked_at >= self._every

    def check(
        self,
        sent: Sequence[Sequence[int]],
        prompt_ids: Sequence[Sequence[int]],
        texts: Sequence[str],
        images: Sequence[list[Any]],
        frames: Sequence[tuple[float, float]],
        group: int,
    ) -> None:
        """Compare log-probabilities, and the frame of boxes; all processes take part.

        Args:
            sent: prompts as the engine takes them.
            prompt_ids: the same as they are trained.
            texts: the same as text.
            images: one list for each prompt.
            frames: width and height that the reward takes boxes to be relative to.
            group: completions per prompt.

        Raises:
            TrainingError: they differ beyond the limits.
        """
        self._checked_at = self._trainer.state.global_step
        # one of each group before a second of any: the groups of a batch follow each other
        rows = [k for first in range(group) for k in range(first, len(texts), group)][:COMPLETIONS]
        tokens = min(TOKENS, self._trainer.max_completion_length)
        with self._engine.whole_distribution(tokens, self._suppressed):
            sampled = self._engine.sample(
                [sent[k] for k in rows], [prompt_ids[k] for k in rows], [images[k] for k in rows]
            )
        empty: tuple[Ran, list[int]] = (Ran(()), [])
        engine, trainer = [], []
        for place, k in enumerate(rows):
            ran, drawn = sampled[place] if place < len(sampled) else empty
            ids = drawn[: next((n for n, token in enumerate(drawn) if token in self._suppressed), len(drawn))]
            # every process passes over as many completions as the others, or sharded weights would wait for ever
            logs, size = self._trained(texts[k], images[k], prompt_ids[k], ids or [0])
            if place < len(sampled):
                frame = (round(frames[k][0]), round(frames[k][1])) if self._pixel_frames else size
                engine.append(Ran(ran.prompt_ids, ran.image_features, ran.image_size, ran.logprobs[: len(ids)]))
                trainer.append(Ran(tuple(prompt_ids[k]), self._features(prompt_ids[k]), frame, logs[: len(ids)]))
        own = precision_of(self._trainer.args)
        # only the first process can ask a server
        self._report(Parity(tuple(engine), tuple(trainer), (self._engine.precision if engine else own, own)))

    def _trained(
        self, text: str, images: list[Any], prompt_ids: Sequence[int], ids: Sequence[int]
    ) -> tuple[Any, tuple[int, int] | None]:
        """Log-probabilities (T,) of a completion by the trainer's own pass, and the size of the resized image."""
        trainer, processor = self._trainer, self._trainer.processing_class
        inputs = processor(images=[images], text=[text], padding=True, return_tensors="pt")
        more = {k: v.to(trainer.args.device) for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in more:
                more[name] = torch.nn.functional.pad(more[name], (0, len(ids)))
        both_1T = torch.tensor([[*prompt_ids, *ids]], device=trainer.args.device)
        trainer.model.eval()  # an adapter's dropout would draw from the run's random state
        try:
            with torch.no_grad():
                logs_1C = trainer._get_per_token_logps_and_entropies(
                    trainer.model, both_1T, torch.ones_like(both_1T), len(ids), num_images=[len(images)], **more
                )[0]
        finally:
            trainer.model.train()
        side, grid = patch_of(processor), more.get("image_grid_thw")
        size = None if side is None or grid is None else (int(grid[0, 2]) * side, int(grid[0, 1]) * side)
        return logs_1C[0].double().cpu().numpy(), size

    def _features(self, prompt_ids: Sequence[int]) -> int | None:
        token = image_token_of(self._trainer.processing_class)
        return None if token is None else list(prompt_ids).count(token)

    def _report(self, parity: Parity) -> None:
        """Log the figures, show the first table and that of a fault; stop all processes if one has found a fault."""
        fault = parity.fault()
        for name, value in parity.metrics().items():
            self._trainer._metrics["train"][name].append(value)
        if (fault or not self._shown) and self._trainer.is_world_process_zero():
            self._shown = True
            self._say(f"parity of vLLM and the trained model:\n{parity.table()}")
        faults = [one for one in gather_object([fault]) if one]
        if faults:
            raise TrainingError(self._message(faults[0]))

    def _message(self, fault: str) -> str:
        step = self._trainer.state.global_step + 1
        return f"step {step}: {fault}. Usually {MEANS}. To do: {DO} (docs/training.md: parity)"


def precision_of(arguments: Any) -> str:
    """Return in which precision TRL's trainer computes: "float32", "bfloat16" or "float16".

    Args:
        arguments: its GRPOConfig.

    Raises:
        ConfigError: `model_init_kwargs` has another one.
    """
    if arguments.bf16 or arguments.fp16:
        return "bfloat16" if arguments.bf16 else "float16"
    found = str((arguments.model_init_kwargs or {}).get("dtype") or "float32").removeprefix("torch.")
    if found not in LIMITS:
        raise ConfigError(
            f"model_init_kwargs: expected dtype {', '.join(LIMITS)} with vLLM, which gets the same, found {found!r}"
        )
    return found
