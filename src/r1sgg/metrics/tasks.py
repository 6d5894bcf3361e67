"""The three classic tasks: SGDET, SGCLS and PREDCLS. What a task gives is replaced by the ground truth.

SGCLS gives boxes, so its objects are linked to the true ones by box, whatever they are called: pairs from the largest
IoU down, one to one, by at least 1/2, and of equal ones those at the same place in both lists first. PREDCLS gives
boxes and names in a list, so its objects are linked by id to a place of that list (`r1sgg.graph.given`), those with
other ids by box. Objects that cannot be linked are dropped with their relations.
"""

from __future__ import annotations

from dataclasses import replace

from r1sgg.graph.given import TASKS, Task, renumbered
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.claims import linked_objects

__all__ = ["TASKS", "Task", "apply_task"]


def apply_task(graph: SceneGraph, truth: SceneGraph, task: Task, *, asked: bool = False) -> SceneGraph:
    """Replace what the task gives by the ground truth: boxes (SGCLS), boxes and classes (PREDCLS), nothing (SGDET).

    Args:
        graph: the prediction.
        truth: the true graph, whole.
        task: what was given.
        asked: whether `r1sgg generate --task` asked, so that ids are those of its prompt; else those of the truth.
    """
    if task == "sgdet" or not len(graph):
        return graph
    told = (renumbered(truth) if asked else truth).ids if task == "predcls" else ()
    links = linked_objects(graph, truth, told)
    kept = [k for k, t in enumerate(links) if t is not None]
    ends = [t for t in links if t is not None]
    given = replace(graph.take(kept), boxes=truth.boxes[ends])
    return replace(given, labels=tuple(truth.labels[t] for t in ends)) if task == "predcls" else given
