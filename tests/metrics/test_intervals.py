"""Bootstrap intervals, paired comparison, and what training data adds."""

from dataclasses import replace

import numpy as np
import pytest

from r1sgg.errors import InputError
from r1sgg.graph.vocabulary import VG150, Vocabulary
from r1sgg.metrics import evaluate
from r1sgg.metrics.columns import Evaluator
from r1sgg.metrics.frequency import collect
from r1sgg.metrics.groups import VG150_BY_FREQUENCY, predicate_groups
from r1sgg.metrics.intervals import compare, intervals
from r1sgg.metrics.report import run

from .conftest import answer, example, scene

RIGHT = scene(("man", "horse"), ((0, "riding", 1),))
WRONG = scene(("man", "horse"), ((0, "near", 1),))


def images(count, right):
    return [example(RIGHT, str(k)) for k in range(count)], [
        answer(RIGHT if k in right else WRONG, str(k)) for k in range(count)
    ]


def finished(count, right):
    return run(*images(count, right), Evaluator(VG150)).figures


def test_an_interval_is_that_of_a_share():
    """R@50 of 200 images, each 0 or 1, is a share: the bootstrap must give its normal interval."""
    low, high = intervals(finished(200, range(80)), 2000)["R@50"]
    half = 1.96 * np.sqrt(0.4 * 0.6 / 200)
    assert (low, high) == pytest.approx((0.4 - half, 0.4 + half), abs=0.012)


def test_intervals_are_seeded_and_hold_the_figure():
    figures = finished(50, range(20))
    first = intervals(figures, 50, seed=3)
    assert first == intervals(figures, 50, seed=3)
    assert first != intervals(figures, 50, seed=4)
    for name, value in figures.values().items():
        if first[name] is not None and value is not None:
            assert first[name][0] <= value <= first[name][1], name


def test_weights_of_one_are_no_weights_and_doubling_changes_nothing():
    figures = finished(7, (1, 4))
    assert figures.values() == figures.values(np.ones(7)) == figures.values(np.full(7, 2.0))


def test_resampling_by_weights_is_resampling_images():
    figures = finished(6, (0, 1, 2))
    weights = np.array([2.0, 0, 1, 0, 3, 0])
    drawn = [0, 0, 2, 4, 4, 4]
    truths, answers = images(6, (0, 1, 2))
    again = run(
        [replace(truths[k], image_id=str(n)) for n, k in enumerate(drawn)],
        [replace(answers[k], image_id=str(n)) for n, k in enumerate(drawn)],
        Evaluator(VG150),
    ).figures
    assert figures.values(weights) == pytest.approx(again.values())


def test_pairing_cancels_what_both_share():
    """Both sides agree on all images but 2 of 100: the difference is far surer than either figure."""
    a, b = finished(100, range(50)), finished(100, range(52))
    found = compare(a, b, 500)["R@50"]
    assert found["difference"] == pytest.approx(0.02)
    low, high = found["interval"]
    assert 0 <= low <= 0.02 <= high <= 0.06
    wide = intervals(a, 500)["R@50"]
    assert high - low < (wide[1] - wide[0]) / 2
    with pytest.raises(InputError, match="same images"):
        compare(a, finished(99, ()), 10)


def test_zero_shot_counts_only_triplets_that_training_lacks():
    truth = scene(("man", "horse", "dog"), ((0, "riding", 1), (0, "near", 2)))
    said = scene(("man", "horse", "dog"), ((0, "riding", 1), (0, "on", 2)))
    statistics = collect([example(RIGHT)])
    got = evaluate([example(truth)], [answer(said)], VG150, statistics=statistics)
    assert got["R@50"] == 0.5
    assert got["zero_shot"]["zR@50"] == 0  # "man near dog" is new
    assert evaluate([example(RIGHT)], [answer(RIGHT)], VG150, statistics=statistics)["zero_shot"]["zR@50"] is None
    assert evaluate([example(truth)], [answer(said)], VG150)["zero_shot"] is None


def test_groups_are_thirds_by_training_frequency():
    assert sorted(VG150_BY_FREQUENCY) == sorted(VG150.predicates)
    groups = predicate_groups(VG150, None)
    assert [len(names) for names in groups.values()] == [17, 17, 16]
    assert groups["head"][0] == "on"
    small = Vocabulary("small", ("man", "horse"), ("near", "riding", "on"))
    assert predicate_groups(small, None) == {}
    found = predicate_groups(small, collect([example(RIGHT)]))
    assert found == {"head": ("riding",), "body": ("near",), "tail": ("on",)}
    got = evaluate([example(RIGHT)], [answer(RIGHT)], small, statistics=collect([example(RIGHT)]))
    assert got["groups"]["head"]["mR@50"] == 1
    assert got["groups"]["tail"]["mR@50"] is None
