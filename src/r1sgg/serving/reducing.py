"""The process that decodes images for the server: it reads untrusted bytes and returns a small RGB image.

    python -m r1sgg.serving.reducing

It is a separate process because a decoder in a thread cannot be stopped, and its memory cannot be limited: an AVIF file
of 2 KB whose header says 100 x 100 pixels made the decoder use 300 MB. Before it decodes, the process tells the server
how many bytes it needs, waits for permission, and sets that limit for itself in the kernel (RLIMIT_DATA).
`r1sgg.serving.decoding` communicates with it over standard input and output, and kills it if it takes too long.

The messages for one image (each line is JSON):

    process  {"ready": true}                             once, after the start
    server   {"where": "a.png", "length": 4924, "max_pixels": 40000000}  and 4924 bytes
    process  {"size": [6320, 6320]}                      of the upright image, from the header
    server   {"target": [1000, 1000]}                    the size after reduction (can be asked twice)
    process  {"needs": 48000000}                         bytes
    server   {}                                          permission
    process  {"size": [6320, 6320], "reduced": [1000, 1000]}  and 1000 x 1000 x 3 bytes

The process can send {"error": {"where", "expected", "found", "hint"}} instead of any of its lines, and the server
{"stop": true}; either ends the image.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from r1sgg.data.images import check_pixels, check_scans, deep, formats, opened, rgb, sideways, webp_size, white_of
from r1sgg.errors import ImageError

Size = tuple[int, int]

OVERHEAD = 24_000_000
"""Bytes beyond the estimate: stacks of threads, tables, strips that are converted."""

HEADER_SECONDS, DECODE_SECONDS = 3.0, 10.0
"""Seconds of CPU time for a header and for an image; the slowest images, of 40 million pixels, took about a second."""

_RASTER = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes per pixel in Pillow's memory; 4 in all other modes."""
# These decoders hold several copies of the image. Peaks measured with Pillow 12, in bytes per pixel: WebP 16.2 (lossy)
# and 18.1 (lossless), AVIF 9.4 (8 bit, 4:2:0), HEIF 7. That of WebP takes them when it opens the file.
_COPIES = {"WEBP": 18.5, "AVIF": 16, "HEIF": 16}
_STRIP = 1 << 16  # pixels that are converted to RGB at a time
_GAP = 3.0  # an image is averaged to this multiple of its final size before it is resampled, which is faster
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112  # EXIF tag
_TILE_WIDTH, _TILE_LENGTH, _ROWS_PER_STRIP = 322, 323, 278  # TIFF tags
_SAMPLES, _BITS = 277, 258


def reduce(
    source: BinaryIO, where: str, max_pixels: int, fit: Callable[[Size], Size], reserve: Callable[[int], None]
) -> tuple[Image.Image, Size]:
    """Decode an image and reduce it, with little more memory than the decoder itself needs.

    Args:
        source: the file.
        where: the image's name in messages.
        max_pixels: larger images are refused.
        fit: maps the upright size (width, height) to the size after reduction; the same size for a small image.
        reserve: called before decoding with the bytes that it needs at most.

    Returns:
        The upright RGB image, and its upright size before reduction.

    Raises:
        ImageError: the file is not an image, damaged or too large; and what `fit` and `reserve` raise.
    """
    if (early := webp_size(source)) is not None:
        check_pixels(early, where, max_pixels)
        reserve(int(early[0] * early[1] * _COPIES["WEBP"]) + _resizing(early, fit(early)))
    with opened(source, where, max_pixels) as image:
        width, height = image.size
        # Pillow would decode a PNG here, to find an orientation that is stored behind the pixels
        swapped = (image.format != "PNG" or "exif" in image.info) and sideways(image)
        target = fit((height, width))[::-1] if swapped else fit((width, height))
        several = check_scans(image, where) > 1 or bool(image.info.get("progressive"))
        # a JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; it stays at least twice as large as the result
        drafted = image.draft(None, (2 * target[0], 2 * target[1]))
        if early is None:
            reserve(_decoding(image, width * height, several=several) + _resizing(image.size, target))
        image.load()
        shape, swapped = (width, height) if drafted else image.size, sideways(image)  # a PNG or TIFF can change now
        before = shape[::-1] if swapped else shape
        target = fit(before)[::-1] if swapped else fit(before)
        small = _resized(image, target, drafted[1] if drafted else (0, 0, *image.size))
        turn = _TRANSPOSE.get(image.getexif().get(_ORIENTATION, 1))
        return small if turn is None else small.transpose(turn), before


def _decoding(image: ImageFile.ImageFile, full: int, *, several: bool) -> int:
    """Return the bytes that decoding needs at most, according to the header.

    Args:
        image: not decoded yet.
        full: pixels in the file; more than those of `image` if a JPEG is decoded at a fraction of its size.
        several: it is a JPEG of several scans.
    """
    pixels = image.width * image.height
    raster = pixels * _RASTER.get(image.mode, 4)
    if image.format in _COPIES:
        return int(pixels * _COPIES[image.format])
    if several:  # libjpeg holds the coefficients of the whole image, two bytes each
        layers: list[tuple[int, int, int, int]] = image.layer  # type: ignore[attr-defined]
        factors = [(across, down) for _, across, down, _ in layers]
        most = max(across for across, _ in factors) * max(down for _, down in factors)
        return raster + 2 * full * sum(across * down for across, down in factors) // most
    if image.format == "TIFF" and image.info.get("compression") != "raw":
        # and a strip or a tile, which can be larger than the image
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        strip = image.width * int(tags.get(_ROWS_PER_STRIP, image.height))
        area = max(strip, int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0)))
        return raster + area * (int(tags.get(_SAMPLES, 1)) + 1) * max(8, *map(int, tags.get(_BITS, (8,)))) // 8
    return raster


def _factor(full: Size, size: Size) -> int:
    """Return the integer factor by which an image is averaged before it is resampled."""
    return max(1, int(min(full[0] / size[0], full[1] / size[1]) / _GAP))


def _resizing(full: Size, size: Size) -> int:
    """Return the bytes that `_resized` needs: the averaged image, the narrow one, and three copies of the result."""
    factor = _factor(full, size)
    averaged = 0 if factor == 1 else -(-full[0] // factor) * -(-full[1] // factor)
    return 4 * (averaged + size[0] * (full[1] // factor + 3 * size[1]))


def _resized(image: Image.Image, size: Size, box: tuple[float, float, float, float]) -> Image.Image:
    """Resize a decoded image to RGB of that size, without a second copy of the whole image.

    Args:
        image: a decoded image of any mode.
        size: width and height of the result.
        box: the part of the image to use; it begins in the top left corner.
    """
    if image.size == size and image.mode == "RGB":
        return image
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=_GAP).convert("RGB")
    # Other modes are converted to RGB in strips. Resampling is separable, so each strip gets its final width at once:
    #     image   width   x height, in strips of rows; rows is a multiple of factor
    #     narrow  size[0] x height / factor, RGB
    #     result  size[0] x size[1]
    factor = _factor(image.size, size)
    rows = factor * max(1, _STRIP // (image.width * factor))
    white = white_of(image) if deep(image) else None
    narrow = Image.new("RGB", (size[0], -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = rgb(image.crop((0, top, image.width, min(top + rows, image.height))), white)
        strip = strip.reduce(factor) if factor > 1 else strip
        across = (0, 0, box[2] / factor, strip.height)
        narrow.paste(strip.resize((size[0], strip.height), Image.Resampling.BICUBIC, across), (0, top // factor))
    return narrow.resize(size, Image.Resampling.BICUBIC, (0, 0, size[0], box[3] / factor))


class _Stopped(Exception):
    """The server refused the image."""


class _Exchange:
    """The pipes to the server."""

    def __init__(self, reading: BinaryIO, writing: BinaryIO) -> None:
        self._reading, self._writing = reading, writing

    def send(self, line: dict[str, Any], data: bytes = b"") -> None:
        self._writing.write(json.dumps(line).encode() + b"\n" + data)
        self._writing.flush()

    def line(self) -> dict[str, Any] | None:
        """Read the next line; None if the server has ended."""
        text = self._reading.readline()
        return json.loads(text) if text else None

    def answer(self, line: dict[str, Any]) -> dict[str, Any]:
        """Send a line and read the answer.

        Raises:
            EOFError: the server has ended.
            _Stopped: the server refused the image.
        """
        with _undisturbed():  # else half of an exchange would be left for the next image
            self.send(line)
            answer = self.line()
        if answer is None:
            raise EOFError
        if answer.get("stop"):
            raise _Stopped
        return answer

    def image(self, asked: dict[str, Any]) -> None:
        """Handle one image, see the head of this file."""
        source = io.BytesIO(self._reading.read(asked["length"]))
        targets: dict[Size, Size] = {}

        def fit(size: Size) -> Size:
            if size not in targets:
                width, height = self.answer({"size": size})["target"]
                targets[size] = (width, height)
            return targets[size]

        def reserve(needed: int) -> None:
            self.answer({"needs": needed + asked["length"]})
            _limit(needed + OVERHEAD)
            _start_clock(DECODE_SECONDS)

        whole = False
        _limit(asked["length"] + OVERHEAD)  # a header can ask for more than its image: one tag's bytes, 60,000 times
        try:
            with _clock(asked["where"], HEADER_SECONDS):  # a header can have a million empty parts
                image, size = reduce(source, asked["where"], asked["max_pixels"], fit, reserve)
        except _Stopped:
            pass
        except ImageError as error:
            fields = ("where", "expected", "found", "hint")
            self.send({"error": {name: getattr(error, name) for name in fields}})
        else:
            self.send({"size": size, "reduced": image.size}, image.tobytes())
            whole = True
        finally:
            source.close()
            if not whole:  # frames and errors hold the bytes in a cycle (300 MB with Python 3.12)
                gc.collect()
            _limit(None)


@contextlib.contextmanager
def _clock(where: str, seconds: float) -> Iterator[None]:
    """Raise an `ImageError` inside the block when it has taken that much CPU time. (Not on Windows.)"""
    if sys.platform == "win32":
        yield
        return

    def late(number: int, frame: object) -> None:
        expected = "an image that decodes within seconds of CPU time"
        raise ImageError(where, expected=expected, found="one that does not", hint="save it again")

    signal.signal(signal.SIGVTALRM, late)
    _start_clock(seconds)
    try:
        yield
    finally:
        with _undisturbed():
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, signal.SIG_IGN)


def _start_clock(seconds: float) -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the clock wait until the block has ended."""
    if sys.platform == "win32":
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGVTALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGVTALRM])


def _limit(more: int | None) -> None:
    """Limit the memory of this process to so many bytes more than now; None removes the limit. (Only on Linux.)"""
    if sys.platform != "linux":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = hard
    if more is not None:
        status = Path("/proc/self/status").read_text()
        held = 1024 * int(status.partition("VmData:")[2].split()[0])
        soft = held + more if hard == resource.RLIM_INFINITY else min(held + more, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def main() -> None:
    """Decode images until the server ends."""
    for name in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to the server and to this process
        signal.signal(name, signal.SIG_IGN)
    # libtiff prints about damaged files, which would let clients write into the server's log; Python still may
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.disable()  # Pillow's messages about damaged files, too
    Image.MAX_IMAGE_PIXELS = None  # the server sends the limit
    formats()
    with contextlib.suppress(ImportError, AttributeError):  # the stacks of threads would count as memory
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    exchange = _Exchange(sys.stdin.buffer, sys.stdout.buffer)
    exchange.send({"ready": True})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (asked := exchange.line()) is not None:
            exchange.image(asked)


if __name__ == "__main__":
    main()
