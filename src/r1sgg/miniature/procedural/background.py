"""Backgrounds: sky over grass or a road, a room, or a light plain ground; all with noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

SETTINGS = ("field", "street", "room", "plain")

COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    # upper edge, upper side of the horizon, lower side of the horizon, lower edge
    "field": ((120, 176, 236), (214, 232, 244), (150, 196, 104), (112, 164, 76)),
    "street": ((150, 186, 224), (224, 230, 234), (176, 176, 180), (136, 136, 144)),
    "room": ((236, 222, 196), (244, 234, 214), (196, 156, 116), (168, 128, 92)),
    "plain": ((214, 228, 242), (238, 242, 244), (232, 234, 222), (214, 220, 198)),
}
"""By setting; each scene tints all four by the same amount, at most 10 a channel."""


def draw_background(
    rng: np.random.Generator, setting: str, size: tuple[int, int], horizon: int, texture: float
) -> Image.Image:
    """Return a background image.

    Args:
        rng: source of the noise; only integers are drawn, because they are the same on every platform.
        setting: one of SETTINGS.
        size: width and height in pixels.
        horizon: row where the ground begins.
        texture: strength of cloudy patches and of pixel noise, 1.0 is normal.
    """
    width, height = size
    colours = np.array(COLOURS[setting], dtype=np.float32) + rng.integers(-10, 11, (1, 3)).astype(np.float32)
    above, below = _ramp(colours[0], colours[1], horizon), _ramp(colours[2], colours[3], height - horizon)
    picture = np.broadcast_to(np.concatenate([above, below])[:, None, :], (height, width, 3)).copy()
    if setting == "street":
        _road(picture, horizon)
    if setting == "room":
        _room(picture, horizon)
    patches = Image.fromarray(rng.integers(0, 256, (7, 9), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    clouds = (np.asarray(patches, dtype=np.float32) - 128) * (0.14 * texture)
    grain = rng.integers(0, 16, (height, width), dtype=np.uint8).astype(np.float32) - 7.5
    strength = np.full(height, 0.5, dtype=np.float32)
    strength[horizon:] = 1.3  # grass, asphalt and floors are rougher than skies and walls
    picture += (clouds + grain * (texture * strength)[:, None])[:, :, None]
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _ramp(first: npt.NDArray[np.float32], last: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.float32]:
    """Return (rows, 3), a gradient between two colours."""
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    return first + share * (last - first)


def _road(picture: npt.NDArray[np.float32], horizon: int) -> None:
    """Add a strip of grass along the horizon and a dashed line on the road."""
    height, width = picture.shape[:2]
    depth = height - horizon
    picture[horizon : horizon + depth // 5] = (140, 180, 110)
    picture[horizon + depth // 5 : horizon + depth // 4] = (206, 204, 196)
    row, dash = horizon + (5 * depth) // 8, max(width // 10, 1)
    for start in range(dash // 2, width, 2 * dash):
        picture[row : row + max(depth // 24, 2), start : start + dash] = (236, 232, 214)


def _room(picture: npt.NDArray[np.float32], horizon: int) -> None:
    """Add a skirting board and floor boards."""
    height = picture.shape[0]
    board = max((height - horizon) // 6, 4)
    picture[horizon - max(height // 60, 2) : horizon] = (250, 248, 240)
    for row in range(horizon + board, height, board):
        picture[row : row + 1] -= 26
