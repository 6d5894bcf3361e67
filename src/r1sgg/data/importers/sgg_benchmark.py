"""What Scene-Graph-Benchmark and SGG-Benchmark write for images of your own (TEST.CUSTUM_EVAL): two JSON files.

    sgg-benchmark:DIR[,resized=600x1000][,names=FILE]

DIR/custom_prediction.json, by the image's number, and DIR/custom_data_info.json, which gives files and names:

    {"0": {"bbox": [[119, 70, 197, 330], ...], "bbox_labels": [78, 124], "bbox_scores": [0.9, 0.7],
           "rel_pairs": [[0, 1]], "rel_labels": [47], "rel_scores": [0.6], "rel_all_scores": [[...]]}, ...}

    {"idx_to_files": ["VG_100K/2417.jpg", ...], "ind_to_classes": ["__background__", "airplane", ...],
     "ind_to_predicates": ["__background__", "above", ...]}

An image's id is the name of its file without folders and ending. The code writes boxes in pixels of the image as it was
resized for the test: `resized=` takes INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST of its configuration. Without it
boxes are read as pixels of the image itself. Its other output, eval_results.pytorch, is a pickle and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from r1sgg.data.importers.detector import line_of_columns, read_names
from r1sgg.data.importers.layout import Layout, Say, id_of_image
from r1sgg.data.jsonl import read_json
from r1sgg.data.predictions import AskedFrame, Prediction, prediction_of_record
from r1sgg.data.spec import Spec
from r1sgg.errors import ConfigError, InputError, short
from r1sgg.files import user_path
from r1sgg.graph.frames import Frame

PREDICTIONS, INFO = "custom_prediction.json", "custom_data_info.json"


def read(spec: Spec, say: Say) -> Iterator[Prediction]:
    """See the module's docstring."""
    path = spec.path / PREDICTIONS if spec.path.is_dir() else spec.path
    info = path.with_name(INFO)
    document, about = read_json(path), read_json(info)
    files = about.get("idx_to_files") if isinstance(about, dict) else None
    if not isinstance(document, dict) or not isinstance(files, list):
        wrong = info if isinstance(document, dict) else path
        raise InputError(str(wrong), expected=f"a JSON object as in {wrong.name} of SGG-Benchmark", found="another")
    names = read_names(user_path(spec.options["names"]) if "names" in spec.options else info)
    frame = _frame(spec, say)
    for number, row in document.items():
        where = f"{path}: {number!r}"
        if not isinstance(row, dict) or not number.isdigit() or int(number) >= len(files):
            expected = f"columns of one of the {len(files)} images of {INFO}"
            raise InputError(where, expected=expected, found=short(row))
        image_id = id_of_image(files[int(number)], f"{info}: idx_to_files[{number}]")
        prediction = prediction_of_record(line_of_columns(image_id, row, names, where), where)
        yield replace(prediction, frame=frame)


def _frame(spec: Spec, say: Say) -> AskedFrame | None:
    text = spec.options.get("resized")
    if text is None:
        say("boxes are read as pixels of the image; if it was resized for the test, add resized=600x1000")
        return None
    found = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", text)
    if found is None:
        raise ConfigError(f"{spec.text!r}: expected resized=SHORTESTxLONGEST, such as 600x1000, found {text!r}")
    shortest, longest = int(found[1]), int(found[2])
    return lambda image: size_in_test(image, shortest, longest)


def size_in_test(image: Frame, shortest: int, longest: int) -> Frame:
    """Return width and height of an image resized to a shortest side, or less if its longest side would exceed its own.

    The sides are rounded as in Detectron's `Resize`.
    """
    low, high = min(image), max(image)
    short_side = shortest if high / low * shortest <= longest else round(longest * low / high)
    long_side = int(short_side * high / low)
    return (float(short_side), float(long_side)) if image[0] <= image[1] else (float(long_side), float(short_side))


LAYOUT = Layout(
    "sgg-benchmark", "SGG-Benchmark on images of your own", ("folder",), ((PREDICTIONS,),), ("resized", "names"), read
)
