"""Visual instructions about drawn scenes, like those that general multimodal models are trained on.

The instruct base of the embedded model is pre-trained on these tasks: detect, locate, count, caption, name a relation,
describe a region, and a small share of scene graphs in several layouts. None of them has the scene-graph prompt of
`r1sgg.models.prompts`. So the base fails on that prompt as real instruct models do: it completes it in another layout.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import render

FRAME = (1000.0, 1000.0)
"""Boxes are integers 0..1000 of the image's width and height, as in Qwen2-VL."""

Instruction = tuple[str, str]
"""A question and the right answer."""


def instruction(graph: SceneGraph, seed: int) -> Instruction:
    """Draw one instruction about a scene: a task by its share in `TASKS`, then its wording.

    Args:
        graph: the true graph, with at least one object.
        seed: the same graph and seed give the same instruction.
    """
    rng = random.Random(seed)
    tasks = [t for t in TASKS if graph.pairs or t not in _NEED_RELATIONS]
    task = rng.choices(tasks, [TASKS[t] for t in tasks])[0]
    return task(graph, rng)


def _boxes(graph: SceneGraph) -> list[list[int]]:
    boxes: list[list[int]] = np.rint(graph.boxes * 1000).astype(int).tolist()
    return boxes


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def detect_all(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for every object with its box."""
    ask = rng.choice(("Detect all objects.", "List the objects and their boxes.", "Find everything in the image."))
    boxes = _boxes(graph)
    return ask, _dump([{"bbox_2d": b, "label": n} for n, b in zip(graph.labels, boxes, strict=True)])


def locate(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for the boxes of one class."""
    label = rng.choice(graph.labels)
    ask = rng.choice((f"Where is the {label}?", f"Locate the {label}.", f"Find the {label}."))
    found = [b for n, b in zip(graph.labels, _boxes(graph), strict=True) if n == label]
    return ask, _dump([{"bbox_2d": b, "label": label} for b in found])


def exists(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask whether a class is in the image."""
    from r1sgg.miniature.scenes import SCENE_OBJECTS

    label = rng.choice(graph.labels) if rng.random() < 0.5 else rng.choice(SCENE_OBJECTS)
    return f"Is there a {label}?", "Yes." if label in graph.labels else "No."


def count(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask how many objects of a class there are."""
    label = rng.choice(graph.labels)
    return f"How many times is {label} in the image?", str(graph.labels.count(label))


def caption(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for the relations as sentences."""
    ask = rng.choice(("Describe the image.", "Caption the image.", "What happens in the image?"))
    if not graph.pairs:
        return ask, " ".join(f"A {n}." for n in graph.labels)
    return ask, " ".join(f"A {s} {p} a {o}." for s, p, o in graph.triplets)


def which_relation(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for the predicate of a pair of boxes."""
    k = rng.randrange(len(graph.pairs))
    (s, o), boxes = graph.pairs[k], _boxes(graph)
    ask = f"How does the {graph.labels[s]} at {_dump(boxes[s])} relate to the {graph.labels[o]} at {_dump(boxes[o])}?"
    return ask, graph.predicates[k]


def describe_region(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for the class in a box."""
    k = rng.randrange(len(graph))
    return f"What is at {_dump(_boxes(graph)[k])}?", graph.labels[k]


def graph_by_name(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph in a layout that our parser refuses: other keys, relations as lists."""
    objects = [{"name": i, "box": b} for i, b in zip(graph.ids, _boxes(graph), strict=True)]
    relations = [[graph.ids[s], p, graph.ids[o]] for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    return _ask_json(rng), _dump({"nodes": objects, "edges": relations})


def graph_as_triplets(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph as lines of text, without boxes."""
    ask = rng.choice(("Scene graph.", "Write the scene graph.", "Which objects and relations are there?"))
    return ask, "\n".join(" ".join(triplet) for triplet in graph.triplets)


def graph_as_ours(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph in the layout of the paper."""
    return _ask_json(rng), render(graph, FRAME, minify=True)


def _ask_json(rng: random.Random) -> str:
    """Return a request for JSON, not in the words of our prompt; it does not say which layout is meant."""
    return rng.choice(("Scene graph as JSON.", "JSON of the scene graph.", "Write the scene graph as JSON."))


TASKS: dict[Callable[[SceneGraph, random.Random], Instruction], float] = {
    detect_all: 0.30,
    locate: 0.12,
    exists: 0.04,
    count: 0.04,
    caption: 0.08,
    which_relation: 0.10,
    describe_region: 0.06,
    graph_by_name: 0.13,
    graph_as_triplets: 0.05,
    graph_as_ours: 0.08,
}
"""The tasks, and the share of each among the instructions."""

_NEED_RELATIONS = (which_relation, graph_by_name, graph_as_triplets)
