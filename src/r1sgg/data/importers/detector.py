"""Columns of a detector, as the code bases after Detectron write them, turned into rows of a predictions line.

    {"bbox": [[119, 70, 197, 330], ...], "bbox_labels": [78, 124], "bbox_scores": [0.9, 0.7],
     "rel_pairs": [[0, 1]], "rel_labels": [47], "rel_scores": [0.6]}

Labels are places in lists of names. Each column has the names of `_COLUMNS`. Scores of relationships may also be a row
for each pair, a number for each predicate with the background first; the best predicate then counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from r1sgg.data.columns import corners_of_xywh
from r1sgg.data.detections import BY_INDEX
from r1sgg.data.jsonl import read_json
from r1sgg.errors import InputError, short
from r1sgg.graph.records import are_numbers

_COLUMNS = {
    "boxes": ("bbox", "pred_boxes", "boxes"),
    "labels": ("bbox_labels", "pred_labels", "pred_classes", "labels"),
    "scores": ("bbox_scores", "pred_scores", "scores"),
    "pairs": ("rel_pairs", "rel_pair_idxs", "pred_rel_pairs"),
    "rel_labels": ("rel_labels", "pred_rel_labels"),
    "rel_scores": ("rel_scores", "pred_rel_scores"),
}
BACKGROUND = "__background__"


class Names(NamedTuple):
    """Names by number."""

    classes: Mapping[int, str]
    predicates: Mapping[int, str]


def read_names(path: Path) -> Names:
    """Read which names the numbers stand for.

    Args:
        path: custom_data_info.json (`ind_to_classes`, `ind_to_predicates`), VG-SGG-dicts.json (`idx_to_label`,
            `idx_to_predicate`), or COCO annotations (`categories`, `rel_categories`).

    Raises:
        InputError: it is none of these.
    """
    document = read_json(path)
    found: list[Mapping[int, str]] = []
    for keys in (
        ("ind_to_classes", "idx_to_label", "categories"),
        ("ind_to_predicates", "idx_to_predicate", "rel_categories"),
    ):
        key = next((k for k in keys if isinstance(document, dict) and k in document), None)
        if key is None:
            if not found:
                expected = f"names of classes under {', '.join(keys)}"
                raise InputError(str(path), expected=expected, found="no such key")
            found.append({})  # of a detector without relationships
            continue
        found.append(_by_number(document[key], f"{path}: {key}"))
    return Names(*found)


def _by_number(value: Any, where: str) -> dict[int, str]:
    rows: list[tuple[Any, Any]]
    if isinstance(value, dict):
        rows = list(value.items())
    elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
        rows = [(row.get("id"), row.get("name")) for row in value]
    else:
        rows = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    for number, name in rows:
        if not isinstance(name, str) or not str(number).isdigit():
            raise InputError(where, expected="names by number", found=short(name))
    return {int(number): name for number, name in rows}


def line_of_columns(image_id: str, row: Mapping[str, Any], names: Names, where: str) -> dict[str, Any]:
    """Return a predictions line with the rows of an image.

    Args:
        image_id: of the image.
        row: the columns.
        names: what labels stand for.
        where: file and record, for messages.

    Raises:
        InputError: a column is missing or has another length, or a label has no name.
    """
    boxes, labels, scores, pairs, rel_labels, rel_scores = (_column(row, name, where) for name in _COLUMNS)
    if boxes is None or labels is None:
        missing = " or ".join(_COLUMNS["boxes" if boxes is None else "labels"])
        raise InputError(where, expected=f"the key {missing}", found=short(sorted(row)))
    _same_length(where, boxes=boxes, labels=labels, scores=scores)
    objects = [
        {"label": _name(label, names.classes, f"{where}: label of object {k}"), "bbox": box}
        for k, (box, label) in enumerate(zip(boxes, labels, strict=True))
    ]
    _add(objects, scores)
    return {"image_id": image_id, "objects": objects, **_relationships(pairs, rel_labels, rel_scores, names, where)}


def line_of_instances(image_id: str, row: Mapping[str, Any], names: Names, where: str) -> dict[str, Any]:
    """Return a predictions line with COCO's result rows ("category_id", "bbox" as x y width height, "score").

    Raises:
        InputError: a row is no such row, or a category has no name.
    """
    objects = []
    for k, item in enumerate(row["instances"]):
        here = f"{where}: instances[{k}]"
        if not isinstance(item, dict) or "category_id" not in item or "bbox" not in item:
            raise InputError(here, expected='an object with "category_id", "bbox" and "score"', found=short(item))
        kept: dict[str, Any] = {"label": _name(item["category_id"], names.classes, f"{here}.category_id")}
        kept["bbox"] = _corners(item["bbox"], f"{here}.bbox")
        objects.append(kept | ({"score": item["score"]} if "score" in item else {}))
    pairs, labels, scores = (_column(row, name, where) for name in ("pairs", "rel_labels", "rel_scores"))
    return {"image_id": image_id, "objects": objects, **_relationships(pairs, labels, scores, names, where)}


def _corners(box: Any, where: str) -> list[float]:
    corners = corners_of_xywh(box)
    if math.isnan(corners[0]):
        raise InputError(where, expected="[x, y, width, height]", found=short(box))
    return corners


def _relationships(
    pairs: Sequence[Any] | None,
    labels: Sequence[Any] | None,
    scores: Sequence[Any] | None,
    names: Names,
    where: str,
) -> dict[str, Any]:
    if pairs is None:
        return {"relationships": []}
    if scores and isinstance(scores[0], list):  # a number for each predicate
        _same_length(where, pairs=pairs, labels=labels, scores=scores)
        found = [
            _scored(row, k, f"{where}: score of pair {i}")
            for i, (row, k) in enumerate(zip(scores, labels or scores, strict=True))
        ]
        labels, scores = [k for k, _ in found], [score for _, score in found]
    if labels is None:
        expected = f"the key {' or '.join(_COLUMNS['rel_labels'])}"
        raise InputError(where, expected=expected, found="pairs without predicates")
    _same_length(where, pairs=pairs, labels=labels, scores=scores)
    rows = []
    for k, (pair, label) in enumerate(zip(pairs, labels, strict=True)):
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"{where}: pair {k}", expected="[subject, object], places of objects", found=short(pair))
        name = _name(label, names.predicates, f"{where}: label of relationship {k}")
        rows.append({"subject": pair[0], "predicate": name, "object": pair[1]})
    _add(rows, scores)
    return {"relationships": rows, BY_INDEX: "index"}


def _scored(row: Any, label: Any, where: str) -> tuple[int, float]:
    """Return a pair's predicate, and its score in the row of all predicates; without a label the best counts."""
    if not (isinstance(row, list) and len(row) > 1 and are_numbers(row, len(row))):
        raise InputError(where, expected="a number for each predicate, the background first", found=short(row))
    if isinstance(label, list):  # there are no labels
        label = max(range(1, len(row)), key=row.__getitem__)
    if not isinstance(label, int) or not 0 <= label < len(row):
        raise InputError(where, expected=f"one of {len(row)} predicates", found=short(label))
    return label, row[label]


def _column(row: Mapping[str, Any], name: str, where: str) -> list[Any] | None:
    key = next((key for key in _COLUMNS[name] if key in row), None)
    if key is None:
        return None
    column = row[key]
    if not isinstance(column, list):
        raise InputError(f"{where}: {key}", expected="a list", found=short(column))
    return column


def _same_length(where: str, **columns: Sequence[Any] | None) -> None:
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InputError(where, expected="columns of one length", found=found)


def _add(rows: list[dict[str, Any]], scores: Sequence[Any] | None) -> None:
    for row, score in zip(rows, scores or (), strict=False):
        row["score"] = score


def _name(label: Any, names: Mapping[int, str], where: str) -> str:
    name = names.get(label) if isinstance(label, int) else None
    if name is None or name == BACKGROUND:
        found = short(label) if name is None else f"{label}, the background"
        raise InputError(where, expected=f"the number of one of {len(names)} names", found=found)
    return name
