"""Maps from scores to shares: isotonic regression against an independent loop, and what every map must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.calibration import Calibration, ScoreMap, read_calibration
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.metrics import fitting
from r1sgg.metrics.calibration import THRESHOLDS, calibration_error, reliability, threshold_curve

SCORED = st.lists(st.tuples(st.floats(0, 1).map(lambda s: round(s, 3)), st.booleans()), min_size=2, max_size=60)


def columns(rows):
    return np.array([s for s, _ in rows], float), np.array([r for _, r in rows], bool)


def pooled(rows):
    """Pool adjacent violators, one block after the other: [mean score, share right, count]."""
    blocks = []
    for score in sorted({s for s, _ in rows}):
        right = [r for s, r in rows if s == score]
        blocks.append([score, sum(right) / len(right), len(right)])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1] - 1e-12:
            (a, x, n), (b, y, m) = blocks[-2:]
            blocks[-2:] = [[(a * n + b * m) / (n + m), (x * n + y * m) / (n + m), n + m]]
    return blocks


@given(SCORED)
def test_isotonic_is_the_line_through_the_pooled_blocks(rows):
    corners, values = fitting.isotonic(*columns(rows))
    blocks = pooled(rows)
    for score, share, _ in blocks:
        expected = (1 - fitting.TILT) * share + fitting.TILT * score
        assert np.interp(score, corners, values) == pytest.approx(expected)
    assert corners[0] == 0
    assert corners[-1] == 1


@given(SCORED, st.sampled_from(fitting.METHODS))
def test_a_map_keeps_the_order_and_stays_in_0_to_1(rows, method):
    scores, right = columns(rows)
    fitted = fitting.fit(scores, right, method)
    assert ScoreMap.from_record(fitted.to_record(), "here") == fitted
    values = fitted(np.linspace(0, 1, 1001))
    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values) >= 0).all()
    if method == "isotonic":
        assert (np.diff(values) > 0).all(), "scores of three digits that differ stay different"


def test_a_temperature_is_found_again():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    sharp = 1 / (1 + np.exp(-2.5 * odds))
    assert fitting.temperature(sharp, right) == pytest.approx(2.5, rel=0.05)
    before, after = fitting.errors(sharp, right, "temperature")
    assert after < 0.02 < before


def test_isotonic_calibrates_what_it_has_not_seen():
    rng = np.random.default_rng(1)
    scores = rng.random(4000).round(3)
    right = rng.random(4000) < scores**2
    before, after = fitting.errors(scores, right, "isotonic")
    assert before > 0.15
    assert after < 0.03
    fitted = fitting.fit(scores, right, "isotonic")
    assert calibration_error(reliability(fitted(scores), right)) < 0.03


@pytest.mark.parametrize(
    ("count", "right", "found"), [(10, 5, "found 10"), (60, 60, "all right"), (60, 0, "all wrong"), (0, 0, "found 0")]
)
def test_too_little_is_one_sentence(count, right, found):
    with pytest.raises(InputError, match=found):
        fitting.check(np.full(count, 0.5), np.arange(count) < right, "p.jsonl: objects")


def test_an_unknown_method():
    with pytest.raises(ConfigError, match="expected one of isotonic, temperature, found 'platt'"):
        fitting.check_method("platt")


@pytest.mark.parametrize(
    "record",
    [None, [], {}, {"temperature": 0}, {"temperature": "2"}, {"scores": [0, 1], "values": [1, 0]},
     {"scores": [0, 0], "values": [0, 1]}, {"scores": [0, 1], "values": [0, 2]}, {"scores": [0, 1], "values": [0]},
     {"scores": [0], "values": [0]}],
)  # fmt: skip
def test_a_map_that_is_none_is_one_sentence(record):
    with pytest.raises(InputError, match=r"c\.json: objects"):
        ScoreMap.from_record(record, "c.json: objects")


def test_a_triplet_stays_at_most_its_objects_and_a_file_gives_the_same_map(tmp_path):
    graph = SceneGraph(
        ("man.1", "dog.1"), ("man", "dog"), np.zeros((2, 4)), ((0, 1),), ("on",), np.array([0.9, 0.5]), np.array([0.45])
    )
    made = Calibration(ScoreMap(temperature=2.0), ScoreMap((0.0, 0.4, 1.0), (0.0, 0.9, 1.0)), {"guide": True})
    made.write(tmp_path)
    calibration = read_calibration(tmp_path)
    assert calibration == made
    got = calibration.apply(graph)
    assert got.object_scores.tolist() == [0.75, 0.5]
    assert got.relationship_scores.tolist() == [0.5]
    assert read_calibration(tmp_path / "other") is None
    (tmp_path / "calibration.json").write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object with objects, triplets and fitted"):
        read_calibration(tmp_path)


def test_other_answers_than_those_of_the_fit_are_remarked():
    made = Calibration(ScoreMap(), ScoreMap(), {"guide": True, "temperature": 0.0})
    assert made.remark(guide=True, temperature=0.0) is None
    assert "guide True there and False here" in made.remark(guide=False, temperature=0.0)
    assert "single answers" in made.remark(guide=True, temperature=0.0, samples=4)
    assert Calibration(ScoreMap(), ScoreMap()).remark(guide=False, temperature=1.0) is None


@given(SCORED, st.integers(1, 30))
def test_the_curve_over_thresholds_equals_a_loop(rows, missed):
    scores, right = columns(rows)
    total = int(right.sum()) + missed
    for row, threshold in zip(threshold_curve(scores, right, total), THRESHOLDS, strict=True):
        kept = [r for s, r in rows if s >= threshold]
        assert row["count"] == len(kept)
        precision, recall = (sum(kept) / len(kept) if kept else None), sum(kept) / total
        assert row["precision"] == precision
        assert row["recall"] == recall
        assert row["f1"] == pytest.approx(2 * precision * recall / (precision + recall) if sum(kept) else 0)
