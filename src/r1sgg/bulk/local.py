"""Run on the cards of this machine: one process for each, which holds the model and makes shard after shard.

    python -m ... generate --workers 8        CUDA_VISIBLE_DEVICES=0, 1, ... 7, one card for each process

The files are those of `r1sgg.bulk.workers`, the processes those of `r1sgg.bulk.processes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from r1sgg.bulk.parts import Shard
from r1sgg.bulk.processes import in_processes
from r1sgg.bulk.run import Job, Summary
from r1sgg.bulk.stored import Inputs
from r1sgg.bulk.workers import Done, Opener, Work, Worker, run_in_shards

SHARD = 128
"""Images of a shard: a card that is done early should not wait long for the others."""


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
        workers: the cards of each process, see `r1sgg.bulk.processes.cards_of_workers`.
        shard_size: images of a shard.
        files: `limit`, `overwrite` and `progress`, see `r1sgg.bulk.workers.run_in_shards`.

    Raises:
        InputError, ModelError: see `run_in_shards`.
    """

    def results(work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        def forget_tries(shard: Shard) -> None:
            work.tries(shard).unlink(missing_ok=True)  # so that the next run tries the shard again

        for _, done in in_processes(Worker(work), shards, workers, _called, forget_tries):
            yield done

    return run_in_shards(inputs, out, opener, job, shard_size, "local", results, **files)


def _called(shard: Shard) -> str:
    return f"images {shard.start} to {shard.start + shard.images - 1}"
