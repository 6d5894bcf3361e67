"""Figures, ratios and intervals over seeds and images, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.metrics import seeds
from r1sgg.metrics.seeds import Runs, against, located, summary


def test_intervals_hold_scenes_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means of 0/1 scenes: the interval is that of a binomial; seeds that disagree widen it."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(seeds, "RESAMPLES", 500)

    def runs(*rates: float) -> Runs:
        top = np.array([rng.random(1000) < rate for rate in rates], float)
        sums = {"failures/top": top, "failures/bottom": np.ones_like(top)}
        return Runs({**sums, "R/top": top, "R/bottom": np.ones_like(top)})

    value, low, high = summary(runs(0.5), "R")
    assert value == pytest.approx(0.5, abs=0.05)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.2)
    _, low, high = summary(runs(0.3, 0.5, 0.7), "R")
    assert high - low > 0.2
    value, low, high = against(runs(0.6, 0.6), runs(0.4, 0.4), "R", ratio=True)
    assert low < 1.5 < high
    assert high - low < 0.5
    value, low, high = against(runs(0.6), runs(0.4), "R", ratio=False)
    assert low < 0.2 < high
    assert value == pytest.approx(0.2, abs=0.06)


def test_images_without_a_relation_do_not_count() -> None:
    top, bottom = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, 1.0, 0.0]])
    runs = Runs({"R/top": top, "R/bottom": bottom, "failures/top": top, "failures/bottom": np.ones((1, 3))})
    assert runs.figure("R", np.arange(1), np.arange(3)) == 0.5


def test_where_true_relations_are_lost() -> None:
    """Box, class and joining pair; the predicate does not matter, and one found relation counts once."""
    places = {"a": (0, 0, 10, 10), "b": (20, 0, 30, 10), "c": (40, 0, 50, 10), "off": (0, 50, 10, 60)}

    def graph(objects: str, *pairs: tuple[int, int]) -> SceneGraph:
        classes, where = zip(*(item.split("@") for item in objects.split()), strict=True)
        boxes = np.array([places[place] for place in where]) / 100
        return SceneGraph(tuple("0123"[: len(where)]), classes, boxes, pairs, ("on",) * len(pairs))

    truth = graph("cup@a cup@b box@c", (0, 1), (1, 2), (2, 0))
    assert located(truth, truth) == (3, 3)
    assert located(truth, graph("cup@a cup@b box@c cup@a", (0, 1), (3, 1), (2, 1))) == (3, 1)
    assert located(truth, graph("cup@a cup@b cup@c", (1, 2))) == (1, 0)
    assert located(truth, graph("cup@a cup@off", (0, 1))) == (0, 0)
    assert located(truth, EMPTY) == (0, 0)
