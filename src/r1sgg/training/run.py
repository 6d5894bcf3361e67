"""What SFT and GRPO share: reading the recipe, the checkpoint and the data, and ending with a checkpoint folder.

The trainers themselves are TRL's, see `sft` and `grpo`. This module imports torch and transformers.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback

from r1sgg.errors import ConfigError
from r1sgg.models.families import Checkpoint, load_checkpoint
from r1sgg.models.prompts import AnswerSettings
from r1sgg.training.logs import MetricsLog
from r1sgg.training.recipe import Recipe, RunOptions, read_recipe, versions
from r1sgg.training.rows import FileSource, InstructSource, Source, TrainingRows, open_source

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """A run that is ready for its trainer.

    Attributes:
        stage: "sft" or "grpo".
        recipe: what was asked for.
        options: the run's own options.
        arguments: TRL's.
        checkpoint: the model to start from, with the prompt and answer layout to train.
        rows: training rows.
        validation_rows: rows for TRL's own evaluation (`eval_strategy`), or None.
        callbacks: for the trainer.
    """

    stage: str
    recipe: Recipe
    options: RunOptions
    arguments: Any
    checkpoint: Checkpoint
    rows: TrainingRows
    validation_rows: TrainingRows | None
    callbacks: list[TrainerCallback]

    @property
    def folder(self) -> Path:
        """Where checkpoints, logs and the trained model go."""
        return Path(self.arguments.output_dir)

    def train(self, trainer: Any) -> int:
        """Train to the end and save a checkpoint folder that every other command takes as --model.

        Returns:
            How many training images had to be left out.

        Raises:
            ConfigError: asked to resume, and there is nothing to resume from.
        """
        for callback in self.callbacks:
            if hasattr(callback, "trainer"):
                callback.trainer = trainer
        trainer.train(resume_from_checkpoint=str(last_checkpoint(self.folder)) if self.options.resume else None)
        trainer.save_model(str(self.folder))
        if trainer.is_world_process_zero():
            trainer.state.save_to_json(str(self.folder / "trainer_state.json"))
            self.checkpoint.settings.write(self.folder)
        source = self.rows.source
        return len(self.rows.unreadable) + (len(source.left_out) if isinstance(source, FileSource) else 0)


class LoadsByConversion:
    """Mixed into a trainer: resuming reads weights as `from_pretrained` does.

    transformers 5 keeps other names in files than in memory for some families (Qwen2-VL: "visual." for
    "model.visual."), and its trainer, comparing them literally, would go on with the weights of step 0.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        special = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        if special or not (Path(resume_from_checkpoint) / "config.json").is_file():  # adapters have none
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(trainer.model).from_pretrained(resume_from_checkpoint, dtype=trainer.model.dtype)
        trainer.model.load_state_dict(saved.state_dict())


class KeepSettings(TrainerCallback):  # type: ignore[misc]
    """Puts r1sgg.json into every checkpoint, so that each can be used as it is."""

    def __init__(self, settings: AnswerSettings) -> None:
        self.settings = settings

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            self.settings.write(folder)


def prepare(
    stage: str,
    config_class: type,
    more: Sequence[type],
    config: Path | None,
    arguments: Sequence[str],
    defaults: Mapping[str, Any],
) -> Run:
    """Read a recipe, the checkpoint's processor and the data.

    Args:
        stage: "sft" or "grpo".
        config_class: TRL's configuration class.
        more: further classes of options.
        config: YAML recipe.
        arguments: command-line options.
        defaults: values in place of TRL's defaults.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # TRL 1.16 asks transformers 5.23 for it at every step
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    recipe = read_recipe([RunOptions, config_class, *more], config, arguments, {**machine_defaults(), **defaults})
    options, args = recipe.options[0], recipe.options[1]
    if not recipe.chosen.get("output_dir"):
        raise ConfigError(
            f"{config or 'the command line'}: expected an output_dir, found none; add --output_dir FOLDER"
        )
    if not options.data:
        raise ConfigError(f"{config or 'the command line'}: expected data, found none; add --data GT.jsonl")
    folder = Path(args.output_dir)
    if options.resume:
        last_checkpoint(folder)
    checkpoint = load_checkpoint(options.model, max_pixels=options.max_pixels)
    checkpoint = dataclasses.replace(checkpoint, settings=_settings(options, checkpoint.settings))
    source = open_source(options.data)
    if isinstance(source, InstructSource) and stage != "sft":
        raise ConfigError(f"data: {options.data!r} holds instructions, which have no reward; expected scenes or a file")
    log = MetricsLog(folder, stage)
    callbacks: list[TrainerCallback] = [log, KeepSettings(checkpoint.settings)]
    rows = TrainingRows(source, checkpoint, completion=stage == "sft")
    checked = open_source(options.validation) if options.validation else None
    if checked is not None:
        callbacks.append(_validation(checked, checkpoint, log, options))
    if args.process_index == 0:
        recipe.save(folder / "config.yaml", _recorded(stage, source, checked, checkpoint))
    scored = str(args.eval_strategy.value) != "no" and checked is not None
    return Run(
        stage=stage,
        recipe=recipe,
        options=options,
        arguments=args,
        checkpoint=checkpoint,
        rows=rows,
        validation_rows=TrainingRows(checked, checkpoint, completion=stage == "sft") if checked and scored else None,
        callbacks=callbacks,
    )


def machine_defaults() -> dict[str, Any]:
    """What this machine can do, where a recipe says nothing: on a CPU no bf16, no pinned memory, no recomputation."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "report_to": ["tensorboard"] if importlib.util.find_spec("tensorboard") else ["none"],
        "remove_unused_columns": False,
        "use_cpu": not gpu,
        "bf16": gpu,
        "activation_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
        "disable_tqdm": not sys.stderr.isatty(),
    }


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint that was written to its end.

    Raises:
        ConfigError: there is none.
    """
    whole = [p for p in folder.glob("checkpoint-*") if (p / "trainer_state.json").is_file()]  # written last
    numbered = {int(p.name.rpartition("-")[2]): p for p in whole if p.name.rpartition("-")[2].isdigit()}
    if not numbered:
        raise ConfigError(f"--resume: expected a checkpoint-N folder in {folder}, found none; start without --resume")
    return numbered[max(numbered)]


def _settings(options: RunOptions, own: AnswerSettings) -> AnswerSettings:
    """The checkpoint's own answer settings, with what the recipe changes."""
    names = [field.name for field in dataclasses.fields(AnswerSettings)]
    changed = {name: value for name in names if (value := getattr(options, name)) is not None}
    return AnswerSettings.from_record({**dataclasses.asdict(own), **changed}, "the recipe")


def _validation(source: Source, checkpoint: Checkpoint, log: MetricsLog, options: RunOptions) -> TrainerCallback:
    from r1sgg.training.validation import Validation

    return Validation(
        source,
        checkpoint,
        log,
        every=options.validate_steps,
        images=options.validate_images,
        batch=options.validate_batch_size,
        tokens=options.validate_tokens,
    )


def _recorded(stage: str, source: Source, checked: Source | None, checkpoint: Checkpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        "command": stage,
        "images": len(source),
        "data_hash": source.hash(),
        "answer_settings": dataclasses.asdict(checkpoint.settings),
        "versions": versions(),
    }
    if checked is not None:
        found["validation_hash"] = checked.hash()
    return found
