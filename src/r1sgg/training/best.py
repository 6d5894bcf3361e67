"""The best model of a run, by a figure of the evaluation during training, and stopping when it no longer gets better.

The model is in OUTPUT_DIR/best, a checkpoint folder as every command takes it; best.json in it says which step and
figure. What was measured before is read from metrics.jsonl, so a run that goes on decides as one that never stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback

from r1sgg.errors import ConfigError
from r1sgg.training.checkpoints import save_for_use, written_whole
from r1sgg.training.logs import MetricsLog
from r1sgg.training.validation import validations

_log = logging.getLogger(__name__)

FOLDER = "best"
HIGHER: tuple[str, ...] = (
    "AP",
    "AP50",
    "AP75",
    "R@20",
    "R@50",
    "R@100",
    "mR@20",
    "mR@50",
    "mR@100",
    "ngR@20",
    "ngR@50",
    "ngR@100",
)
HIGHER += ("ngmR@20", "ngmR@50", "ngmR@100", "precision", "recall", "f1")
LOWER = ("failure_rate",)


class KeepBest(TrainerCallback):  # type: ignore[misc]
    """Writes OUTPUT_DIR/best at each evaluation that beats all before it.

    Attributes:
        trainer: the trainer that calls this; set it once it is made.
    """

    trainer: Any = None

    def __init__(self, folder: Path, log: MetricsLog, *, figure: str, patience: int) -> None:
        """Choose what is best.

        Args:
            folder: of the run.
            log: of the run.
            figure: one of `HIGHER` (the higher the better) or `LOWER`.
            patience: stop after so many evaluations in a row that beat nothing; 0: never.

        Raises:
            ConfigError: no such figure, or a negative patience.
        """
        if figure not in (*HIGHER, *LOWER):
            raise ConfigError(f"keep_best: expected one of {', '.join((*HIGHER, *LOWER))}, found {figure!r}")
        if patience < 0:
            raise ConfigError(f"early_stop: expected a number of evaluations, or 0, found {patience}")
        self.folder, self.log, self.figure, self.patience = folder, log, figure, patience
        self.best: float | None = None
        self.since = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for row in validations(self.log.earlier):
            self._better(row)
        self._stop(args, state, control)

    def on_validation(
        self, args: Any, state: Any, control: Any, numbers: Mapping[str, float], answers: Sequence[Any]
    ) -> None:
        """Keep the model if it is the best so far, and stop the run if it was not for too long."""
        if self._better(numbers):
            with written_whole(self.folder / FOLDER, self.trainer) as partial:
                save_for_use(self.trainer, partial)
                if state.is_world_process_zero:
                    for callback in self.trainer.callback_handler.callbacks:
                        if hasattr(callback, "complete"):
                            callback.complete(partial)
                    found = {"step": state.global_step, self.figure: numbers[self.figure]}
                    (partial / "best.json").write_bytes(orjson.dumps(found))
        self._stop(args, state, control)

    def _better(self, numbers: Mapping[str, float]) -> bool:
        value = numbers.get(self.figure)
        beats = value is not None and (
            self.best is None or (value < self.best if self.figure in LOWER else value > self.best)
        )
        self.best, self.since = (value, 0) if beats else (self.best, self.since + 1)
        return beats

    def _stop(self, args: Any, state: Any, control: Any) -> None:
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
        control.should_training_stop = control.should_log = True
        control.should_save = str(args.save_strategy.value) != "no"
