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
from r1sgg.judging.boxes import overlapping, pairwise_iou

Task = Literal["sgdet", "sgcls", "predcls"]
TASKS: tuple[Task, ...] = get_args(Task)


def apply_task(graph: SceneGraph, truth: SceneGraph, task: Task) -> SceneGraph:
    """Replace what the task gives by the ground truth: boxes (SGCLS), boxes and classes (PREDCLS), nothing (SGDET)."""
    if task == "sgdet" or not len(graph):
        return graph
    links = _links(graph, truth)
    kept = [k for k, t in enumerate(links) if t is not None]
    ends = [t for t in links if t is not None]
    given = replace(graph.take(kept), boxes=truth.boxes[ends])
    return replace(given, labels=tuple(truth.labels[t] for t in ends)) if task == "predcls" else given


def _links(graph: SceneGraph, truth: SceneGraph) -> list[int | None]:
    """Return for each predicted object the index of the true object it is linked to, or None."""
    index = {name: k for k, name in enumerate(truth.ids)}
    links = [index.get(name) for name in graph.ids]
    free = set(range(len(truth))) - {t for t in links if t is not None}
    if None in links and free:
        iou = pairwise_iou(graph.boxes, truth.boxes)
        enough = overlapping(iou)
        for k, t in enumerate(links):
            if t is None and free:
                best = max(sorted(free), key=lambda j: iou[k, j])
                if enough[k, best]:
                    links[k] = best
                    free.discard(best)
    return links
