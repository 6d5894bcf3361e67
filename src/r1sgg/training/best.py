"""Keep the best model of a run by a figure of the evaluation during training, and stop when it no longer improves.

The model is in OUTPUT_DIR/best, a checkpoint folder that every command takes; its best.json holds the step and the
figure. Earlier values are read from metrics.jsonl, so a resumed run decides like one that was never interrupted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback

from r1sgg.errors import ConfigError, choices
from r1sgg.files import write_file
from r1sgg.training.checkpoints import atomic_folder, save_full_model
from r1sgg.training.logs import MetricsLog
from r1sgg.training.validation import validations

_log = logging.getLogger(__name__)

FOLDER = "best"
_RECALLS = tuple(f"{kind}@{k}" for kind in ("R", "mR", "ngR", "ngmR") for k in (20, 50, 100))
HIGHER = ("AP", "AP50", "AP75", *_RECALLS, "precision", "recall", "f1")
LOWER = ("failure_rate",)


class KeepBest(TrainerCallback):  # type: ignore[misc]
    """Writes OUTPUT_DIR/best at each evaluation that is better than all before it.

    Attributes:
        trainer: the trainer that calls this; to be set once it is made.
    """

    trainer: Any = None

    def __init__(self, folder: Path, log: MetricsLog, *, figure: str, patience: int) -> None:
        """Choose the figure.

        Args:
            folder: of the run.
            log: of the run.
            figure: one of `HIGHER` (the higher the better) or `LOWER`.
            patience: stop after this many evaluations in a row without improvement; 0: never.

        Raises:
            ConfigError: no such figure, or a negative patience.
        """
        if figure not in (*HIGHER, *LOWER):
            raise ConfigError(f"keep_best: expected one of {choices((*HIGHER, *LOWER), figure)}, found {figure!r}")
        if patience < 0:
            raise ConfigError(f"early_stop: expected a number of evaluations, or 0, found {patience}")
        self.folder, self.log, self.figure, self.patience = folder, log, figure, patience
        self.best: float | None = None
        self.since = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for row in validations(self.log.earlier):
            self._improves(row)
        self._stop_if_stuck(args, state, control)

    def on_validation(
        self, args: Any, state: Any, control: Any, numbers: Mapping[str, float], answers: Sequence[Any]
    ) -> None:
        """Keep the model if it is the best so far; stop the run if the last improvement is too long ago."""
        if self._improves(numbers):
            with atomic_folder(self.folder / FOLDER, self.trainer) as partial:
                save_full_model(self.trainer, partial)
                if state.is_world_process_zero:
                    found = {"step": state.global_step, self.figure: numbers[self.figure]}
                    write_file(partial / "best.json", orjson.dumps(found))
        self._stop_if_stuck(args, state, control)

    def _improves(self, numbers: Mapping[str, float]) -> bool:
        """Compare an evaluation with the best before it, and count it."""
        value, sign = numbers.get(self.figure), -1 if self.figure in LOWER else 1
        better = value is not None and (self.best is None or sign * value > sign * self.best)
        self.best, self.since = (value, 0) if better else (self.best, self.since + 1)
        return better

    def _stop_if_stuck(self, args: Any, state: Any, control: Any) -> None:
        if not self.patience or self.since < self.patience or state.global_step >= state.max_steps:
            return
        if state.is_world_process_zero:
            _log.warning(
                "step %d: %s was not better than %s in the last %d evaluations: the run stops (early_stop)",
                state.global_step,
                self.figure,
                self.best,
                self.since,
            )
        # a last log line and a last checkpoint, so that nothing since the previous ones is lost
        control.should_training_stop = control.should_log = True
        control.should_save = str(args.save_strategy.value) != "no"
