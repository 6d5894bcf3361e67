"""Opening images as any camera or archive left them: rotated, CMYK, 16 bit, palette, cut off or far too large."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from r1sgg.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (a 20,000 x 20,000 file of a few kilobytes takes 1.2 GB)."""


def open_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright by its EXIF orientation; transparency is put on white.

    Raises:
        ImageError: the file is missing, not an image, cut off, or has more than `max_pixels`.
    """
    where = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        if image.width * image.height > max_pixels:
            raise ImageError(
                where,
                expected=f"at most {max_pixels:,} pixels",
                found=f"{image.width}x{image.height}",
                hint="shrink it",
            )
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise ImageError(where, expected="an image file", found="no such file", hint="check the path") from error
    except UnidentifiedImageError as error:
        raise ImageError(where, expected="an image (JPEG, PNG, ...)", found="a file of another kind") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            where, expected=f"at most {max_pixels:,} pixels", found="far more", hint="shrink it"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(
            where, expected="a whole image", found=f"damaged data ({error})", hint="fetch it again"
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
