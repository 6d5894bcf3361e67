"""Open images of any kind: rotated, CMYK, 16 bit, palette, cut off or far too large.

They are not resized: a model's processor does that.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from r1sgg.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (a 20,000 x 20,000 file of a few kilobytes takes 1.2 GB)."""

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 are rotated by 90 degrees


def open_image(source: Path | bytes, *, where: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright by its EXIF orientation; transparent parts become white.

    The first of several frames is read. 16-bit greys are scaled from 0..65535.

    Args:
        source: a file, or the bytes of one.
        where: the name of the image in messages; the path if None.
        max_pixels: larger images are refused.

    Raises:
        ImageError: the file is missing, not an image, cut off, or has more than `max_pixels`.
    """
    where, handle = _named(source, where)
    with _named_faults(where, max_pixels), Image.open(handle) as image:
        _check_size(image, where, max_pixels)
        image.load()
        return upright_rgb(image)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image of any mode as `open_image` does."""
    return _rgb(ImageOps.exif_transpose(image))


def image_size(source: Path | bytes, *, where: str | None = None, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height of the image that `open_image` would return, from the header alone.

    Raises:
        ImageError: the file is missing, not an image, or has more than `max_pixels`.
    """
    where, handle = _named(source, where)
    with _named_faults(where, max_pixels), Image.open(handle) as image:
        _check_size(image, where, max_pixels)
        sideways = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
        return (image.height, image.width) if sideways else image.size


def _named(source: Path | bytes, where: str | None) -> tuple[str, Path | io.BytesIO]:
    if isinstance(source, bytes):
        return where or f"{len(source)} bytes", io.BytesIO(source)
    return where or str(source), source


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
        raise ImageError(where, expected="an image (JPEG, PNG, ...)", found="a file of another kind") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            where, expected=f"at most {max_pixels:,} pixels", found="far more", hint="shrink it"
        ) from error
    except _DAMAGE as error:
        raise ImageError(
            where, expected="a whole image", found=f"damaged data ({error})", hint="fetch it again"
        ) from error


# What Pillow's decoders raised when they were tried on files with flipped and missing bytes.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error, zlib.error
)  # fmt: skip


def _check_size(image: Image.Image, where: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        found = f"{image.width}x{image.height}"
        raise ImageError(where, expected=f"at most {max_pixels:,} pixels", found=found, hint="shrink it")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(
            (values.clip(0, None) * (255 / _white(image.mode, values))).clip(0, 255).astype(np.uint8)
        ).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _white(mode: str, values: np.ndarray) -> float:
    """Return the value of white: fixed for some modes, else the end of the smallest usual range that has all values."""
    if mode.startswith("I;16"):
        return 65535.0
    top = float(values.max(initial=0))
    ranges = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((white for white in ranges if top <= white), top)
