"""Boxes for the noun phrases of captions.

given      the boxes of the record, by their aligned names
FILE       the boxes of another file, a detector's or a ground truth, by image_id: likewise
whole      the box that the caption describes: its region, or the whole image
trace      the mouse trace of a narrative while the phrase was said
ENGINE     a vision-language model that is shown the image (`r1sgg.data.captions.asking`)

Several boxes may have a phrase's name. A phrase in the singular takes one of them, and which is decided by its first
relation: the two boxes that are closest. A plural takes all, or as many as the caption counts. The score of a grounding
is the share of candidates that it took (times the box's own score): 1 where there was no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from r1sgg.data.captions.phrases import PLURAL, Extraction, Phrase
from r1sgg.data.captions.records import Caption, Captioned, Corners, NamedBox
from r1sgg.data.visual_genome import merge_duplicates
from r1sgg.graph.synonyms import of_object
from r1sgg.judging.boxes import pairwise_gaps

SAME_BOX_IOU = 0.7
"""Boxes of one name that overlap by this much or more are one object: phrases of several captions name it again."""
_MARGIN = 0.5  # seconds around a spoken phrase in which the mouse is already, or still, there
_LEAST_SIDE = 0.02  # of the image, so that a mouse that rests gives a box
_MOST_PLURAL = 10


class Grounded(NamedTuple):
    """A box for a phrase, as a place in `Objects`, with the score of the grounding."""

    object: int
    score: float


@dataclass
class Objects:
    """The objects of one image, while they are collected: aligned labels and boxes (xyxy in pixels)."""

    labels: list[str] = field(default_factory=list)
    boxes: list[Corners] = field(default_factory=list)

    def add(self, label: str, box: Corners) -> int:
        """Add an object and return its place."""
        self.labels.append(label)
        self.boxes.append(box)
        return len(self.labels) - 1

    def merged(self) -> list[int]:
        """Return for each object the first that is the same one (`SAME_BOX_IOU`)."""
        boxes_N4 = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        return merge_duplicates(self.labels, boxes_N4, SAME_BOX_IOU)


class Named:
    """Grounds phrases in named boxes."""

    def __init__(self, objects: Objects, boxes: Sequence[tuple[str | None, NamedBox]]) -> None:
        """Add the boxes whose names are aligned to `objects`."""
        self.objects = objects
        self.score: dict[int, float] = {}
        self.by_label: dict[str, list[int]] = {}
        self.place: list[int] = []  # of each box, or -1
        for label, box in boxes:
            place = -1 if label is None else objects.add(label, box.box)
            self.place.append(place)
            if label is not None:
                self.score[place] = box.score
                self.by_label.setdefault(label, []).append(place)

    def ground(self, extraction: Extraction, labels: Sequence[str | None]) -> list[list[Grounded]]:
        """Return the boxes of each phrase of one caption; none where no box has its name.

        Args:
            extraction: the caption's phrases and links.
            labels: the aligned name of each phrase.
        """
        candidates = [
            [] if label is None else self._given(p) if p.given >= 0 else self._candidates(label)
            for p, label in zip(extraction.phrases, labels, strict=True)
        ]
        chosen: dict[int, list[int]] = {k: list(c) for k, c in enumerate(candidates) if len(c) < 2}
        for link in extraction.links:
            ends = link.subject, link.object
            if any(end not in chosen for end in ends) and all(candidates[end] for end in ends):
                self._choose(extraction.phrases, candidates, chosen, ends)
        for k, found in enumerate(candidates):
            if k not in chosen:  # in no relation: the best scored, or first
                chosen[k] = sorted(found, key=lambda place: -self.score[place])[: self._wanted(extraction.phrases[k])]
        return [
            [Grounded(place, self.score[place] * len(chosen[k]) / len(candidates[k])) for place in chosen[k]]
            for k in range(len(labels))
        ]

    def _given(self, phrase: Phrase) -> list[int]:
        place = self.place[phrase.given]
        return [place] if place >= 0 else []

    def _candidates(self, label: str) -> list[int]:
        """Return the boxes with a name; else those of another word for it, or of a kind of it ("person": a woman)."""
        if label in self.by_label:
            return self.by_label[label]
        others = [name for name in self.by_label if name in of_object(label) or label in of_object(name)]
        return [place for name in others for place in self.by_label[name]]

    def _wanted(self, phrase: Phrase) -> int:
        return _MOST_PLURAL if phrase.many == PLURAL else max(1, phrase.many)

    def _choose(
        self,
        phrases: Sequence[Phrase],
        candidates: Sequence[list[int]],
        chosen: dict[int, list[int]],
        ends: tuple[int, int],
    ) -> None:
        """Choose among the candidates of both ends of a link those that are closest to each other."""
        here, there = (chosen.get(end, candidates[end]) for end in ends)
        boxes = np.array(self.objects.boxes, dtype=np.float64)
        gaps = pairwise_gaps(boxes[here], boxes[there])
        if set(here) & set(there):
            gaps = np.where(np.array(here)[:, None] == np.array(there)[None, :], np.inf, gaps)
        closest = [np.unravel_index(k, gaps.shape) for k in np.argsort(gaps, axis=None, kind="stable")]
        pairs = [(here[i], there[j]) for i, j in closest if np.isfinite(gaps[i, j])]
        for place, end in enumerate(ends):
            if end not in chosen:
                order = list(dict.fromkeys(pair[place] for pair in pairs))
                chosen[end] = order[: self._wanted(phrases[end])]


def by_trace(caption: Caption, phrase: Phrase, record: Captioned) -> tuple[Corners, float] | None:
    """Return the box around the mouse trace while a phrase was said, and the share of its points inside the image.

    None where no part of the caption with a time covers the phrase, or the mouse was outside the image.
    """
    parts = [part for part in caption.spoken if part.start < phrase.end and phrase.start < part.end]
    if not parts:
        return None
    begins, stops = min(p.begins for p in parts) - _MARGIN, max(p.stops for p in parts) + _MARGIN
    points = [(p.x, p.y) for p in caption.trace if begins <= p.t <= stops]
    inside = np.array([p for p in points if 0 <= p[0] <= 1 and 0 <= p[1] <= 1], dtype=np.float64).reshape(-1, 2)
    if not len(inside):
        return None
    low, high = inside.min(0), inside.max(0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, _LEAST_SIDE / 2)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, 1)
    size = (record.width, record.height)
    x1, y1, x2, y2 = np.concatenate((low * size, high * size)).tolist()
    return (x1, y1, x2, y2), len(inside) / len(points)


def whole(caption: Caption, record: Captioned) -> tuple[Corners, float]:
    """Return the box that a caption describes; nothing was located, so the score is 0."""
    return caption.region or (0.0, 0.0, float(record.width), float(record.height)), 0.0


def clipped(box: Corners, width: int, height: int) -> Corners | None:
    """Return a box inside its image, None where nothing of it is."""
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None
