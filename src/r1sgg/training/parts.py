"""Which weights are trained, and how the rest is held: all of them, a LoRA adapter, on 4-bit weights, vision frozen.

The names are those of trl.ModelConfig. `prepare_parts` gives what TRL's trainers take; `freeze` is for the model that
they have loaded. Adapters become ordinary checkpoints by `r1sgg publish`.

A word on precision: weights that are trained themselves must be float32 (TRL's default; `bf16: true` computes in
bfloat16) or need an optimizer that rounds stochastically. A bfloat16 weight has 8 significant bits: of weights of size
0.02, a step of 6e-7 changes 1 in 100, one of 1e-5 changes 16, the others round back. Weights that are frozen under an
adapter may be bfloat16 (model_init_kwargs: {dtype: bfloat16}).
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

    freeze_vision: bool = field(default=False, metadata={"help": "Leave the vision tower as it is."})
    use_peft: bool = field(default=False, metadata={"help": "Train a LoRA adapter in place of the weights."})
    lora_r: int = field(default=64, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=64, metadata={"help": "The adapter's output is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter."})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "Layers that get an adapter, by the ends of their names; None: every linear."}
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "Hold the weights under the adapter in 4 bits (QLoRA; needs bitsandbytes)."}
    )


@dataclass(frozen=True)
class Parts:
    """What a trainer takes: keyword arguments of SFTTrainer and GRPOTrainer, and what is done to the loaded model."""

    arguments: dict[str, Any]
    frozen: str | None
    """Regular expression of the names of the modules that are not trained."""

    def freeze(self, model: Any) -> None:
        """Stop the gradient at the weights that are not trained; before the optimizer is made.

        Raises:
            ModelError: the model has no such modules.
        """
        if self.frozen is None:
            return
        tower = re.compile(self.frozen)
        found = [p for name, p in model.named_parameters() if tower.fullmatch(name)]
        if not found:
            raise ModelError(
                f"freeze_vision: expected modules like {self.frozen}, found none in {type(model).__name__}"
            )
        for parameter in found:
            parameter.requires_grad_(False)


def prepare_parts(options: PartOptions, checkpoint: Checkpoint, optimizer: str) -> Parts:
    """What the options mean for a checkpoint.

    Args:
        options: which weights.
        checkpoint: the model to train.
        optimizer: the name of the recipe's `optim`.

    Raises:
        ConfigError: options that contradict each other.
        ModelError: the checkpoint is an adapter.
        MissingDependencyError: peft or bitsandbytes is needed and not installed.
    """
    if checkpoint.base is not None:
        raise ModelError(
            f"{checkpoint.path}: expected a whole model to train, found an adapter; make one of it with "
            f"`r1sgg publish {checkpoint.path} --out FOLDER`"
        )
    if options.load_in_4bit and not options.use_peft:
        raise ConfigError("load_in_4bit: 4-bit weights cannot be trained themselves; add use_peft: true")
    if options.lora_r < 1:
        raise ConfigError(f"lora_r: expected 1 or more, found {options.lora_r}")
    if _BITSANDBYTES.search(optimizer):
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
    return Parts(arguments, None)  # under an adapter everything is frozen


def _four_bits(checkpoint: Checkpoint) -> Any:
    """NF4 with double quantisation (QLoRA, arXiv 2305.14314), the vision tower as it is."""
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
    """Patterns (from the start of a module's name) of what is not put into bits: vision tower, vocabulary."""
    return [rf"(.*\.)?{family.tower}", "lm_head"]
