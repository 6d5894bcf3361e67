"""How the items of a document refer to each other: ids and classes of objects, and the ends of relationships.

The usual case, an id like "man.1" that a relationship repeats, needs nothing of this. Here are the other ways in which
models write it, each noted as an issue: numbers as ids with a label beside them, class names as ends, indices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from r1sgg.graph.policies import Issue, note
from r1sgg.graph.scene import ODD_NUMBER, label_of_id, normalize_name

LONGEST_NAME = 256
"""Characters of a name; longer ones are noise."""

Reference = str | int
"""What relationships call an object."""


class Named(NamedTuple):
    """An object's class, what relationships call it (None: nothing), and whether it needs an id of its class."""

    reference: Reference | None
    label: str
    renamed: bool


_OVERRIDE, _FALLBACK = ("label", "class"), ("name", "category")
_IF_GENERIC = ("class_name", "category_name", "type", "object")
"""Keys of the class beside an id that names none; elsewhere they mean other things."""
_GENERIC = frozenset(
    (
        *("object", "obj", "entity", "item", "instance", "node", "thing", "region", "box", "element"),
        *("id", "idx", "index", "number"),
    )
)
"""Names in ids that say nothing of the class."""
_NUMBERED = re.compile(r"[._#:]\d+$")


def name_of(row: dict[str, Any], place: int, issues: list[Issue]) -> Named | None:
    """Return what an object is called; None if nothing names its class.

    The class is what the id names. "label" and "class" count instead where they say something else, "name" and
    "category" where the id names none ("object_1", "o3", 7).
    """
    identifier = row.get("id")
    reference = _reference(identifier)
    label = ""
    if isinstance(reference, str) and len(reference) <= LONGEST_NAME:
        label = label_of_id(reference)
        if len(row) == 2 and label:  # id and bbox, as nearly always
            if ODD_NUMBER.search(reference):
                note(issues, "odd_id", f"objects[{place}].id {reference[:40]!r} is read as {label!r} and a number")
            return Named(reference, label, False)
    elif isinstance(reference, str):
        return None
    generic = not label or label in _GENERIC or len(label) <= 2
    nameless = len(label) < 2 or (label in _GENERIC and label != "box")  # box and tv are classes
    for key in (*_OVERRIDE, *_FALLBACK, *(_IF_GENERIC if nameless else ())):
        value = row.get(key)
        if type(value) is not str or len(value) > LONGEST_NAME:
            continue
        given = normalize_name(_NUMBERED.sub("", value.strip()))
        if label_of_id(f"{given}.1") != given or not given or given == label:
            continue
        if generic or key in _OVERRIDE:
            note(issues, "class_key", f"objects[{place}]: the class is {key!r}: {value[:40]!r}")
            return Named(reference, given, True)
        note(issues, "class_key", f"objects[{place}]: {key!r}: {value[:40]!r} is ignored, the id names the class")
        break
    if not label or not isinstance(reference, str):
        return None
    if nameless and any(type(value) is str for key, value in row.items() if key != "id"):
        keys = ", ".join(key[:40] for key in list(row)[:6])
        note(issues, "class_key", f"objects[{place}]: the id {reference[:40]!r} names no class, nor do the keys {keys}")
    if ODD_NUMBER.search(reference):
        note(issues, "odd_id", f"objects[{place}].id {reference[:40]!r} is read as {label!r} and a number")
    return Named(reference, label, False)


def _reference(value: Any) -> Reference | None:
    """Return an id as relationships may repeat it: text without spaces around it, or a whole number."""
    if type(value) is str:
        return value.strip()
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


# ---------------------------------------------------------------- relationships

RELATION_KEYS = ("relationships", "relations", "triplets", "edges")
"""Keys of the list of relationships; ours comes first."""
_ENDS = {
    "subject": ("subject", "subj", "sub", "subject_id", "source"),
    "predicate": ("predicate", "relation", "relationship", "pred", "rel"),
    "object": ("object", "obj", "object_id", "target"),
}


def relations_of(document: dict[str, Any], issues: list[Issue]) -> Any:
    """Return the list of relationships of a document, also under another key, or as lists by kind."""
    if "relationships" in document:
        return document["relationships"]
    for key in RELATION_KEYS[1:]:
        rows = document.get(key)
        if isinstance(rows, dict) and rows and all(isinstance(part, list) for part in rows.values()):
            rows = [row for part in rows.values() for row in part]
        if isinstance(rows, list):
            note(issues, "other_key", f'"{key}" is read as "relationships"')
            return rows
    return None


def triplet_of(row: dict[str, Any], place: int, issues: list[Issue]) -> tuple[Any, Any, Any]:
    """Return subject, predicate and object of a relationship, also under other keys."""
    values = [row.get("subject"), row.get("predicate"), row.get("object")]
    if any(value is None for value in values):
        for k, keys in enumerate(_ENDS.values()):
            if values[k] is None and (key := next((key for key in keys if row.get(key) is not None), None)):
                note(issues, "other_key", f'relationships[{place}]: "{key}" is read as "{keys[0]}"')
                values[k] = row[key]
    return values[0], values[1], values[2]


def is_end(value: Any) -> bool:
    """Return whether a value can name an object: text or a whole number."""
    return type(value) is str or _reference(value) is not None


class End(NamedTuple):
    """An object that a relationship names: its place, and the issue of how it was named ("" for its id)."""

    place: int
    how: str


class Ends:
    """Finds the objects that relationships name."""

    def __init__(self, index: dict[Reference, int], labels: Sequence[str], ids: Sequence[str]) -> None:
        self.index, self._labels, self._ids = index, labels, ids
        self._first = 0
        self._rows: Sequence[Any] = ()
        self._numbered = any(isinstance(name, int) for name in index)  # the ids are numbers: no index beside them
        self._classes: dict[str, int] | None = None
        self._written: dict[str, int] | None = None
        self._counts: Counter[str] = Counter()

    def count_from(self, rows: Sequence[Any]) -> None:
        """Tell the rows of relationships, from which `find` decides whether indices count from 0 or from 1."""
        self._rows = rows
        self._first = -1

    def _first_index(self) -> int:
        """Return 1 if no index is 0 and one is the number of objects, else 0."""
        if self._first < 0:
            numbers = {
                value
                for row in self._rows
                if type(row) is dict
                for key in ("subject", "object")
                if type(value := _reference(row.get(key))) is int
            }
            self._first = int(0 not in numbers and len(self._labels) in numbers)
        return self._first

    def find(self, value: Reference | float) -> End | None:
        """Return the object that a value names, or None."""
        reference = _reference(value)
        if reference is None:
            return None
        if (place := self.index.get(reference)) is not None:
            return End(place, "")
        if self._classes is None or self._written is None:
            self._counts = Counter(self._labels)
            self._classes = {label: k for k, label in enumerate(self._labels)}
            self._written = {name: k for k, name in enumerate(self._ids)}
        if isinstance(reference, int):
            if (place := self.index.get(str(reference))) is not None:
                return End(place, "")
            place = reference - self._first_index()
            return End(place, "end_by_index") if not self._numbered and 0 <= place < len(self._labels) else None
        if (place := self._written.get(reference)) is not None:  # an id that was made of the class
            return End(place, "end_by_class")
        label = normalize_name(reference)
        if self._counts[label] == 1:
            return End(self._classes[label], "end_by_class")
        if reference.isascii() and reference.isdigit() and len(reference) < 10:
            return self.find(int(reference))
        return None

    def why(self, value: Any) -> str:
        """Return what is wrong with an end that was not found, for a message."""
        count = self._counts[normalize_name(value)] if type(value) is str else 0
        return f", a class of {count} objects" if count > 1 else ""
