"""Checkpoints that are whole or not there, and runs that go on from them as if nothing had happened.

A checkpoint is written into a folder of another name and renamed when everything is in it and on the disk, so a run
that is killed at any moment leaves no half of one. Beside what transformers saves, each process keeps in it
`progress_RANK.pt`: numbers that were measured since the last line of the logs, and rollouts that wait for their steps.

It does not decide when a checkpoint is written (`save_steps`) and never deletes the newest whole one.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from r1sgg.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from r1sgg.training.guards import Guards

_log = logging.getLogger(__name__)

STATE_FILE = "trainer_state.json"
"""In a checkpoint: it was written to its end. In a run's folder: the run is finished."""

_PARTIAL = "partial"  # holds what is being written or deleted
_ASIDE = "aside-"  # about to be replaced


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoint-N folders of a run that were written to their end, oldest first."""
    whole = [p for p in folder.glob("checkpoint-*") if (p / STATE_FILE).is_file()]
    numbered = {int(p.name.rpartition("-")[2]): p for p in whole if p.name.rpartition("-")[2].isdigit()}
    return [numbered[step] for step in sorted(numbered)]


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint that was written to its end.

    Raises:
        ConfigError: there is none.
    """
    if not (whole := whole_checkpoints(folder)):
        raise ConfigError(f"--resume: expected a checkpoint-N folder in {folder}, found none; start without --resume")
    return whole[-1]


def tidy(folder: Path) -> None:
    """Remove what a killed run left half-written, and put back a folder that it was about to replace."""
    for aside in folder.glob(f"{_ASIDE}*"):
        target = folder / aside.name.removeprefix(_ASIDE)
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target)
    if (folder / _PARTIAL).exists():
        shutil.rmtree(folder / _PARTIAL)


@contextmanager
def written_whole(target: Path, trainer: Any, *, into: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes `target` once everything is in it. All processes take part.

    Args:
        target: the folder to appear, or to be replaced.
        trainer: it knows which process writes, and waits for all.
        into: move the files into `target` one by one instead, and leave others in it as they are.

    Raises:
        TrainingError: the disk is full, or cannot be written to; nothing half-written is left.
    """
    run = target if into else target.parent
    partial = run / _PARTIAL / target.name
    try:
        yield partial
        trainer.accelerator.wait_for_everyone()
        if trainer.args.should_save:
            _publish(partial, target, into)
        trainer.accelerator.wait_for_everyone()
        if trainer.is_local_process_zero() and partial.is_dir():  # a node with a disk of its own
            _publish(partial, target, into)
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_of_the_disk(error):
            raise
        free = shutil.disk_usage(run).free / 1e9  # as it was when the writing failed
        shutil.rmtree(run / _PARTIAL, ignore_errors=True)
        whole = whole_checkpoints(run)
        kept = f"go on from {whole[-1].name}, which is whole, with --resume" if whole else "start again"
        raise TrainingError(
            f"{target}: expected room to write it, found {_cause(error)} ({free:.2f} GB free); nothing half-written is "
            f"left; make room (save_total_limit, save_only_model), then {kept}"
        ) from error


class KeepsWork:
    """Mixed into one of TRL's trainers, before it: whole checkpoints, exact resuming.

    transformers 5 keeps other names in files than in memory for some families (Qwen2-VL: "visual." for
    "model.visual."), and its trainer, comparing them literally, would leave most weights as they are when it reads
    them back: at step 0 where a run resumes, at the last step where the best model is to be loaded.
    """

    guards: Guards | None = None
    _partial: Path | None = None
    _saved_at = -1

    def progress(self) -> dict[str, Any]:
        """What this process has to remember beside weights, optimizer and random state; tensors and plain values."""
        trainer: Any = self
        callbacks = trainer.callback_handler.callbacks
        return {
            "processes": trainer.args.world_size,
            "loss": trainer._tr_loss,
            "logged_at": trainer._globalstep_last_logged,
            "metrics": {mode: dict(values) for mode, values in trainer._metrics.items()},
            "tokens": trainer._total_train_tokens,
            "callbacks": {type(c).__name__: c.progress() for c in callbacks if hasattr(c, "progress")},
        }

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Take up what `progress` gave when the checkpoint was written."""
        trainer: Any = self
        trainer._tr_loss = progress["loss"].to(trainer.args.device)
        trainer._globalstep_last_logged = progress["logged_at"]
        for mode, values in progress["metrics"].items():
            trainer._metrics[mode].update(values)
        trainer._total_train_tokens = progress["tokens"]
        for callback in trainer.callback_handler.callbacks:
            if (kept := progress["callbacks"].get(type(callback).__name__)) is not None:
                callback.go_on(kept)

    # ---------------------------------------------------------------- hooks of transformers.Trainer

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._partial) if self._partial else super()._get_output_dir(trial)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        trainer: Any = self
        args, state = trainer.args, trainer.state
        if self._saved_at == state.global_step:  # the end of an epoch is the end of a step, too
            return
        target = Path(self._get_output_dir(trial)) / f"checkpoint-{state.global_step}"
        push, args.push_to_hub = args.push_to_hub, False  # afterwards, from where it will stay
        try:
            with written_whole(target, trainer) as partial:
                self._partial = partial.parent
                super()._save_checkpoint(model, trial)  # type: ignore[misc]
                self._complete(partial, target)
        finally:
            self._partial, args.push_to_hub = None, push
        self._saved_at = state.global_step
        if args.should_save:
            _rotate(target.parent, args.save_total_limit, state.best_model_checkpoint)
        if push:
            trainer._push_from_checkpoint(str(target))

    def _complete(self, partial: Path, target: Path) -> None:
        """Add what this package keeps to a checkpoint that transformers has written."""
        trainer: Any = self
        torch.save(self.progress(), partial / f"progress_{trainer.args.process_index}.pt")
        if trainer.state.best_model_checkpoint == str(partial):
            trainer.state.best_model_checkpoint = str(target)
            if trainer.args.should_save:
                trainer.state.save_to_json(str(partial / STATE_FILE))
        for callback in trainer.callback_handler.callbacks:
            if trainer.is_world_process_zero() and hasattr(callback, "complete"):
                callback.complete(partial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        special = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        if special or not (Path(resume_from_checkpoint) / "config.json").is_file():  # adapters have none
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(trainer.model).from_pretrained(resume_from_checkpoint, dtype=trainer.model.dtype)
        trainer.model.load_state_dict(saved.state_dict())

    def _load_best_model(self) -> None:
        trainer: Any = self
        folder = Path(trainer.state.best_model_checkpoint)
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or not (folder / "config.json").is_file():
            super()._load_best_model()  # type: ignore[misc]
        else:
            self._load_from_checkpoint(str(folder))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        trainer: Any = self
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        if self.guards is not None and norm is not None:
            self.guards.gradient(float(norm), scaled=trainer.accelerator.scaler is not None)
        return norm

    def _run_epoch(self, *, resume_from_checkpoint: str | None, **more: Any) -> None:
        trainer: Any = self
        if resume_from_checkpoint is not None and self._saved_at < 0:
            self._saved_at = trainer.state.global_step
            self._take_up(Path(resume_from_checkpoint))
        if trainer.state.global_step >= trainer.state.max_steps or trainer.control.should_training_stop:
            trainer.control.should_training_stop = True  # killed after its last step: transformers would take one more
            return
        super()._run_epoch(resume_from_checkpoint=resume_from_checkpoint, **more)  # type: ignore[misc]

    def _take_up(self, checkpoint: Path) -> None:
        trainer: Any = self
        path = checkpoint / f"progress_{trainer.args.process_index}.pt"
        if not path.is_file():
            return  # made by transformers alone
        progress = torch.load(path, map_location="cpu", weights_only=True)
        if progress["processes"] == trainer.args.world_size:
            self.go_on(progress)
        elif trainer.is_world_process_zero():
            _log.warning(
                "%s was written by %d processes and goes on with %d: random states start anew, and the next line of "
                "the logs covers the steps from here on only",
                checkpoint,
                progress["processes"],
                trainer.args.world_size,
            )


def finish(folder: Path, trainer: Any, complete: Callable[[Path], None]) -> None:
    """Write the trained model into the run's folder, STATE_FILE last. All processes take part.

    Args:
        folder: of the run.
        trainer: the model's.
        complete: called with the folder that is being written, in the first process.

    Raises:
        TrainingError: the disk is full.
    """
    with written_whole(folder, trainer, into=True) as partial:
        save_for_use(trainer, partial)
        if trainer.is_world_process_zero():
            complete(partial)
            trainer.state.save_to_json(str(partial / STATE_FILE))


def save_for_use(trainer: Any, folder: Path) -> None:
    """Write the model as every command takes it, also where checkpoints hold shards. All processes take part."""
    plugin = trainer.accelerator.state.fsdp_plugin if trainer.is_fsdp_enabled else None
    kind = plugin.state_dict_type if plugin else None
    if plugin:
        plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(folder))
    if plugin:
        plugin.set_state_dict_type(kind)


def _publish(partial: Path, target: Path, into: bool) -> None:
    """Let what has been written appear under its name, once it would survive a power cut."""
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    if into:
        for path in sorted(partial.iterdir(), key=lambda p: p.name == STATE_FILE):
            if path.is_dir() and (target / path.name).exists():
                shutil.rmtree(target / path.name)
            path.replace(target / path.name)
        shutil.rmtree(partial.parent)
        return
    aside = target.with_name(f"{_ASIDE}{target.name}")
    if target.exists():
        target.rename(aside)
    partial.rename(target)
    partial.parent.rmdir()
    _sync(target.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _rotate(folder: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest whole checkpoints beyond `limit`, never the newest nor the best."""
    if not limit or limit < 1:
        return
    whole = whole_checkpoints(folder)
    old = [p for p in whole[:-1] if best is None or p.resolve() != Path(best).resolve()]
    for path in old[: max(len(whole) - limit, 0)]:
        (folder / _PARTIAL).mkdir(exist_ok=True)
        path.rename(folder / _PARTIAL / path.name)  # so that no half of it is ever taken for whole
        shutil.rmtree(folder / _PARTIAL)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_WRITERS = ("PytorchStreamWriter", "inline_container", "iostream error", "unexpected pos")


def _is_of_the_disk(error: BaseException) -> bool:
    """Whether writing failed, and not what was to be written (torch raises a RuntimeError for either)."""
    return isinstance(error, OSError | SafetensorError) or any(word in str(error) for word in _WRITERS)


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).splitlines()[0][:120]
