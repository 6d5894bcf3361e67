"""Small graphs by hand, and hypothesis strategies for them."""

import numpy as np
from hypothesis import strategies as st

from r1sgg.data.base import Example
from r1sgg.data.predictions import Prediction
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import render

FRAME = (1000.0, 1000.0)


def example(graph, name="1"):
    return Example(name, 1000, 1000, graph)


def answer(graph, name="1"):
    return Prediction(name, FRAME, render(graph, FRAME))


def scene(labels, relations, boxes=None, scores=None):
    """A graph from ("man", "horse") and ((0, "riding", 1),); boxes side by side unless given."""
    if boxes is None:
        boxes = [(k / 20, 0.1, k / 20 + 0.04, 0.3) for k in range(len(labels))]
    return SceneGraph(
        tuple(f"{label}.{k}" for k, label in enumerate(labels, 1)),
        tuple(labels),
        np.array(boxes, dtype=float).reshape(-1, 4),
        tuple((s, o) for s, _, o in relations),
        tuple(p for _, p, _ in relations),
        relationship_scores=None if scores is None else np.array(scores, dtype=float),
    )


@st.composite
def graphs(draw, relations=5, min_objects=0):
    """Few classes and boxes, so that matches, ambiguities and repetitions are frequent."""
    count = draw(st.integers(min_objects, 5))
    labels = draw(st.lists(st.sampled_from(["man", "dog"]), min_size=count, max_size=count))
    grid = [(0, 0, 40, 40), (0, 0, 40, 50), (5, 0, 45, 40), (0, 0, 40, 20), (60, 60, 90, 90)]
    boxes = draw(st.lists(st.sampled_from(grid), min_size=count, max_size=count))
    index = st.integers(0, max(0, count - 1))
    rows = st.tuples(index, st.sampled_from(["on", "near"]), index)
    found = draw(st.lists(rows, max_size=relations)) if count else []
    return scene(labels, found, [[v / 100 for v in box] for box in boxes])
