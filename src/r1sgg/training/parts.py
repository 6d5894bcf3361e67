"""Which weights are trained: all, all but the vision tower, or a LoRA adapter on frozen weights (in 4 bits: QLoRA).

The options have the names of trl.ModelConfig. `prepare_parts` returns the arguments for TRL's trainers; `Parts.freeze`
is for the model that they have loaded. `r1sgg publish` turns an adapter into an ordinary checkpoint.

Precision: weights that are trained themselves must be float32 (TRL's default; `bf16: true` computes in bfloat16) or
need an optimizer with stochastic rounding. A bfloat16 weight has 8 significant bits: of weights of size 0.02, a step of
6e-7 changes 1 in 100 and one of 1e-5 changes 16 in 100; the others round back to their old value. Weights that are
frozen under an adapter may be bfloat16 (model_init_kwargs: {dtype: bfloat16}).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ConfigError, ModelError, require

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint, ModelFamily

_BITSANDBYTES = re.compile(r"bnb|paged_|(?<!torch_)8bit|lion_32bit|ademamix")
"""Optimizers of transformers that need bitsandbytes."""


@dataclass
class PartOptions:
    """Which weights are trained."""

    freeze_vision: bool = field(default=False, metadata={"help": "Do not train the vision tower."})
    use_peft: bool = field(default=False, metadata={"help": "Train a LoRA adapter instead of the weights."})
    lora_r: int = field(default=64, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=64, metadata={"help": "The adapter's output is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Layers that get an adapter, by the ends of their names; default: every linear layer."},
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "Keep the weights under the adapter in 4 bits (QLoRA; needs bitsandbytes)."}
    )


@dataclass(frozen=True)
class Parts:
    """Keyword arguments of SFTTrainer and GRPOTrainer, and what is frozen in the model that they load."""

    arguments: dict[str, Any]
    frozen: str | None
    """Regular expression for the names of parameters that are not trained; None: nothing to freeze."""

    def freeze(self, model: Any) -> None:
        """Switch off the gradients of the weights that are not trained. Call it before the optimizer is made.

        Raises:
            ModelError: the model has no such weights.
        """
        if self.frozen is None:
            return
        tower = re.compile(self.frozen)
        found = [p for name, p in model.named_parameters() if tower.fullmatch(name)]
        if not found:
            raise ModelError(
                f"freeze_vision: expected weights named like {self.frozen}, found none in {type(model).__name__}"
            )
        for parameter in found:
            parameter.requires_grad_(False)


def needs_bitsandbytes(optimizer: str) -> bool:
    """Return whether an optimizer of transformers is bitsandbytes'."""
    return _BITSANDBYTES.search(optimizer) is not None


def check_parts(options: PartOptions, checkpoint: Checkpoint) -> None:
    """See that these weights of a checkpoint can be trained.

    Raises:
        ConfigError: options that contradict each other.
        ModelError: the checkpoint is an adapter.
    """
    if checkpoint.base is not None:
        raise ModelError(
            f"{checkpoint.path}: expected a whole model to train, found an adapter; merge it with "
            f"`r1sgg publish {checkpoint.path} --out FOLDER`"
        )
    if options.load_in_4bit and not options.use_peft:
        raise ConfigError(
            "load_in_4bit: expected use_peft: true, found false; 4-bit weights cannot be trained themselves"
        )
    if options.lora_r < 1:
        raise ConfigError(f"lora_r: expected 1 or more, found {options.lora_r}")


def prepare_parts(options: PartOptions, checkpoint: Checkpoint, optimizer: str) -> Parts:
    """Translate the options for a checkpoint.

    Args:
        options: which weights are trained.
        checkpoint: the model to train.
        optimizer: the recipe's `optim`.

    Raises:
        ConfigError: options that contradict each other.
        ModelError: the checkpoint is an adapter.
        MissingDependencyError: peft or bitsandbytes is needed and not installed.
    """
    check_parts(options, checkpoint)
    if needs_bitsandbytes(optimizer):
        require("bitsandbytes", "qlora")
    tower = checkpoint.family.vision if options.freeze_vision else None
    if not options.use_peft:
        return Parts({}, tower)
    peft: Any = require("peft", "train")
    adapter = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=options.lora_target_modules or "all-linear",
        exclude_modules=tower,
    )
    arguments: dict[str, Any] = {"peft_config": adapter}
    if options.load_in_4bit:
        arguments["quantization_config"] = _four_bits(checkpoint)
    return Parts(arguments, None)  # peft freezes everything under an adapter


def _four_bits(checkpoint: Checkpoint) -> Any:
    """Return the settings of QLoRA (arXiv 2305.14314): NF4 with double quantisation, for the language model only."""
    require("bitsandbytes", "qlora")
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=kept_whole(checkpoint.family),
    )


def kept_whole(family: ModelFamily) -> list[str]:
    """List the modules that are not quantised (patterns from the start of the name): vision tower, output layer."""
    return [rf"(.*\.)?{family.tower}", "lm_head"]
