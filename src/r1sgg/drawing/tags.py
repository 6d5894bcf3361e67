"""Places for the tags of a picture (names and predicates), so that they keep out of each other's way.

A tag comes with spots to choose from, the usual one first, and takes the one that hides least. adjustText (pushes the
labels of a matplotlib figure apart) was no replacement: it moved tags away from the boxes and arrows that they name,
and it cannot give a tag up where there is no room (`Board.crowded`: there a number replaces a predicate).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from r1sgg.drawing.shapes import Point, Quadratic, Rect, point_on
from r1sgg.judging.boxes import BoxPairs

Array = npt.NDArray[np.float64]
Key = tuple[str, int]
"""A kind of tag, and its number."""

_ALONG = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)  # places on a curve, from 0 to 1
_BESIDE = (0, -0.6, 0.6, -1.1, 1.1)  # below or above the curve, in heights of the tag
SPOTS_ON_CURVE = len(_ALONG) * len(_BESIDE)


class Board:
    """The tags of a picture; `chosen` is the number of the spot that each tag takes."""

    def __init__(self, size: tuple[float, float], avoid: Sequence[Rect], keep_clear: Sequence[Rect]) -> None:
        """Begin a picture of this size.

        Args:
            size: width and height in pixels.
            avoid: what tags should not hide.
            keep_clear: what they should hide even less.
        """
        self.chosen: dict[Key, int] = {}
        self._size, self._avoid, self._keep_clear = size, as_array(avoid), as_array(keep_clear)
        self._spots: dict[Key, Array] = {}
        self._costs: dict[Key, Array] = {}  # of a tag's spots, whatever the other tags do

    def put(self, key: Key, spots: Sequence[Rect]) -> None:
        """Place a tag, or place it again with other spots; of equally good spots the first is taken."""
        rects = as_array(spots)
        for axis, side in enumerate(self._size):  # shift spots into the picture
            low, high = rects[:, axis], rects[:, axis + 2]
            rects[:, [axis, axis + 2]] += (np.maximum(0, -low) + np.minimum(0, side - high))[:, None]
        hidden = _covered(rects, self._avoid) + 3 * _covered(rects, self._keep_clear)
        self._spots[key], self._costs[key] = rects, hidden + 0.012 * np.arange(len(rects))
        self._choose(key)

    def settle(self, rounds: int = 3) -> None:
        """Let each tag choose again, now that all others are placed, until none moves."""
        for _ in range(rounds):
            before = dict(self.chosen)
            for key in self._spots:
                self._choose(key)
            if before == self.chosen:
                return

    def crowded(self, kind: str, most: float, without: Collection[Key] = ()) -> list[Key]:
        """Return the tags of this kind that have no room.

        The tag that others cover most is taken out until none is covered by more than the share `most` of its area.
        Tags in `without` cover nothing.
        """
        keys = [key for key in self.chosen if key not in without]
        rects = np.array([self.rect(key) for key in keys]).reshape(-1, 4)
        shares = _shares(rects, rects)
        np.fill_diagonal(shares, 0.0)
        ours = np.array([key[0] == kind for key in keys], dtype=bool)
        out = []
        while len(keys) and (covered := shares.sum(axis=1) * ours).max() > most:
            worst = int(covered.argmax())
            shares[worst] = shares[:, worst] = 0.0
            out.append(keys[worst])
        return sorted(out)

    def rect(self, key: Key) -> Rect:
        """Return where a tag is."""
        x1, y1, x2, y2 = self._spots[key][self.chosen[key]].tolist()
        return x1, y1, x2, y2

    def _choose(self, key: Key) -> None:
        others = as_array([self.rect(other) for other in self.chosen if other != key])
        self.chosen[key] = int(np.argmin(self._costs[key] + 8 * _covered(self._spots[key], others)))


def spots_at_box(box: Rect, size: tuple[float, float]) -> list[Rect]:
    """Return places for a box's tag, the usual ones first: on its top edge, inside it, under it, along its sides."""
    (x1, y1, x2, y2), (w, h) = box, size
    corners = [(x1, y1 - h), (x1, y1), (x2 - w, y1 - h), (x2 - w, y1), (x1, y2), (x1, y2 - h), (x2 - w, y2 - h)]
    corners += [(x2 - w, y2), (x2, y1), (x1 - w, y1), (x2, y2 - h), (x1 - w, y2 - h)]
    along = [((1 - t) * x1 + t * (x2 - w), y) for t in (0.25, 0.5, 0.75) for y in (y1 - h, y1, y2, y2 - h)]
    down = [(x, (1 - t) * y1 + t * (y2 - h)) for t in (0.25, 0.5, 0.75) for x in (x1, x2 - w)]
    return [(x, y, x + w, y + h) for x, y in corners + along + down]


def spots_on_curve(curve: Quadratic, size: tuple[float, float]) -> list[Rect]:
    """Return `SPOTS_ON_CURVE` places for a relationship's tag: the middle of its curve first."""
    along = [point_on(curve, t) for t in _ALONG]
    return [around((x, y + dy * size[1]), size) for dy in _BESIDE for x, y in along]


def around(point: Point, size: tuple[float, float]) -> Rect:
    """Return the rectangle of this size whose middle is the point."""
    return point[0] - size[0] / 2, point[1] - size[1] / 2, point[0] + size[0] / 2, point[1] + size[1] / 2


def as_array(rects: Sequence[Rect]) -> Array:
    """Return rectangles as an (N, 4) array, also where there is none."""
    return np.array(rects, dtype=np.float64).reshape(-1, 4)


def _covered(spots: Array, others: Array) -> Array:
    """Return the share of each spot that others cover; what two of them cover counts twice."""
    return np.asarray(_shares(spots, others).sum(axis=1))


def _shares(a_N4: Array, b_M4: Array) -> Array:
    """The share of each rectangle that each other one covers: (N, 4), (M, 4) -> (N, M)."""
    sizes = np.maximum(1.0, (a_N4[:, 2] - a_N4[:, 0]) * (a_N4[:, 3] - a_N4[:, 1]))
    return np.asarray(BoxPairs(a_N4.T[:, :, None], b_M4.T[:, None, :]).intersection / sizes[:, None])
