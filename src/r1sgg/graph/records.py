"""The codec between JSON rows and scene graphs: ground truth, exports, and the scored rows of predictions.

    {"id": "man.1", "bbox": [119, 70, 197, 330]}                            an object
    {"subject": "man.1", "predicate": "riding", "object": "horse.1"}        a relationship

Rows of a prediction or an export may have a "score", and an exported object may have a "label" beside its id.

Everything that writes such rows calls `graph_to_rows`. `graph_of_rows` reads them strictly: the first thing that is
wrong is one `InputError` with its field. Two readers are tolerant instead, because others wrote what they read, and
drop what is wrong item by item: `r1sgg.graph.text` (completions, and the rows of a predictions file) and
`r1sgg.data.assemble` (annotations in other formats).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from r1sgg.errors import InputError, choices, nearest, short
from r1sgg.graph.scene import Boxes, SceneGraph, label_of_id, normalize_name, score_column

OBJECT_KEYS = frozenset(("id", "bbox"))
RELATIONSHIP_KEYS = frozenset(("subject", "predicate", "object"))

MARGIN = 1.0
"""Pixels by which a box may reach outside its image: that much is rounding, and is clipped without a message."""

Rows = list[dict[str, Any]]
Size = tuple[float, float]
"""Width and height that the boxes of rows are relative to."""


# ---------------------------------------------------------------- writing


def graph_to_rows(
    graph: SceneGraph, size: Size, *, digits: int | None = 2, scores: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """Return {"objects": [...], "relationships": [...]} with the boxes in units of `size`.

    Args:
        graph: what to write.
        size: width and height that the boxes are relative to.
        digits: digits after the point of coordinates (see `rounded_boxes`); scores then have 6. None writes every
            number exactly, and a "label" wherever the id names another class.
        scores: write the scores that the graph has. Ground truth has none.
    """
    exact = digits is None
    boxes = graph.boxes * (size * 2) if digits is None else rounded_boxes(graph, size, digits)
    corners = boxes.tolist() if exact else [[_integral(v) for v in box] for box in boxes.tolist()]
    ids = graph.ids
    objects: Rows = [{"id": i, "bbox": box} for i, box in zip(ids, corners, strict=True)]
    relationships: Rows = [
        {"subject": ids[s], "predicate": predicate, "object": ids[o]}
        for (s, o), predicate in zip(graph.pairs, graph.predicates, strict=True)
    ]
    if exact:
        for row, label in zip(objects, graph.labels, strict=True):
            if label_of_id(row["id"]) != label:
                row["label"] = label
    for rows, column in ((objects, graph.object_scores), (relationships, graph.relationship_scores)):
        if scores and column is not None:
            for row, score in zip(rows, column.tolist(), strict=True):
                row["score"] = score if exact else round(score, 6)
    return {"objects": objects, "relationships": relationships}


def rounded_boxes(graph: SceneGraph, size: Size, digits: int = 2) -> Boxes:
    """Return the boxes (N, 4), xyxy in units of `size`, rounded; exact where a box would lose its area by rounding."""
    boxes = graph.boxes * (size * 2)
    rounded = np.round(boxes, digits)
    thin = (rounded[:, :2] >= rounded[:, 2:]).any(1)
    rounded[thin] = boxes[thin]
    return rounded


def _integral(value: float) -> float | int:
    """Return a whole number as an integer, so that JSON has 119 and not 119.0."""
    return int(value) if value == int(value) else value


# ---------------------------------------------------------------- reading


def graph_of_rows(
    objects: Any, relationships: Any, size: Size, where: str, *, exported: bool = False, key: str = "id"
) -> SceneGraph:
    """Return the graph of rows, or say what is wrong with the first row that is not as it should be.

    Args:
        objects: a list of JSON objects, in the graph's order.
        relationships: a list of JSON objects, in the graph's order.
        size: width and height that the boxes are relative to; for ground truth those of the image in pixels.
        where: file and line, for messages.
        exported: read an export instead of ground truth: an id may be any text, a box any four numbers, a number also
            the text of one. "label" and "score" are read, other keys are ignored. Scores are kept if all objects, or
            all relationships, have one.
        key: the key of an object by which relationships refer to it.

    Raises:
        InputError: a value is missing or of another kind; an id is repeated; a relationship refers to no object; or a
            box of ground truth has no area or reaches outside the image.
    """
    objects, relationships = rows_of(objects, f"{where}: objects"), rows_of(relationships, f"{where}: relationships")
    index: dict[Hashable, int] = {}  # what relationships call an object -> its place
    ids: list[str] = []
    labels: list[str] = []
    flat: list[float] = []
    for k, row in enumerate(objects):
        here = f"{where}: objects[{k}]"
        reference, name, label, box = _exported_object(row, here, key) if exported else _true_object(row, here, *size)
        if reference in index:
            raise InputError(f"{here}.{key}", expected="ids that differ", found=f"{short(reference)} again")
        index[reference] = k
        ids.append(name)
        labels.append(label)
        flat += box
    if len(set(ids)) < len(ids):
        repeated = next(name for name in ids if ids.count(name) > 1)
        raise InputError(f"{where}: objects", expected="ids that differ", found=f"{short(repeated)} again")
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    for k, row in enumerate(relationships):
        here = f"{where}: relationships[{k}]"
        if not exported:
            check_keys(row, RELATIONSHIP_KEYS, (), here)
        pairs.append((_end(row, "subject", index, here), _end(row, "object", index, here)))
        predicates.append(_name(row.get("predicate"), f"{here}.predicate"))
    boxes = np.array(flat, dtype=np.float64).reshape(-1, 4) / (size * 2)
    scores: tuple[Boxes | None, Boxes | None] = (None, None)
    if exported:
        scores = _scores(objects, f"{where}: objects"), _scores(relationships, f"{where}: relationships")
    return SceneGraph(tuple(ids), tuple(labels), boxes, tuple(pairs), tuple(predicates), *scores)


def json_value(content: bytes | str, where: str, hint: str = "") -> Any:
    """Return the value of a JSON text.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        found = f"broken JSON ({error.msg}, line {error.lineno})"
        raise InputError(where, expected="JSON", found=found, hint=hint) from error


def rows_of(value: Any, where: str) -> Rows:
    """Return a list of JSON objects as it is.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, list):
        raise InputError(where, expected="a list", found=short(value))
    for k, row in enumerate(value):
        if not isinstance(row, dict):
            raise InputError(f"{where}[{k}]", expected="a JSON object", found=short(row))
    return value


def check_keys(
    row: Mapping[str, Any],
    known: frozenset[str],
    needed: Sequence[str],
    where: str,
    meant: Mapping[str, str] | None = None,
) -> None:
    """Check that an object has the keys `needed`, and none but the `known`.

    Args:
        row: the object.
        known: the keys that it may have.
        needed: the keys that it must have.
        where: file, line and field, for messages.
        meant: what other tools call known keys, in lower case.

    Raises:
        InputError: naming the first key that is unknown or missing, and the known key that is probably meant.
    """
    if not row.keys() <= known:
        unknown = sorted(row.keys() - known)
        guesses = {key: _meant(key, known - row.keys(), meant or {}) for key in unknown}
        key, guess = next(((k, g) for k, g in guesses.items() if g), (unknown[0], None))
        names = [*needed, *(name for name in (meant or {}).values() if name in known), *sorted(known)]
        raise InputError(
            f"{where}: {key!r}",
            expected=f"only the keys {choices(names, guess or key)}",
            found="an unknown key",
            hint=f'rename it "{guess}"' if guess else 'put fields of your own under "meta" of the line',
        )
    for key in needed:
        if key not in row:
            raise InputError(f"{where}: {key!r}", expected="this key", found="nothing")


def _meant(key: str, known: frozenset[str], meant: Mapping[str, str]) -> str | None:
    """Return the known key that an unknown one stands for: another tool's name of it, or a misspelling."""
    lower = key.lower()
    if (found := meant.get(lower)) in known:
        return found
    return next(iter(nearest(lower, known, 1, cutoff=0.75)), None)


def number(value: Any, where: str) -> float:
    """Return a finite number, also one that is written as text.

    Raises:
        InputError: it is something else.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(where, expected="a finite number", found=short(value))
    return found


_NUMBERS = frozenset((int, float))  # not bool, which is an int
_Object = tuple[Hashable, str, str, Sequence[float]]
"""What relationships call an object, its id, its class, and its box in the unit of the rows."""


def _true_object(row: Mapping[str, Any], where: str, width: float, height: float) -> _Object:
    """Read an object of ground truth."""
    name = row.get("id")
    if not isinstance(name, str) or not (label := label_of_id(name)):
        raise InputError(where, expected='an object with an "id" like "person.1"', found=short(row))
    check_keys(row, OBJECT_KEYS, ("bbox",), where)
    box, where = row["bbox"], f"{where}.bbox"
    if not are_numbers(box, 4):
        raise InputError(where, expected="[x1, y1, x2, y2] in pixels", found=short(box))
    x1, y1, x2, y2 = box
    if 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height:  # as nearly all are
        return name, name, label, box
    if not (x1 < x2 and y1 < y2):
        raise InputError(where, expected="x1 < x2 and y1 < y2", found=short(box), hint="boxes are corners, not sizes")
    inside, far = clip_box(box, width, height)
    if far or inside is None:
        expected = f"a box inside the image of {width}x{height}"
        raise InputError(where, expected=expected, found=short(box), hint="boxes are pixels of this image")
    return name, name, label, inside


def clip_box(box: Sequence[float], width: float, height: float) -> tuple[list[float] | None, bool]:
    """Clip a box (xyxy in pixels) to its image.

    Returns:
        The clipped box, or None if it has no area; and whether it reached outside by more than `MARGIN` pixels.
    """
    x1, y1, x2, y2 = box
    inside = [max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)]
    far = x1 < -MARGIN or y1 < -MARGIN or x2 > width + MARGIN or y2 > height + MARGIN
    return (inside if inside[0] < inside[2] and inside[1] < inside[3] else None), far


def are_numbers(value: Any, count: int) -> bool:
    """Return whether a JSON value is a list of so many finite numbers."""
    return type(value) is list and len(value) == count and all(type(v) in _NUMBERS and math.isfinite(v) for v in value)


def _exported_object(row: Mapping[str, Any], where: str, key: str) -> _Object:
    """Read an object of an export."""
    name, box, reference = row.get("id"), row.get("bbox"), row.get(key)
    if not isinstance(name, str) or reference is None or not isinstance(reference, Hashable):
        raise InputError(where, expected=f'an object with an "id" and a "{key}"', found=short(row))
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{where}.bbox", expected="[x1, y1, x2, y2]", found=short(box))
    label = _name(row.get("label", label_of_id(name)), f"{where}.label")
    return reference, name, label, [number(v, f"{where}.bbox") for v in box]


def _name(value: Any, where: str) -> str:
    """Return a class or predicate, normalised."""
    if not isinstance(value, str) or not (name := normalize_name(value)):
        raise InputError(where, expected="a name with a letter or digit in it", found=short(value))
    return name


def _end(row: Mapping[str, Any], end: str, index: Mapping[Hashable, int], where: str) -> int:
    """Return the place of a relationship's subject or object."""
    try:
        return index[row[end]]
    except (KeyError, TypeError) as error:  # missing, unknown, or a list
        expected = 'the "id" of one of the objects'
        raise InputError(f"{where}.{end}", expected=expected, found=short(row.get(end))) from error


def _scores(rows: Rows, where: str) -> Boxes | None:
    """Return the scores of exported rows; an empty text (a table's empty cell) is no score."""
    given = [row.get("score") for row in rows]
    return score_column(
        [None if v is None or v == "" else number(v, f"{where}[{k}].score") for k, v in enumerate(given)]
    )
