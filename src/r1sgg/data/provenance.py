"""What a model was trained on, kept with it and with its predictions, so that an evaluation can say what does not fit.

    CHECKPOINT/trained_on.json   the data of each stage of training, the earliest first
    PREDICTIONS.jsonl.run.json   the same list, as "trained_on" among its settings
    DATA/dataset.json            beside gt.jsonl: the set that it is a copy of (`data build`, `data scenes`)

    [{"command": "sft", "name": "vg150:VG,split=train", "split": "train", "images": 3,
      "hashes": {"images": "0f3a...", "annotations": "77c1..."}, "vocabulary": "vg150"}]

Sets are compared as a whole, by name and hash: a few images that are in both go unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from r1sgg.data.jsonl import read_json
from r1sgg.data.spec import is_kind, parse_spec
from r1sgg.data.splits import difference
from r1sgg.errors import InputError
from r1sgg.files import user_path, write_json

TRAINED_ON = "trained_on.json"
DESCRIPTION = "dataset.json"

Stage = dict[str, Any]
"""A set as `splits.describe` returns it, with the command that trained on it and the vocabulary of its prompts."""


def read_trained_on(folder: Path) -> list[Stage]:
    """Return the recorded stages of a checkpoint folder.

    Raises:
        InputError: trained_on.json is no list of objects.
    """
    path = folder / TRAINED_ON
    return _stages(read_json(path), str(path)) if path.is_file() else []


def write_trained_on(folder: Path, stages: Sequence[Stage]) -> None:
    """Write the stages of a checkpoint into its folder."""
    write_json(folder / TRAINED_ON, list(stages))


def trained_on_of(predictions: Path) -> list[Stage]:
    """Return the stages of the model that wrote a predictions file; none if they are not recorded beside it.

    Raises:
        InputError: the file beside it is broken.
    """
    stages = settings_beside(predictions).get("trained_on")
    return _stages(stages or [], f"{predictions}.run.json: trained_on")


def settings_beside(predictions: Path) -> dict[str, Any]:
    """Return the settings of the run that wrote a predictions file; empty if they are not recorded beside it.

    Raises:
        InputError: the file beside it is broken.
    """
    path = predictions.with_name(predictions.name + ".run.json")
    record = read_json(path) if path.is_file() else None
    settings = record.get("settings") if isinstance(record, dict) else None
    return settings if isinstance(settings, dict) else {}


def write_description(folder: Path, described: Mapping[str, Any]) -> None:
    """Write beside a gt.jsonl which set it is a copy of."""
    write_json(folder / DESCRIPTION, dict(described))


def at_source(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same set under the name that it was copied from, if a dataset.json beside it has the same hashes.

    Args:
        described: see `splits.describe`; the name is a specification or the path of a ground-truth file.

    Raises:
        InputError: that file is broken.
    """
    name = str(described["name"])
    if not is_kind(name.partition(":")[0]):
        folder = user_path(name).parent
    else:
        spec = parse_spec(name)
        if spec.kind not in ("jsonl", "hub"):
            return dict(described)
        folder = spec.path.parent if spec.kind == "jsonl" else spec.path
    path = folder / DESCRIPTION
    record = read_json(path) if path.is_file() else None
    if not isinstance(record, dict) or record.get("hashes") != described["hashes"] or "name" not in record:
        return dict(described)
    return {**described, "name": str(record["name"]), "split": record.get("split", described.get("split"))}


def remarks(stages: Sequence[Stage], evaluated: Mapping[str, Any], vocabulary: str) -> list[str]:
    """Return what does not fit between a model's training and the set that it is evaluated on, a sentence each.

    Images are compared with those of every stage; source, split and vocabulary with the last stage's.

    Args:
        stages: see `read_trained_on`.
        evaluated: see `splits.describe`.
        vocabulary: name of the vocabulary that counts; "open" for all names.
    """
    if not stages:
        return []
    images = (evaluated.get("hashes") or {}).get("images")
    seen = [s for s in stages if images is not None and (s.get("hashes") or {}).get("images") == images]
    sentences = [difference(stage, evaluated) for stage in (*seen[:1], stages[-1])]
    taught = str(stages[-1].get("vocabulary", "open"))
    base = taught.startswith(f"{vocabulary}-ov")  # base names only: the novel ones are what is tested
    if taught != vocabulary and "open" not in (taught, vocabulary) and not base:
        sentences.append(f"trained for the names of {taught}, evaluated on those of {vocabulary}")
    return list(dict.fromkeys(text for text in sentences if text))


def only_drawn(stages: Sequence[Stage]) -> bool:
    """Return whether training is recorded, and all of it was on drawn scenes."""
    return bool(stages) and all(str(stage.get("name", "")).partition(":")[0] in _DRAWN for stage in stages)


_DRAWN = ("scenes", "instruct")  # kinds of data (`r1sgg.miniature.sources`)


def _stages(record: Any, where: str) -> list[Stage]:
    if not isinstance(record, list) or not all(isinstance(stage, dict) for stage in record):
        raise InputError(where, expected="a list with an object per stage of training", found="something else")
    return record
