"""Detections as the code bases after Detectron keep them for each image, saved as JSON.

    detectron:FILE,names=NAMES.json[,frame=...]

FILE is a list with an object for each image, or an object by image id. Each has `pred_boxes` (x1 y1 x2 y2),
`pred_classes` and `scores` as in Detectron2's Instances, or COCO's result rows as in Detectron2's
instances_predictions; `rel_pair_idxs`, `pred_rel_labels` and `pred_rel_scores` are optional:

    [{"image_id": "2417", "pred_boxes": [[119, 70, 197, 330], ...], "pred_classes": [78, 124], "scores": [0.9, 0.7],
      "rel_pair_idxs": [[0, 1]], "pred_rel_labels": [47], "pred_rel_scores": [0.6]}, ...]

    [{"image_id": "2417", "instances": [{"category_id": 78, "bbox": [119, 70, 78, 260], "score": 0.9}, ...]}, ...]

Other names of these columns, and what NAMES.json may be: `r1sgg.data.importers.detector`. Boxes are pixels of the image
unless `frame=` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from r1sgg.data.importers.detector import line_of_columns, line_of_instances, read_names
from r1sgg.data.importers.layout import FRAME_OPTIONS, Layout, Say, frame_option
from r1sgg.data.jsonl import image_id_of, read_json
from r1sgg.data.predictions import Prediction, prediction_of_record
from r1sgg.data.spec import Spec
from r1sgg.errors import ConfigError, InputError, short
from r1sgg.files import user_path


def read(spec: Spec, say: Say) -> Iterator[Prediction]:
    """See the module's docstring."""
    if "names" not in spec.options:
        raise ConfigError(f"{spec.text!r}: expected names=FILE, the names that its numbers stand for, found no names=")
    names = read_names(user_path(spec.options["names"]))
    frame = frame_option(spec, say) if "frame" in spec.options else None
    for image_id, row, where in _records(read_json(spec.path), spec.path):
        if isinstance(row.get("instances"), list):
            line = line_of_instances(image_id, row, names, where)
        else:
            row = row["instances"] if isinstance(row.get("instances"), dict) else row
            line = line_of_columns(image_id, row, names, where)
        yield replace(prediction_of_record(line, where), frame=frame)


def _records(document: Any, path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    rows = document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else [])
    for key, row in rows:
        where = f"{path}: {key!r}" if isinstance(document, dict) else f"{path}[{key}]"
        if not isinstance(row, dict):
            raise InputError(where, expected="an object with the columns of an image", found=short(row))
        if isinstance(document, dict):
            yield str(key), row, where
        elif "image_id" in row:
            yield image_id_of(row, where), row, where
        else:
            raise InputError(f"{where}: 'image_id'", expected="this key", found="nothing")
    if not document or not isinstance(document, dict | list):
        raise InputError(str(path), expected="a list or an object with images", found=short(document))


KEYS = (("image_id", "pred_boxes"), ("image_id", "instances"), ("image_id", "bbox", "bbox_labels"))
LAYOUT = Layout("detectron", "detections for each image", ("json",), KEYS, ("names", *FRAME_OPTIONS), read)
