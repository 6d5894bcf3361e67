"""What SFT and GRPO share: reading the recipe, the checkpoint and the data, and saving a checkpoint folder at the end.

The trainers themselves are TRL's, see `r1sgg.training.sft` and `r1sgg.training.grpo`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
import yaml
from transformers import TrainerCallback

from r1sgg.data.dataset import Instructions
from r1sgg.data.provenance import Stage, at_source, read_trained_on
from r1sgg.data.spec import parse_spec
from r1sgg.data.splits import describe
from r1sgg.errors import ConfigError
from r1sgg.files import locked, protected, refuse_inputs, user_path
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.threads import Threads
from r1sgg.models.card import CARD, RECIPE
from r1sgg.models.damage import check_weights
from r1sgg.models.families import Checkpoint, load_checkpoint
from r1sgg.models.finding import is_local, shipped
from r1sgg.models.prompts import AnswerSettings, recipe_prompt
from r1sgg.training.best import FOLDER as BEST
from r1sgg.training.best import KeepBest
from r1sgg.training.checkpoints import (
    STATE_FILE,
    ResumableTrainer,
    check_checkpoint,
    complete_checkpoints,
    last_checkpoint,
    remove_leftovers,
    save_final_model,
)
from r1sgg.training.description import CountEpochs, KeepSettings
from r1sgg.training.guards import Guards
from r1sgg.training.logs import MetricsLog
from r1sgg.training.options import RunOptions, TargetOptions
from r1sgg.training.progress import Progress, Say, show_progress
from r1sgg.training.recipe import RECORDED, Recipe, check_needed, read_recipe, versions
from r1sgg.training.resuming import record_of, resumed_record
from r1sgg.training.rows import TrainingRows, left_out, open_source
from r1sgg.training.stopping import StopOnSignal, Stopped
from r1sgg.training.trackers import close_trackers, continue_trackers
from r1sgg.training.upstream import require_internals
from r1sgg.training.validation import TrainingSamples, Validation

_log = logging.getLogger(__name__)

REPORT = "report.html"
"""The page about a run, in its folder; the command writes it when the run ends."""

_TOKENS = 64  # of an image, its prompt and its graph, at least


@dataclass(frozen=True)
class Trained:
    """A run that has ended.

    Attributes:
        folder: of the run.
        steps: how many it has taken.
        left_out: how many images could not be used.
        first: whether this process is the first of the run.
    """

    folder: Path
    steps: int
    left_out: int
    first: bool


@dataclass
class Run:
    """A run that is ready for its trainer.

    Attributes:
        recipe: what was asked for.
        options: the run's own options.
        arguments: TRL's.
        checkpoint: the model to start from, with the prompt and answer layout to train.
        rows: training rows.
        validation_rows: rows for TRL's own evaluation (`eval_strategy`), or None.
        callbacks: for the trainer.
        log: the first of them.
        guards: one of the callbacks; it also checks batches, gradients and rewards.
        stopping: another, the last: it ends the run when a signal comes.
    """

    recipe: Recipe
    options: RunOptions
    arguments: Any
    checkpoint: Checkpoint
    rows: TrainingRows
    validation_rows: TrainingRows | None
    callbacks: list[TrainerCallback]
    log: MetricsLog
    guards: Guards
    stopping: StopOnSignal

    @property
    def folder(self) -> Path:
        """Where checkpoints, logs and the trained model go."""
        return Path(self.arguments.output_dir)

    def train(self, trainer: ResumableTrainer, say: Say) -> Trained:
        """Train to the end and save a checkpoint folder that every command takes as --model.

        Args:
            trainer: of this run.
            say: gets the lines of progress.

        Raises:
            SystemExit: a signal came; a checkpoint is saved.
            ConfigError: asked to resume, and there is nothing to resume from.
            TrainingError: the run cannot continue; the checkpoints so far are complete.
        """
        for callback in self.callbacks:
            if hasattr(callback, "trainer"):
                callback.trainer = trainer
        trainer.guards = self.guards
        show_progress(trainer, Progress(self.log, say))
        resumed = last_checkpoint(self.folder) if self.options.resume else None
        if trainer.is_world_process_zero():
            step = int(resumed.name.rpartition("-")[2]) if resumed else 0
            continue_trackers(self.folder, self.arguments, trainer.callback_handler.callbacks, step)
        threads = Threads(trainer.model)
        with self.stopping.installed(), threads.restored():
            threads.use(self.arguments.per_device_train_batch_size * _TOKENS)
            try:
                trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
            except Stopped as stopped:
                close_trackers(trainer.callback_handler.callbacks)
                sys.exit(128 + stopped.number)
        save_final_model(self.folder, trainer)
        unused = len(self.rows.unreadable) + left_out(self.rows.source)
        return Trained(self.folder, trainer.state.global_step, unused, trainer.is_world_process_zero())


@contextlib.contextmanager
def prepared(
    stage: str,
    config_class: type,
    more: Sequence[type],
    config: Path | None,
    arguments: Sequence[str],
    defaults: Mapping[str, Any],
) -> Iterator[Run]:
    """Read a recipe, the checkpoint's processor and the data; the run's folder is locked until the block ends.

    Args:
        stage: "sft" or "grpo".
        config_class: TRL's configuration class.
        more: further classes of options.
        config: YAML recipe.
        arguments: command-line options.
        defaults: values that replace TRL's defaults.

    Raises:
        ConfigError, InputError, ModelError: with one sentence that says what to change.
        MissingDependencyError: another version of trl or transformers than was tested, without what is needed here.
    """
    require_internals()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # TRL 1.16 reads the deprecated attribute of transformers 5.23 at every step
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    recipe = read_recipe([RunOptions, config_class, *more], config, arguments, {**machine_defaults(), **defaults})
    options, args = recipe.options[0], recipe.options[1]
    check_needed(recipe.chosen.get, config)
    folder = Path(args.output_dir)
    with contextlib.ExitStack() as stack:
        if args.process_index == 0:
            warn_of_emulated_bf16(args)
            stack.enter_context(_guarded(folder, options, config))
        yield _prepare(stage, recipe, options, args, folder, config, arguments)


@contextlib.contextmanager
def _guarded(folder: Path, options: RunOptions, config: Path | None) -> Iterator[None]:
    """Protect what the run reads, and keep other processes out of its folder.

    A config.yaml that a run has written may be the recipe of its continuation; another recipe of that name is an input.
    """
    read = [user_path(options.model)] if options.model not in shipped() else []
    read += [parse_spec(text).path for text in (options.data, options.validation) if text]
    read += [user_path(options.prompt)] if options.prompt else []
    if config is not None and RECORDED not in yaml.safe_load(config.read_text(encoding="utf-8")):
        read.append(config)
    with protected(read):
        refuse_inputs([folder, *(folder / name for name in _WRITTEN)])
        with locked(folder):
            yield


_WRITTEN = (RECIPE, CARD, REPORT, "metrics.jsonl", "completions.jsonl", "warnings.jsonl", "trained_on.json", "run_id")


def _prepare(
    stage: str,
    recipe: Recipe,
    options: RunOptions,
    args: Any,
    folder: Path,
    config: Path | None,
    arguments: Sequence[str],
) -> Run:
    assert options.data is not None  # `prepared` has seen to it
    resumed = _check_folder(folder, options, first=args.process_index == 0)
    if resumed is not None:
        check_checkpoint(resumed)
    checkpoint = asked_checkpoint(options)
    check_weights(checkpoint.base or checkpoint.path)  # TRL would train random weights in place of missing ones
    source = open_source(options.data)
    taught = next((more for more in recipe.options if isinstance(more, TargetOptions)), None)
    if isinstance(source, Instructions) and stage != "sft":
        raise ConfigError(f"data: {options.data!r} holds instructions, which have no reward; expected scenes or a file")
    if isinstance(source, Instructions) and not source.some_graphs and taught != TargetOptions():
        raise ConfigError(f"data: {options.data!r} holds instructions; object_order and limits are for scene graphs")
    target = None if taught is None else taught.bind(args.seed)
    log = MetricsLog(folder, stage, paced="logging_steps" not in recipe.chosen)
    task = "sgdet" if taught is None else taught.task
    rows = TrainingRows(source, checkpoint, completion=stage == "sft", target=target, task=task)
    _check_column(rows, options)
    checked = open_source(options.validation) if options.validation else None
    trained_on: list[Stage] = []
    record: dict[str, Any] = {}
    made: dict[str, Any] = {}
    if args.process_index == 0:  # hashing the data takes time, and only the first process writes
        described = describe(source)
        vocabulary = load_vocabulary(checkpoint.settings.vocabulary).name
        watched = None if checked is None else describe(checked)
        record = record_of(recipe, described, watched)
        record = record if resumed is None else resumed_record(record, resumed)
        now = {"command": stage, **at_source(described), "vocabulary": vocabulary}
        if len(record["parts"]) > 1:
            now["parts"] = record["parts"]
        trained_on = [*read_trained_on(Path(checkpoint.path)), now]
        recorded = {
            "command": stage,
            "arguments": ["--config", str(config), *arguments] if config else [*arguments],
            "data": dict(described),
            "validation": watched,
            "answer_settings": checkpoint.settings.to_record(),
            "targets": None if taught is None else dataclasses.asdict(taught),
            "versions": versions(),
            "parts": record["parts"],
        }
        _start(folder, resumed=resumed is not None)
        recorded = {k: value for k, value in recorded.items() if value is not None}
        recipe.save(folder / RECIPE, recorded)
        made = {**recipe.chosen, "model": options.model, "recorded": recorded}
    guards = Guards(folder, log, checkpoint.processor, checkpoint.family.frames)
    # The log is the first: the others read the lines of a resumed run from it.
    callbacks: list[TrainerCallback] = [
        log,
        KeepSettings(folder, checkpoint.settings, trained_on, record, made, log),
        CountEpochs(rows),
    ]
    validation_rows = None
    if checked is not None:
        callbacks.append(Validation(checked, checkpoint, log, options))
        if str(args.eval_strategy.value) != "no":
            validation_rows = TrainingRows(checked, checkpoint, completion=stage == "sft", target=target, task=task)
    elif stage == "sft" and options.logged_completions and not isinstance(rows.source, Instructions):
        callbacks.append(TrainingSamples(rows.source, checkpoint, log, options))
    if options.keep_best:
        callbacks.append(KeepBest(folder, log, figure=options.keep_best, patience=options.early_stop))
    stopping = StopOnSignal()
    callbacks += [guards, stopping]
    return Run(recipe, options, args, checkpoint, rows, validation_rows, callbacks, log, guards, stopping)


def _check_column(rows: TrainingRows, options: RunOptions) -> None:
    """See that the data have the prompts that the recipe names; a checkpoint's own column may be missing.

    Raises:
        ConfigError: the recipe asks for a column that the first image does not have.
    """
    column = rows.checkpoint.settings.column
    if not column or rows.own_prompts:
        return
    found = f"no text {column!r} with the images of {rows.source.name}"
    if options.prompt is not None:
        raise ConfigError(f"prompt: expected a column of the data, or meta of a ground-truth file, found {found}")
    _log.warning("%s was trained with such prompts; found %s: trained with r1sgg's own", options.model, found)


def machine_defaults() -> dict[str, Any]:
    """Return defaults for this machine: on a CPU no bf16, no pinned memory and no recomputation of activations."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "report_to": ["tensorboard"] if importlib.util.find_spec("tensorboard") else ["none"],
        "remove_unused_columns": False,  # our rewards read the other columns
        "use_cpu": not gpu,
        "bf16": gpu,
        "activation_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
        "disable_tqdm": not sys.stderr.isatty(),
    }


def warn_of_emulated_bf16(arguments: Any) -> None:
    """Say that a processor has no instructions for bfloat16: then it takes several times as long as float32."""
    import torch

    abilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not say
    native = any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    if arguments.bf16 and arguments.use_cpu and abilities.get("architecture") == "x86_64" and not native:
        _log.warning("bf16: this processor has no instructions for bfloat16, so it is slow; use --bf16 false")


def _check_folder(folder: Path, options: RunOptions, *, first: bool) -> Path | None:
    """Check that a run may start or resume in a folder; sets `options.resume` for `requeue`.

    Returns:
        The checkpoint to resume from, or None for a run that starts.

    Raises:
        ConfigError: nothing to resume from, or an earlier run whose files a new one would overwrite.
    """
    if first:
        remove_leftovers(folder)
    complete = complete_checkpoints(folder)
    if options.keep_best and not options.validation:
        raise ConfigError("keep_best: expected validation to measure by, found none; add --validation")
    if options.early_stop and not options.keep_best:
        raise ConfigError("early_stop: expected keep_best to stop by, found none; add --keep_best R@50")
    if options.requeue:
        options.resume = bool(complete)
    finished = (folder / STATE_FILE).is_file() and (folder / BEST).is_dir()
    if options.resume:
        return last_checkpoint(folder)
    if (folder / BEST).exists() and not (folder / "metrics.jsonl").is_file() and not complete:
        raise ConfigError(f"{folder / BEST}: expected nothing there, found files of no run; choose another output_dir")
    if complete or finished:
        raise ConfigError(
            f"{folder}: expected no earlier run, found {complete[-1].name if complete else BEST} of one; "
            "resume it with --resume, or choose another output_dir"
        )
    return None


def _start(folder: Path, *, resumed: bool) -> None:
    """Remove what says that the run is finished and, where it starts, what is left of one without a checkpoint."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    if not resumed and (folder / BEST).is_dir():
        shutil.rmtree(folder / BEST)


def asked_checkpoint(options: RunOptions) -> Checkpoint:
    """Return the model that a recipe names, without its weights, with the recipe's prompt and answer layout.

    Raises:
        ModelError, InputError: the checkpoint, or a file of the prompt, is missing or damaged.
    """
    checkpoint = load_checkpoint(options.model, max_pixels=options.max_pixels)
    path = os.path.abspath(checkpoint.path) if is_local(checkpoint.path) else checkpoint.path  # an adapter names it
    return dataclasses.replace(checkpoint, path=path, settings=_settings(options, checkpoint.settings))


def _settings(options: RunOptions, own: AnswerSettings) -> AnswerSettings:
    """Apply the recipe's changes to the checkpoint's own answer settings."""
    names = [field.name for field in dataclasses.fields(AnswerSettings) if field.name != "prompt"]
    changed = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    changed |= recipe_prompt(own, options.prompt, options.wording, options.vocabulary)
    return AnswerSettings.from_record({**dataclasses.asdict(own), **changed}, "the recipe")
