"""GraphRecord: a scene graph with what is known of its image; every export is written from one and read into one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from r1sgg.graph.records import number
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """A graph and its image.

    Attributes:
        graph: boxes as fractions of the image.
        image_id: "" for a graph without an image.
        size: width and height of the image in pixels, if they are known.
        image: path of the image, if it is known.
    """

    graph: SceneGraph
    image_id: str = ""
    size: tuple[int, int] | None = None
    image: str = ""

    @classmethod
    def of(cls, source: SceneGraph | GraphRecord) -> Self:
        """Return a record of a bare graph, or of another record."""
        if isinstance(source, SceneGraph):
            return cls(source)
        return cls(source.graph, source.image_id, source.size, source.image)

    def about(self) -> dict[str, str | int]:
        """Return what is known of the image, under the names that all formats use."""
        known: dict[str, str | int] = {}
        if self.image_id:
            known["image_id"] = self.image_id
        if self.size is not None:
            known |= {"width": self.size[0], "height": self.size[1]}
        if self.image:
            known["image"] = self.image
        return known

    @classmethod
    def with_about(cls, graph: SceneGraph, about: Mapping[str, Any], where: str) -> Self:
        """Return the record whose `about` this is.

        Raises:
            InputError: a width or height is no number.
        """
        size = None
        if about.get("width") and about.get("height"):
            size = int(number(about["width"], f"{where}: width")), int(number(about["height"], f"{where}: height"))
        return cls(graph, str(about.get("image_id") or ""), size, str(about.get("image") or ""))


def scored(row: SceneObject | Relationship) -> dict[str, float]:
    """Return the score of an object or relationship as an exported key; no key where it has none."""
    return {} if row.score is None else {"score": row.score}


def stated_place(key: Any, letter: str) -> int | None:
    """Return the place that a key states, 3 or "r3" (of letter "r"); None for any other key."""
    if isinstance(key, str) and key[:1] == letter and key[1:].isdecimal():
        return int(key[1:])
    return key if isinstance(key, int) else None


def xml_text(text: str) -> str:
    """Return the text with each character that XML 1.0 cannot hold replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def replaced_ids(record: GraphRecord, ids: Iterable[str]) -> GraphRecord:
    """Return the record with other ids; one that an earlier object has gets a number."""
    taken: dict[str, None] = {}
    for name in ids:
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name} ({count})"
        taken[unique] = None
    return replace(record, graph=replace(record.graph, ids=tuple(taken)))
