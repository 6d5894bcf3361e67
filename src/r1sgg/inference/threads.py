"""How many threads torch computes with on a CPU: as many as a model can use, unless somebody has said a number.

A second thread helps where a layer has much to multiply, and costs where it has little: threads wait for each other
after every product. How much there is to multiply depends on the model's width and on how many tokens go through it at
once, so the number is chosen for each pass (docs/speed.md has the measurements). Commands also set OMP_WAIT_POLICY, so
that threads sleep while they wait (`r1sgg.cli.main`); torch's default is to spin.

What the user says wins: an option, OMP_NUM_THREADS, MKL_NUM_THREADS, or a number given to torch.set_num_threads. Torch
doesn't tell whether its number is the default, so a number that equals the default is taken for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

GRAIN = 64_000_000
"""One thread for every so many multiplications of a layer."""
_READING = 16  # reading a weight from memory takes as long as so many multiplications


_before: int | None = None  # torch's number before `Threads` changed it, while it is changed


def _found() -> int:
    return torch.get_num_threads() if _before is None else _before


def chosen_by_user() -> int | None:
    """The number of threads that somebody asked for; None where it is torch's own default."""
    number = _found()
    if os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS"):
        return number
    cores = _usable_cores()
    # torch's default is the number of cores, and some of those that the system counts are the halves of one
    return None if number in (cores, -(-cores // 2)) else number


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def useful_threads(config: Any, tokens: int) -> int:
    """How many threads a model can use in one pass.

    Args:
        config: of a model, or of its language model.
        tokens: that go through it at once.
    """
    return max(1, _layer_weights(config) * (tokens + _READING) // GRAIN)


def _layer_weights(config: Any) -> int:
    text = config.get_text_config()
    weights: int = 4 * text.hidden_size**2 + 3 * text.hidden_size * text.intermediate_size
    return weights


class Threads:
    """The numbers of threads for one model.

    Args:
        model: whose passes they are for.
        number: always so many; None chooses.
    """

    def __init__(self, model: Any, number: int | None = None) -> None:
        self._weights = _layer_weights(model.config)
        self._on_cpu = model.device.type == "cpu"
        self._said = number or chosen_by_user()
        self._most = _found()

    def number(self, tokens: int) -> int:
        """How many threads a pass with so many tokens is computed with."""
        return self._said or min(self._most, max(1, self._weights * (tokens + _READING) // GRAIN))

    def use(self, tokens: int) -> None:
        """Take as many threads from now on, in the calling thread, as a pass with so many tokens can use."""
        if self._on_cpu and (number := self.number(tokens)) != torch.get_num_threads():
            torch.set_num_threads(number)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Within it, `use` may change the number; afterwards it is what it was."""
        global _before
        outer, now = _before, torch.get_num_threads()
        _before = _found()
        try:
            yield
        finally:
            _before = outer
            if torch.get_num_threads() != now:
                torch.set_num_threads(now)
