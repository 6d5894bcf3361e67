"""One graph out of several sampled ones: what many samples say scores high, what one says scores low.

Objects of different samples are the same if they have one class and overlap by an IoU of at least 1/2. Pairs are taken
greedily from the largest IoU down; two objects of one sample are never the same. The merged box is the median of each
coordinate. What that leaves twice is suppressed: of two merged objects of one class that overlap by 1/2, the one that
fewer samples show becomes part of the other, whose box stays, unless at least half of the samples show both. Nothing
else is left out: `SceneGraph.above` cuts off what few samples say.

The score of an object, and of a triplet, is the share of samples that hold it, less up to half a vote:

    score = (votes - (1 - p) / 2) / samples       p: its mean score in the samples that hold it; 1 where they have none

The share is what is calibrated. p puts those with equal votes in order, and moves none past another share (measured in
docs/metrics.md).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.judging.boxes import SAME_OBJECT, Array, overlapping, pairwise_iou
from r1sgg.judging.claims import same_objects

Node = tuple[int, int]
"""A graph and an object of it."""


def merge(graphs: Sequence[SceneGraph]) -> SceneGraph:
    """The graph that samples of one image agree on, with scores in [0, 1] (see the module's docstring).

    A failed sample, as the empty graph, counts against everything. Repeats of a triplet in a sample count once.

    The order of the samples does not matter. One graph gives that graph with the scores that it has (1 where it had
    none), repeated triplets once. Objects and relationships stand in the mean order that the samples give them.
    """
    if len(graphs) == 1:
        return _once(graphs[0])
    kept = _suppressed(graphs, _clusters(graphs))
    if not kept:
        return EMPTY
    clusters = [nodes for nodes, _ in kept]
    count = len(graphs)
    # of an object that a sample holds twice, the better scored place counts
    nodes_of = [_one_per_graph(graphs, nodes) for nodes in clusters]
    scores = [_score([_object_score(graphs[g], k) for g, k in nodes], count) for nodes in nodes_of]
    boxes = np.array([box for _, box in kept])
    labels = [graphs[nodes[0][0]].labels[nodes[0][1]] for nodes in clusters]
    ranks = [
        (_mean([k for _, k in nodes]), -score, label, *box)
        for nodes, score, label, box in zip(nodes_of, scores, labels, boxes.tolist(), strict=True)
    ]
    order = sorted(range(len(clusters)), key=ranks.__getitem__)
    clusters, nodes_of = [clusters[c] for c in order], [nodes_of[c] for c in order]
    ids = _ids([[graphs[g].ids[k] for g, k in nodes] for nodes in nodes_of], [labels[c] for c in order])
    rows = _relationships(graphs, clusters)
    return SceneGraph(
        ids,
        tuple(labels[c] for c in order),
        boxes[order],
        tuple((s, o) for _, (s, _, o), _ in rows),
        tuple(predicate for _, (_, predicate, _), _ in rows),
        np.array([scores[c] for c in order]),
        np.array([score for *_, score in rows]),
    )


def _once(graph: SceneGraph) -> SceneGraph:
    """A graph with scores, each triplet of it once."""
    if not len(graph):
        return EMPTY
    graph = graph.distinct()
    objects, relationships = graph.object_scores, graph.relationship_scores
    return replace(
        graph,
        object_scores=np.ones(len(graph)) if objects is None else objects,
        relationship_scores=np.ones(len(graph.pairs)) if relationships is None else relationships,
    )


def _score(values: Sequence[float], count: int) -> float:
    """The share of `count` samples that hold an item, of which the scores in those that do are given."""
    return (len(values) - (1 - _mean(values)) / 2) / count


def _clusters(graphs: Sequence[SceneGraph]) -> list[list[Node]]:
    """The objects of all graphs, those that are the same together."""
    pairs: list[tuple[float, bool, list[tuple[list[float], str]], Node, Node]] = []
    for b, second in enumerate(graphs):
        for a, first in enumerate(graphs[:b]):
            for i, j, iou in same_objects(first, second):
                ends = ((first.boxes[i].tolist(), first.ids[i]), (second.boxes[j].tolist(), second.ids[j]))
                other = first.ids[i] != second.ids[j]
                pairs.append((-round(iou, 12), other, sorted(ends), (a, i), (b, j)))
    cluster_of: dict[Node, dict[int, int]] = {
        (g, k): {g: k} for g, graph in enumerate(graphs) for k in range(len(graph))
    }
    for *_, left, right in sorted(pairs, key=lambda pair: pair[:3]):  # by content, so that no graph is the first
        one, two = cluster_of[left], cluster_of[right]
        if one.keys().isdisjoint(two):
            one |= two
            for node in two.items():
                cluster_of[node] = one
    return [sorted(c.items()) for c in {id(c): c for c in cluster_of.values()}.values()]


def _suppressed(graphs: Sequence[SceneGraph], clusters: Sequence[list[Node]]) -> list[tuple[list[Node], Array]]:
    """The clusters without those that are another one again, which gets their nodes; each with its own box, (4,)."""
    if not clusters:
        return []
    boxes = np.array([np.median([graphs[g].boxes[k] for g, k in nodes], axis=0) for nodes in clusters])
    labels = [graphs[nodes[0][0]].labels[nodes[0][1]] for nodes in clusters]
    samples = [{g for g, _ in nodes} for nodes in clusters]
    means = [_mean([_object_score(graphs[g], k) for g, k in nodes]) for nodes in clusters]
    iou = pairwise_iou(boxes, boxes)
    ranks = [(-len(samples[c]), -means[c], boxes[c].tolist()) for c in range(len(clusters))]
    kept: list[int] = []
    nodes_of = [list(nodes) for nodes in clusters]
    for c in sorted(range(len(clusters)), key=ranks.__getitem__):
        for other in kept:
            twice = 2 * len(samples[c] & samples[other]) >= len(graphs)
            least = SAME_OBJECT if twice else 0.5
            if labels[other] == labels[c] and bool(overlapping(iou[c, other], least)):
                nodes_of[other] += nodes_of[c]
                break
        else:
            kept.append(c)
    return [(nodes_of[c], boxes[c]) for c in kept]


def _one_per_graph(graphs: Sequence[SceneGraph], nodes: Sequence[Node]) -> list[Node]:
    """The nodes of a cluster, of each graph the best scored one, and the first of equal ones."""
    best: dict[int, int] = {}
    for g, k in sorted(nodes, key=lambda node: (-_object_score(graphs[node[0]], node[1]), node[1])):
        best.setdefault(g, k)
    return sorted(best.items())


def _relationships(
    graphs: Sequence[SceneGraph], clusters: Sequence[Sequence[Node]]
) -> list[tuple[float, tuple[int, str, int], float]]:
    """Mean place, triplet of merged objects, and score, in order; none of a suppressed double with itself."""
    place = {node: c for c, nodes in enumerate(clusters) for node in nodes}
    said: dict[tuple[int, str, int], dict[int, tuple[int, float]]] = defaultdict(dict)
    for g, graph in enumerate(graphs):
        for k, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
            score = 1.0 if graph.relationship_scores is None else float(graph.relationship_scores[k])
            if s == o or place[g, s] != place[g, o]:
                said[place[g, s], predicate, place[g, o]].setdefault(g, (k, score))
    rows = []
    for triplet, votes in said.items():
        rank = _mean([k for k, _ in votes.values()])
        rows.append((rank, triplet, _score([score for _, score in votes.values()], len(graphs))))
    return sorted(rows, key=lambda row: (row[0], -row[2], row[1]))


def _object_score(graph: SceneGraph, k: int) -> float:
    return 1.0 if graph.object_scores is None else float(graph.object_scores[k])


def _mean(values: Sequence[float]) -> float:
    """The mean, whatever the order; exactly the value where all are the same."""
    return float(values[0]) if len(set(values)) == 1 else math.fsum(values) / len(values)


def _ids(said: Iterable[Sequence[str]], labels: Sequence[str]) -> tuple[str, ...]:
    """For each object the id that most samples give it, or a free number of its class where that is taken."""
    taken: set[str] = set()
    ids: list[str] = []
    for names, label in zip(said, labels, strict=True):
        count = Counter(names)
        name = min((n for n in count if n not in taken), key=lambda n: (-count[n], n), default="")
        number = 0
        while not name or name in taken:
            number += 1
            name = f"{label}.{number}"
        taken.add(name)
        ids.append(name)
    return tuple(ids)
