"""Images as pages show them: reduced, as WebP."""

from __future__ import annotations

import io

from PIL import Image

SIDE = 512
"""Longer side in pixels."""
_LOSSLESS_SIDE = 256  # a drawing this small is kept as it is


def thumbnail(image: Image.Image) -> bytes:
    """Return the image as a WebP file, at most `SIDE` pixels long; reduces the image itself."""
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(image.size) <= _LOSSLESS_SIDE, quality=76, method=2)
    return buffer.getvalue()
