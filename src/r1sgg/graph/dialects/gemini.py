"""Gemini and Gemma 4: a list of objects with `box_2d`, y before x, in thousandths of the image.

    [{"box_2d": [80, 100, 900, 420], "label": "man"}, {"box_2d": [300, 90, 990, 800], "label": "horse"},
     {"box_2d": [10, 700, 600, 990], "label": "tree"}]

As in `qwen-json`, relationships beside such objects are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from r1sgg.graph.dialects.dialect import Asking, Dialect, Document
from r1sgg.graph.dialects.qwen_json import read_detections, write_detections
from r1sgg.graph.frames import AnyFrame, BoxFrame, Frame
from r1sgg.graph.policies import Issue


def _looks(text: str) -> bool:
    return '"box_2d"' in text


def _read(text: str, issues: list[Issue]) -> Document | None:
    return read_detections(text, issues, ("box_2d",))


def _frame(frame: Frame, image: Frame | None) -> AnyFrame:
    return BoxFrame((1000.0, 1000.0), axes="yx")


def _write(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    return write_detections(names, boxes, "box_2d")


DIALECT = Dialect(
    name="gemini",
    about="Gemini, Gemma 4: JSON lists with box_2d, y first",
    example="""```json
[
  {"box_2d": [80, 100, 900, 420], "label": "man"},
  {"box_2d": [300, 90, 990, 800], "label": "horse"},
  {"box_2d": [10, 700, 600, 990], "label": "tree"}
]
```""",
    marks=('"box_2d"',),
    looks=_looks,
    read=_read,
    frame=_frame,
    relations=False,
    asking=Asking(
        every="Detect all objects in the image. Output a JSON list in which each entry has the 2D bounding box in "
        '"box_2d" and the text label in "label".',
        named="Detect these objects in the image, every instance by itself: {names}. Output a JSON list in which each "
        'entry has the 2D bounding box in "box_2d" and the text label in "label".',
        write=_write,
        last="}",
        closing=("]", "]}"),
        key="box_2d",
    ),
)
