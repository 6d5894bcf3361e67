"""The process in which the server decodes images: untrusted bytes go in, a small RGB image comes out.

    python -m r1sgg.serving.reducing

It is a process of its own because a decoder in a thread can't be stopped, and takes what it likes: a file of 2 KB whose
header says 100 x 100 pixels made an AVIF decoder take 300 MB. Before it decodes, the process says how many bytes it
needs, waits until it may, and has the kernel refuse it any more (RLIMIT_DATA). `r1sgg.serving.decoding` talks to it
over standard input and output, and kills it when it takes too long.

One image, step by step (each line is JSON):

    process  {"ready": true}                             once, when it has started
    server   {"where": "a.png", "length": 4924, "max_pixels": 40000000}  and 4924 bytes
    process  {"size": [6320, 6320]}                      upright, from the header
    server   {"target": [1000, 1000]}                    what the model sees at most (perhaps asked twice)
    process  {"needs": 48000000}
    server   {}                                          go on
    process  {"size": [6320, 6320], "reduced": [1000, 1000]}  and 1000 x 1000 x 3 bytes

The talk ends early where the process sends {"error": {"where", "expected", "found", "hint"}} in place of its line, or
the server {"stop": true}.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from r1sgg.data.images import deep, formats, opened, rgb, sideways, white_of
from r1sgg.errors import ImageError

Size = tuple[int, int]

OVERHEAD = 24_000_000
"""Bytes that a decoder may take beyond the estimate: threads' stacks, tables, strips that are converted."""

_RASTER = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory; 4 in all other modes."""
# These decoders hold several copies of the image. Measured peaks of Pillow 12, in bytes a pixel: WebP 16.2 (lossy) and
# 18.1 (lossless), AVIF 9.4 (8 bit, 4:2:0).
_COPIES = {"WEBP": 18.5, "AVIF": 16, "HEIF": 16}
_STRIP = 1 << 16  # pixels that are converted to RGB at a time
_GAP = 3.0  # an image is averaged to so many times its final size before it is resampled: much faster, looks the same
_MOST_SCANS = 64  # of a progressive JPEG; encoders write about ten, and each is a pass over the whole image
_TURNS = {
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
    source: BinaryIO, where: str, max_pixels: int, fit: Callable[[Size], Size], room: Callable[[int], None]
) -> tuple[Image.Image, Size]:
    """Decode an image and reduce it, holding little more than the decoder's own raster.

    Args:
        source: the file.
        where: how messages call the image.
        max_pixels: larger images are refused by their header.
        fit: upright size (width, height) -> size to which the image is reduced; the same where it is small enough.
        room: called with the bytes that decoding takes at most, before anything is decoded.

    Returns:
        The upright RGB image, and its upright size before it was reduced.

    Raises:
        ImageError: not an image, damaged, too large; and what `fit` and `room` raise.
    """
    with opened(source, where, max_pixels) as image:
        width, height = image.size
        # Pillow would decode a PNG to find an orientation behind its pixels
        lies = (image.format != "PNG" or "exif" in image.info) and sideways(image)
        target = fit((height, width))[::-1] if lies else fit((width, height))
        if image.info.get("progressive"):
            _check_scans(source, where)
        # a JPEG can be decoded at 1/2, 1/4 or 1/8: one that is still twice as large as it will be
        drafted = image.draft(None, (2 * target[0], 2 * target[1]))
        room(_decoding(image, width * height) + _resizing(image, target))
        image.load()
        shape, lies = (width, height) if drafted else image.size, sideways(image)  # only now for a PNG and a TIFF
        before = shape[::-1] if lies else shape
        target = fit(before)[::-1] if lies else fit(before)
        small = _resized(image, target, drafted[1] if drafted else (0, 0, *image.size))
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        return small if turn is None else small.transpose(turn), before


def _decoding(image: ImageFile.ImageFile, full: int) -> int:
    """Bytes that decoding takes at most, going by the header.

    Args:
        image: not decoded yet.
        full: pixels of the file; more than the image's where a JPEG is decoded at a fraction.
    """
    pixels = image.width * image.height
    raster = pixels * _RASTER.get(image.mode, 4)
    if image.format in _COPIES:
        return int(pixels * _COPIES[image.format])
    if image.info.get("progressive"):  # libjpeg holds all coefficients of the whole image, two bytes each
        layers: list[tuple[int, int, int, int]] = image.layer  # type: ignore[attr-defined]
        factors = [(across, down) for _, across, down, _ in layers]
        most = max(across for across, _ in factors) * max(down for _, down in factors)
        return raster + 2 * full * sum(across * down for across, down in factors) // most
    if image.format == "TIFF" and image.info.get("compression") != "raw":
        # and a strip or a tile, which the file may say is larger than the image
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        strip = image.width * int(tags.get(_ROWS_PER_STRIP, image.height))
        area = max(strip, int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0)))
        return raster + area * (int(tags.get(_SAMPLES, 1)) + 1) * max(8, *map(int, tags.get(_BITS, (8,)))) // 8
    return raster


def _check_scans(source: BinaryIO, where: str) -> None:
    """Refuse a progressive JPEG whose scans would take minutes.

    Raises:
        ImageError: it has more than any encoder writes.
    """
    at, last, found = source.tell(), b"", 0
    source.seek(0)
    while part := source.read(1 << 20):
        found += (last + part).count(b"\xff\xda")  # marks the start of a scan; data that looks alike is escaped
        last = part[-1:]
    source.seek(at)
    if found > _MOST_SCANS:
        raise ImageError(where, expected=f"at most {_MOST_SCANS} scans", found=f"{found:,}", hint="save it again")


def _factor(image: Image.Image, size: Size) -> int:
    """The whole factor by which an image is averaged before it is resampled to that size."""
    return max(1, int(min(image.width / size[0], image.height / size[1]) / _GAP))


def _resizing(image: Image.Image, size: Size) -> int:
    """Bytes that `_resized` takes: what it holds between, and the result three times."""
    factor = _factor(image, size)
    averaged = 0 if factor == 1 else -(-image.width // factor) * -(-image.height // factor)
    return 4 * (averaged + size[0] * (image.height // factor + 3 * size[1]))


def _resized(image: Image.Image, size: Size, box: tuple[float, float, float, float]) -> Image.Image:
    """A decoded image as RGB of that size, without a second copy of the whole.

    Args:
        image: of any mode.
        size: width and height.
        box: the part of the image that is meant, from its left top corner.
    """
    if image.size == size and image.mode == "RGB":
        return image
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=_GAP).convert("RGB")
    # Other modes are made RGB strip by strip. Resampling is separable, so each strip gets its final width at once:
    #     image   width   x height, in strips of rows; rows is a multiple of factor
    #     narrow  size[0] x height / factor, RGB
    #     result  size[0] x size[1]
    factor = _factor(image, size)
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
    """The server refuses the image."""


class _Exchange:
    """The server's end of the pipes."""

    def __init__(self, reading: BinaryIO, writing: BinaryIO) -> None:
        self._reading, self._writing = reading, writing

    def send(self, line: dict[str, Any], data: bytes = b"") -> None:
        self._writing.write(json.dumps(line).encode() + b"\n" + data)
        self._writing.flush()

    def line(self) -> dict[str, Any] | None:
        """The next line; None once the server has gone."""
        text = self._reading.readline()
        return json.loads(text) if text else None

    def answer(self, line: dict[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the next one.

        Raises:
            EOFError: the server has gone.
            _Stopped: it does not want the image any more.
        """
        self.send(line)
        if (answer := self.line()) is None:
            raise EOFError
        if answer.get("stop"):
            raise _Stopped
        return answer

    def image(self, asked: dict[str, Any]) -> None:
        """One image, as the head of this file says."""
        source = io.BytesIO(self._reading.read(asked["length"]))
        targets: dict[Size, Size] = {}

        def fit(size: Size) -> Size:
            if size not in targets:
                width, height = self.answer({"size": size})["target"]
                targets[size] = (width, height)
            return targets[size]

        def room(needed: int) -> None:
            self.answer({"needs": needed + len(source.getbuffer())})
            _limit(needed + OVERHEAD)

        try:
            image, size = reduce(source, asked["where"], asked["max_pixels"], fit, room)
        except _Stopped:
            pass
        except ImageError as error:
            fields = ("where", "expected", "found", "hint")
            self.send({"error": {name: getattr(error, name) for name in fields}})
        else:
            self.send({"size": size, "reduced": image.size}, image.tobytes())
        finally:
            _limit(None)


def _limit(more: int | None) -> None:
    """Let this process take so many bytes more than it holds now; None takes the limit away. (On Linux only.)"""
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
    """Answer the server until it goes away."""
    for name in (signal.SIGINT, signal.SIGTERM):  # meant for the server, whose end this process sees in its input
        signal.signal(name, signal.SIG_IGN)
    Image.MAX_IMAGE_PIXELS = None  # the server says how many
    formats()
    with contextlib.suppress(ImportError, AttributeError):  # a thread's stack counts as memory that is taken
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    exchange = _Exchange(sys.stdin.buffer, sys.stdout.buffer)
    exchange.send({"ready": True})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (asked := exchange.line()) is not None:
            exchange.image(asked)


if __name__ == "__main__":
    main()
