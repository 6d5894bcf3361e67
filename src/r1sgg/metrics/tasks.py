"""The three classic tasks, for predictions that are texts: SGDET, SGCLS and PREDCLS.

In SGCLS and PREDCLS a model is told the true boxes (and, in PREDCLS, their classes), and answers in the same JSON. Its
objects are linked to the true ones by id; an id that is not a true one (SGCLS: the class in it is the model's guess) is
linked by its box, to the free true box that it overlaps most, by at least 1/2. What cannot be linked is dropped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.claims import linked_objects

Task = Literal["sgdet", "sgcls", "predcls"]
TASKS: tuple[Task, ...] = get_args(Task)


def give(graph: SceneGraph, truth: SceneGraph, task: Task) -> SceneGraph:
    """Replace what the task gives away: boxes (SGCLS), boxes and classes (PREDCLS). SGDET gives nothing away."""
    if task == "sgdet" or not len(graph):
        return graph
    links = linked_objects(graph, truth)
    kept = [k for k, t in enumerate(links) if t is not None]
    ends = [t for t in links if t is not None]
    given = replace(graph.take(kept), boxes=truth.boxes[ends])
    return replace(given, labels=tuple(truth.labels[t] for t in ends)) if task == "predcls" else given
