"""The arithmetic of a run: steps, batch, tokens, and bytes on each card; nothing is trained and no weights are read.

Steps are counted as TRL and transformers count them. SFT: an epoch ends with a smaller batch where the images do not
come out, so 56,224 images in batches of 128 are 440 steps, and three epochs 1,320. GRPO: incomplete batches are left
out, so 32 prompts a step are 1,757 steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1sgg.data.spec import parse_spec
from r1sgg.doctor.recipe import read_stage
from r1sgg.errors import ConfigError
from r1sgg.training.memory import (
    RESERVED,
    Item,
    Launch,
    Rollouts,
    Setup,
    bytes_on_a_card,
    sampled_at_once,
    vllm_share,
)
from r1sgg.training.shape import Shape, shape_of

AUTHORS = {"vg150": 56_224, "psg": 46_563}
"""Training images of the paper's sets, by the vocabulary of a recipe; for recipes whose data is not there yet."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How many steps a run takes, and of what.

    Attributes:
        images: of the training data, and where that number is from.
        batch: sequences of a step over all cards; `prompts` of them differ (GRPO samples several completions of each).
        accumulation: passes of a step.
        epoch, total: steps.
        last: sequences of the last step of an epoch, if it is smaller.
        left_out: images of an epoch that no step uses.
    """

    images: int
    source: str
    batch: int
    prompts: int
    accumulation: int
    epoch: int
    total: int
    last: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A run on some cards.

    Attributes:
        stage: "sft" or "grpo".
        model: its name; `family` that of its family.
        steps: see `Steps`.
        prompt_tokens, image_tokens, completion_tokens: of a sequence; the prompt without the image.
        shape: of the model.
        setup: how it is trained.
        items: bytes on a card.
        card: bytes of a card's memory, and where that number is from.
        share: `vllm_gpu_memory_utilization`; None without colocated vLLM.
        changed: options that differ from the recipe's, so that it fits.
    """

    stage: str
    model: str
    family: str
    steps: Steps
    prompt_tokens: int
    image_tokens: int
    completion_tokens: int
    shape: Shape
    setup: Setup
    items: tuple[Item, ...]
    card: int
    card_source: str
    share: float | None
    changed: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes on a card, together."""
        return sum(item.bytes for item in self.items)

    @property
    def fits(self) -> bool:
        """Whether they fit, with `RESERVED` left free; without cards nothing is refused."""
        return not self.setup.gpus or self.bytes <= self.card * (1 - RESERVED)

    @property
    def step_tokens(self) -> int:
        """Tokens that a step reads or trains on, at these lengths."""
        return self.steps.batch * self.setup.tokens

    def started(self, launch: Launch, sequences: int) -> Plan:
        """Return the same run, spread over the cards in another way and with so many sequences in one pass."""
        setup = dataclasses.replace(self.setup, launch=launch, sequences=sequences)
        accumulation = self.steps.batch // (sequences * max(self.setup.gpus, 1))
        changed = ("--per_device_train_batch_size", str(sequences)) if sequences != self.setup.sequences else ()
        return dataclasses.replace(
            self,
            steps=dataclasses.replace(self.steps, accumulation=accumulation),
            setup=setup,
            items=tuple(bytes_on_a_card(self.shape, setup)),
            changed=(*self.changed, *changed),
        )

    def to_record(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            "stage": self.stage,
            "model": self.model,
            "family": self.family,
            "steps": dataclasses.asdict(self.steps),
            "tokens": {
                "prompt": self.prompt_tokens,
                "image": self.image_tokens,
                "completion": self.completion_tokens,
                "step": self.step_tokens,
                "run": self.step_tokens * self.steps.total,
            },
            "shape": dataclasses.asdict(self.shape),
            "setup": dataclasses.asdict(self.setup),
            "bytes_on_a_card": {item.name: {"bytes": item.bytes, "how": item.how} for item in self.items},
            "total_bytes": self.bytes,
            "card_bytes": self.card,
            "card": self.card_source,
            "reserved": RESERVED,
            "fits": self.fits,
            "vllm_gpu_memory_utilization": self.share,
            "launcher": launcher_of(self.setup.launch, self.setup.gpus),
            "options": " ".join(self.changed),
        }


def make_plan(
    config: Path, arguments: Sequence[str], *, gpus: int, launch: Launch, card: int, card_source: str
) -> Plan:
    """Compute the arithmetic of a recipe.

    Args:
        config: YAML recipe.
        arguments: further options, as of `r1sgg sft` and `r1sgg grpo`.
        gpus: cards, one process on each; 0: a run on a CPU.
        launch: how the model is spread over them.
        card: bytes of a card's memory.
        card_source: where that number is from.

    Raises:
        ConfigError: the recipe is wrong, or its batch does not come out on so many cards.
        InputError, ModelError: the data or the model's configuration is damaged.
    """
    from r1sgg.training.checks import check_rollouts, rubric_of
    from r1sgg.training.options import RewardOptions
    from r1sgg.training.parts import PartOptions, check_parts
    from r1sgg.training.rollouts import RolloutOptions
    from r1sgg.training.run import asked_checkpoint

    stage, recipe = read_stage(config, arguments)
    options, trainer = recipe.options[0], recipe.options[1]
    checkpoint = asked_checkpoint(options)
    check_parts(recipe.option(PartOptions), checkpoint)
    if stage == "grpo":
        check_rollouts(trainer, recipe.option(RolloutOptions), checkpoint)
        rubric_of(trainer, recipe.option(RewardOptions))
    shape = shape_of(checkpoint)
    parts = recipe.option(PartOptions)
    rank = parts.lora_r if parts.use_peft else None
    processes = max(gpus, 1)
    steps = _steps(stage, trainer, options.global_batch_size, processes, *_images(options))
    image_tokens, prompt_tokens = _prompt_tokens(checkpoint)
    completion = trainer.max_completion_length if stage == "grpo" else completion_tokens(checkpoint)
    chosen = str((trainer.model_init_kwargs or {}).get("dtype", "float32")).removeprefix("torch.")
    colocated = stage == "grpo" and trainer.use_vllm and trainer.vllm_mode == "colocate" and gpus > 0
    rollouts = sampled_at_once(trainer, steps.batch // processes) if colocated else Rollouts(0, 0)
    setup = Setup(
        gpus=gpus,
        launch=launch,
        trained=shape.trained(freeze_vision=parts.freeze_vision, rank=rank),
        rank=rank,
        weight_bytes=2 if chosen in ("bfloat16", "float16") else 4,
        four_bits=parts.load_in_4bit,
        mixed=bool(trainer.bf16 or trainer.fp16),
        optimizer=str(getattr(trainer.optim, "value", trainer.optim)),
        checkpointing=_checkpointing(trainer),
        sequences=trainer.per_device_train_batch_size,
        tokens=prompt_tokens + image_tokens + completion,
        image_tokens=image_tokens,
        reference=stage == "grpo" and trainer.beta > 0 and rank is None,
        rollouts=rollouts,
        asleep=bool(colocated and trainer.vllm_enable_sleep_mode),
    )
    share = None
    if colocated:
        given = recipe.chosen.get("vllm_gpu_memory_utilization")
        share = float(given) if given is not None else vllm_share(shape, rollouts, card)
    return Plan(
        stage=stage,
        model=options.model,
        family=checkpoint.family.name,
        steps=steps,
        prompt_tokens=prompt_tokens,
        image_tokens=image_tokens,
        completion_tokens=completion,
        shape=shape,
        setup=setup,
        items=tuple(bytes_on_a_card(shape, setup)),
        card=card,
        card_source=card_source,
        share=share,
    )


def launcher_of(launch: Launch, gpus: int) -> str:
    """Return what is written before `r1sgg` to start a run in this way."""
    if launch != "ddp":
        return f"accelerate launch --config_file configs/accelerate/{launch}.yaml --num_processes {gpus} --no_python"
    return f"torchrun --nproc_per_node {gpus} --no-python" if gpus > 1 else ""


def _checkpointing(trainer: Any) -> bool:
    names = ("activation_checkpointing", "gradient_checkpointing")
    return any(bool(getattr(trainer, name, False)) for name in names)


def _steps(stage: str, trainer: Any, wanted: int | None, processes: int, images: int, source: str) -> Steps:
    """Count the steps; `wanted` is the recipe's global batch, None where it follows from the other options."""
    each = trainer.per_device_train_batch_size
    batch = wanted or each * trainer.gradient_accumulation_steps * processes
    if batch % (each * processes):
        raise ConfigError(
            f"global batch: expected a multiple of per_device_train_batch_size x cards = {each} x {processes}, found "
            f"{batch}; change one of them"
        )
    accumulation = batch // (each * processes)
    if stage == "grpo":
        prompts = batch // trainer.num_generations
        epoch, last = images // prompts * trainer.num_iterations, 0
        left_out = images % prompts
    else:
        prompts, epoch = batch, math.ceil(images / batch)
        last, left_out = images % batch, 0
    total = trainer.max_steps if trainer.max_steps > 0 else math.ceil(trainer.num_train_epochs * epoch)
    return Steps(images, source, batch, prompts, accumulation, epoch, total, last, left_out)


def _images(options: Any) -> tuple[int, str]:
    """Count the training images without reading them, or take the number of the paper's set."""
    if options.data is None:
        raise ConfigError("expected data, found none; add --data GT.jsonl")
    spec = parse_spec(options.data)
    there = spec.kind not in ("jsonl", "hub") or spec.path.exists()
    if there and (shards := sorted(spec.path.rglob("*.parquet")) if spec.kind == "hub" else []):
        import pyarrow.parquet as pq

        return sum(pq.read_metadata(path).num_rows for path in shards), f"{options.data}: rows of its files"
    if there and spec.kind != "hub":
        from r1sgg.data.sources import open_data

        return len(open_data(options.data)), options.data
    if options.vocabulary in AUTHORS:
        told = f"{options.data} is not here; counted with the images of the authors' {options.vocabulary} set"
        return AUTHORS[options.vocabulary], told
    raise ConfigError(f"data: expected training data that is here, found none at {options.data}; build it first")


def _prompt_tokens(checkpoint: Any) -> tuple[int, int]:
    """Return the tokens of the largest image, and of the rest of a prompt."""
    from r1sgg.doctor.view import photo, prompt_of

    seen = prompt_of(checkpoint, photo())
    text = len(seen.ids) - seen.image_tokens
    if (limit := checkpoint.image_pixels) is None:
        return seen.image_tokens, text
    resize = checkpoint.processor.image_processor
    return limit[1] // (resize.patch_size * resize.merge_size) ** 2, text


def completion_tokens(checkpoint: Any) -> int:
    """Return the tokens of a completion with 12 objects and 8 relationships, about the mean of Visual Genome."""
    from r1sgg.doctor.view import written_graph

    return len(checkpoint.processor.tokenizer.encode(written_graph(checkpoint), add_special_tokens=False)) + 1
