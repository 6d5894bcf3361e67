"""Boxes of answers about pictures, as they are written, each beside the object that it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r1sgg.doctor.fitting import Answers
from r1sgg.doctor.shapes import Picture
from r1sgg.graph.dialects.dialect import Document
from r1sgg.graph.dialects.registry import DIALECTS
from r1sgg.graph.policies import Issue
from r1sgg.graph.records import are_numbers
from r1sgg.graph.scene import label_of_id


@dataclass(frozen=True, slots=True)
class Found:
    """A box of an answer beside the shape that it is of.

    Attributes:
        picture: number of the picture.
        name: of the shape.
        written: the four numbers.
    """

    picture: int
    name: str
    written: tuple[float, ...]


def read_objects(text: str, dialect: str) -> Document:
    """Read the objects of an answer as they are written, of one that was cut off the whole ones."""
    spoken = DIALECTS[dialect]
    asking = spoken.asking
    for written in (text, *(asking.mended(text) if asking else ())):
        issues: list[Issue] = []
        if (document := spoken.read(written, issues)) is not None:
            return document
    return {"objects": []}


def assigned(documents: Sequence[Document], pictures: Sequence[Picture]) -> tuple[list[Found], int]:
    """Assign boxes to shapes by colour; return them, and how many boxes are of no shape or a second one of it."""
    found, others = [], 0
    for k, (document, picture) in enumerate(zip(documents, pictures, strict=True)):
        taken: set[str] = set()
        rows = document.get("objects")
        for row in rows if isinstance(rows, list) else ():
            box = row.get("bbox") if isinstance(row, dict) else None
            if box is None or not are_numbers(box, 4):
                continue
            name = _shape_of(str(row.get("id", "")), picture.names)
            if name is None or name in taken:
                others += 1
                continue
            taken.add(name)
            found.append(Found(k, name, tuple(float(value) for value in box)))
    return found, others


def _shape_of(written: str, names: Sequence[str]) -> str | None:
    """Return the name that was written, or the shape whose colour it has, or the only one whose shape it has."""
    label = label_of_id(written) or written.lower()
    if label in names:
        return label
    words = label.split()
    for part in (0, 1):
        fits = [name for name in names if name.split()[part : part + 1] and name.split()[part] in words]
        if len(fits) == 1:
            return fits[0]
    return None


def answers_of(found: Sequence[Found], pictures: Sequence[Picture]) -> Answers:
    true = [pictures[f.picture].boxes[pictures[f.picture].names.index(f.name)] for f in found]
    return Answers(
        np.array([f.picture for f in found], dtype=np.int64),
        np.array([f.written for f in found], dtype=np.float64).reshape(-1, 4),
        np.array(true, dtype=np.float64).reshape(-1, 4),
    )
