"""Boxes of another file, by image id: predictions of a detector or of a model, or a ground truth.

Completions are read in the dialect that most of them are written in, such as Florence-2's. Only places are kept in
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from r1sgg.data.base import TRUTH_KEYS, example_of_record
from r1sgg.data.captions.records import Captioned, NamedBox
from r1sgg.data.jsonl import image_id_of, read_lines, record_of_line
from r1sgg.data.predictions import prediction_of_record
from r1sgg.errors import InputError
from r1sgg.graph.dialects.registry import OURS, choose_dialect
from r1sgg.graph.scene import SceneGraph


class BoxesFile:
    """Looks up the boxes of images; 16 bytes of memory a line.

    A line with `width` and `height` is ground truth (boxes in pixels of its image), any other a prediction.
    """

    def __init__(self, path: Path) -> None:
        """Read the ids of the lines.

        Raises:
            InputError: the file cannot be read, or a line has no image_id.
        """
        self.path = path
        rows: list[tuple[int, int]] = []

        def completions() -> Iterator[str]:
            for number, offset, content in read_lines(path):
                row = record_of_line(content, f"{path}:{number}", first=number == 1)
                if "image_id" not in row:
                    expected = "image_id, and objects with boxes"
                    raise InputError(f"{path}:{number}", expected=expected, found="no image_id")
                rows.append((_key(image_id_of(row, f"{path}:{number}")), offset))
                if isinstance(text := row.get("completion"), str):
                    yield text

        self.dialect = choose_dialect(completions()).dialect
        if not rows:
            raise InputError(str(path), expected="at least one line", found="an empty file")
        rows.sort()
        self._keys = np.array([key for key, _ in rows], dtype=np.uint64)
        self._offsets = np.array([offset for _, offset in rows], dtype=np.int64)
        self.missing = 0

    def __call__(self, record: Captioned) -> Sequence[NamedBox]:
        """Return the boxes of an image in pixels; none where the file does not have it (see `missing`).

        Raises:
            InputError: its line is wrong.
        """
        key = np.uint64(_key(record.image_id))
        place = int(np.searchsorted(self._keys, key))
        while place < len(self._keys) and self._keys[place] == key:
            where = f"{self.path}, image {record.image_id}"
            with self.path.open("rb") as handle:
                handle.seek(int(self._offsets[place]))
                row = record_of_line(handle.readline(), where)
            if str(row.get("image_id")) == record.image_id:
                if "width" in row:
                    graph = example_of_record(row, where, Path(), frozenset(row) - TRUTH_KEYS).graph
                else:
                    prediction = replace(prediction_of_record(row, where), dialect=self.dialect)
                    size = float(record.width), float(record.height)
                    graph = prediction.read(image=None if self.dialect == OURS else size).graph
                return _named(graph, record)
            place += 1
        self.missing += 1
        return ()


def given_boxes(record: Captioned) -> Sequence[NamedBox]:
    """Return the boxes of the record itself."""
    return record.boxes or ()


def _named(graph: SceneGraph, record: Captioned) -> list[NamedBox]:
    scores = [1.0] * len(graph) if graph.object_scores is None else graph.object_scores.tolist()
    corners = (graph.boxes * ((record.width, record.height) * 2)).tolist()
    return [NamedBox(label, tuple(box), score) for label, box, score in zip(graph.labels, corners, scores, strict=True)]


def _key(image_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
