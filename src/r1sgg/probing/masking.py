"""The image of a question: as it is, replaced by noise, or with both objects blackened. Never resized."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from r1sgg.graph.scene import Boxes
from r1sgg.probing.prompts import Shown
from r1sgg.probing.questions import Question


def shown_image(image: Image.Image, shown: Shown, question: Question, seed: int) -> Image.Image:
    """Make the image of a question from the original one (RGB), which is not changed."""
    if shown == "masked-image":
        return noise(image.size, f"{seed}/{question.example.image_id}")
    if shown == "masked-objects":
        return blacken(image, question.example.graph.boxes[[question.subject, question.object]])
    return image


def noise(size: tuple[int, int], name: str) -> Image.Image:
    """Draw every channel of every pixel uniformly from 0..255; the same size and name give the same image.

    Args:
        size: width and height in pixels.
        name: the seed.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
    return Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def blacken(image: Image.Image, boxes_N4: Boxes) -> Image.Image:
    """Copy an image with every pixel black that a box touches.

    Args:
        image: RGB.
        boxes_N4: xyxy as fractions of the image; parts outside of it are cut off.
    """
    masked = image.copy()
    for x1, y1, x2, y2 in pixels_touched(boxes_N4, image.size):
        masked.paste((0, 0, 0), (x1, y1, x2, y2))
    return masked


def pixels_touched(boxes_N4: Boxes, size: tuple[int, int]) -> Iterable[tuple[int, int, int, int]]:
    """List for each box (x1, y1, x2, y2): it touches columns x1..x2 - 1 and rows y1..y2 - 1, at least in part."""
    scaled = np.round(boxes_N4 * (size * 2), 6)  # else an edge at 119.9999999 and not 120 would touch another column
    corners = np.hstack([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])])
    clipped = np.clip(corners, 0, np.array(size * 2)).astype(int)
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in clipped.tolist()]
