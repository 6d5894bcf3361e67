"""What the inference scripts of R1-SGG's authors and of SGG-R3 write: a folder with a JSON file for each image.

    r1sgg:DIR[,frame=...]     sgg-r3:DIR[,frame=...]

or, where somebody joined the files, JSON Lines with the same objects.

DIR/2417.json:

    {"image_id": "2417", "response": "<think>...</think><answer>{...}</answer>", "box_scale": [1000.0, 1000.0],
     "gt_objects": "[{\"id\": \"man.1\", ...}]", "gt_relationships": "[...]"}

`box_scale` is the frame: [1000, 1000], or the pixels of the resized image. Files of the first version have none; the
authors' own scripts then take [1000, 1000]. The ground truth in the file is not read: give your own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r1sgg.data.importers.layout import FRAME_OPTIONS, Layout, Say, existing_folder, frame_option, text_of
from r1sgg.data.jsonl import frame_of, image_id_of, read_json, read_jsonl
from r1sgg.data.predictions import Prediction
from r1sgg.data.spec import Spec
from r1sgg.errors import InputError, short

KEYS = ("image_id", "response")


def read(spec: Spec, say: Say) -> Iterator[Prediction]:
    """See the module's docstring."""
    for where, row in _records(spec.path):
        if not isinstance(row, dict) or not row.keys() >= {*KEYS}:
            expected = f"a JSON object with {' and '.join(KEYS)}"
            raise InputError(where, expected=expected, found=short(row), hint="move other files away")
        scale = row.get("box_scale")
        if "frame" in spec.options:
            frame = frame_option(spec, say)
        elif scale is not None:
            frame = frame_of(scale, f"{where}: box_scale")
        else:
            say("files without box_scale: boxes are read as thousandths of the image, as the authors' scripts do")
            frame = 1000.0, 1000.0
        yield Prediction(image_id_of(row, where), frame, text_of(row, "response", where))


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    if path.is_file():
        yield from ((f"{path}:{number}", row) for number, row in read_jsonl(path))
        return
    files = sorted(existing_folder(path, "a JSON file for each image").glob("*.json"))
    if not files:
        raise InputError(str(path), expected="JSON files, one for each image", found="none")
    yield from ((str(file), read_json(file)) for file in files)


LAYOUT = Layout("r1sgg", "the R1-SGG authors' inference", ("folder", "lines"), (KEYS,), FRAME_OPTIONS, read)
SGG_R3 = LAYOUT._replace(name="sgg-r3", about="SGG-R3's inference")
