"""What can be wrong with one line of ground truth, and the line without it.

`Repairer.repair` takes any JSON object and returns the findings and the corrected line, which
`r1sgg.data.base.example_of_record` always accepts, or None if nothing is left to keep. Each finding says what was done.
No image is opened here: the caller says what it found there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from r1sgg.data.base import TRUTH_KEYS
from r1sgg.data.findings import LIKE_SIZES, Finding
from r1sgg.errors import ImageError, short
from r1sgg.graph.mapping import Mapper
from r1sgg.graph.records import OBJECT_KEYS, RELATIONSHIP_KEYS, are_numbers, clip_box
from r1sgg.graph.scene import NUMBER_SUFFIX, label_of_id, normalize_name

_SAME_SHAPE = 0.01
"""An image is a scaled copy if its ratio of width to height differs by less than this."""


@dataclass(slots=True)
class Repairer:
    """The settings of a check, and the image ids that it has seen.

    Attributes:
        mapper: maps names into the vocabulary; None if every name counts.
        ignore: kinds, of IGNORABLE, that are neither reported nor corrected.
        images: whether a line without an image is a finding.
        boxes: whether boxes outside the image and boxes without area are findings; not where all are in another unit.
        seen: image ids of earlier lines that were kept.
    """

    mapper: Mapper | None = None
    ignore: Collection[str] = ()
    images: bool = True
    boxes: bool = True
    seen: set[str] = field(default_factory=set)

    def repair(
        self, row: Mapping[str, Any], size: tuple[int, int] | ImageError | None
    ) -> tuple[dict[str, Any] | None, list[Finding]]:
        """Return one line without what is wrong with it (None if it has to be dropped), and the findings.

        Args:
            row: the JSON object.
            size: width and height of its image, why it cannot be read, or None if it was not opened.
        """
        line = _LineRepair(self, dict(row))
        if not (line.head(size) and line.graph()):
            return None, line.findings
        self.seen.add(str(line.row["image_id"]))
        return line.row, line.findings


class _LineRepair:
    """One line while it is corrected."""

    def __init__(self, settings: Repairer, row: dict[str, Any]) -> None:
        self.settings, self.row = settings, row
        self.findings: list[Finding] = []

    def note(self, kind: str, found: str, done: str) -> bool:
        """Add a finding; return whether it counts, and so has to be corrected."""
        if kind in self.settings.ignore:
            return False
        self.findings.append(Finding(kind, found, done))
        return True

    # ------------------------------------------------------------ keys, ids, image and size

    def head(self, size: tuple[int, int] | ImageError | None) -> bool:
        """Correct everything but the graph; return False if the line has to be dropped."""
        row = self.row
        unknown = {key: row.pop(key) for key in [*row] if key not in TRUTH_KEYS}
        for key in unknown:
            self.note("unknown_key", short(key), "moved under meta")
        for key, kind in (("image", str), ("split", str), ("meta", dict)):
            if row.get(key) is None:
                row.pop(key, None)
            elif not isinstance(row[key], kind) or row[key] == "":
                self.note("bad_field", f"{key} is {short(row.pop(key))}", "removed")
        if unknown:
            row["meta"] = {**unknown, **row.get("meta", {})}
        image_id = row.get("image_id")
        if isinstance(image_id, bool) or not isinstance(image_id, str | int) or image_id == "":
            return not self.note("bad_image_id", f"image_id is {short(image_id)}", "line dropped")
        if str(image_id) in self.settings.seen:
            return not self.note("duplicate_image_id", f"image_id {short(image_id)} again", "line dropped")
        if self.settings.images and "image" not in row and self.note("no_image", "no image", "line dropped"):
            return False
        if isinstance(size, ImageError):
            fault = "missing_image" if size.found == "no such file" else "unreadable_image"
            if self.note(fault, str(size), "line dropped"):
                return False
            size = None
        return self._size(size)

    def _size(self, size: tuple[int, int] | None) -> bool:
        row = self.row
        given = [row.get("width"), row.get("height")]
        if not (are_numbers(given, 2) and all(0 < v < 1e9 and v % 1 == 0 for v in cast(list[float], given))):
            done = "line dropped" if size is None else "taken from the image, {}x{}".format(*size)
            self.note("bad_size", f"width and height are {short(tuple(given))}", done)
            if size is not None:
                row["width"], row["height"] = size
            return size is not None
        width, height = row["width"], row["height"] = int(row["width"]), int(row["height"])
        if size is None or size == (width, height):
            return True
        same_shape = abs(size[0] * height / (size[1] * width) - 1) < _SAME_SHAPE
        done = "boxes scaled to the image" if same_shape else "line dropped"
        if not self.note("size_mismatch", f"{width}x{height}, the image has {size[0]}x{size[1]}", done):
            return True
        if same_shape:
            row["width"], row["height"] = size
            self._scale(size[0] / width, size[1] / height)
        return same_shape

    def _scale(self, x: float, y: float) -> None:
        rows = self.row.get("objects")
        for item in rows if isinstance(rows, list) else ():
            if isinstance(item, dict) and are_numbers(item.get("bbox"), 4):
                item["bbox"] = [round(v * factor, 2) for v, factor in zip(item["bbox"], (x, y, x, y), strict=True)]

    # ------------------------------------------------------------ the graph

    def graph(self) -> bool:
        """Correct objects and relationships; return False if nothing is left to keep."""
        for key in ("objects", "relationships"):
            if not isinstance(self.row.get(key), list):
                self.note("bad_field", f"{key} is {short(self.row.get(key))}", "taken as an empty list")
                self.row[key] = []
        self._relationships(self._objects())
        if not self.row["objects"]:
            return not self.note("empty_graph", "no objects", "line dropped")
        return bool(self.row["relationships"]) or not self.note("no_relationships", "no relationships", "line dropped")

    def _objects(self) -> dict[str, str | None]:
        """Correct the objects; return the new id of every id, None for an object that was dropped."""
        names: dict[str, str | None] = {}
        kept: dict[str, dict[str, Any]] = {}
        written = {o["id"] for o in self.row["objects"] if isinstance(o, dict) and isinstance(o.get("id"), str)}
        for k, item in enumerate(self.row["objects"]):
            where = f"objects[{k}]"
            name = item.get("id") if isinstance(item, dict) else None
            if not isinstance(name, str) or not (label := label_of_id(name)):
                self.note("bad_object", f"{where} is {short(item)}", "dropped")
                continue
            self._remove_unknown(item, OBJECT_KEYS, where)
            box = self._box(item.get("bbox"), f"{where}.bbox")
            target = self._class(label, f"{where}.id") if box else None
            if target is None:
                names.setdefault(name, None)
                continue
            new, earlier = name, names.get(name)
            if target != label or earlier is not None:
                new = _free_id(target if target != label else NUMBER_SUFFIX.sub("", name), kept.keys() | written)
            if earlier is None:
                names[name] = new
            else:
                same = kept[earlier]["bbox"] == box
                done = "dropped" if same else f"renumbered to {new!r}"
                self.note("duplicate_object_id", f"{where}.id {short(name)} again", done)
                if same:
                    continue
            kept[new] = {"id": new, "bbox": box}
        self.row["objects"] = list(kept.values())
        return names

    def _remove_unknown(self, item: Mapping[str, Any], known: frozenset[str], where: str) -> None:
        for key in item.keys() - known:
            self.note("unknown_key", f"{where}.{key} is {short(item[key])}", "removed")

    def _box(self, box: Any, where: str) -> list[float] | None:
        if not are_numbers(box, 4):
            self.note("bad_box", f"{where} is {short(box)}", "object dropped")
            return None
        if not self.settings.boxes:
            return list(box)
        x1, y1, x2, y2 = box
        width, height = self.row["width"], self.row["height"]
        if not (x1 < x2 and y1 < y2):
            fits = x1 >= -1 and y1 >= -1 and x2 > 0 and y2 > 0 and x1 + x2 <= width + 1 and y1 + y2 <= height + 1
            self.note("degenerate_box", f"{where} is {short(box)}{LIKE_SIZES if fits else ''}", "object dropped")
            return None
        inside, far = clip_box(box, width, height)
        if far or inside is None:
            done = "object dropped" if inside is None else f"clipped to {inside}"
            self.note("box_outside", f"{where} is {short(box)}, the image {width}x{height}", done)
            return inside
        return list(box)

    def _class(self, label: str, where: str) -> str | None:
        """Return the class to write: the label, its name in the vocabulary, or None if it has none."""
        mapper = self.settings.mapper
        if mapper is None or mapper.vocabulary.has_object(label):
            return label
        name = mapper.object(label).name
        done = f"renamed to {name!r}" if name else "object dropped"
        return name if self.note("unknown_object", f"{where} is a {short(label)}", done) else label

    def _relationships(self, names: Mapping[str, str | None]) -> None:
        kept: dict[tuple[str, str, str, int], dict[str, str]] = {}
        for k, item in enumerate(self.row["relationships"]):
            where = f"relationships[{k}]"
            fields = [item.get(key) for key in ("subject", "predicate", "object")] if isinstance(item, dict) else [None]
            start, given, end = cast(list[str], fields) if all(isinstance(v, str) for v in fields) else ("", "", "")
            if start not in names or end not in names or not (predicate := normalize_name(given)):
                self.note("bad_relationship", f"{where} is {short(item)}", "dropped")
                continue
            self._remove_unknown(item, RELATIONSHIP_KEYS, where)
            subject, target = names[start], names[end]
            if subject is None or target is None:
                self.note("lost_end", f"{where} is {short(item)}", "dropped")
                continue
            written, predicate, swap = self._predicate(given, predicate, where)
            if not predicate:
                continue
            if swap:
                subject, target = target, subject
            if subject == target and self.note("self_relation", f"{where} is {short(item)}", "dropped"):
                continue
            triplet = (subject, predicate, target, 0)  # the last number tells repeats apart where they are allowed
            if triplet in kept:
                if self.note("repeated_triplet", f"{where} is {short(item)}", "dropped"):
                    continue
                triplet = (subject, predicate, target, k)
            kept[triplet] = {"subject": subject, "predicate": written, "object": target}
        self.row["relationships"] = list(kept.values())

    def _predicate(self, written: str, predicate: str, where: str) -> tuple[str, str, bool]:
        """Return the predicate to write, its normalised form ("" to drop it), and whether the ends change places."""
        mapper = self.settings.mapper
        if mapper is None or mapper.vocabulary.has_predicate(predicate):
            return written, predicate, False
        target = mapper.predicate(predicate)
        done = f"renamed to {target.name!r}" + (", ends exchanged" if target.swap else "") if target.name else "dropped"
        if not self.note("unknown_predicate", f"{where} is {short(predicate)}", done):
            return written, predicate, False
        return target.name or "", target.name or "", target.swap


def _free_id(stem: str, taken: Collection[str]) -> str:
    """Return the first id of a class that no object has."""
    number = 1
    while f"{stem}.{number}" in taken:
        number += 1
    return f"{stem}.{number}"
