"""GraphRecord: a scene graph with what is known of its image; every export is written from one and read into one.

Readers of exports check what they find through `assemble`, so that a file made elsewhere is one clear sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from r1sgg.errors import InputError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject, normalize_name

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """A graph and its image.

    Attributes:
        graph: boxes as fractions of the image.
        image_id: "" where the graph stands alone.
        size: width and height of the image in pixels, where they are known.
        image: where the image lies, where that is known.
    """

    graph: SceneGraph
    image_id: str = ""
    size: tuple[int, int] | None = None
    image: str = ""

    @classmethod
    def of(cls, source: SceneGraph | GraphRecord) -> Self:
        """A record as it is, or a bare graph as one."""
        if isinstance(source, SceneGraph):
            return cls(source)
        return cls(source.graph, source.image_id, source.size, source.image)

    def about(self) -> dict[str, str | int]:
        """What is known of the image, by the names that all formats use."""
        known: dict[str, str | int] = {}
        if self.image_id:
            known["image_id"] = self.image_id
        if self.size is not None:
            known |= {"width": self.size[0], "height": self.size[1]}
        if self.image:
            known["image"] = self.image
        return known

    @classmethod
    def with_about(cls, graph: SceneGraph, about: dict[str, Any]) -> Self:
        """The record whose `about` this is."""
        size = None
        if about.get("width") and about.get("height"):
            size = int(about["width"]), int(about["height"])
        return cls(graph, str(about.get("image_id") or ""), size, str(about.get("image") or ""))


def assemble(objects: Sequence[SceneObject], relationships: Sequence[Relationship], where: str) -> SceneGraph:
    """A graph from rows that were read.

    Boxes may reach outside the image, as in a prediction. Scores are kept where all objects (relationships) have one.

    Raises:
        InputError: an id that repeats, an empty name, a number that is not finite, or an index that names no object.
    """
    ids = tuple(o.id for o in objects)
    if len(set(ids)) != len(ids):
        twice = next(name for k, name in enumerate(ids) if name in ids[:k])
        raise InputError(where, expected="object ids that differ", found=f"{twice!r} twice")
    labels = tuple(normalize_name(o.label) for o in objects)
    predicates = tuple(normalize_name(r.predicate) for r in relationships)
    for kind, names, rows in (("label", labels, objects), ("predicate", predicates, relationships)):
        for name, row in zip(names, rows, strict=True):
            if not name:
                raise InputError(where, expected=f"a {kind} with a letter or digit in it", found=repr(row)[:100])
    boxes = np.array([o.box for o in objects], dtype=np.float64).reshape(-1, 4)
    scores = [_scores([row.score for row in rows]) for rows in (objects, relationships)]
    if not all(np.isfinite(a).all() for a in (boxes, *scores) if a is not None):
        raise InputError(where, expected="finite numbers", found="infinity or nan in a box or score")
    for r in relationships:
        if not (0 <= r.subject < len(ids) and 0 <= r.object < len(ids)):
            raise InputError(where, expected="relationships between objects of the graph", found=repr(r)[:100])
    pairs = tuple((r.subject, r.object) for r in relationships)
    return SceneGraph(ids, labels, boxes, pairs, predicates, *scores)


def _scores(values: Sequence[float | None]) -> np.ndarray | None:
    given = [v for v in values if v is not None]
    return np.array(given, dtype=np.float64) if given and len(given) == len(values) else None


def number(value: Any, where: str) -> float:
    """A finite number, or what a text says in one.

    Raises:
        InputError: it is none.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(where, expected="a number", found=repr(value)[:80]) from error
    if not math.isfinite(found):
        raise InputError(where, expected="a finite number", found=repr(value)[:80])
    return found


def score(value: Any, where: str) -> float | None:
    """A score, or None where there is none.

    Raises:
        InputError: it is not a number.
    """
    return None if value is None or value == "" else number(value, where)


def xml_text(text: str) -> str:
    """The text without characters that XML 1.0 cannot hold; each becomes U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def replaced_ids(record: GraphRecord, clean: Iterable[str]) -> GraphRecord:
    """The record with other ids; one that an earlier object has gets a number."""
    taken: set[str] = set()
    ids = []
    for name in clean:
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name} ({count})"
        taken.add(unique)
        ids.append(unique)
    return replace(record, graph=replace(record.graph, ids=tuple(ids)))
