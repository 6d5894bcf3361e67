"""What a person reads while a run trains: a line per log and per evaluation, in place of transformers' dictionaries.

    step 20 of 60: reward 1.93, failures 4.4 %, R@50 26.6, 0:12:34 left
    step 20: evaluation of 200 images: failures 0.5 %, AP50 80.1, R@50 54.9, mR@50 31.2, precision 82.4

Failures are those of the completions sampled since the last line, else of the last evaluation; R@50 is that of the last
evaluation. All numbers are in metrics.jsonl.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from r1sgg.training.logs import MetricsLog
from r1sgg.training.validation import Answer, validations

Say = Callable[[str], None]

_FIGURES = ("AP50", "R@50", "mR@50", "precision")


class Progress(TrainerCallback):  # type: ignore[misc]
    """Prints the lines, in the first process.

    Args:
        log: of the run, which knows the evaluations before a run was resumed.
        say: prints a line.
        clock: seconds.
    """

    def __init__(self, log: MetricsLog, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self.log, self.say, self._clock = log, say, clock
        self._began = (0, 0.0)
        self._last: Mapping[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if earlier := validations(self.log.earlier):
            self._last = earlier[-1]
        self._began = (state.global_step, self._clock())

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        if (own := logs.get("eval_loss")) is not None:  # TRL's own evaluation (eval_strategy)
            self.say(f"step {state.global_step}: evaluation: loss {own:.4g}")
        if "loss" not in logs:
            return
        shown = "reward" if "reward" in logs else "loss"
        parts = [f"{shown} {logs[shown]:.4g}"]
        failed = logs.get("completions/failure_rate", self._last.get("failure_rate"))
        parts += [] if failed is None else [f"failures {100 * failed:.1f} %"]
        if (recall := self._last.get("R@50")) is not None:
            parts.append(f"R@50 {100 * recall:.1f}")
        parts.append(f"{self._left(state.global_step, state.max_steps)} left")
        self.say(f"step {state.global_step} of {state.max_steps}: {', '.join(parts)}")

    def on_validation(
        self, args: Any, state: Any, control: Any, numbers: Mapping[str, float], answers: Sequence[Answer]
    ) -> None:
        """Print the figures of an evaluation."""
        self._last = numbers
        if not state.is_world_process_zero or not numbers:
            return
        parts = [f"failures {100 * numbers['failure_rate']:.1f} %"]
        parts += [f"{name} {100 * value:.1f}" for name in _FIGURES if (value := numbers.get(name)) is not None]
        images = f"{len(answers):,} image{'' if len(answers) == 1 else 's'}"
        self.say(f"step {state.global_step}: evaluation of {images}: {', '.join(parts)}")

    def _left(self, step: int, steps: int) -> str:
        """The time left as h:mm:ss, by the mean of the steps so far in this process."""
        first, since = self._began
        left = round((self._clock() - since) / max(step - first, 1) * (steps - step))
        return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"


class Bar(ProgressCallback):  # type: ignore[misc]
    """The bar of transformers on a terminal, without the dictionaries that it prints."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print nothing."""


def show_progress(trainer: Any, progress: Progress) -> None:
    """Let a trainer print our lines instead of its own; on a terminal a bar stays below them."""
    for own in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(own)
    if not trainer.args.disable_tqdm:
        plain = progress.say

        def above_the_bar(text: str) -> None:
            with tqdm.external_write_mode(file=sys.stderr):
                plain(text)

        progress.say = above_the_bar
        trainer.add_callback(Bar)
    trainer.add_callback(progress)
