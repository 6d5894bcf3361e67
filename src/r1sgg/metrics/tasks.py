"""The three classic tasks, for predictions that are texts: SGDET, SGCLS and PREDCLS.

In SGCLS and PREDCLS the model is given the true boxes (in PREDCLS with their classes) and writes the same JSON. Its
objects are linked to the true objects by id. An object whose id is not a true one (in SGCLS the model chooses the class
in the id) is linked by its box: to the free true box with the highest IoU, if that is at least 1/2. Objects that cannot
be linked are dropped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.claims import linked_objects

Task = Literal["sgdet", "sgcls", "predcls"]
TASKS: tuple[Task, ...] = get_args(Task)


def apply_task(graph: SceneGraph, truth: SceneGraph, task: Task) -> SceneGraph:
    """Replace what the task gives by the ground truth: boxes (SGCLS), boxes and classes (PREDCLS), nothing (SGDET)."""
    if task == "sgdet" or not len(graph):
        return graph
    links = linked_objects(graph, truth)
    kept = [k for k, t in enumerate(links) if t is not None]
    ends = [t for t in links if t is not None]
    given = replace(graph.take(kept), boxes=truth.boxes[ends])
    return replace(given, labels=tuple(truth.labels[t] for t in ends)) if task == "predcls" else given
