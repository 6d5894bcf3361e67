"""PSG: panoptic scene graphs with 133 classes and 56 predicates on COCO's photos, from psg.json.

    psg:DIR[,split=train|test][,images=DIR][,panoptic=DIR]

DIR holds psg.json (or is that file); train2017 and val2017 are beside it, under `coco`, or under images=. An entry of
`data`, shortened (classes are numbered from 0, things and then stuff; a relation is two rows of `annotations` and a
predicate):

    {"file_name": "val2017/000000439180.jpg", "height": 360, "width": 640, "image_id": "439180",
     "pan_seg_file_name": "panoptic_val2017/000000439180.png",
     "segments_info": [{"id": 3937500, "category_id": 0, "iscrowd": 0, "isthing": 1, "area": 19596}, ...],
     "annotations": [{"bbox": [215.0, 57.0, 399.0, 325.0], "bbox_mode": 0, "category_id": 0}, ...],
     "relations": [[0, 1, 3], ...]}

Boxes are those of `annotations` (corners in pixels). If an entry has no `annotations`, or one of them has no box, boxes
are the extents of the segments in the panoptic PNG (under panoptic=, else beside the images). The split test is
`test_image_ids`, train is all others. Entries without relations are left out (empty=yes keeps them); masks are not
read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from r1sgg.data.columns import AnnotatedImage, ColumnarData, existing_file, four_numbers, text_field, whole_field
from r1sgg.data.dataset import Fault, fault
from r1sgg.data.images import open_image
from r1sgg.data.jsonl import read_json
from r1sgg.data.spec import Spec
from r1sgg.errors import ImageError, InputError, short
from r1sgg.graph.scene import Boxes

_LISTS = ("data", "test_image_ids", "thing_classes", "stuff_classes", "predicate_classes")

Segments = npt.NDArray[np.int64]


class PSGData(ColumnarData):
    """One split. `pngs` holds, by image id, the panoptic PNG and segment ids of images whose boxes the file lacks."""

    def __init__(self, spec: Spec) -> None:
        path = spec.path / "psg.json" if spec.path.is_dir() else spec.path
        super().__init__(spec.text, path, spec.choice("split", ("train", "test"), "train"))
        self.pngs: dict[str, tuple[str, Segments]] = {}
        root = spec.folder("images", path.parent)
        self.roots = [root] if "images" in spec.options else [root, root / "coco", root / "images"]
        self.panoptic = [spec.folder("panoptic", root)] if "panoptic" in spec.options else self.roots

    def record(self, entry: Any, where: str) -> AnnotatedImage:
        """Return the annotation of an entry.

        Raises:
            InputError: a field is missing or of another kind.
        """
        image_id = text_field(entry, "image_id", where)
        width, height = (whole_field(entry, key, where, least=1) for key in ("width", "height"))
        segments, rows = _list(entry, "segments_info", where), _list(entry, "annotations", where)
        if segments and rows and len(segments) != len(rows):
            expected = f"as many as segments_info, {len(segments)}"
            raise InputError(f"{where}: annotations", expected=expected, found=str(len(rows)))
        boxes = [four_numbers(row.get("bbox") if isinstance(row, dict) else None) for row in rows]
        boxes = boxes or [four_numbers(None)] * len(segments)  # not a segment's own bbox: that is x, y, w, h
        labels = [whole_field(row, "category_id", f"{where}: object {k}") for k, row in enumerate(rows or segments)]
        relations = []
        for k, row in enumerate(_list(entry, "relations", where)):
            if not (isinstance(row, list) and len(row) == 3 and all(type(v) is int for v in row)):
                found = short(row)
                raise InputError(f"{where}: relations[{k}]", expected="[subject, object, predicate]", found=found)
            relations.append((row[0], row[1], row[2]))
        if segments and np.isnan(np.array(boxes)).any():
            ids = np.array([whole_field(s, "id", f"{where}: segments_info[{k}]") for k, s in enumerate(segments)])
            self.pngs[image_id] = text_field(entry, "pan_seg_file_name", where), ids
        return AnnotatedImage(image_id, width, height, text_field(entry, "file_name", where), boxes, labels, relations)

    def _boxes(self, record: AnnotatedImage, where: str, faults: list[Fault]) -> Boxes:
        """Return the record's boxes; those that it lacks are read from the panoptic PNG, or NaN."""
        boxes = np.array(record.boxes)
        if record.image_id not in self.pngs:
            return boxes
        file_name, segments = self.pngs[record.image_id]
        path = existing_file(self.panoptic, file_name)
        assert path is not None
        try:
            ids = segment_ids(open_image(path))
        except ImageError as error:
            faults.append(Fault("image", f"{error}; boxes that only it has are left out"))
            return boxes
        if ids.shape != (record.height, record.width):
            expected, found = f"{record.width}x{record.height} pixels", f"{ids.shape[1]}x{ids.shape[0]}"
            faults.append(fault("image", str(path), expected, found, "boxes that only it has are left out"))
            return boxes
        return np.where(np.isnan(boxes), segment_boxes(ids, segments), boxes)


def segment_ids(image: Image.Image) -> Segments:
    """Return the segment ids (H, W) of a panoptic PNG: R + 256 G + 256^2 B (COCO's panoptic format)."""
    return np.asarray(image, dtype=np.int64) @ np.array([1, 256, 65536], dtype=np.int64)


def segment_boxes(ids_HW: Segments, segments: Segments) -> Boxes:
    """Return boxes (N, 4) xyxy in pixels, x2 and y2 one past the last pixel; NaN for a segment that has no pixel."""
    boxes = np.full((len(segments), 4), np.nan)
    for k, segment in enumerate(segments.tolist()):
        mask = ids_HW == segment
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(rows):
            boxes[k] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def open_psg(spec: Spec) -> PSGData:
    """See the module's docstring. The whole file is in memory while it is read, columns afterwards.

    Raises:
        ConfigError: an option with a wrong value.
        InputError: the file is missing, broken, or not psg.json; or the split is empty.
    """
    data = PSGData(spec)
    if not data.path.exists():
        hint = "give the file itself or its folder, psg:PATH"
        raise InputError(str(data.path), expected="the annotations of PSG", found="no such file", hint=hint)
    document = read_json(data.path)
    if not isinstance(document, dict):
        found = f"a {type(document).__name__}"
        raise InputError(str(data.path), expected=f"psg.json, an object with {', '.join(_LISTS)}", found=found)
    for key in _LISTS:
        if not isinstance(document.get(key), list):
            found = f"an object without {key}" if key not in document else f"{key}: {short(document[key])}"
            hint = f"COCO's annotations are coco:{data.path}" if "images" in document else ""
            raise InputError(str(data.path), expected=f"psg.json with the list {key}", found=found, hint=hint)
    data.objects = {k: str(n) for k, n in enumerate([*document["thing_classes"], *document["stuff_classes"]])}
    data.predicates = {k: str(n) for k, n in enumerate(document["predicate_classes"])}
    test = {str(i) for i in document["test_image_ids"]}

    def records() -> Iterator[Callable[[], AnnotatedImage]]:
        for k, entry in enumerate(document["data"]):
            document["data"][k] = None  # frees it: the columns have its numbers
            known = isinstance(entry, dict) and str(entry.get("image_id"))
            if not known or (known in test) == (data.split == "test"):
                yield functools.partial(data.record, entry, f"{data.path}: data[{k}]")

    data.fill(records(), keep_empty=spec.yes("empty"))
    if not any((root / name).is_dir() for root in data.roots for name in ("train2017", "val2017")):
        done = "to train, name the folder that holds them with images=DIR"
        data.notes.append(fault("image", str(data.roots[0]), "COCO's train2017 and val2017", "no such folder", done))
    return data


def _list(entry: Any, key: str, where: str) -> list[Any]:
    value = entry.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"{where}: {key}", expected="a list", found=short(value))
    return value
