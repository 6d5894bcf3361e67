"""One image from captions to a graph: align, ground, merge, with the provenance of every triplet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from r1sgg.data.base import Example
from r1sgg.data.captions.aligning import Aligned, Aligner
from r1sgg.data.captions.grounding import Grounded, Named, Objects, by_trace, clipped, whole
from r1sgg.data.captions.phrases import Extraction
from r1sgg.data.captions.provenance import CUT, DROPPED_AT, GROUNDED, KEPT, KEY, PHRASES, READ
from r1sgg.data.captions.records import Captioned, NamedBox
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids

_NO_NAME, _NO_PREDICATE, _NO_BOX, _ONE_BOX, _REPEATED = DROPPED_AT

Lookup = Callable[[Captioned], Sequence[NamedBox]]
"""The boxes of an image: those of its record, of another file, or of a model."""


@runtime_checkable
class Prepared(Protocol):
    """A lookup that wants to know the images of a part before it is asked for each."""

    def prepare(self, records: Sequence[Captioned], found: Sequence[Sequence[Extraction]]) -> None:
        """Look up the boxes of all of them."""


@runtime_checkable
class Noting(Protocol):
    """A step that notes what it could not do."""

    notes: list[str]


@dataclass(frozen=True)
class Maker:
    """Makes graphs.

    Attributes:
        aligner: of names.
        ground: "given" (boxes of `lookup`), "whole" or "trace".
        lookup: see `Lookup`; for "given".
        keep_boxes: keep given boxes that no caption mentions as objects, too: the objects are then as complete as the
            boxes are.
        leak: name of the leak policy, for the provenance.
    """

    aligner: Aligner
    ground: str
    lookup: Lookup | None = None
    keep_boxes: bool = False
    leak: str = "none"

    def names(self, record: Captioned, extractions: Sequence[Extraction]) -> tuple[set[str], set[str]]:
        """Return the object and predicate names of an image that must be aligned before `make`."""
        objects = {phrase.name for found in extractions for phrase in found.phrases}
        objects |= {box.name for box in self._boxes(record)}
        return objects, {link.predicate for found in extractions for link in found.links}

    def prepare(self, records: Sequence[Captioned], found: Sequence[Sequence[Extraction]]) -> None:
        """Ask an engine that grounds for the boxes of some images."""
        lookup: Any = self.lookup
        if isinstance(lookup, Prepared):
            lookup.prepare(records, found)

    def notes(self) -> list[str]:
        """Return what engines did not answer since the last call, a sentence each."""
        notes: list[str] = []
        steps: tuple[Any, ...] = (self.lookup, self.aligner.ask)
        for step in steps:
            if isinstance(step, Noting):
                notes += step.notes
                step.notes = []
        return notes

    def _boxes(self, record: Captioned) -> Sequence[NamedBox]:
        return self.lookup(record) if self.lookup is not None else ()

    def make(self, record: Captioned, extractions: Sequence[Extraction]) -> Example:
        """Return the graph of one image; it may have no object.

        Args:
            record: the image and its captions.
            extractions: what was read in its captions.
        """
        objects = Objects()
        counts: Counter[str] = Counter({"captions": len(record.captions)})
        named: Named | None = None
        if self.ground == "given":
            named = Named(objects, [self._named(box, record) for box in self._boxes(record)])
        found: list[_Read] = []
        kept = set(range(len(objects.labels))) if self.keep_boxes else set[int]()
        for extraction in extractions:
            k = extraction.caption
            labels = [self.aligner.object(phrase.name) for phrase in extraction.phrases]
            places = self._places(record, k, extraction, labels, objects, named)
            counts["phrases"] += len(labels)
            counts[PHRASES] += sum(label.name is not None for label in labels)
            counts[GROUNDED] += sum(map(bool, places))
            kept |= {one.object for chosen in places for one in chosen}
            counts[CUT] += extraction.cut
            counts["answers that could not be used"] += bool(extraction.error)
            counts["triplets of answers that could not be used"] += extraction.invalid
            found += self._relations(k, extraction, labels, places, counts)
        graph, rows = _assemble(record, objects, found, counts, kept)
        provenance = {
            "texts": [caption.text for caption in record.captions],
            "triplets": rows,
            "counts": {name: n for name, n in counts.items() if n},
            "leak": self.leak,
        }
        meta: dict[str, Any] = {KEY: provenance}
        return Example(record.image_id, record.width, record.height, graph, record.image, record.split, meta)

    def _named(self, box: NamedBox, record: Captioned) -> tuple[str | None, NamedBox]:
        """Return a given box inside its image with its aligned name; None for one that is not used."""
        inside = clipped(box.box, record.width, record.height)
        name = self.aligner.object(box.name).name
        return (None, box) if inside is None else (name, box._replace(box=inside))

    def _places(
        self,
        record: Captioned,
        k: int,
        extraction: Extraction,
        labels: Sequence[Aligned],
        objects: Objects,
        named: Named | None,
    ) -> list[list[Grounded]]:
        """Return the boxes of each phrase of caption `k`."""
        if named is not None:
            return named.ground(extraction, [label.name for label in labels])
        places: list[list[Grounded]] = []
        for phrase, label in zip(extraction.phrases, labels, strict=True):
            caption = record.captions[k]
            box = by_trace(caption, phrase, record) if self.ground == "trace" else whole(caption, record)
            inside = None if box is None else clipped(box[0], record.width, record.height)
            if label.name is None or box is None or inside is None:
                places.append([])
            else:
                places.append([Grounded(objects.add(label.name, inside), box[1])])
        return places

    def _relations(
        self,
        k: int,
        extraction: Extraction,
        labels: Sequence[Aligned],
        places: Sequence[list[Grounded]],
        counts: Counter[str],
    ) -> list[_Read]:
        read: list[_Read] = []
        for link in extraction.links:
            counts[READ] += 1
            ends = [labels[link.subject], labels[link.object]]
            predicate = self.aligner.predicate(link.predicate)
            if None in (ends[0].name, ends[1].name):
                counts[_NO_NAME] += 1
            elif predicate.name is None:
                counts[_NO_PREDICATE] += 1
            elif not places[link.subject] or not places[link.object]:
                counts[_NO_BOX] += 1
            else:
                said = [extraction.phrases[link.subject].name, link.predicate, extraction.phrases[link.object].name]
                how = [ends[0].how, predicate.how, ends[1].how]
                pairs = _pairs(places[link.subject], places[link.object])
                counts[READ] += len(pairs) - 1  # "two men wearing hats" are two
                for subject, object_ in pairs:
                    if predicate.swap:
                        subject, object_ = object_, subject
                    read.append(_Read(subject, predicate.name, object_, [k], extraction.step, said, how))
        return read


@dataclass(slots=True)
class _Read:
    """A grounded triplet, with the captions that say it."""

    subject: Grounded
    predicate: str
    object: Grounded
    captions: list[int] = field(default_factory=list)
    step: str = ""
    said: list[str] = field(default_factory=list)
    aligned: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the entry of the provenance."""
        return {
            "captions": self.captions,
            "step": self.step,
            "said": self.said,
            "aligned": self.aligned,
            "grounded": [round(self.subject.score, 3), round(self.object.score, 3)],
        }


def _pairs(subjects: Sequence[Grounded], objects: Sequence[Grounded]) -> list[tuple[Grounded, Grounded]]:
    """Pair the boxes of two phrases: as many of both go one to one ("two men wearing hats"), else each with each."""
    if len(subjects) == len(objects):
        return list(zip(subjects, objects, strict=True))
    return [(s, o) for s in subjects for o in objects]


def _assemble(
    record: Captioned, objects: Objects, found: Sequence[_Read], counts: Counter[str], mentioned: set[int]
) -> tuple[SceneGraph, list[dict[str, Any]]]:
    """Merge the objects that are the same, and the triplets that are; return the graph and a row for each triplet."""
    first = objects.merged()
    kept: dict[tuple[int, str, int], _Read] = {}
    for read in found:
        key = first[read.subject.object], read.predicate, first[read.object.object]
        if key[0] == key[2]:
            counts[_ONE_BOX] += 1
        elif key in kept:
            counts[_REPEATED] += 1
            kept[key].captions += [k for k in read.captions if k not in kept[key].captions]
        else:
            kept[key] = read
    counts[KEPT] += len(kept)
    places = sorted({first[place] for place in mentioned})
    index = {place: k for k, place in enumerate(places)}
    labels = tuple(objects.labels[place] for place in places)
    size = (record.width, record.height)
    boxes = np.array([objects.boxes[place] for place in places], dtype=np.float64).reshape(-1, 4)
    graph = SceneGraph(
        number_ids(labels),
        labels,
        boxes / (size * 2) if len(boxes) else boxes,
        tuple((index[s], index[o]) for s, _, o in kept),
        tuple(p for _, p, _ in kept),
    )
    return graph, [read.row() for read in kept.values()]
