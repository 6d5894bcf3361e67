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
from r1sgg.models.family import ModelFamily
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

    hidden = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute TRL's loss, or that of transformers, which is the same number.

        TRL 1.16 reads `last_hidden_state` of the model's output, to project only labelled positions to the vocabulary.
        Not every model's output has it (`ModelFamily.hidden`).
        """
        if self.hidden:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)


def pad_reader_right(plain: Collator, family: ModelFamily) -> Collator:
    """Wrap TRL's collator for a model that reads the prompt with a second tokenizer: it is padded on the right.

    TRL pads all prompts on the left. The second reader (InstructBLIP's Q-Former) numbers positions from the left end,
    so padding there would change what it reads. Sorting each row by its mask (stable, real tokens first) moves the
    padding:

        mask  0 0 1 1 1  ->  1 1 1 0 0
        ids   . . a b c  ->  a b c . .
    """

    if family.reader is None:
        return plain
    names = [f"{family.reader[1]}{name}" for name in ("input_ids", "attention_mask")]

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = plain(examples)
        order = batch[names[1]].argsort(dim=1, descending=True, stable=True)
        for name in names:
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
    family = run.checkpoint.family
    if (reason := family.cannot.get("sft")) is not None:
        raise ConfigError(f"model: {family.name} cannot be trained by SFT, because {reason}; use another model")
    if not family.hidden and run.arguments.loss_type != "nll":
        raise ConfigError(f"loss_type: expected nll for {family.name}, found {run.arguments.loss_type}")
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
    trainer.hidden = family.hidden
    trainer.data_collator = run.guards.collator(pad_reader_right(trainer.data_collator, family))
    return run.train(trainer, say)
