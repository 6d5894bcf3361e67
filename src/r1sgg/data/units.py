"""Whether the boxes of a ground-truth file are pixels [x1, y1, x2, y2], judged from all of them together.

A box outside its image is a fault of one line. When a tenth of all boxes are, and nearly all would be right in another
unit or order, the file is written in that one, and correcting box by box would make wrong boxes that pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from r1sgg.graph.records import MARGIN, are_numbers

_SYSTEMATIC = 0.1  # share of boxes, or of images, that are not as they should be
_EXPLAINED = 0.98  # share of boxes that are right in another reading
_FEWEST = 3  # boxes outside their image; fewer may be single faults
_MOST = 0.5  # share of boxes outside their image from which they are not single faults
_ENOUGH = 6  # boxes in images of over 300 pixels, if they are all in the first 100
_NEAR_THOUSAND = 998

READINGS: dict[str, tuple[str, str]] = {
    "fractions": ("fractions (0 to 1)", "multiply them by the width and height of the image"),
    "yx": ("[y1, x1, y2, x2]", "exchange x and y"),
    "thousandths": (
        "thousandths (0 to 1000)",
        "multiply them by the width and height of the image and divide by 1,000",
    ),
    "size": ("[x, y, width, height]", "add x and y to the width and height"),
    "percent": ("percent (0 to 100)", "multiply them by the width and height of the image and divide by 100"),
    "larger": ("those of a larger image", "scale them to the width and height in the file, or correct these"),
    "centre": ("[centre x, centre y, width, height]", "convert them to corners"),
}
"""Other ways to write boxes: what they are called, and how they become [x1, y1, x2, y2] in pixels."""


class WrongUnit(NamedTuple):
    """How the boxes of a file are written, if not as they should be."""

    reading: str
    boxes: int
    total: int

    def __str__(self) -> str:
        called, _ = READINGS[self.reading]
        return f"boxes look like {called}: {self.boxes:,} of {self.total:,}; [x1, y1, x2, y2] in pixels expected"

    @property
    def remedy(self) -> str:
        """How to correct the file."""
        return READINGS[self.reading][1]


@dataclass(slots=True)
class TruthUnits:
    """Counts, over all boxes of a file, in how many readings they are right; `lines`: of the file."""

    lines: int = 0
    boxes: int = 0
    images: int = 0
    _wrong_images: int = 0
    _right: Counter[str] = field(default_factory=Counter)
    _fraction_images: int = 0  # whose boxes, two at least, are all fractions
    _outside: int = 0  # boxes that extend beyond the image
    _medium: int = 0  # boxes in images longer than 300 pixels
    _beyond: bool = False  # whether a coordinate is over 1,000
    _large: int = 0  # boxes in images longer than 1,100 pixels
    _at_thousand: int = 0  # those that end at 998 to 1,000

    def add(self, row: Any) -> None:
        """Count the boxes of one line, whatever it holds."""
        if not isinstance(row, dict) or not isinstance(row.get("objects"), list):
            return
        if not are_numbers([row.get("width"), row.get("height")], 2):
            return
        boxes = [o["bbox"] for o in row["objects"] if isinstance(o, dict) and are_numbers(o.get("bbox"), 4)]
        width, height = row["width"], row["height"]
        if not boxes or min(width, height) < 2:
            return
        self.images += 1
        self.boxes += len(boxes)
        right = 0
        self._medium += len(boxes) * (max(width, height) > 300)
        self._fraction_images += len(boxes) > 1 and all(max(box) <= 1 and min(box) >= 0 for box in boxes)
        for box in boxes:
            self._right["percent"] += max(box) <= 100
            self._outside += _inside(box, max(box), max(box)) and not _inside(box, width, height)
            if max(box) <= 1 and min(box) >= 0:
                self._right["fractions"] += 1
            right += _inside(box, width, height)
            y1, x1, y2, x2 = box
            self._right["yx"] += _inside((x1, y1, x2, y2), width, height)
            self._right["thousandths"] += _inside(box, 1000, 1000)
            x, y, w, h = box
            self._right["size"] += _inside((x, y, x + w, y + h), width, height)
            self._right["centre"] += _inside((x - w / 2, y - h / 2, x + w / 2, y + h / 2), width, height)
            if max(width, height) > 1100:
                self._large += 1
                self._at_thousand += _NEAR_THOUSAND <= max(box[2:]) <= 1000
            self._beyond |= max(box) > 1000 + MARGIN
        self._right["pixels"] += right
        self._wrong_images += right < len(boxes)

    def verdict(self) -> WrongUnit | None:
        """Return the reading of the whole file, or None if it is pixels (or nothing better is found)."""
        if self._fraction_images or self._right["fractions"] >= max(2, _SYSTEMATIC * self.boxes):
            return WrongUnit("fractions", self._right["fractions"], self.boxes)
        wrong = self.boxes - self._right["pixels"]
        often = wrong >= _SYSTEMATIC * self.boxes or self._wrong_images >= _SYSTEMATIC * self.images
        if wrong >= _FEWEST and often:
            # y before x is the narrower claim: such boxes are mostly right as thousandths, too
            for reading in ("yx", "thousandths", "size", "centre"):
                if self._right[reading] >= _EXPLAINED * self.boxes and not (reading == "thousandths" and self._beyond):
                    return WrongUnit(reading, self._right[reading], self.boxes)
        if self._outside >= max(_FEWEST, _MOST * self.boxes):
            return WrongUnit("larger", self._outside, self.boxes)
        if self._medium >= max(_ENOUGH, _MOST * self.boxes) and self._right["percent"] >= _EXPLAINED * self.boxes:
            return WrongUnit("percent", self._right["percent"], self.boxes)
        if not self._beyond and self._at_thousand >= max(10, 0.05 * self._large):
            return WrongUnit("thousandths", self._right["thousandths"], self.boxes)
        return None


def _inside(box: Sequence[float], width: float, height: float) -> bool:
    x1, y1, x2, y2 = box
    return -MARGIN <= x1 < x2 <= width + MARGIN and -MARGIN <= y1 < y2 <= height + MARGIN
