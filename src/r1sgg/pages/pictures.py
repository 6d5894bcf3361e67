"""Images as pages show them: reduced, as WebP."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from r1sgg.data.base import Example
from r1sgg.data.images import open_image
from r1sgg.errors import ImageError

SIDE = 512
"""Longer side in pixels."""
_LOSSLESS_SIDE = 256  # a drawing this small is kept as it is


def open_picture(example: Example, read: Callable[[Example], Image.Image] | None = None) -> Image.Image:
    """The example's image; `read` opens it where its path does not lead to it (`DataSet.image`).

    Raises:
        ImageError: it has none, or it cannot be opened.
    """
    if read is not None:
        return read(example)
    if example.image is None:
        raise ImageError(f"image {example.image_id!r}", expected="a file", found="none named by the ground truth")
    return open_image(example.image)


def thumbnail(image: Image.Image) -> bytes:
    """The image as WebP, at most `SIDE` pixels long."""
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(image.size) <= _LOSSLESS_SIDE, quality=76, method=2)
    return buffer.getvalue()
