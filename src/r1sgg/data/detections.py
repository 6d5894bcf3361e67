"""Rows of a detector in a predictions line, read strictly: what would change a figure in silence is one sentence.

    {"image_id": "2", "objects": [{"id": "man.1", "bbox": [119, 70, 197, 330], "score": 0.9}, ...],
     "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1", "score": 0.7}]}

Without "frame", boxes are pixels of the image. A class that the id does not name is the "label". A line that has
"relationships_by": "index" refers to objects by their places, from 0, and its objects need only a label:

    {"image_id": "2", "relationships_by": "index", "objects": [{"label": "man", "bbox": [119, 70, 197, 330]}, ...],
     "relationships": [[0, 1, "riding"], {"subject": 0, "predicate": "near", "object": 2}]}

In a list the first whole number is the subject, the second the object, the text the predicate, and a further number the
score. Keys, ids and scores are checked here. Boxes and references are left to the parser's table of policies
(`r1sgg.graph.policies`), whose issues are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from r1sgg.errors import InputError, short
from r1sgg.graph.records import RELATIONSHIP_KEYS, Rows, check_keys, rows_of
from r1sgg.graph.scene import label_of_id, normalize_name

BY_INDEX = "relationships_by"
"""The key of a line that declares how its relationships refer to objects; "index" is its value, without it by id."""

_OBJECT_KEYS = frozenset(("id", "label", "bbox", "score"))
_RELATIONSHIP_KEYS = RELATIONSHIP_KEYS | {"score"}
_MEANT_OF_OBJECT = {
    **dict.fromkeys(("confidence", "conf", "prob", "probability", "logit"), "score"),
    **dict.fromkeys(("box", "bbox_2d", "box_2d", "bounding_box", "xyxy"), "bbox"),
    **dict.fromkeys(("class", "category", "name", "class_name", "category_name"), "label"),
    **dict.fromkeys(("object_id", "obj_id"), "id"),
}
_MEANT_OF_RELATIONSHIP = {
    **dict.fromkeys(("confidence", "conf", "prob", "probability", "logit"), "score"),
    **dict.fromkeys(("relation", "rel", "relationship", "predicate_name", "verb", "label"), "predicate"),
    **dict.fromkeys(("subject_id", "sub", "subj", "sub_id", "subject_index"), "subject"),
    **dict.fromkeys(("object_id", "obj", "obj_id", "object_index"), "object"),
}
"""What other tools call our keys."""


def prediction_line(
    image_id: str,
    boxes: Any,
    labels: Sequence[str],
    scores: Any = None,
    *,
    pairs: Any = (),
    predicates: Sequence[str] = (),
    pair_scores: Any = None,
) -> dict[str, Any]:
    """Return a predictions line from a detector's output; write it as one line of JSON.

    Args:
        image_id: of the ground truth.
        boxes: (N, 4), x1 y1 x2 y2 in pixels of the image: lists, an array or a tensor. `r1sgg.graph.frames.BoxFrame`
            converts boxes that are written in another way.
        labels: N names of classes.
        scores: N numbers from 0 to 1; None: no scores.
        pairs: (M, 2), subject and object of each relationship as places in `boxes`, from 0.
        predicates: M names.
        pair_scores: M numbers from 0 to 1; None: no scores.

    Raises:
        InputError: columns of different lengths, or what `detections_of` refuses.
    """
    where = f"image {image_id}"
    columns = {"boxes": boxes, "labels": labels, "scores": scores, "pairs": pairs, "predicates": predicates}
    values = {name: _plain(column) for name, column in (*columns.items(), ("pair_scores", pair_scores))}
    for names in (("boxes", "labels", "scores"), ("pairs", "predicates", "pair_scores")):
        lengths = {name: len(column) for name in names if (column := values[name]) is not None}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise InputError(where, expected=f"as many {' as '.join(lengths)}", found=found)
    rows = [{"label": label, "bbox": box} for box, label in zip(values["boxes"], values["labels"], strict=True)]
    related = [[*pair, predicate] for pair, predicate in zip(values["pairs"], values["predicates"], strict=True)]
    if values["scores"] is not None:
        rows = [{**row, "score": score} for row, score in zip(rows, values["scores"], strict=True)]
    if values["pair_scores"] is not None:
        related = [[*row, score] for row, score in zip(related, values["pair_scores"], strict=True)]
    line = {"image_id": image_id, BY_INDEX: "index", "objects": rows, "relationships": related}
    detections_of(line, where)
    return line


def _plain(value: Any) -> Any:
    """Return plain lists and numbers: of lists, arrays and tensors."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class Detections(NamedTuple):
    """The rows of a line, checked.

    Attributes:
        document: "objects" and "relationships" as the parser reads them.
        labels: the class of each object that has a "label", else None.
        object_scores, relationship_scores: one for each row, or None where the rows have none.
    """

    document: dict[str, Any]
    labels: list[str | None]
    object_scores: list[float] | None
    relationship_scores: list[float] | None
    numbered: bool = False
    """Whether objects without an "id" got one here, which then says nothing about who is meant."""


def detections_of(row: Mapping[str, Any], where: str) -> Detections:
    """Check the rows of a predictions line that has "objects".

    Raises:
        InputError: rows that are no rows, another key, an object without an id or class, a score that is no
            probability or that some rows have and others have not, or a reference to an object by its place that is
            not declared or refers to none.
    """
    declared = row.get(BY_INDEX)
    if declared not in (None, "id", "index"):
        raise InputError(f"{where}: {BY_INDEX}", expected='"id" or "index"', found=short(declared))
    objects = rows_of(row["objects"], f"{where}: objects")
    relationships = row.get("relationships") or []
    if not isinstance(relationships, list):
        raise InputError(f"{where}: relationships", expected="a list", found=short(relationships))
    by_index = declared == "index"
    labels = [_check_object(item, f"{where}: objects[{k}]") for k, item in enumerate(objects)]
    ids = _ids(objects, labels, f"{where}: objects", needed=bool(relationships) and not by_index)
    places = len(ids) if by_index else None
    related = [_relationship(item, places, f"{where}: relationships[{k}]") for k, item in enumerate(relationships)]
    if by_index:
        related = [{**item, "subject": ids[item["subject"]], "object": ids[item["object"]]} for item in related]
    document = {
        "objects": [{"id": name, "bbox": item.get("bbox")} for name, item in zip(ids, objects, strict=True)],
        "relationships": related,
    }
    scores = _scores(objects, f"{where}: objects"), _scores(related, f"{where}: relationships")
    return Detections(document, labels, *scores, any(item.get("id") is None for item in objects))


def _check_object(row: Mapping[str, Any], where: str) -> str | None:
    """Return the class that an object's "label" names, None without one."""
    check_keys(row, _OBJECT_KEYS, ("bbox",), where, _MEANT_OF_OBJECT)
    name, label = row.get("id"), row.get("label")
    if name is not None and not isinstance(name, str):
        raise InputError(f"{where}.id", expected='a text like "man.1"', found=short(name))
    if label is None:
        if name is None:
            raise InputError(where, expected='an "id" like "man.1", or a "label"', found=short(row))
        if not label_of_id(name):
            raise InputError(f"{where}.id", expected='an id that names a class, like "man.1"', found=short(name))
        return None
    if not isinstance(label, str) or not (label := normalize_name(label)):
        raise InputError(f"{where}.label", expected="the name of a class", found=short(row["label"]))
    return label


def _ids(objects: Rows, labels: Sequence[str | None], where: str, *, needed: bool) -> list[str]:
    """Return an id for each object; those without one are numbered by class, unless ids are `needed`."""
    taken = {row["id"] for row in objects if row.get("id") is not None}
    numbers: dict[str, int] = {}
    ids: list[str] = []
    for k, (row, label) in enumerate(zip(objects, labels, strict=True)):
        if (name := row.get("id")) is None and label is not None:
            if needed:
                hint = f'number the objects of a class, or declare "{BY_INDEX}": "index" if relationships name places'
                raise InputError(f"{where}[{k}]", expected='an "id" like "man.1"', found=short(row), hint=hint)
            number = numbers.get(label, 0) + 1
            while (name := f"{label}.{number}") in taken:
                number += 1
            numbers[label] = number
        ids.append(str(name))
    return ids


def _relationship(row: Any, places: int | None, where: str) -> dict[str, Any]:
    """Return a relationship as an object with "subject", "predicate" and "object".

    Args:
        row: as the line has it.
        places: how many objects there are, if relationships refer to them by their places; else None.
        where: file, line and row, for messages.
    """
    if isinstance(row, list) and places is not None:
        row = _of_list(row, where)
    if not isinstance(row, dict):
        hint = f'if it names places of objects, add "{BY_INDEX}": "index" to the line' if isinstance(row, list) else ""
        expected = 'an object with "subject", "predicate" and "object"'
        raise InputError(where, expected=expected, found=short(row), hint=hint)
    check_keys(row, _RELATIONSHIP_KEYS, ("subject", "predicate", "object"), where, _MEANT_OF_RELATIONSHIP)
    if not isinstance(row["predicate"], str) or not normalize_name(row["predicate"]):
        raise InputError(f"{where}.predicate", expected="the name of a predicate", found=short(row["predicate"]))
    for end in ("subject", "object"):
        value = row[end]
        if places is None:
            if not isinstance(value, str):
                hint = f'if it is the place of an object, add "{BY_INDEX}": "index" to the line'
                raise InputError(f"{where}.{end}", expected='an id like "man.1"', found=short(value), hint=hint)
        elif type(value) is not int or not 0 <= value < places:
            expected = (
                f"the place of an object, from 0 to {places - 1}" if places else "no relationship without objects"
            )
            raise InputError(f"{where}.{end}", expected=expected, found=short(value))
    return row


def _of_list(row: list[Any], where: str) -> dict[str, Any]:
    names = [value for value in row if isinstance(value, str)]
    numbers = [value for value in row if not isinstance(value, str)]
    if len(names) != 1 or len(numbers) not in (2, 3):
        expected = 'a list of subject, object, predicate and perhaps score, like [0, 1, "riding", 0.7]'
        hint = "write predicates as names" if not names else ""
        raise InputError(where, expected=expected, found=short(row), hint=hint)
    found = {"subject": numbers[0], "predicate": names[0], "object": numbers[1]}
    return found | ({"score": numbers[2]} if len(numbers) > 2 else {})


def _scores(rows: Sequence[Mapping[str, Any]], where: str) -> list[float] | None:
    """Return the scores of rows: all of them have one, or none has."""
    scores = [row.get("score") for row in rows]
    for k, score in enumerate(scores):
        if score is not None and (type(score) not in (int, float) or not 0 <= score <= 1):
            quoted = isinstance(score, str) and score.strip().replace(".", "", 1).isdigit()
            hint = "divide percentages by 100, and apply the sigmoid to logits"
            hint = "write the number without quotes" if quoted else hint
            raise InputError(f"{where}[{k}].score", expected="a number from 0 to 1", found=short(score), hint=hint)
    given = [float(score) for score in scores if score is not None]
    if given and len(given) < len(scores):
        found = f"{len(given)} of {len(scores)} with one"
        raise InputError(
            f"{where}[{scores.index(None)}].score", expected="a score for every row or for none", found=found
        )
    return given or None
