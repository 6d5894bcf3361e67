"""Requests become batches: images that wait when the model is free are answered together.

One thread runs the model. The queue has a bounded number of places. A request takes its places before its images are
decoded, and is refused (429) where there are too few. Nothing is delayed on purpose: while a batch runs, the next one
gathers. Requests with different options never share a batch. A request whose client has gone leaves the queue at once.
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
    """How an image is to be read; requests with equal options may share a batch."""

    sampling: Sampling
    guide: bool = True
    samples: int = 1
    scores: bool = False


class ReadsBatches(Protocol):
    """What batches need of `r1sgg.inference.reader.Reader`."""

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
    """The queue is full; the client should come back later."""


class Closed(R1SGGError):
    """The server is shutting down."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A place in the queue; it has no image until that is decoded."""

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


class Places:
    """The places of one request in the queue, in its order; leaving the block gives up those without an answer."""

    def __init__(self, batcher: Batcher, waiting: list[_Waiting]) -> None:
        self._batcher, self._waiting = batcher, waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for place in self._waiting:
            self._give_up(place)

    def fill(self, place: int, image: Image.Image) -> None:
        """Let an image wait for the model."""
        self._waiting[place].image = image
        self._batcher._filled.set()

    def give_up(self, place: int) -> None:
        """There is no image for this place."""
        self._give_up(self._waiting[place])

    async def answer(self, place: int) -> Reading:
        """The reading of the image at a place.

        Raises:
            Closed: the server is shutting down.
            R1SGGError: the image or the options can't be answered.
        """
        return await self._waiting[place].answer

    async def stream(self, image: Image.Image) -> AsyncIterator[Reading]:
        """Readings of the only place's answer while it is written, the whole one last; it runs in a batch of its own.

        Where readings come faster than they are taken, those in between are left out.

        Raises:
            Closed, R1SGGError: as `answer`.
        """
        (place,) = self._waiting
        loop, newest, news = asyncio.get_running_loop(), deque[Reading](maxlen=1), asyncio.Event()

        def hear(part: Reading) -> None:  # in the model's thread
            newest.append(part)
            loop.call_soon_threadsafe(news.set)

        place.partial = hear
        place.answer.add_done_callback(lambda _: news.set())
        self.fill(0, image)
        while not place.answer.done():
            await news.wait()
            news.clear()
            if newest and not place.answer.done():
                yield newest.pop()
        yield place.answer.result()

    def _give_up(self, place: _Waiting) -> None:
        if not place.answer.done():
            place.answer.cancel()
        with contextlib.suppress(ValueError):  # the model has it
            self._batcher.waiting.remove(place)


class Batcher:
    """Answers images in batches, on one thread. Belongs to the event loop that it was started on.

    Attributes:
        waiting: places of the queue that are taken now.
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
            queue: places of the queue.
            on_batch: told the size and the wall seconds of each batch.
        """
        self._reader, self._most, self._limit, self._on_batch = reader, most, queue, on_batch
        self.waiting: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "r1sgg-model")
        self._loop: asyncio.Task[None] | None = None
        self._running: list[_Waiting] = []
        self._pass: asyncio.Future[list[Reading]] | None = None

    @property
    def busy(self) -> bool:
        """Whether the model runs now."""
        return self._pass is not None and not self._pass.done()

    async def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.create_task(self._serve(), name="r1sgg-batches")

    async def stop(self, seconds: float) -> None:
        """Refuse what waits, and end after the batch that is running, or after so many seconds without it."""
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
                self._pass.exception()  # nobody waits for it any more
        self._thread.shutdown(wait=False, cancel_futures=True)

    def take(self, count: int, options: Options) -> Places:
        """Places for so many images of one request: all or none.

        Raises:
            Busy: too few are free.
            ConfigError: the queue has fewer.
            Closed: the server is shutting down.
        """
        if self._loop is None:
            raise Closed("the server is shutting down")
        if count > self._limit:
            raise ConfigError(f"expected at most {self._limit} images, the queue's places, found {count}; send fewer")
        if len(self.waiting) + count > self._limit:
            raise Busy(f"{len(self.waiting)} images are waiting and {self._limit} is the limit; come back later")
        places = [_Waiting(options) for _ in range(count)]
        self.waiting.extend(places)
        return Places(self, places)

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
            else:  # one image of them can't be answered: each by itself, so that only that one fails
                for request in batch:
                    await self._alone(request)
            self._running = []
            self._on_batch(len(batch), loop.time() - begun)

    async def _alone(self, request: _Waiting) -> None:
        if request.answer.done():
            return
        answered = self._pass = asyncio.get_running_loop().run_in_executor(self._thread, self._read, [request])
        await asyncio.wait([answered])
        if (error := answered.exception()) is None:
            request.give(answered.result()[0])
        else:
            request.fail(error)

    def _next(self) -> list[_Waiting]:
        """The next batch: the oldest image that waits, and others with its options."""
        batch: list[_Waiting] = []
        for request in self.waiting:
            if request.image is None or len(batch) == self._most:
                continue
            if not batch or (request.options == batch[0].options and not (request.partial or batch[0].partial)):
                batch.append(request)
        for request in batch:
            self.waiting.remove(request)
        return batch

    def _read(self, batch: list[_Waiting]) -> list[Reading]:
        """In the model's thread."""
        options, first = batch[0].options, batch[0]
        images = [request.image for request in batch if request.image is not None]
        if first.partial is None:
            # the same key for every image: what a client gets does not depend on who else is in the batch
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
            if first.answer.done():  # nobody listens any more
                break
            first.partial(reading)
        if reading is None:
            raise ModelError("the model wrote nothing")
        return [reading]
