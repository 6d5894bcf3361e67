"""One way to name anybody's predictions: `open_predictions` takes what the user gave as PREDICTIONS.

    predictions.jsonl   jsonl:predictions.jsonl     our own lines (`r1sgg.data.base`)
    r1sgg:DIR   sgg-r3:DIR                          the R1-SGG authors' and SGG-R3's inference: a JSON file an image
    swift:FILE                                      ms-swift's infer
    openai-batch:FILE                               the OpenAI Batch API's output
    sgg-benchmark:DIR                               SGG-Benchmark's custom_prediction.json
    detectron:FILE,names=FILE                       detections for each image
    coco:FILE[,names=FILE]                          COCO's results, or a COCO document with relations

Options are in the docstring of each layout. A file or folder without a name before it is recognised by its keys, and
the layout is said; what is not recognised is one sentence with the nearest layout.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from r1sgg.data.importers import (
    answer_folder,
    coco_results,
    detectron,
    openai_batch,
    sgg_benchmark,
    swift,
)
from r1sgg.data.importers.layout import Form, Layout, Say
from r1sgg.data.jsonl import add_image_id, read_json, read_lines
from r1sgg.data.predictions import PREDICTION_KEYS, Prediction, Predictions, read_predictions, refuse_truth
from r1sgg.data.spec import Spec, spec_of
from r1sgg.errors import ConfigError, InputError, choices
from r1sgg.graph.dialects.registry import AUTO
from r1sgg.graph.ledger import OpenedAs

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *(answer_folder.LAYOUT, answer_folder.SGG_R3, swift.LAYOUT, openai_batch.LAYOUT),
        *(sgg_benchmark.LAYOUT, detectron.LAYOUT, coco_results.LAYOUT),
    )
}
"""The layouts by name; "jsonl" is ours and not among them."""


def is_layout(name: str) -> bool:
    """Return whether predictions can be named with it before the colon."""
    return name == "jsonl" or name in LAYOUTS


def predictions_spec(text: str) -> Spec:
    """Return the parts of LAYOUT:PATH[,OPTION=VALUE]...; the kind of a path alone is "".

    Raises:
        ConfigError: no such layout or option.
    """
    kind, colon, rest = text.partition(":")
    if colon and is_layout(kind):
        return spec_of(text, kind, rest, LAYOUTS[kind].options if kind in LAYOUTS else ())
    if colon and re.fullmatch("[a-z0-9-]{2,16}", kind) and not Path(text).exists():
        known = choices((f"{name}:" for name in ("jsonl", *LAYOUTS)), f"{kind}:")
        raise ConfigError(f"{text!r}: expected one of {known}, found {kind + ':'!r}")
    return Spec(text, "", text, {})


def open_predictions(source: str | Path, dialect: str = AUTO) -> Predictions:
    """Open the predictions that a specification names (see the module's docstring).

    Args:
        source: LAYOUT:PATH[,OPTION=VALUE]..., or the path of a file or folder.
        dialect: see `read_predictions`.

    Raises:
        ConfigError: no such layout, option, value or dialect.
        InputError: a record that is not as the layout has it, a repeated image, or a file of no known layout.
    """
    spec = predictions_spec(str(source))
    layout, found = (LAYOUTS.get(spec.kind), False) if spec.kind else (recognise(spec.path), True)
    if layout is None:
        return read_predictions(spec.path, dialect)
    notes: list[str] = []

    def say(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)

    if found:
        say(f"read as {layout.name}: ({layout.about})")
    records = functools.partial(_records, layout, spec, say)
    opened_as = OpenedAs(f"{layout.name}:{spec.place}", spec.options, layout.options)
    return Predictions(records, str(spec.path), dialect, layout=layout.name, notes=notes, opened_as=opened_as)


def _records(layout: Layout, spec: Spec, say: Say) -> Iterator[Prediction]:
    seen: set[str] = set()
    for prediction in layout.read(spec, say):
        add_image_id(prediction.image_id, seen, str(spec.path))
        yield prediction


# ---------------------------------------------------------------- recognising


class Look(NamedTuple):
    """What is seen of a file at a glance: its form, and the keys of its first record (of a folder, file names too)."""

    form: Form
    keys: frozenset[str]


def recognise(path: Path) -> Layout | None:
    """Return the layout of a file or folder; None if it is ours.

    Raises:
        InputError: it is of no known layout; the sentence names the nearest.
    """
    if path.suffix.lower() in _PICKLES:
        hint = "save it as JSON; docs/others.md shows layouts"
        raise InputError(str(path), expected="JSON", found="a pickle, which could run any code", hint=hint)
    look = look_at(path)
    if look is None or (look.form != "folder" and look.keys and look.keys <= PREDICTION_KEYS):
        return None  # ours, whatever the ending
    for layout in LAYOUTS.values():
        if look.form in layout.forms and any(look.keys >= {*keys} for keys in layout.keys):
            return layout
    refuse_truth(look.keys, str(path))
    nearest, share = max(((layout, _likeness(layout, look)) for layout in LAYOUTS.values()), key=lambda pair: pair[1])
    if look.form == "lines" and len(look.keys & PREDICTION_KEYS) / max(2, len(look.keys)) >= share:
        return None  # nearest to ours, whose reader names what is wrong
    known = f"predictions in a known layout: jsonl:, {', '.join(f'{name}:' for name in LAYOUTS)}"
    found = f"{_FORMS[look.form]} with the keys {', '.join(sorted(look.keys)[:8])}"
    hint = "docs/others.md shows each layout"
    if share:
        hint = f"nearest is {nearest.name}: ({nearest.about}), which has {' or '.join(map(', '.join, nearest.keys))}"
    raise InputError(str(path), expected=known, found=found if look.keys else "no JSON objects", hint=hint)


_PICKLES = frozenset((".pytorch", ".pth", ".pt", ".pkl", ".pickle"))
_FORMS = {"folder": "a folder", "lines": "JSON Lines", "json": "JSON"}


def look_at(path: Path) -> Look | None:
    """Look at the first record of a file or folder; None if it is no JSON (or is not there), which its reader says."""
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        names = {file.name for file in files}
        first = _json(files[0]) if files and sgg_benchmark.PREDICTIONS not in names else None
        return Look("folder", frozenset(names if first is None else _keys_of(first)))
    if not path.is_file():
        return None
    if path.suffix.lower() == ".json":
        if path.name == sgg_benchmark.PREDICTIONS:
            return Look("folder", frozenset((path.name,)))
        document = _json(path)
        if isinstance(document, dict) and "image_id" in document and document.keys() <= PREDICTION_KEYS:
            return Look("lines", frozenset(document))  # one line of ours
        return None if document is None else Look("json", _keys_of(document))
    for _, _, line in read_lines(path):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        return Look("lines", frozenset(row)) if isinstance(row, dict) else Look("json", _keys_of(row))
    return None


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except InputError:  # its reader says why
        return None


def _keys_of(document: Any) -> frozenset[str]:
    """Return the keys of the first record of a JSON document: of an object, of the first in a list, or by image id."""
    if isinstance(document, list):
        document = document[0] if document else None
    elif isinstance(document, dict) and document and all(isinstance(value, dict) for value in document.values()):
        document = next(iter(document.values()))
        return _keys_of(document) | {"image_id"}
    return frozenset(document) if isinstance(document, dict) else frozenset()


def _likeness(layout: Layout, look: Look) -> float:
    """Return the largest share of a layout's keys that a file has; a little more if the form is its own."""
    share = max(len(look.keys & {*keys}) / len(keys) for keys in layout.keys)
    return share + (0.01 if share and look.form in layout.forms else 0)
