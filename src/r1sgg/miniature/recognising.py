"""Is an image a drawn scene? The shipped models know nothing else, so what is none is refused, or read with a remark.

A drawn scene lies on one of four backgrounds (`procedural.background`): two vertical colour ramps that meet at a
horizon, tinted as a whole by at most 10 per channel, with noise that is the same in all channels. So the colour of the
ground, without its brightness, is known for every row but for one tint. An image is a scene where enough pixels, from
top to bottom, have that colour. JPEG, scaling and the size that a model sees change it little. It says nothing of what
a scene shows, and a picture that was made to look like these backgrounds is taken for one. How often it errs:
docs/photos.md, by `python benchmarks/drawn.py`.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image

from r1sgg.errors import ImageError
from r1sgg.miniature.procedural.background import COLOURS
from r1sgg.models.families import Checkpoint

Floats = npt.NDArray[np.float32]

_SIDE = 56  # pixels of the reduced image per side; the noise of single pixels is gone there
_HORIZONS = (0.5, 0.53, 0.56, 0.59, 0.62)  # as shares of the height: `scenes.scene` draws from 0.5 to 0.62
_BANDS = 8
_TINT, _BIN = 24, 4  # largest tint of a channel difference (20, and a margin), and the width of its histogram's bins
_NEAR = 10  # how far a pixel's colour is from the ground's, at most
_BRIGHTNESS = 40  # how far its brightness is, at most: clouds, noise, tint
_SHARE, _BAND_SHARE = 0.36, 0.06  # least share of ground in the image, and in each band but one


def is_drawn_scene(image: Image.Image) -> bool:
    """Return whether an image looks like one of `r1sgg.miniature.scenes`, of any size and mode."""
    reduced = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(reduced, dtype=np.float32)
    return any(_shows(ground, pixels) for ground in _grounds())


def remark_on(
    image: Image.Image, checkpoint: Checkpoint, *, named: bool, where: str = "the image", advice: str = ""
) -> str | None:
    """Return what is to be said of an image before a model reads it; None if nothing is.

    Args:
        image: the image, at any size.
        checkpoint: the model.
        named: whether the user chose the model.
        where: the image's name, for the refusal.
        advice: what to do to have photos read; "": the options of the command line.

    Raises:
        ImageError: the model knows drawn scenes only, the image is none, and nobody chose the model.
    """
    if not checkpoint.drawn_scenes_only or is_drawn_scene(image):
        return None
    if not named:
        refuse(where, checkpoint.name, advice)
    do = advice or "use --model photo"
    return f"not a drawn scene, and {checkpoint.name} knows nothing else: this graph means nothing; {do}"


def refuse(where: str, model: str, advice: str = "") -> None:
    """Refuse an image that is no drawn scene to a default model that knows nothing else.

    Raises:
        ImageError: always.
    """
    raise ImageError(
        where,
        expected=f"a drawn scene, because the default model {model} knows nothing else",
        found="another image",
        hint=advice or f"use --model photo, a checkpoint of your own, or --model {model} to have it guess",
    )


@functools.cache
def _grounds() -> tuple[Floats, ...]:
    """Return every background without noise and tint, as (rows, 3)."""
    grounds = []
    for colours in COLOURS.values():
        upper, horizon_above, horizon_below, lower = np.array(colours, dtype=np.float32)
        for share in _HORIZONS:
            rows = int(share * _SIDE)
            sky = np.linspace(upper, horizon_above, rows)
            grounds.append(np.concatenate([sky, np.linspace(horizon_below, lower, _SIDE - rows)]).astype(np.float32))
    return tuple(grounds)


def _shows(ground: Floats, pixels: Floats) -> bool:
    """Return whether enough of an image (rows, columns, 3) is this ground (rows, 3) in some tint."""
    away = _differences(pixels) - _differences(ground)[:, None]
    brightness = np.abs(pixels.mean(-1) - ground.mean(-1)[:, None])
    possible = (np.abs(away).max(-1) <= _TINT) & (brightness <= _BRIGHTNESS)
    if possible.mean() < _SHARE:
        return False
    near = possible & (np.abs(away - _tint(away[possible])).max(-1) <= _NEAR)
    near &= np.abs(away - np.median(away[near], axis=0)).max(-1) <= _NEAR  # the tint again, to less than a bin
    bands = near.reshape(_BANDS, -1).mean(1)
    return bool(near.mean() >= _SHARE and np.sort(bands)[1] >= _BAND_SHARE)


def _differences(colours: Floats) -> Floats:
    """Return red and blue less green, which noise that is the same in all channels does not change."""
    return colours[..., [0, 2]] - colours[..., [1, 1]]


def _tint(away: Floats) -> Floats:
    """Return the most frequent tint of pixels (n, 2): the middle of three by three bins of their histogram."""
    counts, edges, _ = np.histogram2d(away[:, 0], away[:, 1], bins=2 * _TINT // _BIN, range=[[-_TINT, _TINT]] * 2)
    bins = len(counts)
    around = np.pad(counts, 1)
    sums = sum(around[i : i + bins, j : j + bins] for i in range(3) for j in range(3))
    row, column = np.unravel_index(np.argmax(sums), counts.shape)
    middle: Floats = (edges[[row, column]] + _BIN / 2).astype(np.float32)
    return middle
