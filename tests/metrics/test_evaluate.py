"""The whole evaluation: figures, failures, conventions, streams, tasks."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.data.base import data_hash
from r1sgg.data.predictions import Prediction, prediction_of_record
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.text import render
from r1sgg.graph.vocabulary import OPEN, VG150, Vocabulary
from r1sgg.judging.protocol import CUTOFFS
from r1sgg.metrics import REFERENCE, STRICT, Protocol, evaluate, per_image

from ..judging.loops import Judgement, mean_recall
from .conftest import FRAME, answer, example, graphs, scene

FRACTIONS = ("failure_rate", "AP", "AP50", "AP75", "precision", "recall", "f1", "duplicate_rate", "self_loop_rate")
RIDING = scene(("man", "horse", "tree"), ((0, "riding", 1), (1, "near", 2)))


def test_the_truth_as_an_answer_gets_full_marks():
    got = evaluate([example(RIDING)], [answer(RIDING)], VG150, replace(STRICT, absent_predicates="skip"))
    for name in (*(f"{m}@{k}" for m in ("R", "mR", "ngR", "ngmR") for k in CUTOFFS), "AP", "AP50", "precision", "f1"):
        assert got[name] == pytest.approx(1.0), name
    assert got["failure_rate"] == got["duplicate_rate"] == got["self_loop_rate"] == 0
    assert got["relations_per_image"] == 2


def test_no_images_at_all_is_no_figure():
    got = evaluate([], [], VG150)
    assert got["images"] == 0
    assert got["R@50"] is got["precision"] is got["AP50"] is got["failure_rate"] is None
    json.dumps(got, allow_nan=False)


@settings(max_examples=40)
@given(st.lists(st.tuples(graphs(), graphs(relations=8)), min_size=1, max_size=4))
def test_equals_plain_loops_and_stays_in_range(pairs):
    examples = [example(t, str(k)) for k, (t, _) in enumerate(pairs)]
    got = evaluate(examples, [answer(g, str(k)) for k, (_, g) in enumerate(pairs)], VG150)
    read = [Judgement(t, answer(g).read().graph) for t, g in pairs if t.pairs]
    for k in CUTOFFS:
        for prefix, constraint in (("", True), ("ng", False)):
            if read:
                want = sum(image.recall(k, constraint) for image in read) / len(read)
                assert got[f"{prefix}R@{k}"] == pytest.approx(want, abs=1e-12)
                want = mean_recall(read, k, constraint, VG150.predicates)
                assert got[f"{prefix}mR@{k}"] == pytest.approx(want, abs=1e-12)
            else:
                assert got[f"{prefix}R@{k}"] is None
    for name in (*FRACTIONS, *(f"{m}R@{k}" for m in ("", "m", "ng", "ngm") for k in CUTOFFS)):
        assert got[name] is None or 0 <= got[name] <= 1, name
    json.dumps(got, allow_nan=False)


def test_mean_recall_divides_by_the_vocabulary_or_by_what_occurs():
    one = [example(RIDING)], [answer(RIDING)]
    assert evaluate(*one, VG150)["mR@50"] == pytest.approx(2 / 50)
    assert evaluate(*one, VG150, replace(STRICT, absent_predicates="skip"))["mR@50"] == 1
    assert evaluate(*one, OPEN)["mR@50"] == 1


def test_failures_by_kind():
    texts = {
        "no_json": "I see nothing.",
        "truncated": render(RIDING, FRAME)[:60],
        "empty": '{"objects": [], "relationships": []}',
        "nothing_in_vocabulary": render(scene(("zorblax",), ()), FRAME),
    }
    examples = [example(RIDING, name) for name in (*texts, "missing", "error", "good")]
    answers = [Prediction(name, FRAME, text) for name, text in texts.items()]
    answers += [Prediction("error", (1.0, 1.0), "", error="out of memory"), answer(RIDING, "good")]
    got = evaluate(examples, answers, VG150)
    assert got["failures"] == dict.fromkeys((*texts, "missing", "error"), 1)
    assert got["failure_rate"] == 6 / 7
    assert got["R@50"] == pytest.approx(1 / 7)  # what can't be used counts 0
    lenient = evaluate(examples, answers, VG150, replace(STRICT, empty_is_failure=False))
    assert lenient["failure_rate"] == 4 / 7
    assert lenient["R@50"] == got["R@50"]


def test_repair_keeps_the_whole_items_of_a_truncated_answer():
    cut = Prediction("1", FRAME, render(RIDING, FRAME)[:-20])
    assert evaluate([example(RIDING)], [cut], VG150)["failures"] == {"truncated": 1}
    repaired = evaluate([example(RIDING)], [cut], VG150, repair=True)
    assert repaired["failure_rate"] == 0
    assert repaired["R@50"] == 0.5


def test_one_bad_item_can_fail_the_whole_answer():
    document = json.loads(render(RIDING, FRAME))
    document["objects"].append({"id": "dog.9", "bbox": [1, 2]})
    bad = [Prediction("1", FRAME, json.dumps(document))]
    assert evaluate([example(RIDING)], bad, VG150)["R@50"] == 1
    got = evaluate([example(RIDING)], bad, VG150, replace(STRICT, one_bad_item_fails=True))
    assert (got["R@50"], got["failures"]) == (0, {"bad_box": 1})


def test_images_without_predicted_relations_count_or_are_left_out():
    silent = scene(RIDING.labels, ())
    images = [example(RIDING, "1"), example(RIDING, "2")], [answer(RIDING, "1"), answer(silent, "2")]
    assert evaluate(*images, VG150)["R@50"] == 0.5
    got = evaluate(*images, VG150, replace(STRICT, count_answers_without_relations=False))
    assert got["R@50"] == 1
    assert got["counts"]["images_skipped"] == 1


def test_the_first_true_box_can_be_hidden_from_ap():
    images = [example(RIDING)], [answer(RIDING)]
    assert evaluate(*images, VG150)["AP50"] == pytest.approx(1)
    assert evaluate(*images, VG150, replace(STRICT, first_box_counts=False))["AP50"] == pytest.approx(2 / 3)


def test_every_switch_of_the_reference_differs_from_strict_and_is_documented():
    names = [f.name for f in fields(Protocol)]
    assert all(f"{name}:" in (Protocol.__doc__ or "") for name in names)
    same = {name for name in names if getattr(STRICT, name) == getattr(REFERENCE, name)}
    assert same == {"absent_predicates"}


def test_mapping_is_listed_and_can_be_switched_off():
    said = scene(("men", "horses", "zorblax"), ((0, "rides", 1),))
    truth = scene(("man", "horse"), ((0, "riding", 1),))
    small = Vocabulary("small", ("man", "horse"), ("riding",))
    got = evaluate([example(truth)], [answer(said)], small)
    assert got["R@50"] == 1
    assert {"kind": "predicate", "name": "rides", "to": "riding", "how": "normal form", "images": 1} in got["mappings"]
    assert {"kind": "object", "name": "zorblax", "to": None, "how": "not in vocabulary", "images": 1} in got["mappings"]
    plain = evaluate([example(truth)], [answer(said)], small, mapping="none")
    assert plain["failures"] == {"nothing_in_vocabulary": 1}


def test_truth_outside_the_vocabulary_is_left_out_and_counted():
    truth = scene(("man", "zorblax"), ((0, "riding", 1),))
    got = evaluate([example(truth)], [answer(truth)], VG150)
    assert got["counts"]["outside_vocabulary"] == 2
    assert got["counts"]["true_relations"] == 0
    assert got["R@50"] is None


def detector(scores, object_scores=(1, 1, 1, 1)):
    """Four objects, of them two horses; relations in the worst order unless scores say otherwise."""
    boxes = [[0, 100, 40, 300], [50, 100, 90, 300], [500, 500, 600, 600], [100, 100, 140, 300]]
    ids = ["man.1", "horse.2", "horse.3", "tree.4"]
    rows = [
        {"id": i, "bbox": b} | ({"score": s} if s is not None else {})
        for i, b, s in zip(ids, boxes, object_scores, strict=True)
    ]
    dropped = {"id": "dog.7", "bbox": [1, 2, 3]}  # the scores stay with their rows
    rows.insert(1, dropped | ({} if None in object_scores else {"score": 0.3}))
    relations = [
        {"subject": "man.1", "predicate": "near", "object": "horse.2"},
        {"subject": "nobody.5", "predicate": "near", "object": "horse.2"},
        {"subject": "man.1", "predicate": "riding", "object": "horse.2"},
        {"subject": "horse.2", "predicate": "near", "object": "tree.4"},
    ]
    for row, score in zip(relations, scores, strict=True):
        row |= {} if score is None else {"score": score}
    return prediction_of_record({"image_id": "1", "frame": FRAME, "objects": rows, "relationships": relations}, "")


def test_detector_scores_rank_triplets_and_boxes():
    good = evaluate([example(RIDING)], [detector([0.1, 0.9, 0.8, 0.7], (1, 0.9, 0.2, 1))], VG150)
    assert good["R@50"] == 1
    unscored = evaluate([example(RIDING)], [detector([None] * 4, (None,) * 4)], VG150)
    assert unscored["R@50"] == 0.5  # "near" stands first
    assert good["AP50"] == pytest.approx(1)  # the wrong horse ranks below the right one
    worse = evaluate([example(RIDING)], [detector([0.1, 0.9, 0.8, 0.7], (1, 0.2, 0.9, 1))], VG150)
    assert worse["AP50"] < 1
    with pytest.raises(InputError, match=r"relationships\[2\]\.score: expected a score for every row or for none"):
        detector([0.1, 0.9, None, 0.7])
    ignored = replace(STRICT, use_scores=False)
    assert evaluate([example(RIDING)], [detector([0.1, 0.9, 0.8, 0.7])], VG150, ignored)["R@50"] == 0.5


def test_scores_of_renamed_and_dropped_duplicates():
    rows = [
        {"id": "man.1", "bbox": [0, 0, 10, 10], "score": 0.9},
        {"id": "man.1", "bbox": [0, 0, 10, 10], "score": 0.1},
        {"id": "man.1", "bbox": [20, 0, 30, 10], "score": 0.8},
        {"id": "dog.2", "bbox": [0, 0, 10, 10], "score": 0.7},
    ]
    graph = prediction_of_record({"image_id": "1", "frame": FRAME, "objects": rows}, "").read().graph
    assert graph.labels == ("man", "man", "dog")
    assert graph.object_scores.tolist() == [0.9, 0.8, 0.7]
    assert graph.relationship_scores is None


@pytest.mark.parametrize("seed", range(3))
def test_order_of_the_files_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    truths = [scene(("man", "dog", "cat"), ((0, "on", 1), (1, "near", 2))) for _ in range(12)]
    said = [scene(("man", "dog", "man"), ((0, "on", 1), (0, "near", 1))[: k % 3]) for k in range(12)]
    examples = [example(g, str(k)) for k, g in enumerate(truths)]
    answers = [answer(g, str(k)) for k, g in enumerate(said)]
    del answers[4]
    want = evaluate(examples, answers, VG150)
    mixed = [answers[k] for k in rng.permutation(len(answers))]
    assert evaluate(examples, iter(mixed), VG150) == want
    turned = evaluate(iter(examples[::-1]), mixed, VG150)
    for name, value in want.items():
        assert turned[name] == (pytest.approx(value) if isinstance(value, float) else value), name
    assert want["data_hash"] == data_hash(examples)


def test_predictions_for_unknown_images_are_one_sentence():
    with pytest.raises(InputError, match=r"image_id '2', which is not in it"):
        evaluate([example(RIDING, "1")], [answer(RIDING, "1"), answer(RIDING, "2")], VG150)
    with pytest.raises(InputError):
        evaluate([example(RIDING, "1")], [answer(RIDING, "1"), answer(RIDING, "1")], VG150)
    with pytest.raises(ConfigError, match="strict, reference"):
        evaluate([], [], VG150, "lenient")


def test_rows_per_image_have_the_means_of_the_evaluation():
    truths = [RIDING, RIDING, scene(("man",), ())]
    said = [RIDING, scene(("man", "horse"), ((0, "riding", 1), (0, "riding", 1), (0, "near", 1))), RIDING]
    images = [example(g, str(k)) for k, g in enumerate(truths)], [answer(g, str(k)) for k, g in enumerate(said)]
    rows, got = per_image(*images, VG150), evaluate(*images, VG150)
    recalls = [row["R@50"] for row in rows]
    assert recalls == [1.0, 0.5, None]
    assert got["R@50"] == pytest.approx(np.mean(recalls[:2]))
    assert rows[1]["partners"] == (0, -1, -1)
    assert rows[1]["found"] == (True, False)
    assert rows[1]["precision"] == pytest.approx(1 / 3)
    assert sum(row["relations"] for row in rows) / 3 == got["relations_per_image"]
    assert got["duplicate_rate"] == pytest.approx(1 / 7)


def test_given_boxes_and_given_labels():
    truth = scene(("man", "horse", "tree"), ((0, "riding", 1), (1, "near", 2)))
    moved = [(0.6, 0.6, 0.7, 0.7), (0.7, 0.7, 0.8, 0.8), truth.boxes[2]]
    said = scene(("man", "horse", "bush"), truth.pairs and ((0, "riding", 1), (1, "near", 2)), moved)
    images = [example(truth)], [answer(said)]
    assert evaluate(*images, VG150)["R@50"] == 0
    assert evaluate(*images, VG150, task="sgcls")["R@50"] == 0  # these are not the boxes that were given
    assert evaluate(*images, VG150, task="predcls")["R@50"] == 1  # tied by its box
    stranger = scene(("bush",), (), [(0.9, 0.9, 0.95, 0.95)])
    assert evaluate([example(truth)], [answer(stranger)], VG150, task="predcls")["failures"] == {"nothing_tied": 1}


def test_no_figure_is_nan(tmp_path):
    got = evaluate([example(scene((), ()))], [answer(RIDING)], VG150, bootstrap=5)
    text = json.dumps(got, allow_nan=False)
    assert not any(math.isnan(v) for v in json.loads(text).values() if isinstance(v, float))


def test_no_predicted_box_or_no_true_box_is_no_crash():
    nothing = scene((), ())
    assert evaluate([example(RIDING)], [], VG150)["AP50"] == 0
    assert evaluate([example(nothing)], [answer(RIDING)], VG150)["AP50"] is None


def test_only_the_best_hundred_boxes_of_a_class_count():
    """As COCO has it; they are taken by score, so the good one is in even when it stands last."""
    boxes = [[10 * k, 0, 10 * k + 9, 9] for k in range(90)] + [[10 * k, 500, 10 * k + 9, 509] for k in range(20)]
    rows = [{"id": f"man.{k}", "bbox": b, "score": k / 200} for k, b in enumerate(boxes, 1)]
    document = {"image_id": "1", "frame": FRAME, "objects": rows}
    for target, want in ((boxes[-1], 1.0), (boxes[0], 0.0)):
        truth = scene(("man",), (), [[v / 1000 for v in target]])
        got = evaluate([example(truth)], [prediction_of_record(document, "")], VG150)
        assert got["AP50"] == pytest.approx(want)
