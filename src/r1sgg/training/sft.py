"""Supervised fine-tuning on ground-truth graphs: TRL's SFTTrainer on image, prompt and completion.

    r1sgg sft --config configs/tiny-sft.yaml --output_dir runs/sft

The loss is TRL's, over the completion only, and no sequence is cut:

    tokens   <pad> <pad> | image and prompt ... | completion ... <eos>
    labels   -100  -100  | -100             ... | the same tokens       -100: not in the loss

This module does not choose data, prompt or layout: see `r1sgg.training.rows`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from r1sgg.errors import ConfigError
from r1sgg.training.checkpoints import ResumableTrainer
from r1sgg.training.guards import Collator
from r1sgg.training.options import TargetOptions
from r1sgg.training.parts import PartOptions, prepare_parts
from r1sgg.training.run import Run, Trained, prepared
from r1sgg.training.samples import CompletionsLog

_log = logging.getLogger(__name__)

DEFAULTS = {"max_length": None, "completion_only_loss": True}


class AnswerTrainer(ResumableTrainer, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with atomic checkpoints and exact resuming."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute TRL's loss; for InstructBLIP that of transformers, which is the same number.

        TRL 1.16 reads `last_hidden_state` of the model's output, to project only labelled positions to the vocabulary.
        InstructBLIP's output has none.
        """
        if "qformer_input_ids" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)


def pad_qformer_right(plain: Collator) -> Collator:
    """Wrap TRL's collator for InstructBLIP: its Q-Former's tokens are padded on the right.

    TRL pads all prompts on the left. The Q-Former reads the prompt with a tokenizer of its own and numbers positions
    from the left end, so padding there would change what it reads. Sorting each row by its mask (stable, real tokens
    first) moves the padding:

        mask  0 0 1 1 1  ->  1 1 1 0 0
        ids   . . a b c  ->  a b c . .
    """

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = plain(examples)
        if (mask := batch.get("qformer_attention_mask")) is not None:
            order = mask.argsort(dim=1, descending=True, stable=True)
            for name in ("qformer_input_ids", "qformer_attention_mask"):
                batch[name] = batch[name].gather(1, order)
        return batch

    return collate


def train_sft(config: Path | None, arguments: Sequence[str], say: Callable[[str], None] = _log.warning) -> Trained:
    """Train as the recipe says.

    Args:
        config: YAML recipe.
        arguments: options as on the command line.
        say: gets the lines of progress.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
    """
    with prepared("sft", SFTConfig, (TargetOptions, PartOptions), config, arguments, DEFAULTS) as run:
        return _train(run, say)


def _train(run: Run, say: Callable[[str], None]) -> Trained:
    if hasattr(run.checkpoint.processor, "qformer_tokenizer") and run.arguments.loss_type != "nll":
        raise ConfigError(f"loss_type: expected nll for {run.checkpoint.family.name}, found {run.arguments.loss_type}")
    parts = prepare_parts(run.recipe.option(PartOptions), run.checkpoint, run.arguments.optim)
    trainer = AnswerTrainer(
        model=run.checkpoint.path,
        args=run.arguments,
        processing_class=run.checkpoint.processor,
        train_dataset=run.rows,
        eval_dataset=run.validation_rows,
        callbacks=[CompletionsLog(run.folder, run.options.logged_completions, None), *run.callbacks],
        **parts.arguments,
    )
    parts.freeze(trainer.model)
    trainer.data_collator = run.guards.collator(pad_qformer_right(trainer.data_collator))
    return run.train(trainer, say)
