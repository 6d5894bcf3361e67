"""Probe a model on the cards of this machine: one process for each, which holds the model and asks window after window.

The processes are those of `r1sgg.bulk.processes`. They send the answers of a window back, and `r1sgg.probing.run`
writes the windows in order, so the file is that of one process, and either resumes the other's run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1sgg.bulk.processes import in_processes
from r1sgg.bulk.run import WINDOW
from r1sgg.bulk.workers import Opener
from r1sgg.errors import InputError, R1SGGError
from r1sgg.inference.reader import Reader
from r1sgg.probing.asking import Asker
from r1sgg.probing.plan import Probe
from r1sgg.probing.run import Lines

Answered = tuple[list[dict[str, Any]], float]


class CardAsker:
    """Opens the model in the process that it was sent to, and asks the questions there.

    Args:
        ground_truth: what the questions are made of, once more in each process.
        opener: opens the model.
        probe: how the model is probed.
        batch_size: questions per batch.
        expected: hash of the questions.
    """

    def __init__(self, ground_truth: Path, opener: Opener, probe: Probe, batch_size: int, expected: str) -> None:
        self._ground_truth, self._opener, self._probe = ground_truth, opener, probe
        self._batch_size, self._expected = batch_size, expected
        self._reader: Reader | None = None
        self._asker: Asker | None = None

    def make(self, start: int) -> tuple[Answered, str]:
        """Ask a window; an error that stops the run is a sentence, the second value ("" for none)."""
        try:
            if self._asker is None:
                self._asker = self._open()
            return self._asker.window(start), ""
        except R1SGGError as error:  # could not be unpickled elsewhere: InputError takes keywords
            return ([], 0.0), str(error)

    def _open(self) -> Asker:
        questions = self._probe.questions(self._ground_truth)
        if questions.hash != self._expected:
            raise InputError(
                str(self._ground_truth),
                expected=f"the questions {self._expected} of the start",
                found=f"{questions.hash}; the file was changed during the run",
            )
        self._reader = self._opener.open()
        return Asker(self._reader.checkpoint, self._reader.engine, self._probe, questions, self._batch_size)

    def close(self) -> None:
        """Let go of the model."""
        if self._reader is not None:
            self._reader.close()


def ask_on_cards(asker: CardAsker, starts: Sequence[int], workers: Sequence[str | None], batch_size: int) -> Lines:
    """Yield the answers of each window, in order, whichever process was the first to finish.

    Args:
        asker: sent to each process.
        starts: the first task of each window.
        workers: the cards of each process, see `r1sgg.bulk.processes.cards_of_workers`.
        batch_size: questions per batch.

    Raises:
        ModelError: a process cannot continue; the windows yielded so far stay.
    """
    held: dict[int, Answered] = {}
    coming = iter(starts)
    expected = next(coming, None)

    def called(start: int) -> str:
        return f"answers {start} to {start + WINDOW * batch_size - 1}"

    for start, answered in in_processes(asker, starts, workers, called):
        held[start] = answered
        while expected in held:
            yield held.pop(expected)
            expected = next(coming, None)
