"""Supervised fine-tuning on ground-truth graphs: TRL's SFTTrainer on image, prompt and completion.

    r1sgg sft --config configs/tiny-sft.yaml --output_dir runs/sft

The loss covers the answer only, and no sequence is cut. It does not choose data, prompt or layout: see `rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from r1sgg.training.checkpoints import KeepsWork
from r1sgg.training.collating import collator
from r1sgg.training.parts import PartOptions, prepare_parts
from r1sgg.training.recipe import TargetOptions
from r1sgg.training.run import prepare

DEFAULTS = {"max_length": None, "completion_only_loss": True}


class AnswerTrainer(KeepsWork, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, which on a CPU projects answers to the vocabulary and leaves prompts out (on GPUs TRL does so).

    Same loss, same gradient; on the tiny model 28 in place of 25 sequences per CPU-second.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the answer's tokens, as TRL's loss_type nll."""
        plain = self.args.loss_type == "nll" and self.label_smoother is None and not self.aux_loss_enabled
        if inputs["input_ids"].device.type != "cpu" or return_outputs or not plain:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")[:, 1:]
        columns = (labels != -100).any(0).nonzero()[:, 0]
        logits = model(**inputs, use_cache=False, logits_to_keep=columns).logits
        targets = labels[:, columns]
        mask = targets != -100
        logits, targets = logits[mask].float(), targets[mask]
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / max(int(count), 1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # the count is over all of them, and gradients are averaged
        right = torch.stack([(logits.argmax(-1) == targets).sum(), torch.tensor(len(targets))])
        right, seen = self.accelerator.gather_for_metrics(right[None]).sum(0).tolist()
        numbers = self._metrics["train" if self.model.training else "eval"]
        numbers["mean_token_accuracy"].append(right / max(seen, 1))
        return loss


def train_sft(config: Path | None, arguments: Sequence[str]) -> int:
    """Train as the recipe says; returns how many images had to be left out.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
    """
    run = prepare("sft", SFTConfig, (TargetOptions, PartOptions), config, arguments, DEFAULTS)
    parts = prepare_parts(run.recipe.option(PartOptions), run.checkpoint, run.arguments.optim)
    trainer = AnswerTrainer(
        model=run.checkpoint.path,
        args=run.arguments,
        processing_class=run.checkpoint.processor,
        train_dataset=run.rows,
        eval_dataset=run.validation_rows,
        callbacks=run.callbacks,
        **parts.arguments,
    )
    parts.freeze(trainer.model)
    trainer.data_collator = run.guards.collator(collator(trainer.data_collator))
    return run.train(trainer)
