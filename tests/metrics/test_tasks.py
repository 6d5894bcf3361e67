"""SGCLS and PREDCLS: what is given is linked by box and by place, and the truth as an answer scores 100."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import write_ground_truth
from r1sgg.data.predictions import prediction_of_record
from r1sgg.data.sources import open_data
from r1sgg.errors import InputError
from r1sgg.graph.given import Given
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids, render
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.protocol import STRICT
from r1sgg.metrics import evaluate
from r1sgg.metrics.tasks import apply_task
from r1sgg.models.prompts import AnswerSettings, build_messages

from .conftest import FRAME, example, graphs, scene

TRUTH = replace(scene(("man", "dog", "man"), ((0, "near", 1), (2, "holding", 1))), ids=("man.7", "dog.1", "man.3"))


def line(graph, task=None, **fields):
    row = {"image_id": "1", "completion": render(graph, FRAME), "frame": FRAME, **({"task": task} if task else {})}
    return prediction_of_record({**row, **fields}, "here")


def test_two_men_numbered_the_other_way_are_right_in_sgcls():
    other = replace(TRUTH, ids=("man.2", "dog.1", "man.1"))
    for graph in (TRUTH, other, other.take([2, 0, 1])):
        for task in (None, "sgcls"):
            got = evaluate([example(TRUTH)], [line(graph, task)], task="sgcls")
            assert (got["R@50"], got["AP"], got["failures"]) == (1, 1, {})


def test_a_wrong_class_costs_its_relations_in_sgcls_and_nothing_in_predcls():
    wrong = replace(TRUTH, ids=("man.1", "cat.1", "man.2"), labels=("man", "cat", "man"))
    assert evaluate([example(TRUTH)], [line(wrong, "sgcls")], task="sgcls")["R@50"] == 0
    told = replace(TRUTH, ids=number_ids(TRUTH.labels))
    assert evaluate([example(TRUTH)], [line(told, "predcls")], task="predcls")["R@50"] == 1


def test_predcls_is_linked_by_the_place_in_the_prompt_s_list():
    """man.1 is the first man of the list, whatever the truth calls it; who was asked elsewhere knows the true ids."""
    far = replace(TRUTH, boxes=np.tile([0.0, 0.9, 0.01, 0.91], (3, 1)))
    asked = replace(far, ids=number_ids(far.labels))
    assert evaluate([example(TRUTH)], [line(asked, "predcls")], task="predcls")["R@50"] == 1
    assert evaluate([example(TRUTH)], [line(far)], task="predcls")["R@50"] == 1
    assert evaluate([example(TRUTH)], [line(asked)], task="predcls")["R@50"] == 0


def test_rows_without_ids_are_linked_by_box_in_predcls():
    """Their numbers are ours, in the order of the line, and must not meet those of the annotation by chance."""
    truth = replace(TRUTH, ids=number_ids(TRUTH.labels))
    boxes = (truth.boxes * 1000).tolist()
    objects = [{"label": truth.labels[k], "bbox": boxes[k]} for k in (2, 0, 1)]  # the second man is the first here
    row = {"image_id": "1", "frame": FRAME, "relationships_by": "index", "objects": objects,
           "relationships": [[1, 2, "near"], [0, 2, "holding"]]}  # fmt: skip
    got = evaluate([example(truth)], [prediction_of_record(row, "here")], task="predcls")
    assert (got["R@50"], got["AP"]) == (1, 1)
    named = [{**item, "id": name} for item, name in zip(objects, ("man.1", "man.2", "dog.1"), strict=True)]
    assert (
        evaluate([example(truth)], [prediction_of_record({**row, "objects": named}, "x")], task="predcls")["R@50"] == 0
    )


def test_relationships_alone_are_an_answer_in_predcls():
    rows = [{"subject": "man.1", "predicate": "near", "object": "dog.1"},
            {"subject": "man.2", "predicate": "holding", "object": "dog.1"}]  # fmt: skip
    alone = line(TRUTH, "predcls", completion=json.dumps({"relationships": rows}))
    got = evaluate([example(TRUTH)], [alone], task="predcls")
    assert (got["R@50"], got["failure_rate"], got["objects_per_image"]) == (1, 0, 3)
    assert evaluate([example(TRUTH)], [replace(alone, task="sgcls")], task="sgcls")["failures"] == {"wrong_schema": 1}


def test_names_outside_the_vocabulary_do_not_move_the_places():
    truth = replace(scene(("unicorn", "man", "dog"), ((1, "near", 2),)), ids=("a.1", "b.1", "c.1"))
    said = replace(truth, ids=number_ids(truth.labels))
    got = evaluate([example(truth)], [line(said, "predcls")], VG150, task="predcls")
    assert (got["R@50"], got["objects_per_image"]) == (1, 2)


def test_another_task_than_the_line_s_is_one_sentence():
    with pytest.raises(
        InputError, match="expected answers to sgdet, found answers to predcls; evaluate it with --task"
    ):
        evaluate([example(TRUTH)], [line(TRUTH, "predcls")])
    with pytest.raises(InputError, match="expected one of sgdet, sgcls, predcls, found 'all'"):
        line(TRUTH, "all")


def best_links(iou, told):
    """Links by box, plainly: again and again the largest IoU of what is free, equal places first."""
    links, free = dict(told), set(range(iou.shape[1])) - set(told.values())
    while True:
        left = [
            (-round(iou[k, t], 9), k != t, k, t)
            for k in range(len(iou)) for t in free if k not in links and iou[k, t] >= 0.5 - 1e-9
        ]  # fmt: skip
        if not left:
            return [links.get(k) for k in range(len(iou))]
        *_, k, t = min(left)
        links[k] = t
        free.discard(t)


@settings(max_examples=150)
@given(graphs(), graphs(), st.sampled_from(["sgcls", "predcls"]), st.booleans())
def test_links_equal_a_plain_loop(truth, graph, task, asked):
    told = number_ids(truth.labels) if asked else truth.ids
    ids = {k: told.index(i) for k, i in enumerate(graph.ids) if task == "predcls" and i in told}

    def iou(a, b):
        inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
        return inter / union

    table = np.array([[iou(a, b) for b in truth.boxes] for a in graph.boxes]).reshape(len(graph), len(truth))
    links = best_links(table, ids)
    got = apply_task(graph, truth, task, "prompt" if asked else "truth")
    kept = [k for k, t in enumerate(links) if t is not None]
    assert got.ids == tuple(graph.ids[k] for k in kept)
    assert got.boxes.tolist() == [truth.boxes[links[k]].tolist() for k in kept]
    side = [truth.labels[links[k]] if task == "predcls" else graph.labels[k] for k in kept]
    assert list(got.labels) == side


@settings(max_examples=100)
@given(graphs(min_objects=1), st.sampled_from(["sgdet", "sgcls", "predcls"]))
def test_the_truth_as_an_answer_scores_100_without_graph_constraint(truth, task):
    if not truth.pairs:
        return
    places = {t: k for k, t in enumerate(zip(truth.pairs, truth.predicates, strict=True))}
    distinct = truth.take(range(len(truth)), sorted(places.values()))
    said = replace(distinct, ids=number_ids(truth.labels))
    got = evaluate([example(distinct)], [line(said, task)], task=task, protocol=replace(STRICT, claims="none"))
    assert got["ngR@50"] == 1
    assert got["recall"] == 1
    assert got["AP"] == 1


def test_a_prompt_lists_what_is_given_in_the_frame_and_no_more():
    for task in ("sgcls", "predcls"):
        told = Given.of(TRUTH, (500.0, 250.0), task)
        for settings_ in (AnswerSettings(), AnswerSettings(prompt="short", minify=True)):
            text = build_messages(settings_, (500.0, 250.0), given=told)[-1]["content"]
            rows = json.loads(text.splitlines()[-1])
            assert [row["bbox"] for row in rows] == [[round(x * s) for x, s in zip(box, (500, 250) * 2, strict=True)]
                                                    for box in TRUTH.boxes.tolist()]  # fmt: skip
            ids = ["man.1", "dog.1", "man.2"] if task == "predcls" else [None] * 3
            assert [row.get("id") for row in rows] == ids
            assert text.startswith(build_messages(settings_, (500.0, 250.0))[-1]["content"])
        assert (told.graph is None) == (task == "sgcls")


def test_images_without_annotations_cannot_give_any(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"image": "a.jpg"}\n')
    for options, said in (
        (["--images", str(tmp_path / "a.jsonl"), "--task", "sgcls"], "'image_id': expected this key"),
        (["--images", "scenes:2", "--task", "all"], "expected one of sgdet, sgcls, predcls, found 'all'"),
    ):
        shown = CliRunner().invoke(app, ["generate", "--out", str(tmp_path / "o.jsonl"), *options])
        assert shown.exit_code == 1
        assert said in str(shown.exception)


def test_the_shipped_model_is_asked_held_to_the_given_objects_and_scored(tmp_path: Path):
    data = "scenes:6,split=test,preset=small"
    write_ground_truth(tmp_path / "gt.jsonl", open_data(data))
    for task in ("sgcls", "predcls"):
        out, results = tmp_path / f"{task}.jsonl", tmp_path / "o.json"
        asked = ["generate", "--images", data, "--out", out, "--guide", "--max-new-tokens", 300, "--task", task]
        assert CliRunner().invoke(app, [str(a) for a in asked], catch_exceptions=False).exit_code == 0
        for row, item in zip(map(json.loads, out.read_text().splitlines()), open_data(data), strict=True):
            assert row["task"] == task
            boxes = Given.of(item.graph, tuple(row["frame"]), task).boxes
            assert [tuple(o["bbox"]) for o in row["objects"]] == list(boxes)
        scored = ["evaluate", out, "--ground-truth", tmp_path / "gt.jsonl", "--task", task, "--json", results]
        assert CliRunner().invoke(app, [str(a) for a in scored], catch_exceptions=False).exit_code == 0
        got = json.loads(results.read_text())
        assert (got["failure_rate"], got["task"]) == (0, task)
        assert got["AP50"] == 1 or task == "sgcls"


def test_an_empty_graph_stays_empty():
    assert apply_task(SceneGraph((), (), np.zeros((0, 4))), TRUTH, "sgcls").ids == ()
