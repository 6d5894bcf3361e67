"""SceneGraph: the one container that everything else reads and writes.

Boxes are xyxy in [0, 1]: fractions of the image's width and height. Only a prediction may reach outside. Pixels and
model coordinates exist only in `r1sgg.graph.text`, `r1sgg.graph.records` and the data readers. Relationships hold
object indices, so a dangling reference cannot exist. The data is stored as columns (labels, boxes, pairs, predicates),
because rewards and metrics work on columns; `objects` and `relationships` give the same as rows.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]

NUMBER_SUFFIX = re.compile(r"[._\-#: ]?\d+$")
"""The number at the end of an id, with the separator before it: "man.1", "man_1", "man#1", "man1"."""

ODD_NUMBER = re.compile(r"[^._\- \d]\d+$")
"""The number at the end of an id without one of the usual separators: "man1", "man#1", "man:1"."""

_SEPARATORS = re.compile(r"[_\-\s\x00-\x1f\x7f-\x9f]+")  # control characters too: names are printed on terminals
_CACHE = 1 << 16


@functools.lru_cache(_CACHE)
def normalize_name(name: str) -> str:
    """Return the form in which names are compared: lower case, "_" and "-" as spaces, no punctuation at the ends.

    Empty for a name that is punctuation only.
    """
    form = _SEPARATORS.sub(" ", name).strip(" .,;:\"'").lower()
    return form if any(c.isalnum() or _is_picture(c) for c in form) else ""


@functools.lru_cache(_CACHE)
def label_of_id(identifier: str) -> str:
    """Return the class that an id names: "traffic-light.2" -> "traffic light"; an id without a number is its own class.

    Empty for an id that names no class: "", "7", "7.1".
    """
    label = normalize_name(NUMBER_SUFFIX.sub("", identifier.strip()))
    return label if any(c.isalpha() or _is_picture(c) for c in label) else ""


def _is_picture(character: str) -> bool:
    """Whether a character is an emoji or another symbol that can name a thing."""
    return unicodedata.category(character) == "So"


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: `box` is (x1, y1, x2, y2) in [0, 1]; `score` a confidence in [0, 1] where there is one."""

    id: str
    label: str
    box: tuple[float, float, float, float]
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Relationship:
    """One triplet: `subject` and `object` index `SceneGraph.objects`."""

    subject: int
    predicate: str
    object: int
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SceneGraph:
    """Objects with boxes, and relationships between them.

    Attributes:
        ids: N unique names such as "person.1".
        labels: N classes, normalised (see `normalize_name`).
        boxes: (N, 4) float64, xyxy as fractions of the image; x1 < x2, y1 < y2 and inside [0, 1] unless they were
            read from a prediction (see `r1sgg.graph.policies`).
        pairs: R pairs (subject index, object index).
        predicates: R predicates, normalised, in the order of `pairs`.
        object_scores: (N,) float64 in [0, 1], or None where the source has none.
        relationship_scores: (R,) float64 in [0, 1], or None. Each is the score of the whole triplet, objects included.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    boxes: Boxes
    pairs: tuple[tuple[int, int], ...] = ()
    predicates: tuple[str, ...] = ()
    object_scores: Boxes | None = None
    relationship_scores: Boxes | None = None

    @classmethod
    def build(cls, objects: Sequence[SceneObject], relationships: Sequence[Relationship] = ()) -> Self:
        """Check rows and make a graph of them.

        Raises:
            ValueError: an id is repeated, a name is empty, a box is not 0 <= x1 < x2 <= 1 (the same for y), or an index
                is that of no object.
        """
        ids = tuple(o.id for o in objects)
        if len(set(ids)) != len(ids):
            raise ValueError(f"object ids must be unique, found {sorted({i for i in ids if ids.count(i) > 1})} twice")
        if wrong := [o for o in objects if len(o.box) != 4]:
            raise ValueError(f"box of {wrong[0].id!r}: expected (x1, y1, x2, y2), found {wrong[0].box}")
        boxes = np.array([o.box for o in objects], dtype=np.float64).reshape(-1, 4)
        x1, y1, x2, y2 = boxes.T
        bad = ~((x1 >= 0) & (x1 < x2) & (x2 <= 1) & (y1 >= 0) & (y1 < y2) & (y2 <= 1))
        if bad.any():
            k = int(bad.argmax())
            raise ValueError(
                f"box of {ids[k]!r}: expected 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1, found {boxes[k].tolist()}"
            )
        for r in relationships:
            if not (0 <= r.subject < len(ids) and 0 <= r.object < len(ids)):
                raise ValueError(f"relationship {r} names an object outside 0..{len(ids) - 1}")
        labels = tuple(normalize_name(o.label) for o in objects)
        predicates = tuple(normalize_name(r.predicate) for r in relationships)
        if not (all(labels) and all(predicates)):
            raise ValueError("expected labels and predicates with a letter or digit in them, found one without")
        return cls(
            ids=ids,
            labels=labels,
            boxes=boxes,
            pairs=tuple((r.subject, r.object) for r in relationships),
            predicates=predicates,
            object_scores=score_column([o.score for o in objects]),
            relationship_scores=score_column([r.score for r in relationships]),
        )

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """The objects as rows."""
        scores = [None] * len(self) if self.object_scores is None else self.object_scores.tolist()
        return tuple(
            SceneObject(i, label, tuple(box), score)
            for i, label, box, score in zip(self.ids, self.labels, self.boxes.tolist(), scores, strict=True)
        )

    @property
    def relationships(self) -> tuple[Relationship, ...]:
        """The relationships as rows."""
        scores = [None] * len(self.pairs) if self.relationship_scores is None else self.relationship_scores.tolist()
        return tuple(
            Relationship(s, predicate, o, score)
            for (s, o), predicate, score in zip(self.pairs, self.predicates, scores, strict=True)
        )

    @property
    def triplets(self) -> tuple[tuple[str, str, str], ...]:
        """The relationships as names: (subject label, predicate, object label)."""
        return tuple((self.labels[s], p, self.labels[o]) for (s, o), p in zip(self.pairs, self.predicates, strict=True))

    @property
    def triplet_scores(self) -> Boxes | None:
        """(R,) the relationships' scores, else the products of their two objects' scores; None without either."""
        if self.relationship_scores is not None or self.object_scores is None:
            return self.relationship_scores
        return np.asarray(self.object_scores[np.array(self.pairs, dtype=np.intp).reshape(-1, 2)].prod(1))

    def take(self, objects: Sequence[int], relationships: Sequence[int] | None = None) -> Self:
        """Return the objects at these places, in this order, and the relationships between them.

        Ids, labels, boxes and scores are carried along. A relationship that loses an end is left out.

        Args:
            objects: places of the objects to keep, from 0, each once.
            relationships: places of the relationships to keep, in this order; all of them where None.

        Raises:
            ValueError: a place is negative, too large or repeated.
        """
        new = {old: place for place, old in enumerate(objects)}  # where each kept object is now
        if len(new) != len(objects) or any(not 0 <= k < len(self) for k in new):
            raise ValueError(f"expected different places from 0 to {len(self) - 1}, found {list(objects)}")
        pairs = self.pairs
        rows = range(len(pairs)) if relationships is None else relationships
        rows = [r for r in rows if pairs[r][0] in new and pairs[r][1] in new]
        return type(self)(
            tuple(self.ids[k] for k in objects),
            tuple(self.labels[k] for k in objects),
            self.boxes[list(objects)],
            tuple((new[pairs[r][0]], new[pairs[r][1]]) for r in rows),
            tuple(self.predicates[r] for r in rows),
            None if self.object_scores is None else self.object_scores[list(objects)],
            None if self.relationship_scores is None else self.relationship_scores[rows],
        )

    def above(self, threshold: float) -> Self:
        """Return the objects scored `threshold` or higher, and the relationships whose `triplet_scores` are, too.

        Raises:
            ValueError: the graph has objects but no scores.
        """
        confidences = self.triplet_scores
        if confidences is None:
            if len(self):
                raise ValueError("a threshold needs a graph with scores, found one without")
            return self
        scores = np.full(len(self), np.inf) if self.object_scores is None else self.object_scores
        objects, relationships = (np.flatnonzero(s >= threshold).tolist() for s in (scores, confidences))
        return self.take(objects, relationships)

    def distinct(self) -> Self:
        """Return the graph with each relationship once: of repeated triplets the first, with its score."""
        first = {row: k for k, row in reversed([*enumerate(zip(self.pairs, self.predicates, strict=True))])}
        return self if len(first) == len(self.pairs) else self.take(range(len(self)), sorted(first.values()))

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SceneGraph):
            return NotImplemented
        return self.objects == other.objects and self.relationships == other.relationships

    def __hash__(self) -> int:
        return hash((self.ids, self.labels, self.pairs, self.predicates))  # not boxes: -0.0 == 0.0

    def __repr__(self) -> str:
        return f"SceneGraph({len(self)} objects, {len(self.pairs)} relationships)"


def score_column(values: Sequence[float | None]) -> Boxes | None:
    """Return scores as an array if every row has one, else None: rows with and without cannot be ranked together."""
    given = [v for v in values if v is not None]
    return np.array(given, dtype=np.float64) if given and len(given) == len(values) else None


EMPTY = SceneGraph((), (), np.zeros((0, 4)))
