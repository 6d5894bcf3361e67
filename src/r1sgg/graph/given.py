"""What SGCLS and PREDCLS give: boxes, or boxes with names, as the prompt lists them in the answer's frame.

Objects are told under ids that count their classes in the order of the list ("man.1", "dog.1", "man.2"), whatever ids
the ground truth has, because the order of a list is all that a reader of the prompt knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Frame, number_ids, render

Task = Literal["sgdet", "sgcls", "predcls"]
"""Everything is found; boxes are given; boxes and classes are given."""
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True, slots=True)
class Given:
    """The objects that a prompt lists.

    Attributes:
        task: "sgcls" or "predcls".
        labels: their classes; only PREDCLS tells them.
        boxes: whole numbers x1, y1, x2, y2 in units of `frame`, as `render` writes them.
        frame: width and height that the boxes are relative to.
    """

    task: Task
    labels: tuple[str, ...]
    boxes: tuple[tuple[int, ...], ...]
    frame: Frame

    @classmethod
    def of(cls, truth: SceneGraph, frame: Frame, task: Task) -> Self:
        """Take the objects of a true graph, in its order."""
        rows = json.loads(render(renumbered(truth), frame))["objects"]
        return cls(task, truth.labels, tuple(tuple(row["bbox"]) for row in rows), frame)

    @property
    def told(self) -> tuple[str, ...]:
        """The classes that the prompt tells: none in SGCLS."""
        return self.labels if self.task == "predcls" else ("",) * len(self.labels)

    @property
    def graph(self) -> SceneGraph | None:
        """The objects that a completion with relationships alone refers to; None in SGCLS, which names none."""
        if self.task != "predcls":
            return None
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4) / (*self.frame, *self.frame)
        return SceneGraph(number_ids(self.labels), self.labels, boxes)

    def text(self, *, minify: bool = False) -> str:
        """The list as the prompt writes it: JSON rows, with or without spaces."""
        ids: Sequence[str] = number_ids(self.labels)
        rows = [
            {"id": i, "bbox": list(b)} if label else {"bbox": list(b)}
            for i, b, label in zip(ids, self.boxes, self.told, strict=True)
        ]
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":") if minify else None)


def renumbered(truth: SceneGraph) -> SceneGraph:
    """Return the objects of a graph under the ids that a prompt tells, without relationships."""
    return replace(truth.take(range(len(truth)), []), ids=number_ids(truth.labels))
