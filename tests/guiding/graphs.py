"""Random graphs of a specification, to take texts from."""

import random

from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject, normalize_name
from r1sgg.graph.text import number_ids, render
from r1sgg.guiding.spec import GuideSpec

OPEN = ("man", "bus stop", "t-shirt", "Bus", "s")
SAID = ("on", "in front of", "wearing")


def random_graph(rng: random.Random, spec: GuideSpec) -> SceneGraph:
    """A graph that `spec` allows."""
    width, height = (int(side) for side in spec.frame)
    names = [rng.choice(spec.objects or OPEN) for _ in range(rng.randint(1, min(5, spec.max_objects)))]
    # numbered by class, not by spelling
    counted = number_ids([normalize_name(name) for name in names])
    ids = [f"{name}.{i.rpartition('.')[2]}" for name, i in zip(names, counted, strict=True)]
    objects = []
    for identity, name in zip(ids, names, strict=True):
        x1, y1 = rng.randrange(width), rng.randrange(height)
        x2, y2 = rng.randint(x1 + 1, width), rng.randint(y1 + 1, height)
        objects.append(SceneObject(identity, name, (x1 / width, y1 / height, x2 / width, y2 / height)))
    said: dict[tuple[int, str, int], Relationship] = {}
    for _ in range(rng.randint(0, spec.max_relationships) if len(ids) > 1 else 0):
        s, o = rng.sample(range(len(ids)), 2)
        predicate = normalize_name(rng.choice(spec.predicates or SAID))
        said[s, predicate, o] = Relationship(s, predicate, o)
    return SceneGraph.build(objects, list(said.values()))


def random_text(rng: random.Random, spec: GuideSpec) -> str:
    """The graph as an answer."""
    return render(
        random_graph(rng, spec),
        spec.frame,
        minify=spec.minify,
        think=spec.think > 0,
        answer_format=spec.answer_format,
    )
