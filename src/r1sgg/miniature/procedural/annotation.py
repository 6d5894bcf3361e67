"""Annotations like Visual Genome's: most of the true graph is missing, and the rest is not exact.

The true graph of a scene is known. What an annotator would have written is drawn at random, with the scene's seed:

- a relationship is kept with a probability that depends on its predicate, so that a few predicates make most of the
  annotation (in the true graph they are distributed far more evenly); at least one is kept, if there is any;
- an object of a kept relationship is kept, any other object with a fixed probability;
- relationships are in random order (objects stay from left to right, because a model of this size does not learn to
  localise from a random order);
- some names are replaced by another word for the same thing, always a name of Visual Genome's 150 / 50;
- some box edges are moved by one step of the scene's grid.

docs/data.md compares the result with the statistics of VG150.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from r1sgg.errors import ConfigError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids

KEPT: Mapping[str, float] = MappingProxyType(
    {
        "near": 0.5,
        "on": 0.5,
        "holding": 0.45,
        "wearing": 0.45,
        "in": 0.4,
        "behind": 0.35,
        "sitting on": 0.35,
        "riding": 0.3,
        "in front of": 0.25,
        "under": 0.2,
        "carrying": 0.2,
        "above": 0.1,
        "standing on": 0.1,
    }
)
"""Probability that a true relationship is annotated, by predicate."""

OTHER_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "man": ("guy", "person"),
        "woman": ("lady", "person"),
        "child": ("kid", "boy"),
        "sitting on": ("on",),
        "standing on": ("on",),
        "riding": ("on",),
        "wearing": ("wears",),
        "above": ("over",),
        "holding": ("with",),
        "carrying": ("with",),
    }
)
"""Other words that an annotator uses for a name."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """How scenes are annotated.

    Attributes:
        kept: probability of a relationship by its predicate; 1 for a predicate that is missing here.
        alone: probability of an object without a kept relationship.
        other_words: probability that a name is replaced by another word, if it has one.
        jitter: probability that a box edge is moved by a step.
    """

    kept: Mapping[str, float] = field(default_factory=lambda: KEPT)
    alone: float = 0.6
    other_words: float = 0.08
    jitter: float = 0.1

    def __post_init__(self) -> None:
        chances = {"alone": self.alone, "other_words": self.other_words, "jitter": self.jitter, **self.kept}
        for name, chance in chances.items():
            if not 0 <= chance <= 1:
                raise ConfigError(f"annotation, {name}: expected a probability from 0 to 1, found {chance}")


@dataclass(frozen=True, slots=True)
class Captions:
    """The annotation is what rules read in a caption of the scene, see `r1sgg.miniature.describing`."""


ANNOTATIONS: Mapping[str, Annotation | Captions | None] = MappingProxyType(
    {"full": None, "vg": Annotation(), "captions": Captions()}
)
"""The values of --annotation: the whole true graph, one like Visual Genome's, or one made of a caption."""


def annotate(
    truth: SceneGraph, seed: int, size: tuple[int, int], step: int, how: Annotation = Annotation()
) -> SceneGraph:
    """Return what an annotator writes of a true graph; the same seed gives the same.

    Args:
        truth: the whole graph, with at least one object.
        seed: the scene's.
        size: width and height of the image (pixels).
        step: how far a box edge is moved (pixels).
        how: what is left out and changed.
    """
    rng = random.Random(f"annotation/{seed}")
    kept = [k for k, predicate in enumerate(truth.predicates) if rng.random() < how.kept.get(predicate, 1.0)]
    if truth.pairs and not kept:
        kept = [rng.randrange(len(truth.pairs))]
    rng.shuffle(kept)
    related = {end for k in kept for end in truth.pairs[k]}
    objects = [k for k in range(len(truth)) if k in related or rng.random() < how.alone]
    objects = objects or [rng.randrange(len(truth))]

    def word(name: str) -> str:
        others = OTHER_WORDS.get(name, ())
        return rng.choice(others) if others and rng.random() < how.other_words else name

    graph = truth.take(objects, kept)
    labels = tuple(map(word, graph.labels))
    boxes = np.array([_moved(box, rng, size, step, how.jitter) for box in graph.boxes.tolist()])
    predicates = tuple(map(word, graph.predicates))
    return replace(graph, ids=number_ids(labels), labels=labels, boxes=boxes, predicates=predicates)


def _moved(box: list[float], rng: random.Random, size: tuple[int, int], step: int, chance: float) -> list[float]:
    """Return a box (fractions of the image) with some edges moved by a step; it keeps its area and stays inside."""
    edges = [round(v * size[k % 2]) for k, v in enumerate(box)]
    for k in range(4):
        if rng.random() < chance:
            moved = edges[k] + rng.choice((-step, step))
            low, high = (0, edges[k + 2] - step) if k < 2 else (edges[k - 2] + step, size[k % 2])
            edges[k] = min(max(moved, low), high)
    return [v / size[k % 2] for k, v in enumerate(edges)]
