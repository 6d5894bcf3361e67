"""Make the pieces of a work in processes of this machine, one for each card (or set of cards).

    for piece, result in in_processes(maker, pieces, ["0", "1"], str):     # CUDA_VISIBLE_DEVICES=0 and 1

A process holds its own copy of the maker, and with it the model, and makes piece after piece. One that dies is started
again, and its piece is made again. All of them end when this process does, however it ends: each waits for work on a
pipe, which closes then. What a piece is, and what is written, is not decided here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

from r1sgg.errors import ConfigError, ModelError

Piece = TypeVar("Piece", bound=Hashable)
Result = TypeVar("Result")
_PieceIn = TypeVar("_PieceIn", contravariant=True)
_ResultOut = TypeVar("_ResultOut", covariant=True)

TRIES = 3
"""Processes that may die on one piece; then the piece is taken to be the cause, and the run stops."""
_GRACE = 10.0  # seconds to end in, before a process is killed
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Maker(Protocol[_PieceIn, _ResultOut]):
    """Makes pieces in a process of its own, to which it is sent; it opens its model there, for the first piece."""

    def make(self, piece: _PieceIn) -> tuple[_ResultOut, str]:
        """Return the result, and a sentence if the run must stop ("" if not)."""
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


def cards_of_workers(workers: int, each: int = 1, device: str | None = None) -> list[str | None]:
    """Share this machine's cards out.

    Args:
        workers: processes; 0: as many as there are cards for, or one.
        each: cards of a process (vLLM's tensor_parallel_size).
        device: what the user asked for; "cpu" needs no card.

    Returns:
        The cards of each process ("0", "0,1"); None: as this process sees them.

    Raises:
        ConfigError: more processes than cards, or one certain card for all of them.
    """
    if device not in (None, "cpu", "cuda"):
        raise ConfigError(
            f"--device {device}: expected cpu or cuda with --workers, because each process has a card of its own; "
            f"{_VISIBLE} chooses among them"
        )
    if device == "cpu":
        return [None] * max(workers, 1)
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
class _Process(Generic[Piece]):
    """A process, the pipe to it, its cards, and the piece that it makes."""

    cards: str | None
    process: Any
    pipe: Connection
    piece: Piece | None = None


def in_processes(
    maker: Maker[Piece, Result],
    pieces: Sequence[Piece],
    workers: Sequence[str | None],
    called: Callable[[Piece], str],
    given_up: Callable[[Piece], None] = lambda piece: None,
) -> Iterator[tuple[Piece, Result]]:
    """Yield each piece with its result, as they are finished.

    Args:
        maker: sent to each process.
        pieces: begun in this order.
        workers: the cards of each process, see `cards_of_workers`.
        called: what a piece is called in a message ("images 0 to 127").
        given_up: called with a piece on which too many processes died.

    Raises:
        ModelError: the maker stopped the run, or `TRIES` processes died on one piece.
    """
    waiting, deaths = deque(pieces), dict.fromkeys(pieces, 0)
    count = min(len(workers), len(pieces))
    running: list[_Process[Piece]] = [_start(maker, cards, count) for cards in workers[:count]]
    try:
        for one in running:
            _give(one, waiting)
        while any(one.piece is not None for one in running):
            ready = wait([one.pipe for one in running if one.piece is not None])
            for k, one in enumerate(running):
                if one.pipe not in ready or one.piece is None:
                    continue
                piece = one.piece
                try:
                    result, stopped = one.pipe.recv()
                except (EOFError, ConnectionResetError):  # it died
                    deaths[piece] += 1
                    if deaths[piece] >= TRIES:
                        given_up(piece)
                        raise ModelError(f"{called(piece)}: {TRIES} processes died while they processed them") from None
                    waiting.appendleft(piece)
                    _end(one)
                    running[k] = one = _start(maker, one.cards, count)
                else:
                    if stopped:
                        raise ModelError(stopped)
                    yield piece, result
                _give(one, waiting)
    finally:
        for one in running:
            _end(one)


def _give(one: _Process[Piece], waiting: deque[Piece]) -> None:
    """Hand the next piece to a process; one that has died says so when its answer is read."""
    one.piece = waiting.popleft() if waiting else None
    if one.piece is not None:
        with contextlib.suppress(BrokenPipeError):
            one.pipe.send(one.piece)


def _start(maker: Maker[Any, Any], cards: str | None, count: int) -> _Process[Any]:
    context = multiprocessing.get_context("spawn")  # a fork would share the CUDA context
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(maker, cards, count, theirs), daemon=False)  # vLLM starts processes
    process.start()
    theirs.close()
    return _Process(cards, process, ours)


def _end(one: _Process[Any]) -> None:
    one.pipe.close()
    if one.piece is not None:
        one.process.terminate()
    one.process.join(_GRACE)
    if one.process.is_alive():
        one.process.kill()
        one.process.join()


def _serve(maker: Maker[Any, Any], cards: str | None, count: int, pipe: Connection) -> None:
    """Make piece after piece in a process of its own, until the pipe closes."""
    if cards is not None:
        os.environ[_VISIBLE] = cards  # before torch is imported
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            pipe.send(maker.make(pipe.recv()))
    maker.close()
