"""Batches of requests: all images that wait when the model becomes free are answered together.

One thread runs the model. The queue has a fixed number of places. A request reserves its places before its images are
decoded, and is refused (429) if there are too few. No image is delayed to fill a batch: while one batch runs, the next
one forms. Requests with different options never share a batch. If a client disconnects, its images leave the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from PIL import Image

from r1sgg.errors import ConfigError, ModelError, R1SGGError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reading

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How an image is read; requests with equal options can share a batch."""

    sampling: Sampling
    guide: bool = True
    samples: int = 1
    scores: bool = False


class ReadsBatches(Protocol):
    """The methods of `r1sgg.inference.reader.Reader` that the batches use."""

    def read_batch(
        self,
        images: list[Image.Image],
        sampling: Sampling | None = None,
        *,
        keys: list[str] | None = None,
        guide: bool = False,
        samples: int = 1,
        scores: bool = False,
    ) -> list[Reading]: ...

    def stream(
        self, image: Image.Image, sampling: Sampling | None = None, *, guide: bool = False
    ) -> Iterator[Reading]: ...


class Busy(R1SGGError):
    """The queue is full; the client can try again later."""


class Closed(R1SGGError):
    """The server is shutting down."""


@dataclass(slots=True, eq=False)
class _Request:
    """One image in the queue; `image` is None until it is decoded."""

    options: Options
    image: Image.Image | None = None
    partial: Callable[[Reading], None] | None = None
    answer: asyncio.Future[Reading] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def give(self, reading: Reading) -> None:
        if not self.answer.done():
            self.answer.set_result(reading)

    def fail(self, error: BaseException) -> None:
        if not isinstance(error, R1SGGError):
            _log.error("the model failed on a batch", exc_info=error)
        if not self.answer.done():
            self.answer.set_exception(error)


class Reservation:
    """The places of one request in the queue. Leaving the block releases the places without an answer."""

    def __init__(self, batcher: Batcher, waiting: list[_Request]) -> None:
        self._batcher, self._waiting = batcher, waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for place in self._waiting:
            self._release(place)

    def set_image(self, place: int, image: Image.Image) -> None:
        """Put a decoded image into its place, where it waits for the model."""
        self._waiting[place].image = image
        self._batcher._filled.set()

    def release(self, place: int) -> None:
        """Free a place whose image cannot be decoded."""
        self._release(self._waiting[place])

    async def reading(self, place: int) -> Reading:
        """Wait for the reading of an image.

        Raises:
            Closed: the server is shutting down.
            R1SGGError: the model cannot answer this image or these options.
        """
        return await self._waiting[place].answer

    async def stream(self, image: Image.Image) -> AsyncIterator[Reading]:
        """Yield readings of the only image while the model writes, the complete one last.

        No other image shares its batch. If the consumer is slower than the model, it gets the newest reading only.

        Raises:
            Closed, R1SGGError: see `reading`.
        """
        (place,) = self._waiting
        loop, newest, news = asyncio.get_running_loop(), deque[Reading](maxlen=1), asyncio.Event()

        def hear(part: Reading) -> None:  # in the model's thread
            newest.append(part)
            loop.call_soon_threadsafe(news.set)

        place.partial = hear
        place.answer.add_done_callback(lambda _: news.set())
        self.set_image(0, image)
        while not place.answer.done():
            await news.wait()
            news.clear()
            if newest and not place.answer.done():
                yield newest.pop()
        yield place.answer.result()

    def _release(self, place: _Request) -> None:
        if not place.answer.done():
            place.answer.cancel()
        with contextlib.suppress(ValueError):  # the model has it
            self._batcher.waiting.remove(place)


class Batcher:
    """Answers images in batches, on one thread. It belongs to the event loop on which it was started.

    Attributes:
        waiting: the places of the queue that are in use.
    """

    def __init__(
        self,
        reader: ReadsBatches,
        *,
        most: int = 16,
        queue: int = 64,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """Create the queue; nothing runs before `start`.

        Args:
            reader: the model.
            most: most images in a batch.
            queue: number of places in the queue.
            on_batch: called with the size and the wall seconds of each batch.
        """
        self._reader, self._most, self._limit, self._on_batch = reader, most, queue, on_batch
        self.waiting: deque[_Request] = deque()
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "r1sgg-model")
        self._loop: asyncio.Task[None] | None = None
        self._running: list[_Request] = []
        self._pass: asyncio.Future[list[Reading]] | None = None

    @property
    def busy(self) -> bool:
        """Whether the model is running."""
        return self._pass is not None and not self._pass.done()

    async def start(self) -> None:
        """Start to answer requests."""
        self._loop = asyncio.create_task(self._serve(), name="r1sgg-batches")

    async def stop(self, seconds: float) -> None:
        """Refuse the images that wait, and wait at most so many seconds for the batch that is running."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
            self._loop = None
        for request in (*self.waiting, *self._running):
            request.fail(Closed("the server is shutting down"))
        self.waiting.clear()
        if self._pass is not None:
            await asyncio.wait([self._pass], timeout=seconds)
            if self._pass.done():
                self._pass.exception()  # otherwise asyncio logs that nobody retrieved it
        self._thread.shutdown(wait=False, cancel_futures=True)

    def reserve(self, count: int, options: Options) -> Reservation:
        """Reserve places for the images of one request: all or none.

        Raises:
            Busy: too few places are free.
            ConfigError: the queue has fewer places.
            Closed: the server is shutting down.
        """
        if self._loop is None:
            raise Closed("the server is shutting down")
        if count > self._limit:
            raise ConfigError(f"images: expected at most {self._limit}, the queue's size, found {count}; send fewer")
        if len(self.waiting) + count > self._limit:
            raise Busy(f"{len(self.waiting)} images are waiting and {self._limit} is the limit; come back later")
        places = [_Request(options) for _ in range(count)]
        self.waiting.extend(places)
        return Reservation(self, places)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._filled.wait()
            if not (batch := self._next()):
                self._filled.clear()
                continue
            self._running = batch
            begun = loop.time()
            answered = self._pass = loop.run_in_executor(self._thread, self._read, batch)
            await asyncio.wait([answered])
            if (error := answered.exception()) is None:
                for request, reading in zip(batch, answered.result(), strict=True):
                    request.give(reading)
            elif len(batch) == 1:
                batch[0].fail(error)
            else:  # one image failed: answer each alone, so that only that one fails
                for request in batch:
                    await self._alone(request)
            self._running = []
            self._on_batch(len(batch), loop.time() - begun)

    async def _alone(self, request: _Request) -> None:
        if request.answer.done():
            return
        answered = self._pass = asyncio.get_running_loop().run_in_executor(self._thread, self._read, [request])
        await asyncio.wait([answered])
        if (error := answered.exception()) is None:
            request.give(answered.result()[0])
        else:
            request.fail(error)

    def _next(self) -> list[_Request]:
        """Remove the next batch from the queue: the oldest image, and others with the same options."""
        batch: list[_Request] = []
        for request in self.waiting:
            if request.image is None or len(batch) == self._most:
                continue
            if not batch or (request.options == batch[0].options and not (request.partial or batch[0].partial)):
                batch.append(request)
        for request in batch:
            self.waiting.remove(request)
        return batch

    def _read(self, batch: list[_Request]) -> list[Reading]:
        """Run the model, in its thread."""
        options, first = batch[0].options, batch[0]
        images = [request.image for request in batch if request.image is not None]
        if first.partial is None:
            # the same key for every image: a completion does not depend on the other images of the batch
            return self._reader.read_batch(
                images,
                options.sampling,
                keys=["0"] * len(batch),
                guide=options.guide,
                samples=options.samples,
                scores=options.scores,
            )
        reading: Reading | None = None
        for reading in self._reader.stream(images[0], options.sampling, guide=options.guide):
            if first.answer.done():  # the client has disconnected
                break
            first.partial(reading)
        if reading is None:
            raise ModelError("expected a completion, found that the model wrote nothing")
        return [reading]
