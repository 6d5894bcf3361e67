"""Run on the cards of this machine: one process for each, which holds the model and makes shard after shard.

    python -m ... generate --workers 8        CUDA_VISIBLE_DEVICES=0, 1, ... 7, one card for each process

The files are those of `r1sgg.bulk.workers`. A process that dies is started again, and its shard is made again. The
processes end when this one does, however it ends: each waits for work on a pipe, which closes then.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from r1sgg.bulk.parts import Shard
from r1sgg.bulk.run import Job, Summary
from r1sgg.bulk.stored import Inputs
from r1sgg.bulk.workers import TRIES, Done, Opener, Work, Worker, run_in_shards
from r1sgg.errors import ConfigError, ModelError

SHARD = 128
"""Images of a shard: a card that is done early should not wait long for the others."""
_GRACE = 10.0  # seconds to end in, before a process is killed
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def run_on_cards(
    inputs: Inputs,
    out: Path,
    opener: Opener,
    job: Job,
    workers: Sequence[str | None],
    shard_size: int = SHARD,
    **files: Any,
) -> Summary:
    """Generate a prediction for every image; the file is the same as from `r1sgg.bulk.run.run`.

    Args:
        inputs: the images; the processes open them by name.
        out: NAME.jsonl, or a folder for parquet shards; resumed if it exists.
        opener: opens the model.
        job: how each image is processed.
        workers: the cards of each process ("0", "0,1"), None: as this process sees them.
        shard_size: images of a shard.
        files: `limit`, `overwrite` and `progress`, see `r1sgg.bulk.workers.run_in_shards`.

    Raises:
        InputError, ModelError: see `run_in_shards`.
    """

    def results(work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        return _results(work, shards, workers)

    return run_in_shards(inputs, out, opener, job, shard_size, "local", results, **files)


def cards_of_workers(workers: int, each: int = 1) -> list[str | None]:
    """Share this machine's cards out.

    Args:
        workers: processes; 0: as many as there are cards for, or one.
        each: cards of a process (vLLM's tensor_parallel_size).

    Returns:
        The cards of each process, see `run_on_cards`.

    Raises:
        ConfigError: more processes than cards.
    """
    import torch

    count = torch.cuda.device_count()
    if not count:
        return [None] * max(workers, 1)
    named = os.environ.get(_VISIBLE)
    cards = named.split(",")[:count] if named else [str(k) for k in range(count)]
    most = len(cards) // each
    if workers > most or not most:
        each_of = f" of {each} cards each" if each > 1 else ""
        raise ConfigError(f"--workers: expected at most {most}{each_of}, because torch sees {count}, found {workers}")
    return [",".join(cards[k * each : (k + 1) * each]) for k in range(workers or most)]


@dataclass
class _Process:
    """A process, the pipe to it, its cards, and the shard that it makes."""

    cards: str | None
    process: Any
    pipe: Connection
    shard: Shard | None = None


def _results(work: Work, shards: Sequence[Shard], workers: Sequence[str | None]) -> Iterator[Done]:
    """Yield what is known of each shard, as they finish."""
    waiting, deaths = deque(shards), dict.fromkeys(shards, 0)
    count = min(len(workers), len(shards))
    running = [_start(work, cards, count) for cards in workers[:count]]
    try:
        for one in running:
            _give(one, waiting)
        while any(one.shard for one in running):
            ready = wait([one.pipe for one in running if one.shard])
            for k, one in enumerate(running):
                if one.pipe not in ready or one.shard is None:
                    continue
                try:
                    done, stopped = one.pipe.recv()
                except (EOFError, ConnectionResetError):  # it died
                    deaths[one.shard] += 1
                    if deaths[one.shard] >= TRIES:
                        work.tries(one.shard).unlink(missing_ok=True)  # so that the next run tries the shard again
                        last = one.shard.start + one.shard.images - 1
                        raise ModelError(
                            f"images {one.shard.start} to {last}: {TRIES} processes died while they processed them"
                        ) from None
                    waiting.appendleft(one.shard)
                    _end(one)
                    running[k] = one = _start(work, one.cards, count)
                else:
                    if stopped:
                        raise ModelError(stopped)
                    yield done
                _give(one, waiting)
    finally:
        for one in running:
            _end(one)


def _give(one: _Process, waiting: deque[Shard]) -> None:
    """Hand the next shard to a process; one that has died says so when its answer is read."""
    one.shard = waiting.popleft() if waiting else None
    if one.shard is not None:
        with contextlib.suppress(BrokenPipeError):
            one.pipe.send(one.shard)


def _start(work: Work, cards: str | None, count: int) -> _Process:
    context = multiprocessing.get_context("spawn")  # a fork would share the CUDA context
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, cards, count, theirs), daemon=False)  # vLLM starts processes
    process.start()
    theirs.close()
    return _Process(cards, process, ours)


def _end(one: _Process) -> None:
    one.pipe.close()
    if one.shard is not None:
        one.process.terminate()
    one.process.join(_GRACE)
    if one.process.is_alive():
        one.process.kill()
        one.process.join()


def _serve(work: Work, cards: str | None, count: int, pipe: Connection) -> None:
    """Make shard after shard in a process of its own, until the pipe closes."""
    if cards is not None:
        os.environ[_VISIBLE] = cards  # before torch is imported
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    worker = Worker(work)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            pipe.send(worker.make(pipe.recv()))
    worker.close()
