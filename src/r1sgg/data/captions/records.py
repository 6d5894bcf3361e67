"""A captioned image, as every source gives it: captions, given boxes, and whose ids it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from r1sgg.data.base import image_path

Corners = tuple[float, float, float, float]
"""xyxy in pixels."""


class Point(NamedTuple):
    """A point of a mouse trace: fractions of the image (which may lie a little outside), and seconds."""

    x: float
    y: float
    t: float


class Spoken(NamedTuple):
    """A part of a narrative: its place in the caption (characters), and when it was said (seconds)."""

    start: int
    end: int
    begins: float
    stops: float


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption.

    Attributes:
        text: as it was written.
        region: the box that it describes, where it is not the whole image.
        spoken: when its parts were said, in their order.
        trace: where the mouse was meanwhile.
    """

    text: str
    region: Corners | None = None
    spoken: tuple[Spoken, ...] = ()
    trace: tuple[Point, ...] = ()


class NamedBox(NamedTuple):
    """A box that somebody gave: its name (not aligned), xyxy in pixels, and a score in [0, 1] where there is one."""

    name: str
    box: Corners
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image with its captions.

    Attributes:
        image_id: its name.
        width: in pixels; 0 where it is not known.
        height: likewise.
        captions: at least one.
        boxes: given objects; None where none were given.
        image: its file, where one is known.
        split: as the record says.
        coco_id: its id in COCO, "" where it has none, None where that is not known.
        vg_id: likewise in Visual Genome.
    """

    image_id: str
    width: int
    height: int
    captions: tuple[Caption, ...]
    boxes: tuple[NamedBox, ...] | None = None
    image: Path | None = None
    split: str | None = None
    coco_id: str | None = None
    vg_id: str | None = None

    def to_record(self, root: Path) -> dict[str, Any]:
        """Return the line of a "jsonl" source; regions and traces are not part of it."""
        record: dict[str, Any] = {"image_id": self.image_id, "width": self.width, "height": self.height}
        record["captions"] = [caption.text for caption in self.captions]
        if self.image is not None:
            record["image"] = image_path(self.image, root)
        if self.boxes is not None:
            record["boxes"] = [{"name": b.name, "bbox": list(b.box), "score": b.score} for b in self.boxes]
        for key in ("split", "coco_id", "vg_id"):
            if (value := getattr(self, key)) is not None:
                record[key] = value or None
        return record


class Skipped(NamedTuple):
    """A record that was not used, and why, in one sentence."""

    reason: str
