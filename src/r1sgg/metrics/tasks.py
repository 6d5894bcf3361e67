"""The three classic tasks, for predictions that are texts: SGDET, SGCLS and PREDCLS.

In SGCLS and PREDCLS a model is told the true boxes (and, in PREDCLS, their classes), and answers in the same JSON. Its
objects are tied to the true ones by id; an id that is not a true one (SGCLS: the class in it is the model's guess) is
tied by its box, to the free true box that it overlaps most, by at least 1/2. What cannot be tied is dropped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import IOU_SLACK, IOU_THRESHOLD, pairwise_iou

Task = Literal["sgdet", "sgcls", "predcls"]
TASKS: tuple[Task, ...] = get_args(Task)


def tie(graph: SceneGraph, truth: SceneGraph, task: Task) -> SceneGraph:
    """Replace what the task gives away: boxes (SGCLS), boxes and classes (PREDCLS). SGDET gives nothing away."""
    if task == "sgdet" or not len(graph):
        return graph
    partner = _partners(graph, truth)
    kept = [k for k, t in enumerate(partner) if t is not None]
    ends = [t for t in partner if t is not None]
    place = {old: new for new, old in enumerate(kept)}
    rows = [r for r, (s, o) in enumerate(graph.pairs) if s in place and o in place]
    labels = truth.labels if task == "predcls" else None
    return replace(
        graph,
        ids=tuple(graph.ids[k] for k in kept),
        labels=tuple(graph.labels[k] if labels is None else labels[t] for k, t in zip(kept, ends, strict=True)),
        boxes=truth.boxes[ends],
        pairs=tuple((place[graph.pairs[r][0]], place[graph.pairs[r][1]]) for r in rows),
        predicates=tuple(graph.predicates[r] for r in rows),
        object_scores=None if graph.object_scores is None else graph.object_scores[kept],
        relationship_scores=None if graph.relationship_scores is None else graph.relationship_scores[rows],
    )


def _partners(graph: SceneGraph, truth: SceneGraph) -> list[int | None]:
    """For each predicted object the index of the true one it stands for."""
    index = {name: k for k, name in enumerate(truth.ids)}
    partner = [index.get(name) for name in graph.ids]
    free = set(range(len(truth))) - {t for t in partner if t is not None}
    if None in partner and free:
        iou = pairwise_iou(graph.boxes, truth.boxes)
        for k, t in enumerate(partner):
            if t is None and free:
                best = max(sorted(free), key=lambda j: iou[k, j])
                if iou[k, best] >= IOU_THRESHOLD - IOU_SLACK:
                    partner[k] = best
                    free.discard(best)
    return partner
