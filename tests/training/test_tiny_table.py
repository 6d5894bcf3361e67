"""benchmarks/tiny.py: figures, ratios and intervals of the small experiment, on numbers whose answer is known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from r1sgg.graph.scene import EMPTY, SceneGraph

SCRIPT = Path(__file__).parents[2] / "benchmarks/tiny.py"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_table"] = module
    spec.loader.exec_module(module)
    return module


def test_intervals_hold_scenes_and_seeds(table: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means of 0/1 scenes: the interval is that of a binomial; seeds that disagree widen it."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(table, "RESAMPLES", 500)

    def runs(*rates: float) -> object:
        top = np.array([rng.random(1000) < rate for rate in rates], float)
        sums = {"failures/top": top, "failures/bottom": np.ones_like(top)}
        return table.Runs({**sums, "R/top": top, "R/bottom": np.ones_like(top)})

    value, low, high = table.summary(runs(0.5), "R")
    assert value == pytest.approx(0.5, abs=0.05)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.2)
    _, low, high = table.summary(runs(0.3, 0.5, 0.7), "R")
    assert high - low > 0.2
    value, low, high = table.against(runs(0.6, 0.6), runs(0.4, 0.4), "R", ratio=True)
    assert low < 1.5 < high
    assert high - low < 0.5
    value, low, high = table.against(runs(0.6), runs(0.4), "R", ratio=False)
    assert low < 0.2 < high
    assert value == pytest.approx(0.2, abs=0.06)


def test_images_without_a_relation_do_not_count(table: ModuleType) -> None:
    top, bottom = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, 1.0, 0.0]])
    runs = table.Runs({"R/top": top, "R/bottom": bottom, "failures/top": top, "failures/bottom": np.ones((1, 3))})
    assert runs.figure("R", np.arange(1), np.arange(3)) == 0.5


def test_where_true_relations_are_lost(table: ModuleType) -> None:
    """Box, class and joining pair; the predicate does not matter, and one found relation counts once."""
    places = {"a": (0, 0, 10, 10), "b": (20, 0, 30, 10), "c": (40, 0, 50, 10), "off": (0, 50, 10, 60)}

    def graph(objects: str, *pairs: tuple[int, int]) -> SceneGraph:
        classes, where = zip(*(item.split("@") for item in objects.split()), strict=True)
        boxes = np.array([places[place] for place in where]) / 100
        return SceneGraph(tuple("0123"[: len(where)]), classes, boxes, pairs, ("on",) * len(pairs))

    truth = graph("cup@a cup@b box@c", (0, 1), (1, 2), (2, 0))
    assert table.located(truth, truth) == (3, 3)
    assert table.located(truth, graph("cup@a cup@b box@c cup@a", (0, 1), (3, 1), (2, 1))) == (3, 1)
    assert table.located(truth, graph("cup@a cup@b cup@c", (1, 2))) == (1, 0)
    assert table.located(truth, graph("cup@a cup@off", (0, 1))) == (0, 0)
    assert table.located(truth, EMPTY) == (0, 0)


def test_stages_stand_in_order_and_are_compared_with_their_like(table: ModuleType) -> None:
    ordered = ["baseline", "zero-rl", "sft", "control", "sft-rl", "closed-sft", "ablate-kl"]
    assert sorted(set(ordered), key=table.place) == ordered
    others = {"sft-rl": "control", "zero-rl": "baseline", "closed-zero-rl": "closed-baseline"}
    others |= {"closed-sft-rl": "closed-control", "ablate-kl": "sft-rl"}
    assert {name: table.reference(name) for name in others} == others
