"""The target of SFT for a graph: the order of its objects, and which objects and relationships are left out.

`target` is pure: the same graph, seed and epoch have the same target on every machine, so a resumed or sharded run
trains on what an uninterrupted one does. Coordinates are rounded by `r1sgg.graph.text.render`. GRPO scores against the
whole graph, never against a target.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from r1sgg.errors import ConfigError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids

Order = Literal["annotated", "position", "shuffled"]
ORDERS: tuple[Order, ...] = get_args(Order)


def target(
    graph: SceneGraph,
    order: Order = "annotated",
    seed: int = 0,
    epoch: int = 0,
    max_objects: int | None = None,
    max_relationships: int | None = None,
) -> SceneGraph:
    """Return the graph that the completion of SFT states.

    Of more than `max_objects` objects, those with the most relationships are kept, and the larger of equally connected
    ones; relationships that lose an end are dropped. Of more than `max_relationships`, the first of every ordered pair
    is kept before the second of any, and a repeated triplet after all others. The order of what is kept stays.

    Args:
        graph: the annotated graph.
        order: of the objects. "annotated"; "position": by the centre of the box from left to right, then from the top;
            "shuffled": as annotated in the first epoch, and from the second in an order that differs by epoch and
            graph, with ids numbered anew per class (arXiv 2504.13617, training details of SFT). Relationships keep the
            annotated order.
        seed: of the shuffle.
        epoch: complete passes over the data, from 0.
        max_objects: None for no limit.
        max_relationships: None for no limit.

    Raises:
        ConfigError: no such order, or a limit below 1 object or 0 relationships.
    """
    if order not in ORDERS:
        raise ConfigError(f"object order: expected one of {', '.join(ORDERS)}, found {order!r}")
    if max_objects is not None and max_objects < 1:
        raise ConfigError(f"max_objects: expected 1 or more, found {max_objects}")
    if max_relationships is not None and max_relationships < 0:
        raise ConfigError(f"max_relationships: expected 0 or more, found {max_relationships}")
    if max_objects is not None and len(graph) > max_objects:
        graph = graph.take(_most_connected(graph, max_objects))
    if max_relationships is not None and len(graph.pairs) > max_relationships:
        graph = graph.take(range(len(graph)), _most_informative(graph, max_relationships))
    if order == "position":
        return graph.take(_by_position(graph))
    if order == "shuffled" and epoch > 0:
        places = list(range(len(graph)))
        random.Random(f"{seed} {epoch} {graph.ids} {graph.pairs}").shuffle(places)
        graph = graph.take(places)
        return replace(graph, ids=number_ids(graph.labels))
    return graph


def _most_connected(graph: SceneGraph, limit: int) -> list[int]:
    """Return the objects with the most relationships; of equally connected ones the larger."""
    degree = [0] * len(graph)
    for subject, target_object in graph.pairs:
        degree[subject] += 1
        degree[target_object] += 1
    areas = np.prod(graph.boxes[:, 2:] - graph.boxes[:, :2], axis=1).tolist()
    return sorted(sorted(range(len(graph)), key=lambda k: (-degree[k], -areas[k], k))[:limit])


def _most_informative(graph: SceneGraph, limit: int) -> list[int]:
    """Return the relationships with the fewest earlier ones on their pair; repeated triplets come last."""
    ranks: list[int] = []
    earlier: dict[tuple[int, int], set[str]] = {}  # pair -> its predicates so far
    for pair, predicate in zip(graph.pairs, graph.predicates, strict=True):
        predicates = earlier.setdefault(pair, set())
        ranks.append(len(graph.pairs) if predicate in predicates else len(predicates))
        predicates.add(predicate)
    return sorted(sorted(range(len(ranks)), key=lambda r: (ranks[r], r))[:limit])


def _by_position(graph: SceneGraph) -> list[int]:
    centres = np.round(graph.boxes[:, :2] + graph.boxes[:, 2:], 6).tolist()  # not by the last bits of a float
    return sorted(range(len(graph)), key=lambda k: (*centres[k], graph.ids[k]))
