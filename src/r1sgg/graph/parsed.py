"""The result of the parser: a graph as plain lists, and the issues of the text.

The lists (`GraphColumns`) are converted to a `SceneGraph` on demand: rewards and metrics concatenate the lists of a
whole batch and need no `SceneGraph`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r1sgg.graph.frames import BoxFrame
from r1sgg.graph.frames import Frame as Frame
from r1sgg.graph.policies import FAILURES, Issue
from r1sgg.graph.scene import EMPTY, SceneGraph


class GraphColumns(NamedTuple):
    """A graph as plain lists.

    Attributes:
        ids, labels: of the N objects.
        boxes: 4 N coordinates, x1 y1 x2 y2 of each object, in units of `frame`.
        subjects, objects: indices into the objects, one each for R relationships.
        predicates: R names.
        frame: width and height that the coordinates are relative to.
    """

    ids: Sequence[str]
    labels: Sequence[str]
    boxes: Sequence[float]
    subjects: Sequence[int]
    objects: Sequence[int]
    predicates: Sequence[str]
    frame: Frame

    def triplets(self) -> tuple[tuple[str, str, str], ...]:
        """The relationships as names: (subject label, predicate, object label)."""
        rows = zip(self.subjects, self.predicates, self.objects, strict=True)
        return tuple((self.labels[s], p, self.labels[o]) for s, p, o in rows)

    def graph(self) -> SceneGraph:
        """Convert to a `SceneGraph`, with boxes as fractions of the frame."""
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        boxes /= (*self.frame, *self.frame)
        pairs = tuple(zip(self.subjects, self.objects, strict=True))
        return SceneGraph(tuple(self.ids), tuple(self.labels), boxes, pairs, tuple(self.predicates))


class Parsed:
    """The result of `parse`: a graph, which is always valid, and the issues of the text.

    Attributes:
        issues: the faults of the text.
        object_rows, relationship_rows: the row of the completion (from 0, dropped rows included) of each item.
        inverted: class and box, as written, of the objects that were dropped because their box is inverted.
        listed: entries of the list of objects, dropped ones included.
        declared: the frame that boxes were taken to be relative to.
    """

    __slots__ = ("_columns", "_graph", "_rows", "convention", "declared", "inverted", "issues", "listed")

    def __init__(
        self,
        graph: SceneGraph | GraphColumns = EMPTY,
        issues: Sequence[Issue] = (),
        object_rows: Sequence[int] = (),
        relationship_rows: Sequence[int] = (),
        written: GraphColumns | None = None,
        inverted: Sequence[tuple[str, Sequence[float]]] = (),
        listed: int | None = None,
    ) -> None:
        """Hold a graph and its issues.

        `written`: the columns of a `SceneGraph`, if it was made of columns. `listed`: see the class; None: as many as
        were kept.
        """
        self.inverted = inverted
        self.listed = len(object_rows) if listed is None else listed
        self.convention: BoxFrame | None = None  # how the text's boxes were read, where the size does not say it all
        self._graph = graph if isinstance(graph, SceneGraph) else None
        self._columns = written if isinstance(graph, SceneGraph) else graph
        self.declared: Frame = (1.0, 1.0) if self._columns is None else self._columns.frame
        self.issues = tuple(issues)
        self._rows = (object_rows, relationship_rows)

    @property
    def graph(self) -> SceneGraph:
        """The graph, built at the first access."""
        if self._graph is None:
            self._graph = self.columns.graph()
        return self._graph

    def with_graph(self, graph: SceneGraph) -> Parsed:
        """Return a copy with another graph of the same rows, such as one with scores."""
        return Parsed(graph, self.issues, *self._rows, listed=self.listed)

    @property
    def columns(self) -> GraphColumns:
        """The graph as lists."""
        if self._columns is None:
            g = self.graph
            subjects, objects = zip(*g.pairs, strict=True) if g.pairs else ((), ())
            boxes: list[float] = g.boxes.ravel().tolist()
            self._columns = GraphColumns(g.ids, g.labels, boxes, subjects, objects, g.predicates, (1.0, 1.0))
        return self._columns

    @property
    def object_rows(self) -> tuple[int, ...]:
        """See the class."""
        return tuple(self._rows[0])

    @property
    def relationship_rows(self) -> tuple[int, ...]:
        """See the class."""
        return tuple(self._rows[1])

    @property
    def failure(self) -> str | None:
        """The kind of failure if no object could be read, otherwise None."""
        if len(self.columns.labels):
            return None
        return next((i.kind for i in self.issues if i.kind in FAILURES), "empty")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parsed):
            return NotImplemented
        return (self.graph, self.issues, self.object_rows, self.relationship_rows) == (
            *(other.graph, other.issues, other.object_rows, other.relationship_rows),
        )

    def __hash__(self) -> int:
        return hash((self.graph, self.issues))

    def __repr__(self) -> str:
        return f"Parsed({self.graph!r}, issues={self.issues!r})"
