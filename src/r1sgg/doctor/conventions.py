"""What the four numbers of a box may mean: the candidates of the frame probe.

A candidate is a unit (pixels, thousandths, bins, a padded square, ...), an order of axes, the kind of the second pair
of numbers, and an offset of bins. Candidates that write the same numbers on all pictures are one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from r1sgg.graph.frames import AnyFrame, Axes, BoxFrame, Frame, Shape, size_of
from r1sgg.graph.scene import Boxes


@dataclass(frozen=True, slots=True)
class Sizes:
    """Width and height of one picture, as they may matter to a model.

    Attributes:
        image: of the picture itself.
        sent: of the image that the engine gets.
        resized: after the processor's resizing, by the names of what resizes so.
    """

    image: Frame
    sent: Frame
    resized: tuple[tuple[str, Frame], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A convention, and its frame on each picture.

    Attributes:
        name: such as "thousandths" or "thousandths, y first".
        frames: one for each picture.
        same: names of other conventions that write the same numbers on these pictures.
    """

    name: str
    frames: tuple[BoxFrame, ...]
    same: tuple[str, ...] = ()

    def distance(self, other: Candidate, boxes: Sequence[Boxes]) -> float:
        """Return how far the two readings of one text lie apart at most, in fractions of a side.

        Args:
            other: the other reading.
            boxes: true boxes of each picture, which `self` writes and `other` reads.
        """
        return max(
            float(np.abs(there.fractions(here.written(true)) - true).max())
            for here, there, true in zip(self.frames, other.frames, boxes, strict=True)
        )


def candidates(sizes: Sequence[Sizes]) -> list[Candidate]:
    """Return all candidates for pictures of these sizes, the plain ones first."""
    found: list[Candidate] = []
    by_numbers: dict[tuple[BoxFrame, ...], int] = {}
    for name, frames in _named(sizes):
        if (place := by_numbers.get(frames)) is None:
            by_numbers[frames] = len(found)
            found.append(Candidate(name, frames))
        else:
            found[place] = dataclasses.replace(found[place], same=(*found[place].same, name))
    return found


def candidate_of(name: str, frames: Sequence[AnyFrame], known: Sequence[Candidate]) -> Candidate:
    """Return the candidate that has these frames; one of that name where none has."""
    own = tuple(_boxed(frame) for frame in frames)
    for candidate in known:
        if all(_equal(a, b) for a, b in zip(candidate.frames, own, strict=True)):
            return candidate
    return Candidate(name, own)


def _boxed(frame: AnyFrame) -> BoxFrame:
    return frame if isinstance(frame, BoxFrame) else BoxFrame(size_of(frame))


def _equal(a: BoxFrame, b: BoxFrame) -> bool:
    ours, theirs = ((*f.size, *f.origin, f.offset) for f in (a, b))
    return a.axes == b.axes and a.shape == b.shape and bool(np.allclose(ours, theirs, rtol=1e-6, atol=1e-6))


_AXES = {"xy": "", "yx": ", y first"}
_KINDS = {"corners": "", "size": ", width and height in place of the second corner", "centre": ", centre and size"}


def _named(sizes: Sequence[Sizes]) -> Iterator[tuple[str, tuple[BoxFrame, ...]]]:
    units = list(_units(sizes))
    for shape in get_args(Shape):
        for axes in get_args(Axes):
            for name, frames in units:
                yield _with(name, frames, axes, shape)
    for name, frames in units:
        if name in _BINS:
            for axes in get_args(Axes):
                mid = tuple(dataclasses.replace(frame, offset=0.5) for frame in frames)
                yield _with(f"{name}, the middle of each bin", mid, axes, "corners")


def _with(name: str, frames: Sequence[BoxFrame], axes: Axes, shape: Shape) -> tuple[str, tuple[BoxFrame, ...]]:
    full = tuple(dataclasses.replace(frame, axes=axes, shape=shape) for frame in frames)
    return f"{name}{_AXES[axes]}{_KINDS[shape]}", full


_BINS = {"thousandths": 1000.0, "0 to 999": 999.0, "1,024 bins": 1024.0}
SENT = "pixels of the image as it is sent"
_UNITS = {**_BINS, "fractions": 1.0, "percent": 100.0}
_SQUARES = {"fractions": 1.0, "thousandths": 1000.0, "0 to 999": 999.0}


def _units(sizes: Sequence[Sizes]) -> Iterator[tuple[str, tuple[BoxFrame, ...]]]:
    for name, bins in _UNITS.items():
        yield name, tuple(BoxFrame((bins, bins)) for _ in sizes)
    for k, (name, _) in enumerate(sizes[0].resized):
        yield name, tuple(BoxFrame(each.resized[k][1]) for each in sizes)
    yield SENT, tuple(BoxFrame(each.sent) for each in sizes)
    yield "pixels of the image", tuple(BoxFrame(each.image) for each in sizes)
    for name, bins in _SQUARES.items():
        yield f"{name} of a padded square", tuple(BoxFrame.padded(bins, each.image) for each in sizes)
        corner = tuple(BoxFrame(_in_square(bins, each.image)) for each in sizes)
        yield f"{name} of a square with the image at its top left", corner
    yield "pixels of a padded square", tuple(BoxFrame.padded(max(each.image), each.image) for each in sizes)


def _in_square(bins: float, image: Frame) -> Frame:
    return bins * image[0] / max(image), bins * image[1] / max(image)
