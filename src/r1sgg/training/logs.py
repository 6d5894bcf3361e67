"""metrics.jsonl, the numbers that a run writes while it trains, and what its files of steps have in common.

metrics.jsonl, a line per log and per evaluation:

    {"step": 20, "stage": "sft", "time": 31.4, "loss": 1.93, "learning_rate": 0.001, "grad_norm": 0.81, ...}
    {"step": 20, "stage": "sft", "time": 35.0, "failure_rate": 0.02, "AP50": 0.31, "R@50": 0.12, ...}

completions.jsonl is written by `r1sgg.training.samples`, and warnings.jsonl by `r1sgg.training.guards`: a line for
each kind of trouble that was seen, {"step", "trouble", "message"}.

`time` is seconds of training, including the earlier parts of a resumed run. When a run resumes, the lines after its
checkpoint are deleted, because those steps are trained again: the files have neither gaps nor repeats. TRL's own
logging (`report_to`) is separate; `r1sgg.training.trackers` keeps it one run.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from r1sgg.errors import TrainingError
from r1sgg.files import write_file

_PACE = 10


class StepFile:
    """A JSON Lines file in which each line has a `step`, appended to while training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add lines, all or none of them.

        Raises:
            TrainingError: the disk is full.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as handle:
                handle.write(b"".join(orjson.dumps(dict(row)) + b"\n" for row in rows))
        except OSError as error:
            os.truncate(self.path, before)
            raise TrainingError(
                f"{self.path}: expected room for another line, found {(error.strerror or str(error)).lower()}; make "
                "room, then resume from the last checkpoint with --resume"
            ) from error

    def begin(self, step: int) -> list[dict[str, Any]]:
        """Prepare the file for a run that starts (step 0) or resumes after `step`.

        Returns:
            The lines that are kept: those up to `step`, none for step 0. A last line that was cut off is dropped.
        """
        if step == 0:
            self.path.unlink(missing_ok=True)
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().splitlines(keepends=True)
        whole = [(line, orjson.loads(line)) for line in lines if line.endswith(b"\n")]
        kept = [(line, row) for line, row in whole if row["step"] <= step]
        write_file(self.path, b"".join(line for line, _ in kept))
        return [row for _, row in kept]


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Writes every number that the trainer logs to metrics.jsonl; the last step is always logged.

    Attributes:
        earlier: the lines of a resumed run, in every process; set before other callbacks begin.
    """

    def __init__(self, folder: Path, stage: str, *, paced: bool = False) -> None:
        """Name the file.

        Args:
            folder: of the run.
            stage: "sft" or "grpo".
            paced: choose the steps between two lines by the length of the run: 10, fewer in a run under 100 steps.
        """
        self.file = StepFile(folder / "metrics.jsonl")
        self.stage, self._paced = stage, paced
        self.earlier: list[dict[str, Any]] = []
        self._start = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.earlier = self.file.begin(state.global_step)
        # All processes have to know the earlier evaluations, or they would disagree on when to stop (keep_best).
        if getattr(args, "world_size", 1) > 1:
            self.earlier = broadcast_object_list([self.earlier])[0]
        self._start = time.monotonic() - (self.earlier[-1]["time"] if self.earlier else 0.0)
        if self._paced:  # transformers reads both; a resumed run takes its own from the arguments
            args.logging_steps = state.logging_steps = max(1, min(_PACE, state.max_steps // _PACE))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps and str(args.logging_strategy.value) == "steps":
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs and "train_runtime" not in logs:  # not the summary at the end
            self.write(state.global_step, logs)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line; values that are not finite numbers are left out."""
        numbers = {
            key: float(value) if isinstance(value, float) else int(value)
            for key, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        seconds = round(time.monotonic() - self._start, 2)
        self.file.append([{"step": step, "stage": self.stage, "time": seconds, **numbers}])
