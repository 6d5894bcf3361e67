"""What `generate` and `predict` share: loading a model without noise, prompt options, the progress bar.

Imports torch and transformers only inside `load_quietly`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from r1sgg.errors import ConfigError, require

if TYPE_CHECKING:
    from r1sgg.inference.reader import Reader


def answer_settings(prompt: str | None, vocabulary: str | None) -> str | None:
    """The vocabulary that the prompt lists ("open" lists none), or None to do as the checkpoint says.

    Raises:
        ConfigError: options that contradict each other.
        InputError: there is no such vocabulary.
    """
    from r1sgg.graph.vocabulary import load_vocabulary

    if prompt not in (None, "open", "closed"):
        raise ConfigError(f"--prompt: expected open or closed, found {prompt!r}")
    if prompt == "open" and vocabulary not in (None, "open"):
        raise ConfigError(f"--vocabulary {vocabulary}: an open prompt lists no names; use --prompt closed")
    if prompt == "closed" and vocabulary == "open":
        raise ConfigError("--vocabulary open: a closed prompt needs names; use vg150, psg or a file")
    chosen = {"open": "open", "closed": vocabulary or "vg150", None: vocabulary}[prompt]
    if chosen is not None:
        load_vocabulary(chosen)
    return chosen


def load_quietly(
    model: str, device: str | None, dtype: str | None, max_pixels: int | None, vocabulary: str | None
) -> Reader:
    """Load a model for a command: no progress bars of transformers, and the prompt's vocabulary replaced where given.

    Raises:
        ModelError: see `r1sgg.models.families.load_model`.
        MissingDependencyError: torch or transformers is not installed.
    """
    require("torch", "train")
    require("transformers", "train")
    from transformers.utils import logging

    from r1sgg.inference.reader import load

    logging.disable_progress_bar()
    reader = load(model, device=device, dtype=dtype, max_pixels=max_pixels)
    if vocabulary is None:
        return reader
    settings = dataclasses.replace(reader.checkpoint.settings, vocabulary=vocabulary)
    return dataclasses.replace(reader, checkpoint=dataclasses.replace(reader.checkpoint, settings=settings))


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; the function given out takes (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(title, total=None)

    def show(done: int, total: int) -> None:
        bar.start()  # not before there is something to show: a run that is refused prints its one sentence
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if bar.live.is_started:  # stopping prints a line of its own
            bar.stop()
