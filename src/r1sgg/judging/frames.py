"""Evidence on frames: which unit, order of axes or shape of box explains the boxes best, whatever was declared.

Predicted boxes are compared with the true boxes of their class, read as each of the candidates. Bounded: at most
`MOST_IMAGES` images are kept, spread evenly over the file, so the answer does not depend on where in the file a fault
begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from r1sgg.graph.frames import Axes, BoxFrame, Frame, Shape
from r1sgg.graph.parsed import Parsed
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import Array, BoxPairs

MOST_IMAGES = 1024

FRACTIONS = "fractions (0 to 1)"
UNITS: dict[str, Frame] = {FRACTIONS: (1.0, 1.0), "thousandths (0 to 1000)": (1000.0, 1000.0)}
PIXELS = "pixels of the image"
PADDED = "thousandths of a square that the image is in the middle of"
_AXES: dict[Axes, str] = {"xy": "", "yx": ", y before x"}
_SHAPES: dict[Shape, str] = {
    "corners": "",
    "size": ", as [x, y, width, height]",
    "centre": ", as [centre x, centre y, width, height]",
}


class Reading(NamedTuple):
    """One way to read boxes: the unit ("" for the declared frame), the order of axes, and the shape.

    `fitted` is a size that was measured from the boxes, in place of a unit.
    """

    unit: str
    axes: Axes = "xy"
    shape: Shape = "corners"
    fitted: Frame | None = None

    def __str__(self) -> str:
        if self.fitted is not None:
            return "relative to about {:.0f} x {:.0f}".format(*self.fitted)
        return (self.unit or "the declared frame") + _AXES[self.axes] + _SHAPES[self.shape]

    def value(self, declared: Frame | None, convention: BoxFrame | None = None) -> str:
        """Return what to write as "frame".

        Args:
            declared: width and height; None if they differ from line to line.
            convention: how boxes were read before they were compared: this reading comes on top of it.
        """
        if self.unit == PADDED:
            return (
                '{"size": [s * width, s * height], "origin": [(1000 - s * width) / 2, (1000 - s * height) / 2]} with '
                "s = 1000 / max(width, height)"
            )
        axes, shape = self._on_top_of(convention)
        known = self.fitted or UNITS.get(self.unit, None if self.unit == PIXELS else declared)
        size = "[width, height]" if known is None else str(list(map(_whole, known)))
        if (axes, shape, convention) == ("xy", "corners", None):
            return size
        more = [f'"axes": "{axes}"'] if axes != "xy" or convention is not None else []
        more += [f'"shape": "{shape}"'] if shape != "corners" else []
        return f'{{"size": {size}, {", ".join(more)}}}'

    def options(self, convention: BoxFrame | None = None) -> dict[str, str] | None:
        """Return what to write as options of another tool's file; None if no options say it (a padded square).

        Args:
            convention: see `value`.
        """
        if self.unit == PADDED:
            return None
        axes, shape = self._on_top_of(convention)
        size = self.fitted or UNITS.get(self.unit)
        options = {"frame": "pixels"} if self.unit == PIXELS else {}
        if size is not None:
            options["frame"] = "x".join(str(_whole(side)) for side in dict.fromkeys(size))
        if axes != "xy" or convention is not None:
            options["axes"] = axes
        if shape != "corners":
            options["shape"] = shape
        return options

    def _on_top_of(self, convention: BoxFrame | None) -> tuple[Axes, Shape]:
        """Return the order of axes and the shape that this reading is, for boxes that were read by a convention."""
        if convention is None:
            return self.axes, self.shape
        axes: Axes = "xy" if self.axes == convention.axes else "yx"
        return axes, convention.shape if self.shape == "corners" else self.shape


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _fitted_size(written: Array, true: Array) -> Frame | None:
    """Return the size that most pairs of boxes agree on, in whole units: the median of written through true values."""
    sides = []
    for axis in (0, 1):
        far = true[:, axis::2] > 0.1  # near the corner, rounding counts too much
        if not far.any() or (side := float(np.median(written[:, axis::2][far] / true[:, axis::2][far]))) < 2:
            return None
        sides.append(float(round(side)))
    return sides[0], sides[1]


class _Image(NamedTuple):
    """Pairs of equal class of one image: written boxes (P, 4), true boxes (P, 4), true objects (P,), and units."""

    written: Array
    true: Array
    objects: Array
    units: Mapping[str, Frame]


class Verdict(NamedTuple):
    """Which reading explains the boxes.

    Attributes:
        named: true objects whose class was predicted.
        overlap: mean IoU of these objects with the best box of their class, as declared.
        best: the reading with the largest mean IoU of those that differ from the declared one.
        better: its mean IoU.
        votes: share of images that the best reading explains much better than the declared one.
        error: standard error of the difference of the two means.
    """

    named: int
    overlap: float
    best: Reading
    better: float
    votes: float
    error: float

    @property
    def wrong(self) -> bool:
        """Whether the boxes of the whole file are better explained by another reading, beyond chance."""
        margin = self.better - self.overlap
        enough = 0.3 if self.named >= 20 else 0.5
        return self.named >= 4 and self.better >= enough and margin > 0.1 and margin > 4 * self.error

    @property
    def partly_wrong(self) -> bool:
        """Whether that holds of a tenth or more of the images."""
        return self.named >= 20 and self.votes >= 0.1


@dataclass(slots=True)
class FrameEvidence:
    """Collects boxes and judges the frame that they were declared in.

    Attributes:
        objects: true objects of the images that were looked at.
        named: those of them whose class was predicted.
        declared: the frame of the last image.
        varied: whether images have different frames.
        classes: the first predicted classes.
        convention: how the boxes of the last image were read, where its size does not say it all.
    """

    objects: int = 0
    named: int = 0
    declared: Frame = (1.0, 1.0)
    varied: bool = False
    classes: list[str] = field(default_factory=list)
    convention: BoxFrame | None = None
    _images: list[_Image] = field(default_factory=list)
    _seen: int = 0
    _step: int = 1
    _verdict: Verdict | None = None

    def add(self, parsed: Parsed, truth: SceneGraph, size: Frame, units: Mapping[str, Frame] | None = None) -> None:
        """Take one completion into account.

        Args:
            parsed: what was read; its inverted boxes count, too, because in another reading they are not.
            truth: the annotated graph, in the same names.
            size: width and height of the image in pixels.
            units: further units that the boxes may be written in, by name.
        """
        number, self._seen, self._verdict = self._seen, self._seen + 1, None
        columns, inverted = parsed.columns, parsed.inverted
        if number % self._step or not (columns.labels or inverted):
            return
        places: dict[str, list[int]] = {}
        for k, label in enumerate((*columns.labels, *(label for label, _ in inverted))):
            places.setdefault(label, []).append(k)
        self.objects += len(truth)
        if len(self.classes) < 3:
            self.classes = list(dict.fromkeys((*self.classes, *places)))[:3]
        rows = [(n, k) for n, label in enumerate(truth.labels) for k in places.get(label, ())[:16]]
        if not rows:
            return
        true, predicted = np.array(rows, dtype=np.intp).T
        self.named += len({n for n, _ in rows})
        flat = [*columns.boxes, *(value for _, box in inverted for value in box)]
        boxes = np.array(flat, dtype=np.float64).reshape(-1, 4)
        declared = parsed.declared
        frames = {"": declared, **UNITS, PIXELS: size, **(units or {})}
        self._images.append(_Image(boxes[predicted], truth.boxes[true], true, frames))
        self.varied |= len(self._images) > 1 and declared != self.declared
        self.declared, self.convention = declared, parsed.convention
        if len(self._images) >= 2 * MOST_IMAGES:
            del self._images[1::2]
            self._step *= 2

    def verdict(self) -> Verdict | None:
        """Return the verdict; None without objects of a common class."""
        if self._images and self._verdict is None:
            self._verdict = self._judged()
        return self._verdict

    def _judged(self) -> Verdict:
        images = np.repeat(np.arange(len(self._images)), [len(i.objects) for i in self._images])
        objects = np.concatenate([i.objects for i in self._images])
        starts = np.flatnonzero(np.diff(images * 1_000_000.0 + objects, prepend=-1.0))  # pairs of one true object
        written = np.concatenate([i.written for i in self._images])
        true = np.concatenate([i.true for i in self._images])
        owners = images[starts]

        def best_overlaps(reading: Reading) -> Array:
            sizes = np.array([reading.fitted or i.units[reading.unit] for i in self._images])[images]
            corners = BoxFrame((1.0, 1.0), reading.axes, reading.shape).corners(written)
            iou = BoxPairs((corners / np.tile(sizes, 2)).T, true.T).iou
            return np.asarray(np.maximum.reduceat(iou, starts))

        units = [unit for unit in self._images[0].units if all(unit in i.units for i in self._images)]
        readings = [Reading(unit, axes, shape) for unit in units for axes in _AXES for shape in _SHAPES]
        own = best_overlaps(readings[0])

        def padded_overlaps() -> Array:
            sizes = np.array([i.units[PIXELS] for i in self._images], dtype=np.float64)[images]
            sizes *= 1000 / sizes.max(1, keepdims=True)
            corners = written - np.tile((1000 - sizes) / 2, 2)
            return np.asarray(np.maximum.reduceat(BoxPairs((corners / np.tile(sizes, 2)).T, true.T).iou, starts))

        def compared(reading: Reading) -> Verdict:
            values = padded_overlaps() if reading.unit == PADDED else best_overlaps(reading)
            gain = values - own
            per_image = np.bincount(owners, weights=gain) / np.maximum(np.bincount(owners), 1)
            return Verdict(
                named=len(starts),
                overlap=float(own.mean()),
                best=reading,
                better=float(values.mean()),
                votes=float((per_image > 0.4).sum() / len(self._images)),
                error=float(gain.std() / np.sqrt(len(gain))),
            )

        readings += [Reading(PADDED)] if self.convention is None else []
        verdicts = [compared(reading) for reading in readings[1:]]
        best = max(verdicts, key=lambda verdict: verdict.better)
        if (size := _fitted_size(written, true)) is not None:
            fitted = compared(Reading("", fitted=size))
            if fitted.wrong and (not best.wrong or fitted.better > best.better + 0.1):
                return fitted
        return best if best.wrong else max(verdicts, key=lambda verdict: (verdict.votes, verdict.better))

    def as_json(self) -> dict[str, Any] | None:
        """Return the verdict as JSON values."""
        verdict = self.verdict()
        if verdict is None:
            return None
        return {
            "images": len(self._images),
            "named_objects": verdict.named,
            "overlap": verdict.overlap,
            "best_other": str(verdict.best),
            "best_other_overlap": verdict.better,
            "margin": verdict.better - verdict.overlap,
            "images_better": verdict.votes,
        }
