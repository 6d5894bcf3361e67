"""Calibration against numbers worked out by hand and plain formulas; predictions that carry both text and rows."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.predictions import prediction_of_record
from r1sgg.graph.text import render
from r1sgg.graph.vocabulary import VG150
from r1sgg.metrics import REFERENCE, evaluate
from r1sgg.metrics.calibration import (
    BINS,
    calibration_error,
    pooled_precision,
    precision_recall,
    reliability,
    summary,
)

from .conftest import FRAME, example, scene

SCORED = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def columns(rows):
    return np.array([s for s, _ in rows], float), np.array([r for _, r in rows], bool)


def test_by_hand():
    """Four bins: [0.1, 0.2] wrong, wrong; [0.3] right; [0.6, 0.7] right, wrong; [1.0] right."""
    scores, right = columns([(0.1, 0), (0.2, 0), (0.3, 1), (0.6, 1), (0.7, 0), (1.0, 1)])
    table = reliability(scores, right, bins=4)
    assert [row["count"] for row in table] == [2, 1, 2, 1]
    assert [row["accuracy"] for row in table] == [0, 1, 0.5, 1]
    assert [row["score"] for row in table] == pytest.approx([0.15, 0.3, 0.65, 1.0])
    assert [(row["low"], row["high"]) for row in table] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert calibration_error(table) == pytest.approx((2 * 0.15 + 1 * 0.7 + 2 * 0.15 + 0) / 6)
    found = summary(scores, right, 4)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.49 + 0.16 + 0.49 + 0) / 6)
    assert (found["count"], found["accuracy"]) == (6, 0.5)
    # by falling score: right, wrong, right, right, wrong, wrong, of 4 that could be found
    assert found["pooled_AP"] == pytest.approx((1 + 3 / 4 + 3 / 4) / 4)


@given(SCORED, st.integers(1, 20))
def test_equals_the_plain_formula_and_bins_hold_everything(rows, bins):
    scores, right = columns(rows)
    error = 0.0
    for k in range(bins):
        inside = [(s, r) for s, r in rows if min(int(s * bins), bins - 1) == k]
        if inside:
            gap = abs(sum(s for s, _ in inside) / len(inside) - sum(r for _, r in inside) / len(inside))
            error += len(inside) / len(rows) * gap
    table = reliability(scores, right, bins)
    assert calibration_error(table) == pytest.approx(error)
    assert sum(row["count"] for row in table) == len(rows)
    assert all(row["low"] - 1e-9 <= row["score"] <= row["high"] + 1e-9 for row in table)


@given(SCORED, st.integers(0, 20), st.randoms())
def test_precision_and_recall_do_not_depend_on_order(rows, more, rng):
    scores, right = columns(rows)
    total = int(right.sum()) + more
    recalls, precisions = precision_recall(scores, right, total)
    for threshold, recall, precision in zip(
        sorted(set(scores.tolist()), reverse=True), recalls, precisions, strict=True
    ):
        said = scores >= threshold
        assert precision == pytest.approx(right[said].mean())
        assert recall == pytest.approx(right[said].sum() / max(total, 1))
    area = pooled_precision(scores, right, total)
    rng.shuffle(rows)
    assert pooled_precision(*columns(rows), total) == (area if area is None else pytest.approx(area))
    assert area is None or 0 <= area <= 1 + 1e-12


def test_perfect_and_worthless_scores():
    sure = np.array([1.0, 0.0]), np.array([True, False])
    assert (summary(*sure, 1)["ECE"], summary(*sure, 1)["brier"], summary(*sure, 1)["pooled_AP"]) == (0, 0, 1)
    wrong = np.array([1.0, 0.0]), np.array([False, True])
    assert (summary(*wrong, 1)["ECE"], summary(*wrong, 1)["brier"], summary(*wrong, 1)["pooled_AP"]) == (1, 1, 0.5)
    assert summary(np.array([]), np.array([], bool), 1) is None
    assert summary(np.array([3.5]), np.array([True]), 1) is None  # logits are no probabilities
    assert calibration_error([]) is None


# ---------------------------------------------------------------- in an evaluation

RIDING = scene(("man", "horse", "tree"), ((0, "riding", 1), (1, "near", 2)))
ROWS = {
    "objects": [
        {"id": "man.1", "bbox": [0, 100, 40, 300], "score": 0.9},
        {"id": "horse.2", "bbox": [50, 100, 90, 300], "score": 0.8},
        {"id": "tree.4", "bbox": [600, 100, 640, 300], "score": 0.5},
    ],
    "relationships": [
        {"subject": "man.1", "predicate": "near", "object": "horse.2", "score": 0.25},
        {"subject": "man.1", "predicate": "riding", "object": "horse.2", "score": 0.75},
    ],
}


def line(rows=ROWS, **more):
    return prediction_of_record({"image_id": "1", "frame": FRAME, **rows, **more}, "")


def test_evaluation_counts_what_was_right_by_confidence():
    found = evaluate([example(RIDING)], [line()], VG150)["calibration"]
    things, triplets = found["objects"], found["triplets"]
    assert (things["count"], things["accuracy"]) == (3, pytest.approx(2 / 3))
    assert things["ECE"] == pytest.approx((0.1 + 0.2 + 0.5) / 3)
    assert (triplets["count"], triplets["accuracy"]) == (2, 0.5)
    assert triplets["mean_score"] == pytest.approx(0.9 * 0.8 * 0.5)  # product of relation and both ends
    assert triplets["brier"] == pytest.approx(((0.9 * 0.8 * 0.25) ** 2 + (1 - 0.9 * 0.8 * 0.75) ** 2) / 2)
    assert len(triplets["bins"]) <= BINS
    json.dumps(found, allow_nan=False)


def test_no_scores_no_calibration():
    assert evaluate([example(RIDING)], [line()], VG150, REFERENCE)["calibration"] is None
    plain = {key: [{k: v for k, v in row.items() if k != "score"} for row in rows] for key, rows in ROWS.items()}
    assert evaluate([example(RIDING)], [line(plain)], VG150)["calibration"] is None
    half = {**ROWS, "relationships": plain["relationships"]}
    assert evaluate([example(RIDING)], [line(half)], VG150)["calibration"]["triplets"]["mean_score"] == pytest.approx(
        0.72
    )


def test_a_line_with_text_and_rows_takes_failure_and_issues_from_the_text():
    text = render(line().read().graph, FRAME)
    both = line(completion=text)
    assert both.read().graph == line().read().graph
    assert not both.read().issues
    loop = line(completion=text.replace('"object": "horse.2"', '"object": "man.1"', 1))
    assert [issue.kind for issue in loop.read().issues] == ["self_loop"]
    assert evaluate([example(RIDING)], [both], VG150)["R@50"] == 0.5

    cut = line(completion=text[:-5])
    assert cut.read().failure == "truncated"
    got = evaluate([example(RIDING)], [cut], VG150)
    assert (got["failures"], got["R@50"], got["calibration"]) == ({"truncated": 1}, 0, None)
    assert evaluate([example(RIDING)], [cut], VG150, repair=True)["R@50"] == 0.5


def test_confidence_ranks_what_the_text_said_in_another_order():
    text = render(line().read().graph, FRAME)
    unscored = evaluate(
        [example(RIDING)], [prediction_of_record({"image_id": "1", "frame": FRAME, "completion": text}, "")]
    )
    assert unscored["R@20"] == 0  # "near" stands first on the pair
    assert evaluate([example(RIDING)], [line(completion=text)])["R@20"] == 0.5
