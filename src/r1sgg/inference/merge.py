"""One graph out of several sampled ones: what many samples say scores high, what one says scores low.

Objects of different samples are the same if they have one class and overlap by an IoU of at least 1/2. Pairs are taken
greedily from the largest IoU down; two objects of one sample are never the same. The merged box is the median of each
coordinate. Nothing is left out: `SceneGraph.above` cuts off what few samples say.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.judging.claims import same_objects

Node = tuple[int, int]
"""A graph and an object of it."""


def merge(graphs: Sequence[SceneGraph]) -> SceneGraph:
    """The graph that samples of one image agree on, with scores in [0, 1].

    An object's score is the mean over all samples of its score there (1 where a sample has no scores, 0 where it does
    not show the object), so a failed sample, as the empty graph, counts against everything. A relationship's is the
    mean over the samples that show both its objects. Repeats of a triplet in a sample count once.

    The order of the samples does not matter. One graph, or copies of it, give that graph (scores of 1 where it had
    none, repeated triplets once). Objects and relationships stand in the mean order that the samples give them.
    """
    clusters = _clusters(graphs)
    if not clusters:
        return EMPTY
    count = len(graphs)
    scores = [_mean([_object_score(graphs[g], k) for g, k in nodes], count) for nodes in clusters]
    boxes = np.array([np.median([graphs[g].boxes[k] for g, k in nodes], axis=0) for nodes in clusters])
    labels = [graphs[nodes[0][0]].labels[nodes[0][1]] for nodes in clusters]
    ranks = [
        (_mean([k for _, k in nodes], len(nodes)), -score, label, *box)
        for nodes, score, label, box in zip(clusters, scores, labels, boxes.tolist(), strict=True)
    ]
    order = sorted(range(len(clusters)), key=ranks.__getitem__)
    clusters = [clusters[c] for c in order]
    ids = _ids([[graphs[g].ids[k] for g, k in nodes] for nodes in clusters], [labels[c] for c in order])
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


def _relationships(
    graphs: Sequence[SceneGraph], clusters: Sequence[Sequence[Node]]
) -> list[tuple[float, tuple[int, str, int], float]]:
    """Mean place, triplet of merged objects, and score, in order."""
    place = {node: c for c, nodes in enumerate(clusters) for node in nodes}
    shown = [{g for g, _ in nodes} for nodes in clusters]
    said: dict[tuple[int, str, int], dict[int, tuple[int, float]]] = defaultdict(dict)
    for g, graph in enumerate(graphs):
        for k, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
            score = 1.0 if graph.relationship_scores is None else float(graph.relationship_scores[k])
            said[place[g, s], predicate, place[g, o]].setdefault(g, (k, score))
    rows = []
    for triplet, votes in said.items():
        both = len(shown[triplet[0]] & shown[triplet[2]])
        rank = _mean([k for k, _ in votes.values()], len(votes))
        rows.append((rank, triplet, _mean([score for _, score in votes.values()], both)))
    return sorted(rows, key=lambda row: (row[0], -row[2], row[1]))


def _object_score(graph: SceneGraph, k: int) -> float:
    return 1.0 if graph.object_scores is None else float(graph.object_scores[k])


def _mean(values: Sequence[float], count: int) -> float:
    """Sum divided by `count`, whatever the order; exactly the value where all are the same."""
    if len(values) == count and len(set(values)) == 1:
        return float(values[0])
    return math.fsum(values) / count


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
