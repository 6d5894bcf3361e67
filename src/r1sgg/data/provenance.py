"""What a model was trained on, kept with it and with its answers, so that an evaluation can say what doesn't fit.

    CHECKPOINT/trained_on.json   what each stage of training was given, the earliest first
    PREDICTIONS.jsonl.run.json   the same list, as "trained_on" among its settings
    DATA/dataset.json            beside gt.jsonl: of which set it is a copy (`data build`, `data scenes`)

    [{"command": "sft", "name": "vg150:VG,split=train", "split": "train", "images": 3,
      "hashes": {"images": "0f3a...", "annotations": "77c1..."}, "vocabulary": "vg150"}]

Sets are compared whole, by name and hash: that a few of the evaluated images were among those trained on goes unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.spec import is_kind, parse_spec
from r1sgg.data.splits import difference
from r1sgg.errors import InputError
from r1sgg.files import write_json

TRAINED_ON = "trained_on.json"
DESCRIPTION = "dataset.json"

Stage = dict[str, Any]
"""A `splits.describe`d set with the command that trained on it and the vocabulary that its prompts listed."""


def read_trained_on(folder: Path) -> list[Stage]:
    """The stages that a checkpoint folder went through, as far as they were recorded.

    Raises:
        InputError: trained_on.json is no list of objects.
    """
    path = folder / TRAINED_ON
    return _stages(_read(path), str(path)) if path.is_file() else []


def write_trained_on(folder: Path, stages: Sequence[Stage]) -> None:
    """Put the stages beside a checkpoint's other files."""
    write_json(folder / TRAINED_ON, list(stages))


def trained_on_of(predictions: Path) -> list[Stage]:
    """The stages of the model that wrote a predictions file; none where nothing lies beside it that says so.

    Raises:
        InputError: the file beside it is broken.
    """
    path = predictions.with_name(predictions.name + ".run.json")
    if not path.is_file():
        return []
    record = _read(path)
    settings = record.get("settings") if isinstance(record, dict) else None
    stages = settings.get("trained_on") if isinstance(settings, dict) else None
    return _stages(stages or [], f"{path}: trained_on")


def write_description(folder: Path, described: Mapping[str, Any]) -> None:
    """Say beside a gt.jsonl of which set it is a copy."""
    write_json(folder / DESCRIPTION, dict(described))


def at_source(described: Mapping[str, Any]) -> dict[str, Any]:
    """The same set under the name that it was copied from, if a dataset.json beside it has the same hashes.

    Args:
        described: see `splits.describe`; the name is a specification or the path of a ground-truth file.

    Raises:
        InputError: that file is broken.
    """
    name = str(described["name"])
    if not is_kind(name.partition(":")[0]):
        folder = Path(name).expanduser().parent
    else:
        spec = parse_spec(name)
        if spec.kind not in ("jsonl", "hub"):
            return dict(described)
        folder = spec.path.parent if spec.kind == "jsonl" else spec.path
    path = folder / DESCRIPTION
    record = _read(path) if path.is_file() else None
    if not isinstance(record, dict) or record.get("hashes") != described["hashes"] or "name" not in record:
        return dict(described)
    return {**described, "name": str(record["name"]), "split": record.get("split", described.get("split"))}


def remarks(stages: Sequence[Stage], evaluated: Mapping[str, Any], vocabulary: str) -> list[str]:
    """What doesn't fit between a model's training and a set that it is evaluated on, a sentence each.

    Images are compared with those of every stage; source, split and vocabulary with the last stage's.

    Args:
        stages: see `read_trained_on`.
        evaluated: see `splits.describe`.
        vocabulary: name of the names that count; "open" for all.
    """
    if not stages:
        return []
    images = (evaluated.get("hashes") or {}).get("images")
    seen = [s for s in stages if images is not None and (s.get("hashes") or {}).get("images") == images]
    said = [difference(stage, evaluated) for stage in (*seen[:1], stages[-1])]
    taught = str(stages[-1].get("vocabulary", "open"))
    if taught != vocabulary and "open" not in (taught, vocabulary):
        said.append(f"trained for the names of {taught}, evaluated on those of {vocabulary}")
    return list(dict.fromkeys(text for text in said if text))


def _read(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(str(path), expected="JSON", found=f"broken JSON ({error.msg})") from error


def _stages(record: Any, where: str) -> list[Stage]:
    if not isinstance(record, list) or not all(isinstance(stage, dict) for stage in record):
        raise InputError(where, expected="a list of objects, one a stage of training", found="something else")
    return record
