"""The annotations of many images as flat arrays, for formats whose file must be read whole (psg.json, COCO's).

An image takes the memory of its numbers and two short strings; the parsed JSON is freed. Types and repeated image ids
are checked here, boxes and relations by `r1sgg.data.assemble`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r1sgg.data.assemble import assemble
from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet, Fault, fault
from r1sgg.errors import InputError, short
from r1sgg.graph.scene import Boxes


class AnnotatedImage(NamedTuple):
    """One image: boxes xyxy in pixels (NaN where unknown), class numbers, and relations as (row, row, number)."""

    image_id: str
    width: int
    height: int
    file_name: str
    boxes: Sequence[Sequence[float]] | Boxes
    labels: Sequence[int]
    relations: Sequence[tuple[int, int, int]]


class AnnotationColumns:
    """Annotations by number, stored as flat arrays.

    Image k has the boxes and labels `_ends[2 * k]` to `_ends[2 * k + 2]`, and the relations `_ends[2 * k + 1]` to
    `_ends[2 * k + 3]`; a relation is three numbers.
    """

    def __init__(self) -> None:
        self.image_ids: list[str] = []
        self.file_names: list[str] = []
        self._sizes, self._labels, self._relations = array("q"), array("q"), array("q")
        self._boxes = array("d")
        self._ends = array("q", (0, 0))  # boxes, relations before each image, and at last all of them

    def __len__(self) -> int:
        return len(self.image_ids)

    def append(self, record: AnnotatedImage) -> None:
        """Add one record."""
        self.image_ids.append(record.image_id)
        self.file_names.append(record.file_name)
        self._sizes.extend((record.width, record.height))
        for box in record.boxes:
            self._boxes.extend(box)
        self._labels.extend(record.labels)
        for relation in record.relations:
            self._relations.extend(relation)
        self._ends.extend((len(self._labels), len(self._relations) // 3))

    def __getitem__(self, k: int) -> AnnotatedImage:
        box, relation, box_end, relation_end = self._ends[2 * k : 2 * k + 4]
        flat = self._relations[3 * relation : 3 * relation_end].tolist()
        return AnnotatedImage(
            self.image_ids[k],
            self._sizes[2 * k],
            self._sizes[2 * k + 1],
            self.file_names[k],
            np.array(self._boxes[4 * box : 4 * box_end]).reshape(-1, 4),
            self._labels[box:box_end].tolist(),
            list(zip(flat[::3], flat[1::3], flat[2::3], strict=True)),
        )


class ColumnarData(DataSet):
    """A set whose annotations are in memory as columns; its images are in one of `roots`."""

    def __init__(self, name: str, path: Path, split: str | None) -> None:
        super().__init__(name, split)
        self.path = path
        self.columns = AnnotationColumns()
        self.objects: dict[int, str] = {}
        self.predicates: dict[int, str] = {}
        self.roots: list[Path] = []

    def __len__(self) -> int:
        return len(self.columns)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        record = self.columns[k]
        where = f"{self.path}: image_id {record.image_id}"
        faults: list[Fault] = []
        size = record.width, record.height
        graph = assemble(
            list(map(self.objects.get, record.labels)),
            self._boxes(record, where, faults),
            ((s, o, self.predicates.get(p)) for s, o, p in record.relations),
            size,
            where,
            faults,
        )
        return Example(record.image_id, *size, graph, existing_file(self.roots, record.file_name), self.split), faults

    def _boxes(self, record: AnnotatedImage, where: str, faults: list[Fault]) -> Boxes:
        return np.asarray(record.boxes)

    def fill(self, records: Iterable[Callable[[], AnnotatedImage]], *, keep_empty: bool) -> None:
        """Add the records; what cannot be read, repeats an image id or has no relation is named in `notes`.

        Raises:
            InputError: no record is left.
        """
        seen: set[str] = set()
        empty: list[str] = []
        total = 0
        for make in records:
            total += 1
            try:
                record = make()
            except InputError as error:
                self.notes.append(Fault("record", f"{error}; left out"))
                continue
            if record.image_id in seen:
                found = f"image_id {record.image_id!r} again"
                self.notes.append(fault("id", str(self.path), "image ids that differ", found))
            elif not record.relations and not keep_empty:
                empty.append(record.image_id)
            else:
                self.columns.append(record)
            seen.add(record.image_id)
        if empty:
            self.empty_ids = frozenset(empty)
            expected, found = "images with relations", f"{len(empty)} without"
            self.notes.append(fault("empty", str(self.path), expected, found, "left out (empty=yes keeps)"))
        if not len(self):
            found = f"none of {total}" + (f" (the first: {self.notes[0].text})" if self.notes else "")
            expected = "an image with relations" + (f" in split {self.split!r}" if self.split else "")
            raise InputError(str(self.path), expected=expected, found=found)


def existing_file(roots: Sequence[Path], file_name: str) -> Path | None:
    """Return the file in the first folder that has it; if none has it, its path in the first folder."""
    for root in roots:
        path = root / file_name
        if path.is_file():
            return path
    return roots[0] / file_name if roots else None


def whole_field(row: Any, key: str, where: str, *, least: int = 0) -> int:
    """Return the whole number of a field.

    Raises:
        InputError: the row is no object, or the field is something else.
    """
    value = row.get(key) if isinstance(row, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        found = short(value) if isinstance(row, dict) else f"a JSON {type(row).__name__}"
        raise InputError(f"{where}: {key}", expected=f"a whole number from {least}", found=found)
    return value


def text_field(row: Any, key: str, where: str) -> str:
    """Return the text, or the number as text, of a field.

    Raises:
        InputError: the row is no object, or the field is something else.
    """
    value = row.get(key) if isinstance(row, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        found = short(value) if isinstance(row, dict) else f"a JSON {type(row).__name__}"
        raise InputError(f"{where}: {key}", expected="a string", found=found)
    return str(value)


def four_numbers(value: Any) -> list[float]:
    """Return the four numbers of a box, or four NaN, which `assemble` leaves out and names."""
    values = list(value) if isinstance(value, list | tuple) else []
    right = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return [float(v) for v in right] if len(right) == 4 == len(values) else [float("nan")] * 4


def corners_of_xywh(value: Any) -> list[float]:
    """Return the corners of a box [x, y, width, height], or four NaN."""
    x, y, w, h = four_numbers(value)
    return [x, y, x + w, y + h]
