"""Rubrics: what each knob changes, the named sets, the functions for TRL, the time that hostile answers take."""

import json
from typing import Any

import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards import rubric as module
from r1sgg.rewards.adapters import ScoredBatch, trl_rewards
from r1sgg.rewards.rubric import REWARD_SETS, Rubric
from r1sgg.rewards.terms import TERMS

FRAME = (1000.0, 1000.0)
EXACT, GLOVE = load_similarity("exact"), load_similarity("glove")
MAN, BIKE, DOG = (0.1, 0.1, 0.3, 0.5), (0.1, 0.3, 0.5, 0.7), (0.6, 0.6, 0.9, 0.9)


def scene(*triplets: tuple[int, str, int], labels: tuple[str, ...] = ("man", "bike", "dog")) -> SceneGraph:
    objects = [SceneObject(f"{n}.{k}", n, b) for k, (n, b) in enumerate(zip(labels, (MAN, BIKE, DOG), strict=False))]
    return SceneGraph.build(objects, [Relationship(s, p, o) for s, p, o in triplets])


def terms(truth: SceneGraph, answer: SceneGraph, rubric: Rubric) -> dict[str, float | None]:
    return rubric.score([render(answer, FRAME)], [truth], [FRAME])[0].terms


def test_of_several_predictions_on_one_pair_the_best_counts() -> None:
    truth, answer = scene((0, "riding", 1)), scene((0, "riding", 1), (0, "on", 1))
    assert terms(truth, answer, Rubric(similarity=EXACT))["edge"] == 1.0
    assert terms(truth, answer, Rubric.of("original", EXACT))["edge"] == 0.0  # the last


def test_two_negative_cosines_do_not_pay_unless_unclamped() -> None:
    truth = scene((0, "on", 1), labels=("zebra", "laptop"))
    answer = scene((0, "on", 1), labels=("laptop", "zebra"))
    weights = {"hard_recall_relax": 1.0}
    assert terms(truth, answer, Rubric(weights, GLOVE))["hard_recall_relax"] == 0.0
    assert terms(truth, answer, Rubric(weights, GLOVE, clamp=False))["hard_recall_relax"] > 0.0


def test_terms_that_do_not_apply_are_none_and_leave_the_total_alone() -> None:
    truth = scene()
    score = Rubric(similarity=EXACT).score([render(truth, FRAME, think=True)], [truth], [FRAME])[0]
    assert score.terms["edge"] is None
    assert score.terms["hard_recall"] is None
    assert score.total == pytest.approx(1.0)
    nothing = SceneGraph.build([])
    assert terms(nothing, scene((0, "on", 1)), Rubric(similarity=EXACT))["node"] is None


def test_tasks_leave_out_terms() -> None:
    truth = scene((0, "riding", 1))
    found = terms(truth, truth, Rubric(similarity=EXACT, task="det"))
    assert found["node"] == pytest.approx(1.0)
    assert found["edge"] is found["hard_recall"] is None
    found = terms(truth, truth, Rubric(similarity=EXACT, task="cls"))
    assert found["node"] is None
    assert found["edge"] == 1.0


def test_cls_answers_may_leave_the_objects_out() -> None:
    truth = scene((0, "riding", 1))
    text = json.dumps({"relationships": [{"subject": "man.0", "predicate": "riding", "object": "bike.1"}]})
    assert Rubric(similarity=EXACT, task="cls").score([text], [truth], [FRAME])[0].terms["edge"] == 1.0
    assert Rubric(similarity=EXACT).score([text], [truth], [FRAME])[0].terms["edge"] == 0.0


def test_precision_and_f1_are_one_to_one() -> None:
    rubric = Rubric(dict.fromkeys(("precision", "f1", "edge_f1", "distinct", "restraint"), 1.0), EXACT)
    truth = scene((0, "riding", 1), (1, "near", 2))
    listed = scene(*((0, p, 1) for p in ("riding", "on", "near", "under", "above", "behind", "in", "with")))
    found = terms(truth, listed, rubric)
    assert found["hard_recall"] == 0.5
    assert found["precision"] == 1 / 8
    assert found["f1"] == found["edge_f1"] == 2 * 1 / (2 + 8)
    assert found["restraint"] == 2 * 2 / 8
    repeated = scene((0, "riding", 1), (0, "riding", 1), (0, "riding", 1), (1, "near", 2))
    found = terms(truth, repeated, rubric)
    assert found["hard_recall"] == 1.0
    assert found["precision"] == found["distinct"] == 0.5


def test_contested_triplets_are_assigned_best() -> None:
    """Two true predicates on one pair and two predictions: each prediction serves one of them."""
    truth, answer = scene((0, "riding", 1), (0, "on", 1)), scene((0, "on", 1), (0, "riding", 1))
    found = terms(truth, answer, Rubric({"edge_f1": 1.0}, GLOVE))
    assert found["edge_f1"] == pytest.approx(1.0)
    alone = terms(truth, scene((0, "on", 1)), Rubric({"edge_f1": 1.0, "f1": 1.0}, EXACT))
    assert alone["edge_f1"] == alone["f1"] == pytest.approx(2 / 3)


def test_brevity_falls_with_length() -> None:
    truth = scene((0, "riding", 1))
    rubric = Rubric({"brevity": 1.0}, EXACT)
    gold = render(truth, FRAME, think=True)
    texts = [gold, gold.replace("<think>", "<think>" + "hm " * 600), "no answer"]
    long = rubric.score(texts, [truth] * 3, [FRAME] * 3)
    assert long[0].terms["brevity"] == 1.0
    assert long[1].terms["brevity"] == pytest.approx(2 * len(gold) / len(texts[1]))
    assert long[2].terms["brevity"] == 0.0


def test_named_sets_have_known_terms_and_gold_totals_1() -> None:
    truth = scene((0, "riding", 1))
    for name, chosen in REWARD_SETS.items():
        assert set(chosen.weights) <= set(TERMS)
        gold = render(truth, FRAME, think=True)
        assert Rubric.of(name, GLOVE).score([gold], [truth], [FRAME])[0].total == pytest.approx(1.0), name


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Rubric({"nodes": 1.0}, EXACT), "expected a term among node, node_f1, .* and 9 more, .*found 'nodes'"),
        (lambda: Rubric({"node": -1.0}, EXACT), "expected numbers of at least 0, found node: -1.0"),
        (lambda: Rubric({"node": float("nan")}, EXACT), "found node: nan"),
        (lambda: Rubric(task="seg", similarity=EXACT), "task: expected one of sgg, det, cls, found 'seg'"),
        (lambda: Rubric.of("paper", EXACT), "rewards: expected one of paper-v1, .*found 'paper'"),
    ],
)
def test_a_wrong_rubric_is_one_sentence(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"completions \(2\), found 1 and 1"):
        Rubric(similarity=EXACT).score(["", ""], [scene()], [FRAME])


def test_chunks_give_what_one_batch_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = [scene((0, "riding", 1)), scene(), scene((1, "near", 2))] * 4
    texts = [render(t, FRAME) for t in reversed(truths)]
    whole = Rubric(similarity=GLOVE).score(texts, truths, [FRAME] * 12)
    monkeypatch.setattr(module, "_BATCH", 5)
    monkeypatch.setattr(module, "_MOST_CELLS", 10)
    assert Rubric(similarity=GLOVE).score(texts, truths, [FRAME] * 12) == whole


def test_trl_functions_share_one_parse_and_one_match(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    inner = Rubric.read

    def counted(self: Rubric, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        return inner(self, *args)

    monkeypatch.setattr(Rubric, "read", counted)
    seen: list[ScoredBatch] = []
    functions, weights = trl_rewards(Rubric(REWARD_SETS["paper-v1"].weights, EXACT), [seen.append])
    assert [f.__name__ for f in functions] == list(REWARD_SETS["paper-v1"].weights) == ["format", "node", "edge"]
    assert weights == list(REWARD_SETS["paper-v1"].weights.values())
    truth = {
        "image_id": "1",
        "width": 100,
        "height": 100,
        "objects": [{"id": "man.0", "bbox": [10, 10, 30, 50]}, {"id": "bike.1", "bbox": [10, 30, 50, 70]}],
        "relationships": [{"subject": "man.0", "predicate": "riding", "object": "bike.1"}],
    }
    gold = render(scene((0, "riding", 1), labels=("man", "bike")), FRAME, think=True)
    columns = {"ground_truth": [json.dumps(truth)] * 2, "frame": [[1000, 1000]] * 2, "image_id": ["1"] * 2}
    for completions in ([gold, ""], [[{"role": "assistant", "content": c}] for c in (gold, "")]):
        rows = [f(prompts=["", ""], completions=completions, **columns) for f in functions]
        assert [r[0] for r in rows] == [1.0, pytest.approx(1.0), 1.0]
        assert [r[1] for r in rows] == [0.0, 0.0, 0.0]
    assert calls == len(seen) == 2  # the first function opens a batch, the others read it
    assert [s.terms["edge"] for s in seen[1].scores] == [1.0, 0.0]
    assert [p.failure for p in seen[1].parsed] == [None, "no_json"]
    assert seen[1].columns["image_id"] == ["1"] * 2
    bare = {**columns, "ground_truth": [json.dumps({**truth, "relationships": []})] * 2}
    assert functions[2](completions=[gold, gold], **bare) == [None, None]
    assert calls == 3


@pytest.mark.timeout(60)
def test_huge_and_repetitive_answers_are_scored() -> None:
    truth = scene((0, "riding", 1), (1, "near", 2))
    many = [{"id": f"man.{k}", "bbox": [k % 900, 0, k % 900 + 50, 90]} for k in range(1500)]
    relations = [{"subject": "man.0", "predicate": f"p{k}", "object": f"man.{k % 7}"} for k in range(500)]
    alike = [{"id": f"man.{k}", "bbox": [100, 100, 300, 500]} for k in range(1500)]
    same = [{"id": "man", "bbox": [k % 900, 0, k % 900 + 50, 90]} for k in range(1500)]
    texts = [
        json.dumps({"objects": many, "relationships": relations}),
        json.dumps({"objects": same, "relationships": [{"subject": "man", "predicate": "on", "object": "man"}] * 500}),
        json.dumps({"objects": alike, "relationships": relations}),
        json.dumps({"objects": alike, "relationships": relations * 4}),
        "</think><answer>" * 4000,
        "<think>" * 9000,
        '{"objects": [' * 5000,
    ]
    for name in REWARD_SETS:
        for score in Rubric.of(name, GLOVE).score(texts, [truth] * 7, [FRAME] * 7):
            assert all(v is None or -1 <= v <= 1 for v in score.terms.values())
