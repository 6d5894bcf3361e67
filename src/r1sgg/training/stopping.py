"""SIGTERM and SIGINT save a checkpoint at the next step, and the command exits with 143 or 130 (128 + the signal).

A queue that ends a job sends SIGTERM some seconds before SIGKILL; with `requeue` the same command then resumes where it
was stopped. A second Ctrl-C stops at once, without saving. Nothing but the checkpoint is written: the end of the run is
not here, so no final evaluation is made.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """A signal came and the step after it is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """Saves and stops at the end of a step during which a signal came, in all processes at the same step.

    Attributes:
        trainer: the trainer that calls this; set it once it is made.
    """

    trainer: Any = None

    def __init__(self) -> None:
        self._received: int | None = None
        self._stopping = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals inside the block; only the main thread of a program can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A launcher passes Ctrl-C on to processes that the terminal has sent it to already.
        if number == self._received == signal.SIGINT and self.trainer.args.world_size == 1:
            raise KeyboardInterrupt
        self._received = self._received or number

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        received = self._received is not None
        if args.world_size > 1:
            count = torch.tensor(int(received), device=args.device)
            received = bool(self.trainer.accelerator.reduce(count, "sum").item())
        if received:
            self._stopping = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._stopping:
            number = self._received or signal.SIGTERM
            if state.is_world_process_zero:
                name = signal.Signals(number).name
                _log.warning(
                    "stopped by %s after step %d, which is saved; go on with --resume", name, state.global_step
                )
            raise Stopped(number)
