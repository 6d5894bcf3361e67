"""No way of gaming a reward earns what an honest completion earns under `balanced`, on real Visual Genome graphs."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.rubric import REWARD_SETS, Rubric

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "hacks.py"


@pytest.fixture(scope="module")
def hacks():
    spec = importlib.util.spec_from_file_location("hacks", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graphs(hacks, shared):
    return hacks.read_graphs(shared / "data" / "vg_sample" / "vg150_style_images_1-49.json")


@pytest.fixture(scope="module")
def rows(hacks, graphs):
    return {name: row["balanced"] for name, row in hacks.measure(graphs, ["balanced"]).items()}


def test_balanced_pays_for_what_the_metric_counts(hacks, rows):
    assert len(hacks.HACKS) + len(hacks.MOVED) + len(hacks.TEXTS) >= 15
    assert rows["ground truth"] >= 0.995
    exact = rows["honest: exact objects, 4/5 of predicates"]
    assert exact - rows["exact objects, true pairs, commonest predicate"] >= 0.15
    for name, (knows, _) in (hacks.HACKS | hacks.MOVED).items():
        if knows == "objects":
            assert rows[name] <= exact - 0.1, name
        elif knows in ("nothing", "boxes"):
            assert rows[name] <= rows["honest: 4/5 of objects and predicates"] - 0.4, name
    assert rows["honest and 60 boxes anywhere"] <= rows["honest: 4/5 of objects and predicates"] - 0.05
    assert rows["keywords only"] < 0.05
    assert rows["ground truth 10 times under fresh ids, moved"] < 0.6


def test_a_hub_predicate_earns_about_nothing(rows):
    """On exact objects: no better than no relation at all, though its cosine to the true predicates is 0.87."""
    hub = rows["exact objects, true pairs, hub predicate"]
    assert hub <= rows["exact objects, no relation"] + 0.02


def test_the_ground_truth_is_1_in_a_frame_that_loses_nothing(hacks, graphs):
    """Boxes as millionths, and every fourth triplet said twice in truth and completion."""
    frame = (1e6, 1e6)
    rng = random.Random(0)
    for name in ("balanced", "paper-v1", "paper-v4"):
        rubric = Rubric.of(name, load_similarity("glove"))
        truths, texts = [], []
        for graph in graphs:
            again = [r for r in range(len(graph.pairs)) if rng.random() < 0.25]
            rows = [*range(len(graph.pairs)), *again]
            rng.shuffle(rows)
            exact = np.round(graph.boxes * 1e6) / 1e6
            truth = type(graph)(
                graph.ids,
                graph.labels,
                exact,
                tuple(graph.pairs[r] for r in rows),
                tuple(graph.predicates[r] for r in rows),
            )
            truths.append(truth)
            texts.append(hacks.text(hacks.gold(truth), frame))
        totals = [s.total for s in rubric.score(texts, truths, [frame] * len(truths))]
        assert min(totals) == pytest.approx(1.0, abs=5e-4), name


def test_each_named_set_is_measured(hacks, graphs):
    rows = hacks.measure(graphs[:3], list(REWARD_SETS))
    assert all(set(REWARD_SETS) <= set(row) for row in rows.values())
