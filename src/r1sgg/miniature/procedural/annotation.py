"""Annotations as Visual Genome's are: most of the truth is missing, the rest is a little off.

The picture's whole graph is known; what an annotator would have written of it is drawn from the scene's seed:

- a relationship is kept with a chance that depends on its predicate, so that few predicates make most of the annotation
  (the true ones are spread far more evenly); one at least is kept where there is any;
- an object of a kept relationship is kept, any other with a chance;
- relationships stand in random order (objects stay from left to right: in random order a model of this size does not
  learn to localise);
- some names are another word for the same thing, always a name of Visual Genome's 150 / 50;
- some box edges are moved by one step of the scene's grid.

What it gives is compared with VG150's statistics in docs/data.md.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
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
"""Chance that a true relationship is annotated, by predicate."""

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
"""What else an annotator calls it."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """How scenes are annotated.

    Attributes:
        kept: chance of each predicate's relationships; 1 for a predicate that is not there.
        alone: chance of an object without a kept relationship.
        other_words: chance that a name with another word is written with it.
        jitter: chance that a box edge is moved by a step.
    """

    kept: Mapping[str, float] = field(default_factory=lambda: KEPT)
    alone: float = 0.6
    other_words: float = 0.08
    jitter: float = 0.1

    def __post_init__(self) -> None:
        chances = {"alone": self.alone, "other_words": self.other_words, "jitter": self.jitter, **self.kept}
        for name, chance in chances.items():
            if not 0 <= chance <= 1:
                raise ConfigError(f"annotation, {name}: expected a chance from 0 to 1, found {chance}")


ANNOTATIONS: Mapping[str, Annotation | None] = MappingProxyType({"full": None, "vg": Annotation()})
"""What --annotation takes: the whole truth, or an annotation like Visual Genome's."""


def annotate(
    truth: SceneGraph, seed: int, size: tuple[int, int], step: int, how: Annotation = Annotation()
) -> SceneGraph:
    """What an annotator writes of a true graph; the same seed writes the same.

    Args:
        truth: the whole graph, with at least one object.
        seed: the scene's.
        size: width and height of the picture (pixels).
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

    labels = tuple(word(truth.labels[k]) for k in objects)
    boxes = np.array([_moved(truth.boxes[k].tolist(), rng, size, step, how.jitter) for k in objects])
    place = {k: row for row, k in enumerate(objects)}
    pairs = tuple((place[truth.pairs[k][0]], place[truth.pairs[k][1]]) for k in kept)
    return SceneGraph(number_ids(labels), labels, boxes, pairs, tuple(word(truth.predicates[k]) for k in kept))


def _moved(box: list[float], rng: random.Random, size: tuple[int, int], step: int, chance: float) -> list[float]:
    """A box (fractions of the picture) with some edges a step off, never without area and never outside."""
    edges = [round(v * size[k % 2]) for k, v in enumerate(box)]
    for k in range(4):
        if rng.random() < chance:
            moved = edges[k] + rng.choice((-step, step))
            low, high = (0, edges[k + 2] - step) if k < 2 else (edges[k - 2] + step, size[k % 2])
            edges[k] = min(max(moved, low), high)
    return [v / size[k % 2] for k, v in enumerate(edges)]
