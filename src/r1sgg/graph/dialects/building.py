"""Make a document of objects that have a class and relationships that refer to them in some other way."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

from r1sgg.graph.dialects.dialect import Document

_NUMBERED = re.compile(r".*[^\d._#][._#]\d+", re.DOTALL)


class Draft:
    """A document while it is read: objects get ids like "man.1" in their order."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._relationships: list[Any] = []
        self._numbers: dict[str, int] = {}
        self._ids: dict[Hashable, str] = {}

    def add_object(self, label: Any, box: Any, reference: Hashable = None) -> str:
        """Add an object and return its id.

        Args:
            label: its class; one that ends in a number like an id ("man.1", "man_1") is the id.
            box: as written; the policies decide what is wrong with it.
            reference: what relationships call it, if not by its id; of two with one reference the first counts.
        """
        if not isinstance(label, str):
            self._objects.append({"id": label, "bbox": box})
            return ""
        name = label.strip()
        if not _NUMBERED.fullmatch(name):
            self._numbers[name] = number = self._numbers.get(name, 0) + 1
            name = f"{name}.{number}"
        self._objects.append({"id": name, "bbox": box})
        if isinstance(reference, str | int | tuple):
            self._ids.setdefault(reference, name)
        return name

    def add_broken_object(self, row: Any) -> None:
        """Add something that should be an object and is none: it becomes an issue."""
        self._objects.append(row if not isinstance(row, dict) else str(row))

    def id_of(self, reference: Hashable) -> str | None:
        """Return the id of the object with a reference."""
        return self._ids.get(reference)

    def add_relationship(self, subject: Any, predicate: Any, target: Any) -> None:
        """Add a relationship; an end that is no reference is taken as it is written."""
        self._relationships.append({"subject": self._end(subject), "predicate": predicate, "object": self._end(target)})

    def add_relationship_row(self, row: dict[str, Any]) -> None:
        """Add a relationship as it is written, but for ends that are references."""
        self._relationships.append({key: self._end(value) for key, value in row.items()})

    def add_broken_relationship(self, row: Any) -> None:
        """Add something that should be a relationship and is none: it becomes an issue."""
        self._relationships.append(row if not isinstance(row, dict) else str(row))

    def _end(self, reference: Any) -> Any:
        known = self._ids.get(reference) if isinstance(reference, str | int | tuple) else None
        if known is None and isinstance(reference, tuple):
            return str(list(reference))
        return reference if known is None else known

    def document(self, *, relations: bool = True) -> Document:
        """Return the document; without `relations` it has no list of relationships."""
        document: Document = {"objects": self._objects}
        return document | {"relationships": self._relationships} if relations else document
