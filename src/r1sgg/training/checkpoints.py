"""Checkpoints that are complete or absent, and runs that resume from them exactly.

A checkpoint is written into OUTPUT_DIR/partial and renamed to checkpoint-N once all its files are on the disk, so a
run that is killed at any moment leaves no half-written checkpoint:

    OUTPUT_DIR/partial/checkpoint-40/...     being written (or being deleted)
    OUTPUT_DIR/checkpoint-40/...             complete, with trainer_state.json
    OUTPUT_DIR/aside-best/...                the old version while a folder is replaced

Beside the files of transformers each process stores `progress_RANK.pt`: the numbers since the last log line, and (GRPO)
rollouts that still serve further steps.

This module does not decide when a checkpoint is written (`save_steps`), and never deletes the newest complete one.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from r1sgg.errors import ConfigError, ModelError, TrainingError
from r1sgg.models.damage import check_files, read_json

if TYPE_CHECKING:
    from r1sgg.training.guards import Guards

_log = logging.getLogger(__name__)

STATE_FILE = "trainer_state.json"
"""In a checkpoint: all of it was written. In a run's folder: the run is finished."""

_PARTIAL = "partial"
_ASIDE = "aside-"


def complete_checkpoints(folder: Path) -> list[Path]:
    """List the complete checkpoint-N folders of a run, oldest first."""
    complete = [path for path in folder.glob("checkpoint-*") if (path / STATE_FILE).is_file()]
    numbered = {int(step): path for path in complete if (step := path.name.removeprefix("checkpoint-")).isdigit()}
    return [numbered[step] for step in sorted(numbered)]


def last_checkpoint(folder: Path) -> Path:
    """Return the newest complete checkpoint.

    Raises:
        ConfigError: there is none.
    """
    if not (complete := complete_checkpoints(folder)):
        raise ConfigError(f"--resume: expected a checkpoint-N folder in {folder}, found none; start without --resume")
    return complete[-1]


def check_checkpoint(checkpoint: Path) -> None:
    """Check that the files of a checkpoint are whole, before transformers ends in a traceback or does without them.

    Raises:
        ModelError: one is damaged; the sentence names it.
    """
    try:
        check_files(checkpoint)
        read_json(checkpoint / STATE_FILE)
        for file in sorted(p for p in checkpoint.iterdir() if p.suffix in (".pt", ".pth", ".bin")):
            if not zipfile.is_zipfile(file):  # what torch.save writes; the directory is at the end
                raise ModelError(f"{file}: expected a file of torch.save, found one that is cut off or something else")
        optimizers = (p for p in checkpoint.iterdir() if p.name.startswith(("optimizer", "global_step")))
        if (checkpoint / "scheduler.pt").is_file() and not any(optimizers):
            raise ModelError(f"{checkpoint}: expected the state of the optimizer (optimizer.pt), found none")
    except ModelError as error:
        raise ModelError(f"--resume: {error}; without {checkpoint.name} the run resumes from the one before") from error


_LEFT = re.compile(r"checkpoint-\d+|best")


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed run left half-written, and put back a folder that it was about to replace.

    Raises:
        ConfigError: files that are not of a run have the name of its half-written ones.
    """
    for aside in folder.glob(f"{_ASIDE}*"):
        target = folder / aside.name.removeprefix(_ASIDE)
        if not _LEFT.fullmatch(target.name):
            continue
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target)
    if (partial := folder / _PARTIAL).exists():
        ours = partial.is_dir() and all(_LEFT.fullmatch(p.name) or p.name == folder.name for p in partial.iterdir())
        if not ours:
            raise ConfigError(f"{partial}: expected half-written checkpoints or none, found other files; move them")
        shutil.rmtree(partial)


@contextmanager
def atomic_folder(target: Path, trainer: Any, *, into: bool = False) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `target` at the end. All processes take part.

    Args:
        target: the folder to create or replace.
        trainer: knows which process writes, and waits for all.
        into: move the files into `target` one by one, STATE_FILE last, and keep its other files.

    Raises:
        TrainingError: the disk is full or cannot be written to; nothing half-written is left.
    """
    run = target if into else target.parent
    partial = run / _PARTIAL / target.name
    try:
        yield partial
        trainer.accelerator.wait_for_everyone()
        if trainer.args.should_save:
            _publish(partial, target, into)
        trainer.accelerator.wait_for_everyone()
        # Several machines without a shared disk: each has a `partial` of its own, which is still there.
        if trainer.is_local_process_zero() and partial.is_dir():
            _publish(partial, target, into)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch raises a RuntimeError both for a full disk and for, say, a shape that does not fit.
        if not isinstance(error, OSError | SafetensorError) and not any(word in str(error) for word in _WRITE_ERRORS):
            raise
        free = shutil.disk_usage(run).free / 1e9  # before the next line makes room
        shutil.rmtree(run / _PARTIAL, ignore_errors=True)
        complete = complete_checkpoints(run)
        then = f"resume from {complete[-1].name}, which is complete, with --resume" if complete else "start again"
        cause = getattr(error, "strerror", None) or str(error).splitlines()[0][:120]
        raise TrainingError(
            f"{target}: expected room to write it, found {cause.lower()} ({free:.2f} GB free); the half-written files "
            f"are deleted; make room (save_total_limit, save_only_model), then {then}"
        ) from error


_WRITE_ERRORS = ("PytorchStreamWriter", "inline_container", "iostream error", "unexpected pos")
"""Texts of torch's RuntimeErrors when torch.save cannot write."""


class ResumableTrainer(Trainer):  # type: ignore[misc]
    """A base for TRL's trainers, named before them: atomic checkpoints and exact resuming.

    Private methods that it overrides, and why: `r1sgg.training.upstream`.
    """

    guards: Guards | None = None
    _partial: Path | None = None
    """Where a checkpoint is being written; None between checkpoints."""
    _saved_at = -1
    """The step of the last checkpoint; -1 before the first, and until a resumed run has restored its state."""

    def resume_state(self) -> dict[str, Any]:
        """Return what this process needs to resume beside weights, optimizer and random states.

        Only tensors and plain values, so that `torch.load(weights_only=True)` reads it.
        """
        callbacks = self.callback_handler.callbacks
        return {
            "processes": self.args.world_size,
            "loss": self._tr_loss,
            "logged_at": self._globalstep_last_logged,
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
            "tokens": self._total_train_tokens,
            "callbacks": {type(c).__name__: c.resume_state() for c in callbacks if hasattr(c, "resume_state")},
        }

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `resume_state` returned when the checkpoint was written."""
        self._tr_loss = state["loss"].to(self.args.device)
        self._globalstep_last_logged = state["logged_at"]
        for mode, values in state["metrics"].items():
            self._metrics[mode].update(values)
        self._total_train_tokens = state["tokens"]
        for callback in self.callback_handler.callbacks:
            if (kept := state["callbacks"].get(type(callback).__name__)) is not None:
                callback.load_resume_state(kept)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no card of TRL's, which would be about a fine-tuned "None": a callback writes ours into each folder."""

    # ---------------------------------------------------------------- methods of transformers.Trainer

    def _get_output_dir(self, trial: Any) -> Any:
        return str(self._partial) if self._partial else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        args, state = self.args, self.state
        if self._saved_at == state.global_step:  # called twice where a step and an epoch end together
            return
        target = Path(self._get_output_dir(trial)) / f"checkpoint-{state.global_step}"
        # transformers would upload from the partial folder and not find it there any more; so push after the rename
        push, args.push_to_hub = args.push_to_hub, False
        try:
            with atomic_folder(target, self) as partial:
                self._partial = partial.parent
                super()._save_checkpoint(model, trial)
                self._add_own_files(partial, target)
        finally:
            self._partial, args.push_to_hub = None, push
        self._saved_at = state.global_step
        if args.should_save:
            _rotate(target.parent, args.save_total_limit, state.best_model_checkpoint)
        if push:
            self._push_from_checkpoint(str(target))

    def _add_own_files(self, partial: Path, target: Path) -> None:
        """Add to a checkpoint that transformers has written; `partial` will be renamed to `target`."""
        torch.save(self.resume_state(), partial / f"progress_{self.args.process_index}.pt")
        if self.state.best_model_checkpoint == str(partial):  # a path that will not exist
            self.state.best_model_checkpoint = str(target)
            if self.args.should_save:
                self.state.save_to_json(str(partial / STATE_FILE))
        self.write_callback_files(partial)

    def write_callback_files(self, folder: Path) -> None:
        """Let the callbacks add their files to a checkpoint folder; in the first process only."""
        for callback in self.callback_handler.callbacks:
            if self.is_world_process_zero() and hasattr(callback, "write_files"):
                callback.write_files(folder)

    def _is_whole_model(self, folder: Path) -> bool:
        """Whether `folder` holds a whole model in one piece: no adapter, no shards of FSDP or DeepSpeed."""
        return not (self.is_fsdp_enabled or self.is_deepspeed_enabled) and (folder / "config.json").is_file()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._is_whole_model(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        # from_pretrained translates the names in the file ("visual.") to those in memory ("model.visual."); and
        # load_state_dict is strict, so a weight that is missing is an error here
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(saved.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # The place in the schedule is the checkpoint's; rates and curve are the recipe's, which may have changed.
        rates = list(getattr(self.lr_scheduler, "base_lrs", ()))
        super()._load_optimizer_and_scheduler(checkpoint)
        scheduler = self.lr_scheduler
        if checkpoint is None or not isinstance(scheduler, LambdaLR):
            return
        scheduler.base_lrs = rates
        for group, rate, curve in zip(self.optimizer.param_groups, rates, scheduler.lr_lambdas, strict=True):
            group["initial_lr"], group["lr"] = rate, rate * curve(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _load_best_model(self) -> None:
        folder = Path(self.state.best_model_checkpoint)
        if self._is_whole_model(folder):
            self._load_from_checkpoint(str(folder))
        else:
            super()._load_best_model()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if self.guards is not None and norm is not None:
            self.guards.gradient(float(norm), scaled=self.accelerator.scaler is not None)
        return norm

    def _run_epoch(self, *, resume_from_checkpoint: str | None, **more: Any) -> None:
        # By now transformers has loaded weights, optimizer and state and set its counters to zero, and no step has been
        # taken: the one place where they can be restored.
        if resume_from_checkpoint is not None and self._saved_at < 0:
            self._saved_at = self.state.global_step
            # the state in the checkpoint has the logging_steps, save_steps and eval_steps of the part before
            self.state.compute_steps(self.args, self.state.max_steps)
            self._restore(Path(resume_from_checkpoint))
        # transformers looks at max_steps after a step only: a run killed after its last would take one more
        if self.state.global_step >= self.state.max_steps or self.control.should_training_stop:
            self.control.should_training_stop = True
            return
        super()._run_epoch(resume_from_checkpoint=resume_from_checkpoint, **more)

    def _restore(self, checkpoint: Path) -> None:
        path = checkpoint / f"progress_{self.args.process_index}.pt"
        if not path.is_file():
            return  # the checkpoint was written by transformers alone
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["processes"] == self.args.world_size:
            self.load_resume_state(state)
        elif self.is_world_process_zero():
            _log.warning(
                "%s was written by %d processes and is resumed by %d: random states start anew, and the next log line "
                "covers the steps from here on only",
                checkpoint,
                state["processes"],
                self.args.world_size,
            )


def save_final_model(folder: Path, trainer: ResumableTrainer) -> None:
    """Write the trained model into the run's folder, STATE_FILE last. All processes take part.

    Raises:
        TrainingError: the disk is full.
    """
    with atomic_folder(folder, trainer, into=True) as partial:
        save_full_model(trainer, partial)
        if trainer.is_world_process_zero():
            trainer.state.save_to_json(str(partial / STATE_FILE))


def save_full_model(trainer: ResumableTrainer, folder: Path) -> None:
    """Write the model as every command loads it, with the callbacks' files. All processes take part.

    FSDP may be set to save shards, which only a resumed run can read: the setting is changed for this one call.
    """
    plugin = trainer.accelerator.state.fsdp_plugin if trainer.is_fsdp_enabled else None
    kind = plugin.state_dict_type if plugin else None
    if plugin:
        plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(folder))
    if plugin:
        plugin.set_state_dict_type(kind)
    trainer.write_callback_files(folder)


def _publish(partial: Path, target: Path, into: bool) -> None:
    """Give the partial folder its final name, after its content would survive a power cut."""
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    if into:
        for path in sorted(partial.iterdir(), key=lambda p: p.name == STATE_FILE):
            if path.is_dir() and (target / path.name).exists():
                shutil.rmtree(target / path.name)
            path.replace(target / path.name)
        shutil.rmtree(partial.parent)
        return
    # A folder cannot be replaced in one operation if it has files in it. Killed between the two renames, the next start
    # puts the old folder back (`remove_leftovers`).
    aside = target.with_name(f"{_ASIDE}{target.name}")
    if target.exists():
        target.rename(aside)
    partial.rename(target)
    partial.parent.rmdir()
    _sync(target.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _rotate(folder: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest complete checkpoints beyond `limit`, but neither the newest nor the best."""
    if not limit or limit < 1:
        return
    complete = complete_checkpoints(folder)
    old = [p for p in complete[:-1] if best is None or p.resolve() != Path(best).resolve()]
    for path in old[: max(len(complete) - limit, 0)]:
        (folder / _PARTIAL).mkdir(exist_ok=True)
        path.rename(folder / _PARTIAL / path.name)  # a half-deleted checkpoint could still have its STATE_FILE
        shutil.rmtree(folder / _PARTIAL)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
