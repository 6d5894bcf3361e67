"""What can be wrong with one line of ground truth, and the line without it.

`mend` takes whatever JSON object stands there and gives the findings and the corrected line, which
`r1sgg.data.base.example_of_record` always accepts, or None where nothing is left to keep. Each finding says what was
done. It opens no image: the caller says what was found there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from r1sgg.data.base import OBJECT_KEYS, RELATIONSHIP_KEYS, TRUTH_KEYS
from r1sgg.data.findings import LIKE_SIZES, Finding
from r1sgg.data.jsonl import short
from r1sgg.errors import ImageError
from r1sgg.graph.mapping import Mapper
from r1sgg.graph.scene import NUMBER_SUFFIX, label_of_id, normalize_name

_SAME_SHAPE = 0.01
"""An image is a scaled copy if its ratio of width to height differs by less than this."""


@dataclass(slots=True)
class Mender:
    """The settings of a check, and the ids that it has seen.

    Attributes:
        mapper: maps names into the vocabulary, or None where every name counts.
        ignore: kinds, of IGNORABLE, that are neither reported nor corrected.
        images: whether a line without an image is a finding.
        seen: image ids of the lines before that were kept.
    """

    mapper: Mapper | None = None
    ignore: Collection[str] = ()
    images: bool = True
    seen: set[str] = field(default_factory=set)

    def mend(
        self, row: Mapping[str, Any], size: tuple[int, int] | ImageError | None
    ) -> tuple[dict[str, Any] | None, list[Finding]]:
        """Findings of one line, and the line without them (None where it has to go).

        Args:
            row: the JSON object.
            size: width and height of its image, why it can't be read, or None where nobody looked.
        """
        line = _Line(self, dict(row))
        if not (line.head(size) and line.graph()):
            return None, line.findings
        self.seen.add(str(line.row["image_id"]))
        return line.row, line.findings


class _Line:
    """One line while it is corrected."""

    def __init__(self, mender: Mender, row: dict[str, Any]) -> None:
        self.mender, self.row = mender, row
        self.findings: list[Finding] = []

    def say(self, kind: str, found: str, done: str) -> bool:
        """Note a finding; returns whether it counts (and is to be corrected)."""
        if kind in self.mender.ignore:
            return False
        self.findings.append(Finding(kind, found, done))
        return True

    # ------------------------------------------------------------ keys, ids, image and size

    def head(self, size: tuple[int, int] | ImageError | None) -> bool:
        """Everything but the graph; False where the line has to go."""
        row, unknown = self.row, {}
        for key in [key for key in row if key not in TRUTH_KEYS]:
            unknown[key] = row.pop(key)
            self.say("unknown_key", short(key), "moved under meta")
        for key, kind in (("image", str), ("split", str), ("meta", dict)):
            if row.get(key) is None:
                row.pop(key, None)
            elif not isinstance(row[key], kind) or row[key] == "":
                self.say("bad_field", f"{key} is {short(row.pop(key))}", "removed")
        if unknown:
            row["meta"] = {**unknown, **row.get("meta", {})}
        name = row.get("image_id")
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            self.say("bad_image_id", f"image_id is {short(name)}", "line dropped")
            return False
        if str(name) in self.mender.seen:
            self.say("duplicate_image_id", f"image_id {short(name)} again", "line dropped")
            return False
        if self.mender.images and "image" not in row and self.say("no_image", "no image", "line dropped"):
            return False
        if isinstance(size, ImageError):
            kind_of_fault = "missing_image" if size.found == "no such file" else "unreadable_image"
            if self.say(kind_of_fault, str(size), "line dropped"):
                return False
            size = None
        return self._size(size)

    def _size(self, size: tuple[int, int] | None) -> bool:
        row = self.row
        given: tuple[Any, Any] = row.get("width"), row.get("height")
        if not all(_is_number(v) and 0 < v < 1e9 and v % 1 == 0 for v in given):
            done = "line dropped" if size is None else "taken from the image, {}x{}".format(*size)
            self.say("bad_size", f"width and height are {short(given)}", done)
            if size is not None:
                row["width"], row["height"] = size
            return size is not None
        width, height = int(row["width"]), int(row["height"])
        row["width"], row["height"] = width, height
        if size is None or size == (width, height):
            return True
        same_shape = abs(size[0] * height / (size[1] * width) - 1) < _SAME_SHAPE
        done = "boxes scaled to the image" if same_shape else "line dropped"
        if not self.say("size_mismatch", f"{width}x{height}, the image has {size[0]}x{size[1]}", done):
            return True
        if same_shape:
            row["width"], row["height"] = size
            self._scale(size[0] / width, size[1] / height)
        return same_shape

    def _scale(self, x: float, y: float) -> None:
        rows = self.row.get("objects")
        for item in rows if isinstance(rows, list) else ():
            if isinstance(item, dict) and _is_box(item.get("bbox")):
                box = item["bbox"]
                item["bbox"] = [round(v * factor, 2) for v, factor in zip(box, (x, y, x, y), strict=True)]

    # ------------------------------------------------------------ the graph

    def graph(self) -> bool:
        """Objects and relationships; False where nothing is left to keep."""
        for key in ("objects", "relationships"):
            if not isinstance(self.row.get(key), list):
                self.say("bad_field", f"{key} is {short(self.row.get(key))}", "taken as an empty list")
                self.row[key] = []
        names = self._objects()
        self._relationships(names)
        if not self.row["objects"] and self.say("empty_graph", "no objects", "line dropped"):
            return False
        return bool(self.row["relationships"]) or not (
            self.row["objects"] and self.say("no_relationships", "no relationships", "line dropped")
        )

    def _objects(self) -> dict[str, str | None]:
        """Correct the objects; gives the new id of every id, None where the object is gone."""
        names: dict[str, str | None] = {}
        kept: dict[str, dict[str, Any]] = {}
        written = {o["id"] for o in self.row["objects"] if isinstance(o, dict) and isinstance(o.get("id"), str)}
        for k, item in enumerate(self.row["objects"]):
            where = f"objects[{k}]"
            name = item.get("id") if isinstance(item, dict) else None
            if not isinstance(name, str) or not (label := label_of_id(name)):
                self.say("bad_object", f"{where} is {short(item)}", "dropped")
                continue
            for key in item.keys() - OBJECT_KEYS:
                self.say("unknown_key", f"{where}.{key} is {short(item[key])}", "removed")
            box = self._box(item.get("bbox"), f"{where}.bbox")
            target = self._class(label, f"{where}.id") if box else None
            if box is None or target is None:
                names.setdefault(name, None)
                continue
            new = name
            if target != label or names.get(name) is not None:
                new = _free_name(target if target != label else NUMBER_SUFFIX.sub("", name), kept.keys() | written)
            if names.get(name) is not None:
                same = kept[str(names[name])]["bbox"] == box
                done = "dropped" if same else f"renumbered to {new!r}"
                self.say("duplicate_object_id", f"{where}.id {short(name)} again", done)
                if same:
                    continue
            else:
                names[name] = new
            kept[new] = {"id": new, "bbox": box}
        self.row["objects"] = list(kept.values())
        return names

    def _box(self, box: Any, where: str) -> list[float] | None:
        if not _is_box(box):
            self.say("bad_box", f"{where} is {short(box)}", "object dropped")
            return None
        x1, y1, x2, y2 = box
        width, height = self.row["width"], self.row["height"]
        if not (x1 < x2 and y1 < y2):
            fits = x1 >= -1 and y1 >= -1 and x2 > 0 and y2 > 0 and x1 + x2 <= width + 1 and y1 + y2 <= height + 1
            self.say("degenerate_box", f"{where} is {short(box)}{LIKE_SIZES if fits else ''}", "object dropped")
            return None
        inside = [max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)]
        gone = not (inside[0] < inside[2] and inside[1] < inside[3])
        if gone or x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
            done = "object dropped" if gone else f"clipped to {inside}"
            self.say("box_outside", f"{where} is {short(box)}, the image {width}x{height}", done)
            return None if gone else inside
        return list(box)

    def _class(self, label: str, where: str) -> str | None:
        """The class to write: the label, its name in the vocabulary, or None where it has none."""
        mapper = self.mender.mapper
        if mapper is None or mapper.vocabulary.has_object(label):
            return label
        name = mapper.object(label).name
        done = f"renamed to {name!r}" if name else "object dropped"
        return name if self.say("unknown_object", f"{where} is a {short(label)}", done) else label

    def _relationships(self, names: Mapping[str, str | None]) -> None:
        kept: dict[tuple[str, str, str, int], dict[str, str]] = {}
        for k, item in enumerate(self.row["relationships"]):
            where = f"relationships[{k}]"
            fields = [item.get(key) for key in ("subject", "predicate", "object")] if isinstance(item, dict) else [None]
            start, said, end = cast(list[str], fields) if all(isinstance(v, str) for v in fields) else ("", "", "")
            if start not in names or end not in names or not (predicate := normalize_name(said)):
                self.say("bad_relationship", f"{where} is {short(item)}", "dropped")
                continue
            for key in item.keys() - RELATIONSHIP_KEYS:
                self.say("unknown_key", f"{where}.{key} is {short(item[key])}", "removed")
            subject, target = names[start], names[end]
            if subject is None or target is None:
                self.say("lost_end", f"{where} is {short(item)}", "dropped")
                continue
            written, predicate, swap = self._predicate(said, predicate, where)
            if not predicate:
                continue
            if swap:
                subject, target = target, subject
            if subject == target and self.say("self_relation", f"{where} is {short(item)}", "dropped"):
                continue
            key = (subject, predicate, target, 0)
            if key in kept:
                if self.say("repeated_triplet", f"{where} is {short(item)}", "dropped"):
                    continue
                key = (*key[:3], k)
            kept[key] = {"subject": subject, "predicate": written, "object": target}
        self.row["relationships"] = list(kept.values())

    def _predicate(self, written: str, predicate: str, where: str) -> tuple[str, str, bool]:
        """The predicate to write, its normalised form ("" where it has to go), and whether the ends change places."""
        mapper = self.mender.mapper
        if mapper is None or mapper.vocabulary.has_predicate(predicate):
            return written, predicate, False
        target = mapper.predicate(predicate)
        done = f"renamed to {target.name!r}" + (", ends exchanged" if target.swap else "")
        if not self.say("unknown_predicate", f"{where} is {short(predicate)}", done if target.name else "dropped"):
            return written, predicate, False
        return target.name or "", target.name or "", target.swap


def _free_name(stem: str, taken: Collection[str]) -> str:
    number = 1
    while f"{stem}.{number}" in taken:
        number += 1
    return f"{stem}.{number}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))
