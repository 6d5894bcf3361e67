"""What a run writes down while it trains: metrics.jsonl, completions.jsonl, warnings.jsonl, without gaps or repeats.

metrics.jsonl, a line per log and per evaluation:

    {"step": 20, "stage": "sft", "time": 31.4, "loss": 1.93, "learning_rate": 0.001, "grad_norm": 0.81, ...}
    {"step": 20, "stage": "sft", "time": 35.0, "failure_rate": 0.02, "AP50": 0.31, "R@50": 0.12, ...}

completions.jsonl, a few lines per log: {"step", "image_id", "completion", "terms": {"format": 1.0, ...}, "total"}.

warnings.jsonl, a line for each kind of trouble that `r1sgg.training.guards` has seen: {"step", "trouble", "message"}.

`time` is seconds of training, earlier parts of a resumed run included. When a run goes on from a checkpoint, lines of
later steps are cut off: those steps are taken again. It does not replace TRL's own logging (tensorboard and the like),
which goes on in the same run of the same place (`same_trackers`).
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
from r1sgg.rewards.adapters import ScoredBatch


class StepFile:
    """JSON Lines in which each line has a `step`, appended while training goes on."""

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
                "room, then go on from the last checkpoint with --resume"
            ) from error

    def cut(self, step: int) -> list[dict[str, Any]]:
        """Drop the lines after `step`, and a line that was cut off; returns those that stay."""
        if not self.path.exists():
            return []
        kept: list[bytes] = []
        rows: list[dict[str, Any]] = []
        for line in self.path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            row = orjson.loads(line)
            if row["step"] <= step:
                kept.append(line)
                rows.append(row)
        whole = self.path.with_name(self.path.name + ".part")
        whole.write_bytes(b"".join(kept))
        whole.replace(self.path)
        return rows

    def clear(self) -> None:
        """Start anew."""
        self.path.unlink(missing_ok=True)


def begin(file: StepFile, step: int) -> list[dict[str, Any]]:
    """Start a file anew, or cut it where a run goes on after `step`; returns the lines that stay."""
    if step == 0:
        file.clear()
        return []
    return file.cut(step)


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Writes every number that the trainer logs to metrics.jsonl.

    Attributes:
        earlier: the lines of a run that goes on, in every process; set before other callbacks begin.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.file = StepFile(folder / "metrics.jsonl")
        self.stage = stage
        self.earlier: list[dict[str, Any]] = []
        self._start = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.earlier = begin(self.file, state.global_step)
        if getattr(args, "world_size", 1) > 1:
            self.earlier = broadcast_object_list([self.earlier])[0]
        self._start = time.monotonic() - (self.earlier[-1]["time"] if self.earlier else 0.0)

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


class CompletionsLog(TrainerCallback):  # type: ignore[misc]
    """Writes a few sampled completions with their rewards to completions.jsonl at each log."""

    def __init__(self, folder: Path, count: int, weights: Mapping[str, float]) -> None:
        self.file = StepFile(folder / "completions.jsonl")
        self.count = count
        self._weights = weights
        self._rows: list[dict[str, Any]] = []

    def sampled(self, batch: ScoredBatch) -> None:
        """Remember the first completions of the latest batch; an observer of `trl_rewards`."""
        rows = zip(batch.examples[: self.count], batch.texts, batch.scores, strict=False)
        self._rows = [
            {
                "image_id": example.image_id,
                "completion": text,
                "terms": {name: score.terms[name] for name in self._weights},
            }
            for example, text, score in rows
        ]

    def progress(self) -> list[dict[str, Any]]:
        """What waits for the next log, for a checkpoint to keep."""
        return self._rows

    def go_on(self, progress: list[dict[str, Any]]) -> None:
        """Take up what `progress` gave."""
        self._rows = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            begin(self.file, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if not (state.is_world_process_zero and self._rows):
            return
        self.file.append(
            [
                {
                    "step": state.global_step,
                    **row,
                    "total": sum(
                        self._weights[term] * value for term, value in row["terms"].items() if value is not None
                    ),
                }
                for row in self._rows
            ]
        )
        self._rows = []
