"""Requests become batches: what is waiting when the model is free is answered together.

One thread runs the model. A request waits in a queue of bounded length; a full queue refuses (429) instead of growing.
Nothing is delayed on purpose: while a batch runs, the next one gathers. Requests with different options never share a
batch. A request whose client has gone is dropped before it costs a model pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image

from r1sgg.errors import ModelError, R1SGGError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reading

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How an image is to be read; requests with equal options may share a batch."""

    sampling: Sampling
    guide: bool = True
    samples: int = 1


class ReadsBatches(Protocol):
    """What the server needs of `r1sgg.inference.reader.Reader`."""

    def read_batch(
        self,
        images: list[Image.Image],
        sampling: Sampling | None = None,
        *,
        keys: list[str] | None = None,
        guide: bool = False,
        samples: int = 1,
    ) -> list[Reading]: ...

    def stream(
        self, image: Image.Image, sampling: Sampling | None = None, *, guide: bool = False
    ) -> Iterator[Reading]: ...


class Busy(R1SGGError):
    """The queue is full; the client should come back later."""


class Closed(R1SGGError):
    """The server is shutting down."""


@dataclass(slots=True, eq=False)
class _Waiting:
    image: Image.Image
    options: Options
    answer: asyncio.Future[Reading] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    partial: Callable[[Reading], None] | None = None

    def give(self, reading: Reading) -> None:
        if not self.answer.done():
            self.answer.set_result(reading)

    def fail(self, error: BaseException) -> None:
        if not isinstance(error, R1SGGError):
            _log.error("the model failed on a batch", exc_info=error)
        if not self.answer.done():
            self.answer.set_exception(error)


class Batcher:
    """Answers images in batches, on one thread. Belongs to the event loop that it was started on.

    Attributes:
        waiting: requests in the queue now.
    """

    def __init__(
        self,
        reader: ReadsBatches,
        *,
        most: int = 16,
        queue: int = 64,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            reader: who answers.
            most: most images in a batch.
            queue: most images that wait.
            on_batch: told the size and the wall seconds of each batch.
        """
        self._reader, self._most, self._limit, self._on_batch = reader, most, queue, on_batch
        self.waiting: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "r1sgg-model")
        self._loop: asyncio.Task[None] | None = None
        self._running: list[_Waiting] = []

    async def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.create_task(self._serve(), name="r1sgg-batches")

    async def stop(self) -> None:
        """Refuse what waits and end after the batch that is running."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
            self._loop = None
        for request in (*self.waiting, *self._running):
            request.fail(Closed("the server is shutting down"))
        self.waiting.clear()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def submit(self, image: Image.Image, options: Options) -> Reading:
        """The reading of an image; cancelling it takes it out of the queue.

        Raises:
            Busy: the queue is full.
            Closed: the server is shutting down.
            R1SGGError: the image or the options can't be answered.
        """
        (reading,) = await self.submit_all([image], options)
        return reading

    async def submit_all(self, images: list[Image.Image], options: Options) -> list[Reading]:
        """Several images of one request: all are taken or none; in order."""
        requests = [_Waiting(image, options) for image in images]
        self._enqueue(requests)
        try:
            return await asyncio.gather(*(request.answer for request in requests))
        finally:
            for request in requests:
                if not request.answer.done():
                    request.answer.cancel()

    async def stream(self, image: Image.Image, options: Options) -> AsyncIterator[Reading]:
        """Readings of the answer while it is written, the whole one last; it runs in a batch of its own.

        Raises:
            Busy, Closed, R1SGGError: as `submit`.
        """
        parts: asyncio.Queue[Reading | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        request = _Waiting(image, options, partial=lambda part: _hand_over(loop, parts, part))
        request.answer.add_done_callback(lambda _: parts.put_nowait(None))
        self._enqueue([request])
        try:
            while (part := await parts.get()) is not None:
                yield part
            yield request.answer.result()
        finally:
            request.answer.cancel()

    def _enqueue(self, requests: list[_Waiting]) -> None:
        if self._loop is None:
            raise Closed("the server is not running")
        if len(self.waiting) + len(requests) > self._limit:
            raise Busy(f"{len(self.waiting)} images are waiting and {self._limit} is the limit: come back later")
        self.waiting.extend(requests)
        self._filled.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._filled.wait()
            if not (batch := self._next()):
                self._filled.clear()
                continue
            self._running = batch
            begun = loop.time()
            answered = loop.run_in_executor(self._thread, self._read, batch)
            await asyncio.wait([answered])
            if (error := answered.exception()) is None:
                for request, reading in zip(batch, answered.result(), strict=True):
                    request.give(reading)
            elif len(batch) == 1:
                batch[0].fail(error)
            else:  # one image of them can't be answered: each by itself, so that only that one fails
                for request in batch:
                    await self._alone(request)
            self._running = []
            self._on_batch(len(batch), loop.time() - begun)

    async def _alone(self, request: _Waiting) -> None:
        if request.answer.done():
            return
        answered = asyncio.get_running_loop().run_in_executor(self._thread, self._read, [request])
        await asyncio.wait([answered])
        if (error := answered.exception()) is None:
            request.give(answered.result()[0])
        else:
            request.fail(error)

    def _next(self) -> list[_Waiting]:
        """The next batch: the oldest request that somebody still waits for, and others with its options."""
        batch: list[_Waiting] = []
        kept: deque[_Waiting] = deque()
        while self.waiting and len(batch) < self._most:
            request = self.waiting.popleft()
            if request.answer.done():
                continue
            if batch and (request.options != batch[0].options or request.partial or batch[0].partial):
                kept.append(request)
            else:
                batch.append(request)
        kept.extend(self.waiting)
        self.waiting = kept
        return batch

    def _read(self, batch: list[_Waiting]) -> list[Reading]:
        """In the model's thread."""
        options, first = batch[0].options, batch[0]
        if first.partial is None:
            # the same key for every image: what a client gets does not depend on who else is in the batch
            return self._reader.read_batch(
                [request.image for request in batch],
                options.sampling,
                keys=["0"] * len(batch),
                guide=options.guide,
                samples=options.samples,
            )
        reading: Reading | None = None
        for reading in self._reader.stream(first.image, options.sampling, guide=options.guide):
            if first.answer.done():  # nobody listens any more
                break
            first.partial(reading)
        if reading is None:
            raise ModelError("the model wrote nothing")
        return [reading]


def _hand_over(loop: asyncio.AbstractEventLoop, parts: asyncio.Queue[Reading | None], part: Reading) -> None:
    loop.call_soon_threadsafe(parts.put_nowait, part)
