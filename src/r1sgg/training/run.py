"""What SFT and GRPO share: reading the recipe, the checkpoint and the data, and ending with a checkpoint folder.

The trainers themselves are TRL's, see `sft` and `grpo`. This module imports torch and transformers.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback

from r1sgg.data.dataset import DataSet, Instructions
from r1sgg.data.provenance import Stage, at_source, read_trained_on, write_trained_on
from r1sgg.data.splits import describe
from r1sgg.errors import ConfigError
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.threads import Threads
from r1sgg.models.families import Checkpoint, load_checkpoint
from r1sgg.models.prompts import AnswerSettings
from r1sgg.training.best import FOLDER as BEST
from r1sgg.training.best import KeepBest
from r1sgg.training.checkpoints import STATE_FILE, finish, last_checkpoint, tidy, whole_checkpoints
from r1sgg.training.guards import Guards
from r1sgg.training.logs import MetricsLog
from r1sgg.training.recipe import Recipe, RunOptions, TargetOptions, read_recipe, versions
from r1sgg.training.rows import TrainingRows, left_out, open_source
from r1sgg.training.trackers import same_trackers

_log = logging.getLogger(__name__)

_TOKENS = 64  # of an image, its prompt and its graph, at least


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
        trained_on: what the model will have been trained on, this run last; empty in all processes but the first.
        callbacks: for the trainer.
        guards: one of them; it also looks at batches, gradients and rewards.
    """

    stage: str
    recipe: Recipe
    options: RunOptions
    arguments: Any
    checkpoint: Checkpoint
    rows: TrainingRows
    validation_rows: TrainingRows | None
    trained_on: list[Stage]
    callbacks: list[TrainerCallback]
    guards: Guards

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
            TrainingError: the run cannot go on; what it has saved is whole.
        """
        for callback in self.callbacks:
            if hasattr(callback, "trainer"):
                callback.trainer = trainer
        trainer.guards = self.guards
        resumed = last_checkpoint(self.folder) if self.options.resume else None
        if trainer.is_world_process_zero():
            step = int(resumed.name.rpartition("-")[2]) if resumed else 0
            same_trackers(self.folder, self.arguments, trainer.callback_handler.callbacks, step)
        threads = Threads(trainer.model)
        with threads.restored():
            threads.use(self.arguments.per_device_train_batch_size * _TOKENS)
            trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        finish(self.folder, trainer, KeepSettings(self.checkpoint.settings, self.trained_on).complete)
        return len(self.rows.unreadable) + left_out(self.rows.source)


class KeepSettings(TrainerCallback):  # type: ignore[misc]
    """Puts r1sgg.json and trained_on.json into every checkpoint, so that each can be used as it is."""

    def __init__(self, settings: AnswerSettings, trained_on: Sequence[Stage]) -> None:
        self.settings, self.trained_on = settings, trained_on

    def complete(self, folder: Path) -> None:
        """Complete a checkpoint that is being written."""
        self.settings.write(folder)
        write_trained_on(folder, self.trained_on)


class CountEpochs(TrainerCallback):  # type: ignore[misc]
    """Tells the training rows which epoch begins, also where a run goes on in the middle of one."""

    def __init__(self, rows: TrainingRows) -> None:
        self.rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows.epoch = int(state.epoch or 0)


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
    _ready(folder, options, first=args.process_index == 0)
    checkpoint = load_checkpoint(options.model, max_pixels=options.max_pixels)
    checkpoint = dataclasses.replace(checkpoint, settings=_settings(options, checkpoint.settings))
    source = open_source(options.data)
    if isinstance(source, Instructions) and stage != "sft":
        raise ConfigError(f"data: {options.data!r} holds instructions, which have no reward; expected scenes or a file")
    taught = next((more for more in recipe.options if isinstance(more, TargetOptions)), None)
    if isinstance(source, Instructions) and taught != TargetOptions():
        raise ConfigError(f"data: {options.data!r} holds instructions; object_order and limits are for scene graphs")
    target = None if taught is None else taught.bind(args.seed)
    log = MetricsLog(folder, stage)
    rows = TrainingRows(source, checkpoint, completion=stage == "sft", target=target)
    checked = open_source(options.validation) if options.validation else None
    trained_on: list[Stage] = []
    if args.process_index == 0:
        described = describe(source)
        vocabulary = load_vocabulary(checkpoint.settings.vocabulary).name
        now = {"command": stage, **at_source(described), "vocabulary": vocabulary}
        trained_on = [*read_trained_on(Path(checkpoint.path)), now]
        recipe.save(folder / "config.yaml", _recorded(stage, described, checked, checkpoint, taught))
    guards = Guards(folder, log, checkpoint.processor)
    callbacks: list[TrainerCallback] = [log, KeepSettings(checkpoint.settings, trained_on), CountEpochs(rows)]
    if checked is not None:
        callbacks.append(_validation(checked, checkpoint, log, options))
    if options.keep_best:
        callbacks.append(KeepBest(folder, log, figure=options.keep_best, patience=options.early_stop))
    callbacks.append(guards)
    scored = str(args.eval_strategy.value) != "no" and checked is not None
    return Run(
        stage=stage,
        recipe=recipe,
        options=options,
        arguments=args,
        checkpoint=checkpoint,
        rows=rows,
        validation_rows=TrainingRows(checked, checkpoint, completion=stage == "sft", target=target)
        if checked is not None and scored
        else None,
        trained_on=trained_on,
        callbacks=callbacks,
        guards=guards,
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


def _ready(folder: Path, options: RunOptions, *, first: bool) -> None:
    """Check that a run may start or go on in a folder, and tidy it; `options.resume` says afterwards which.

    Raises:
        ConfigError: nothing to resume from, or an earlier run's work that a start would overwrite.
    """
    whole = whole_checkpoints(folder)
    if options.keep_best and not options.validation:
        raise ConfigError("keep_best: expected validation to measure by, found none; add --validation")
    if options.early_stop and not options.keep_best:
        raise ConfigError("early_stop: expected keep_best to stop by, found none; add --keep_best R@50")
    if options.requeue:
        options.resume = bool(whole)
    if options.resume:
        last_checkpoint(folder)
    elif earlier := [*whole[-1:], *(p for p in [folder / BEST] if (folder / STATE_FILE).is_file() and p.is_dir())]:
        raise ConfigError(
            f"{folder}: expected no earlier run, found {earlier[0].name} of one; go on from it with --resume, or "
            "choose another output_dir"
        )
    if first:
        tidy(folder)
        (folder / STATE_FILE).unlink(missing_ok=True)
        if not options.resume and (folder / BEST).is_dir():
            shutil.rmtree(folder / BEST)  # of a run that was killed before its first checkpoint


def _settings(options: RunOptions, own: AnswerSettings) -> AnswerSettings:
    """The checkpoint's own answer settings, with what the recipe changes."""
    names = [field.name for field in dataclasses.fields(AnswerSettings)]
    changed = {name: value for name in names if (value := getattr(options, name)) is not None}
    return AnswerSettings.from_record({**dataclasses.asdict(own), **changed}, "the recipe")


def _validation(source: DataSet, checkpoint: Checkpoint, log: MetricsLog, options: RunOptions) -> TrainerCallback:
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


def _recorded(
    stage: str,
    described: Mapping[str, Any],
    checked: DataSet | None,
    checkpoint: Checkpoint,
    taught: TargetOptions | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"command": stage, "data": dict(described)}
    if checked is not None:
        found["validation"] = describe(checked)
    found["answer_settings"] = dataclasses.asdict(checkpoint.settings)
    if taught is not None:
        found["targets"] = dataclasses.asdict(taught)
    return {**found, "versions": versions()}
