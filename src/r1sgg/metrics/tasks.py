"""The three classic tasks: SGDET, SGCLS and PREDCLS. What a task gives is replaced by the ground truth.

SGCLS gives boxes, so its objects are linked to the true ones by box, whatever they are called: pairs from the largest
IoU down, one to one, by at least 1/2, and of equal ones those at the same place in both lists first. PREDCLS gives
boxes and names in a list, so its objects are linked by id to a place of that list (`r1sgg.graph.given`), those with
other ids, or without ids of their own, by box. Objects that cannot be linked are dropped with their relations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from r1sgg.graph.given import TASKS, Task, renumbered
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.claims import linked_objects

__all__ = ["TASKS", "Task", "apply_task"]


Ids = Literal["prompt", "truth", "none"]
"""Whose ids a PREDCLS prediction has: those of the list in the prompt, of the ground truth, or none of its own."""


def apply_task(graph: SceneGraph, truth: SceneGraph, task: Task, ids: Ids = "truth") -> SceneGraph:
    """Replace what the task gives by the ground truth: boxes (SGCLS), boxes and classes (PREDCLS), nothing (SGDET).

    Args:
        graph: the prediction.
        truth: the true graph, whole.
        task: what was given.
        ids: "prompt" if `r1sgg generate --task` asked; "none" for rows without ids.
    """
    if task == "sgdet" or not len(graph):
        return graph
    told = {"prompt": renumbered(truth).ids, "truth": truth.ids, "none": ()}[ids]
    links = linked_objects(graph, truth, told if task == "predcls" else ())
    kept = [k for k, t in enumerate(links) if t is not None]
    ends = [t for t in links if t is not None]
    given = replace(graph.take(kept), boxes=truth.boxes[ends])
    return replace(given, labels=tuple(truth.labels[t] for t in ends)) if task == "predcls" else given
