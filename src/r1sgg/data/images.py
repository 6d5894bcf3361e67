"""Open images of any kind: rotated, CMYK, 16 bit, palette, cut off or far too large.

Only the formats in `formats` are opened: Pillow knows about fifty more, among them PostScript, which it hands to an
interpreter. Images are not resized: a model's processor does that. (The server reduces images while it decodes them, to
bound its memory: `r1sgg.serving.reducing`.)
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import mmap
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from r1sgg.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (a 20,000 x 20,000 file of a few kilobytes takes 1.2 GB)."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 are rotated by 90 degrees
_WIDTH, _LENGTH = 0x0100, 0x0101  # TIFF tags
_MOST_SCANS = 64  # of a JPEG; encoders write about ten, and each is a pass over the whole image
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of a segment; \x00 and the restart marks belong to a scan
_SCAN, _END = b"\xff\xda", b"\xff\xd9"


@functools.cache
def formats() -> tuple[str, ...]:
    """Return Pillow's names of the image formats that are opened; HEIF if the package pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def open_image(source: Path | bytes, *, where: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright by its EXIF orientation; transparent parts become white.

    The first of several frames is read. 16-bit greys are scaled from 0..65535.

    Args:
        source: a file, or the bytes of one.
        where: the name of the image in messages; the path if None.
        max_pixels: larger images are refused.

    Raises:
        ImageError: the file is missing, not an image, cut off, has more than `max_pixels`, or very many scans.
    """
    with opened(source, where, max_pixels) as image:
        check_scans(image, where)
        image.load()
        return upright_rgb(image)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image of any mode as `open_image` does."""
    return rgb(ImageOps.exif_transpose(image))


def image_size(source: Path | bytes, *, where: str | None = None, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height of the image that `open_image` would return, from the header alone.

    Raises:
        ImageError: the file is missing, not an image, or has more than `max_pixels`.
    """
    with opened(source, where, max_pixels) as image:
        return (image.height, image.width) if sideways(image) else image.size


def sideways(image: Image.Image) -> bool:
    """Whether the EXIF orientation of an image swaps its width and height; Pillow decodes a PNG to find out."""
    if image.getexif().get(_ORIENTATION) not in (5, 6, 7, 8):
        return False
    # newer versions of Pillow have swapped those of a TIFF already
    tags = getattr(image, "tag_v2", None)
    return tags is None or image.size == (tags.get(_WIDTH), tags.get(_LENGTH))


@contextlib.contextmanager
def opened(source: Path | bytes | BinaryIO, where: str | None, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open an image and read its header, but not its pixels; faults inside the block become `ImageError`.

    Raises:
        ImageError: the file is missing, not an image of `formats`, damaged, or has more than `max_pixels`.
    """
    if isinstance(source, bytes):
        where, source = where or f"{len(source)} bytes", io.BytesIO(source)
    where = where or str(source)
    if isinstance(source, Path) and (source.is_fifo() or source.is_char_device()):  # opening it may wait for ever
        raise ImageError(where, expected="an image file", found="a pipe or a device", hint="save it to a file first")
    with _named_faults(where, max_pixels), Image.open(source, formats=formats()) as image:
        check_pixels(image.size, where, max_pixels)
        yield image


def check_pixels(size: tuple[int, int], where: str, max_pixels: int) -> None:
    """Raise an `ImageError` if an image of that width and height has more than `max_pixels`."""
    if size[0] * size[1] > max_pixels:
        found = f"{size[0]}x{size[1]}"
        raise ImageError(where, expected=f"at most {max_pixels:,} pixels", found=found, hint="shrink it")


def webp_size(source: BinaryIO) -> tuple[int, int] | None:
    """Return width and height in the header of a WebP file, None for other files; `source` stays where it is.

    Pillow takes memory for all pixels of a WebP when it opens the file.
    """
    at = source.tell()
    head = source.read(30)
    source.seek(at)
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def check_scans(image: ImageFile.ImageFile, where: str | None = None) -> int:
    """Return the number of scans of a JPEG that is not decoded yet; 1 for other formats.

    Raises:
        ImageError: it has more scans than any encoder writes, so that a small file would take minutes.
    """
    if image.format not in ("JPEG", "MPO"):
        return 1
    found = sum(1 for _, _ in zip(_scans(image.fp), range(_MOST_SCANS + 1), strict=False))
    if found > _MOST_SCANS:
        raise ImageError(
            where or "image", expected=f"at most {_MOST_SCANS} scans", found="a JPEG with more", hint="save it again"
        )
    return found


def _scans(file: Any) -> Iterator[int]:
    """Yield where the scans of a JPEG begin. What segments hold (thumbnails) and what follows the end is left out."""
    if isinstance(file, io.BytesIO):
        with file.getbuffer() as data:
            yield from _scans_of(data)
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from _scans_of(data)


def _scans_of(data: Any) -> Iterator[int]:
    at = 2  # behind the start marker
    while (found := _MARKER.search(data, at)) is not None and found[0] != _END:
        at = found.end()
        if found[0] == _SCAN:
            yield at
        at += int.from_bytes(data[at : at + 2], "big")


@contextlib.contextmanager
def _named_faults(where: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad file into one ImageError; ignore its warnings about odd metadata."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(where, expected="an image file", found="no such file", hint="check the path") from error
    except (IsADirectoryError, PermissionError) as error:
        raise ImageError(where, expected="a readable image file", found=error.strerror or "none") from error
    except UnidentifiedImageError as error:
        known = ", ".join(formats())
        raise ImageError(where, expected=f"an image ({known})", found="a file of another kind") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            where, expected=f"at most {max_pixels:,} pixels", found="far more", hint="shrink it"
        ) from error
    except MemoryError as error:
        raise ImageError(where, expected="room to decode the image", found="no memory", hint="shrink it") from error
    except _DAMAGE as error:
        raise ImageError(
            where, expected="a whole image", found=f"damaged data ({error})", hint="fetch it again"
        ) from error


# What Pillow's decoders raised when they were tried on files with flipped and missing bytes.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip


def rgb(image: Image.Image, white: float | None = None) -> Image.Image:
    """Return a decoded image of any mode as 8-bit RGB, not turned; transparent parts become white.

    Args:
        image: an image, or a part of one.
        white: the value of white, see `white_of`; found in the image if None.
    """
    if image.mode == "RGB":
        return image
    if deep(image):
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / (white or white_of(image))
        return Image.fromarray((values.clip(0, None) * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, image).convert("RGB")
    return image.convert("RGB")


def deep(image: Image.Image) -> bool:
    """Whether the pixels are greys of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def white_of(image: Image.Image) -> float:
    """Return the value of white: fixed for some modes, else the end of the smallest usual range that has all values."""
    if image.mode.startswith("I;16"):
        return 65535.0
    extrema: tuple[float, float] = image.getextrema()  # type: ignore[assignment]  # one band
    top = max(0.0, float(extrema[1]))
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((white for white in ranges if top <= white), top)
