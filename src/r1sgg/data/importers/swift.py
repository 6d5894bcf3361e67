"""What `swift infer` of ms-swift writes: JSON Lines with the response beside the data set's own columns.

    swift:FILE[,frame=...][,id=FIELD]

    {"response": "{\\"objects\\": [...]}", "labels": null, "logprobs": null,
     "messages": [{"role": "user", "content": "<image>..."}, {"role": "assistant", "content": "..."}],
     "images": [{"bytes": null, "path": "VG_100K/2417.jpg"}]}

The image's id is the name of its file without folders and ending, or the field that `id=` names. The lines do not say
what boxes are relative to: see `frame_option` of `r1sgg.data.importers.layout`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from r1sgg.data.importers.layout import FRAME_OPTIONS, Layout, Say, frame_option, id_of_image, text_of
from r1sgg.data.jsonl import image_id_of, read_jsonl
from r1sgg.data.predictions import Prediction
from r1sgg.data.spec import Spec
from r1sgg.errors import InputError, short


def read(spec: Spec, say: Say) -> Iterator[Prediction]:
    """See the module's docstring."""
    frame = frame_option(spec, say)
    for number, row in read_jsonl(spec.path):
        where = f"{spec.path}:{number}"
        yield Prediction(_image_id(row, spec.options.get("id"), where), frame, text_of(row, "response", where))


def _image_id(row: dict[str, Any], field: str | None, where: str) -> str:
    if field is not None:
        if field not in row:
            raise InputError(f"{where}: {field!r}", expected="this key, which id= names", found="nothing")
        return image_id_of({"image_id": row[field]}, where)
    images = row.get("images")
    if not isinstance(images, list) or len(images) != 1:
        hint = "name a field with id=FIELD"
        raise InputError(f"{where}: images", expected="a list with one image", found=short(images), hint=hint)
    return id_of_image(images[0], f"{where}: images[0]")


KEYS = (("response", "messages"), ("response", "images"), ("response", "query"))  # the last two: version 2
LAYOUT = Layout("swift", "ms-swift's infer", ("lines",), KEYS, (*FRAME_OPTIONS, "id"), read)
