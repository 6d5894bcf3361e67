"""Decoding of images in separate processes, within a budget of bytes.

A few processes (`r1sgg.serving.reducing` describes the protocol) decode one image each. An image waits until the bytes
that it needs are free in the budget, and is refused if it needs more than the whole budget. A process that takes too
long, or whose request ends, is killed; the next image starts a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from r1sgg.errors import ImageError, R1SGGError

Size = tuple[int, int]

STEP_SECONDS = 30.0
"""Time limit of one step of the protocol. The slowest images, of 40 million pixels, took about a second."""

_PROCESSES = 2
_START_SECONDS = 60.0
_SHOWN = 200  # characters of an image's name in a message


class DecoderError(R1SGGError):
    """A decoding process does not start."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes of an image.

    Attributes:
        name: the image's name in the request.
        length: number of bytes.
        parts: the bytes, in parts; they are read once.
    """

    name: str
    length: int
    parts: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A reduced, upright RGB image, and its width and height before reduction."""

    image: Image.Image
    size: Size


class Budget:
    """A number of bytes that can be reserved, in the order of the requests.

    Attributes:
        most: all bytes.
        taken: reserved bytes.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[None]:
        """Wait until so many bytes (at most `most`) are free, and reserve them for the block."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        self._serve()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():  # also if the wait was cancelled after its turn had come
                self.taken -= amount
            turn.cancel()
            self._serve()

    def _serve(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.done():
                if self.taken + amount > self.most:
                    return
                self.taken += amount
                turn.set_result(None)
            self._waiting.popleft()


class Decoder:
    """Decodes and reduces images. It belongs to the event loop on which it was started."""

    def __init__(self, fit: Callable[[Size], Size], *, max_pixels: int, budget: int) -> None:
        """Create the decoder; nothing runs before `start`.

        Args:
            fit: maps upright width and height of an image to those after reduction; may raise `ImageError`.
            max_pixels: larger images are refused.
            budget: bytes that all images together may need while they are decoded.
        """
        self._fit, self._max_pixels = fit, max_pixels
        self.budget = Budget(budget)
        self._processes = [_DecodingProcess() for _ in range(_PROCESSES)]
        self._idle: asyncio.Queue[_DecodingProcess] = asyncio.Queue()

    async def start(self) -> None:
        """Start the processes.

        Raises:
            DecoderError: one does not start.
        """
        await asyncio.gather(*(process.start() for process in self._processes))
        for process in self._processes:
            self._idle.put_nowait(process)

    async def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            await process.end()

    async def decode(self, upload: Upload) -> Decoded:
        """Decode and reduce an image.

        Raises:
            ImageError: it is not an image, damaged, too large, or takes too long.
            DecoderError: no process can be started.
        """
        process = await self._idle.get()
        try:
            await process.start()
            return await self._exchange(process, upload)
        except ImageError:
            raise
        except BaseException:
            process.kill()  # it may be in the middle of an image
            raise
        finally:
            self._idle.put_nowait(process)

    async def _exchange(self, process: _DecodingProcess, upload: Upload) -> Decoded:
        name = upload.name[:_SHOWN]
        asked = {"where": name, "length": upload.length, "max_pixels": self._max_pixels}
        try:
            answer = await process.ask(asked, upload.parts)
            async with contextlib.AsyncExitStack() as taken:
                while "reduced" not in answer:
                    if "error" in answer:
                        raise ImageError(**answer["error"])
                    try:
                        if "needs" in answer:
                            self._check_needs(name, answer["needs"])
                            await taken.enter_async_context(self.budget.reserve(answer["needs"]))
                            reply: dict[str, Any] = {}
                        else:
                            width, height = answer["size"]
                            reply = {"target": self._fit((width, height))}
                    except ImageError:
                        await process.tell({"stop": True})
                        raise
                    answer = await process.ask(reply)
                reduced: Size = tuple(answer["reduced"])
                data = await process.read(3 * reduced[0] * reduced[1])
        except TimeoutError as error:
            process.kill()
            expected, found = f"an image that decodes within {STEP_SECONDS:g} s", "one that does not"
            raise ImageError(name, expected=expected, found=found) from error
        except EOFError as error:
            process.kill()
            found = "one on which the decoder ended"
            raise ImageError(name, expected="a whole image", found=found) from error
        return Decoded(Image.frombytes("RGB", reduced, data), tuple(answer["size"]))

    def _check_needs(self, name: str, needs: int) -> None:
        if needs > self.budget.most:
            raise ImageError(
                name,
                expected=f"an image that takes at most {self.budget.most:,} bytes to decode",
                found=f"one that takes {needs:,}",
                hint="shrink it, or send it as JPEG",
            )


class _DecodingProcess:
    """A process that decodes images; it is started again after it ended."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._killed = False

    async def start(self) -> None:
        """Start the process, unless it is running.

        Raises:
            DecoderError: it does not start.
        """
        if self._process is not None and self._process.returncode is None and not self._killed:
            return
        if self._process is not None:
            await self._process.wait()  # asyncio must see its end before the object is dropped
        self._killed = False
        command = (sys.executable, "-m", "r1sgg.serving.reducing")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
            async with asyncio.timeout(_START_SECONDS):
                await self._line()
        except (OSError, EOFError, TimeoutError) as error:
            self.kill()
            raise DecoderError(f"expected a process that decodes images, found none that starts: {error!r}") from error

    def kill(self) -> None:
        """Kill the process."""
        self._killed = True  # its return code is set only when the event loop sees that it ended
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Kill the process and wait until it has ended."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    async def tell(self, line: dict[str, Any]) -> None:
        """Send a line."""
        await self._write(json.dumps(line).encode() + b"\n")

    async def ask(self, line: dict[str, Any], parts: AsyncIterator[bytes] | None = None) -> dict[str, Any]:
        """Send a line, then the parts, and return the answer.

        Raises:
            TimeoutError: there is no answer within `STEP_SECONDS`.
            EOFError: the process has ended.
        """
        async with asyncio.timeout(STEP_SECONDS):
            await self.tell(line)
            if parts is not None:
                async for part in parts:
                    await self._write(part)
            return await self._line()

    async def read(self, count: int) -> bytes:
        """Read so many bytes; raises as `ask` does."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(STEP_SECONDS):
            return await self._process.stdout.readexactly(count)  # IncompleteReadError is an EOFError

    async def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except ConnectionError as error:
            raise EOFError from error

    async def _line(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        if not (line := await self._process.stdout.readline()):
            raise EOFError
        found: dict[str, Any] = json.loads(line)
        return found
