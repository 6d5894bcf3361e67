"""Visual instructions about drawn scenes, like those that general multimodal models are trained on.

The instruct base of the embedded model is pre-trained on these tasks: detect, locate, count, caption, name or choose a
relation, describe a region, and a share of scene graphs. It learns to see, and never what it will be asked for: no task
has the scene-graph prompt of `r1sgg.models.prompts`, and no answer its layout. There are two ways to write objects and
two ways to write relations; three of the four layouts are taught, and the fourth is that of the prompt:

    {"nodes":[{"name":"man.1","box":[...]},...],"edges":[["man.1","riding","horse.1"],...]}
    {"nodes":[{"name":"man.1","box":[...]},...],"relationships":[{"subject":"man.1",...},...]}
    {"objects":[{"id":"man.1","bbox":[...]},...],"edges":[["man.1","riding","horse.1"],...]}

So the base fails on the prompt as real instruct models do: it answers in a layout of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping

import numpy as np

from r1sgg.graph.scene import SceneGraph
from r1sgg.miniature.procedural.recipes import SCENE_PREDICATES

LETTERS = "ABCD"

Instruction = tuple[str, str]
"""A question and the right answer."""

Tasks = Mapping[Callable[[SceneGraph, random.Random], Instruction], float]
"""Tasks, and the share of each."""


def instruction(graph: SceneGraph, seed: int, tasks: Tasks | None = None) -> Instruction:
    """Draw one instruction about a scene: a task by its share, then its wording.

    Args:
        graph: the true graph, with at least one object.
        seed: the same graph and seed give the same instruction.
        tasks: the tasks and their shares; all (`TASKS`) if None.
    """
    rng = random.Random(seed)
    possible = {t: share for t, share in (tasks or TASKS).items() if graph.pairs or t not in _NEED_RELATIONS}
    task = rng.choices(list(possible), list(possible.values()))[0]
    return task(graph, rng)


def _boxes(graph: SceneGraph) -> list[list[int]]:
    """Return the boxes as integers 0..1000 of the image's width and height, as Qwen2-VL writes them."""
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


def choose_relation(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask which of four predicates relates a pair, in the words of the probe (`r1sgg.probing.prompts`).

    Two thirds of the questions have names and boxes, the others only one of them. The answer is a letter.
    """
    question, _, letter = _four_way(graph, rng)
    return question, letter


def name_relation(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask the same, and answer with the predicate in place of its letter.

    A model of this size does not learn which letter stands before which option (docs/tiny-log.md), and the probe reads
    either answer.
    """
    question, predicate, _ = _four_way(graph, rng)
    return question, predicate


def _four_way(graph: SceneGraph, rng: random.Random) -> tuple[str, str, str]:
    """Return a question with four options, the right option, and its letter."""
    k = rng.randrange(len(graph.pairs))
    (s, o), boxes = graph.pairs[k], _boxes(graph)
    true = {p for pair, p in zip(graph.pairs, graph.predicates, strict=True) if pair == (s, o)}
    options = rng.sample([p for p in SCENE_PREDICATES if p not in true], len(LETTERS) - 1)
    place = rng.randrange(len(LETTERS))
    options.insert(place, graph.predicates[k])
    told = rng.choices(("both", "boxes", "names"), (4, 1, 1))[0]
    ends = []
    for end in (s, o):
        name = "" if told == "boxes" else f' "{graph.labels[end]}"'
        ends.append(f"the object{name}" + ("" if told == "names" else f" at {boxes[end]}"))
    form = "" if told == "names" else "The bounding boxes are in [x1, y1, x2, y2] format. "
    listed = " ".join(f"{a}) {p}" for a, p in zip(LETTERS, options, strict=True))
    question = (
        f"Analyze the relationship between {ends[0]} and {ends[1]} in an image of size (1000x1000). {form}"
        f"Choose the most appropriate relationship from the following options: {listed}"
    )
    return question, options[place], LETTERS[place]


def describe_region(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for the class in a box."""
    k = rng.randrange(len(graph))
    return f"What is at {_dump(_boxes(graph)[k])}?", graph.labels[k]


def graph_as_triplets(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph as lines of text, without boxes."""
    ask = rng.choice(("Scene graph.", "Write the scene graph.", "Which objects and relations are there?"))
    return ask, "\n".join(" ".join(triplet) for triplet in graph.triplets)


def nodes_and_edges(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph; objects and relations are written otherwise than our prompt wants."""
    return _ask_json(rng), _dump({"nodes": _nodes(graph), "edges": _edges(graph)})


def nodes_and_relationships(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph; only the relations are written as our prompt wants."""
    ends = [(graph.ids[s], p, graph.ids[o]) for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    relationships = [{"subject": s, "predicate": p, "object": o} for s, p, o in ends]
    return _ask_json(rng), _dump({"nodes": _nodes(graph), "relationships": relationships})


def objects_and_edges(graph: SceneGraph, rng: random.Random) -> Instruction:
    """Ask for a scene graph; only the objects are written as our prompt wants."""
    objects = [{"id": i, "bbox": b} for i, b in zip(graph.ids, _boxes(graph), strict=True)]
    return _ask_json(rng), _dump({"objects": objects, "edges": _edges(graph)})


def _nodes(graph: SceneGraph) -> list[dict[str, object]]:
    return [{"name": i, "box": b} for i, b in zip(graph.ids, _boxes(graph), strict=True)]


def _edges(graph: SceneGraph) -> list[list[str]]:
    return [[graph.ids[s], p, graph.ids[o]] for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]


def _ask_json(rng: random.Random) -> str:
    """Return a request for JSON, not in the words of our prompt; it does not say which layout is meant."""
    return rng.choice(("Scene graph as JSON.", "JSON of the scene graph.", "Write the scene graph as JSON."))


TASKS: Tasks = {
    detect_all: 0.28,
    locate: 0.06,
    exists: 0.02,
    count: 0.02,
    caption: 0.05,
    which_relation: 0.07,
    choose_relation: 0.24,
    describe_region: 0.04,
    graph_as_triplets: 0.02,
    nodes_and_edges: 0.07,
    nodes_and_relationships: 0.07,
    objects_and_edges: 0.06,
}
"""The tasks, and the share of each among the instructions."""

_NEED_RELATIONS = (
    *(which_relation, choose_relation, name_relation, graph_as_triplets),
    *(nodes_and_edges, nodes_and_relationships, objects_and_edges),
)

_GRAPHS = (graph_as_triplets, nodes_and_edges, nodes_and_relationships, objects_and_edges)
QUESTIONS: Tasks = {
    name_relation if task is choose_relation else task: share for task, share in TASKS.items() if task not in _GRAPHS
}
"""The tasks without scene graphs: what SFT on graphs asks beside them, so that a model keeps answering. One of four
options is chosen by name."""
