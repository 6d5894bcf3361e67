"""OvSGTR's columns from one set of predictions, against loops that share no code with them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import Example, write_ground_truth
from r1sgg.data.predictions import prediction_of_record
from r1sgg.data.sources import open_data
from r1sgg.errors import ConfigError
from r1sgg.graph.open_vocabulary import MODES, mode_of
from r1sgg.graph.records import graph_of_rows
from r1sgg.graph.text import number_ids, render
from r1sgg.graph.vocabulary import OPEN, VG150
from r1sgg.judging.protocol import STRICT
from r1sgg.metrics.columns import Evaluator
from r1sgg.metrics.open_vocabulary import open_record
from r1sgg.metrics.report import run

from .conftest import FRAME, answer, example, scene

LABELS = ("man", "dog", "bear", "rock")  # two novel classes, two base ones
PREDICATES = ("on", "riding", "near")  # two novel predicates, a base one
NOVEL = {"man", "dog", "on", "riding"}
COLUMNS = {
    "ovd": {"Base+Novel": lambda s, p, o: True, "Novel Object": lambda s, p, o: s in NOVEL and o in NOVEL},
    "ovr": {"Base+Novel": lambda s, p, o: True, "Novel Relation": lambda s, p, o: p in NOVEL},
    "ovd+r": {
        "Joint": lambda s, p, o: True,
        "Novel Object": lambda s, p, o: s in NOVEL and o in NOVEL,
        "Novel Relation": lambda s, p, o: p in NOVEL,
    },
}


@st.composite
def images(draw):
    """A true graph with one object a place, and a prediction of some of its objects with any relations."""
    count = draw(st.integers(2, 5))
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=count, max_size=count))
    index = st.integers(0, count - 1)
    rows = st.lists(st.tuples(index, st.sampled_from(PREDICATES), index), max_size=5, unique=True)
    return scene(labels, draw(rows)), scene(labels, draw(rows))


def expected(pairs, belongs, k, constraint):
    """Mean over images and mean over predicates of the recall of a column, by plain counting (objects are exact)."""
    recalls, by_predicate = [], {}
    for truth, said in pairs:
        listed, seen = [], set()
        for (s, o), p in zip(said.pairs, said.predicates, strict=True):
            if not constraint or (s, o) not in seen:
                listed.append((s, p, o))
            seen.add((s, o))
        listed = set(listed[:k])
        found = {}
        for (s, o), p in zip(truth.pairs, truth.predicates, strict=True):
            if belongs(truth.labels[s], p, truth.labels[o]):
                found.setdefault(p, []).append((s, p, o) in listed)
        if found:
            every = [hit for hits in found.values() for hit in hits]
            recalls.append(sum(every) / len(every))
        for p, hits in found.items():
            by_predicate.setdefault(p, []).append(sum(hits) / len(hits))
    mean = [sum(v) / len(v) for v in by_predicate.values()]
    return (sum(recalls) / len(recalls), sum(mean) / len(mean)) if recalls else (None, None)


@settings(max_examples=60)
@given(st.lists(images(), min_size=1, max_size=5), st.sampled_from(MODES), st.sampled_from([OPEN, VG150]))
def test_every_column_equals_a_loop(pairs, mode, vocabulary):
    examples = [example(truth, str(k)) for k, (truth, _) in enumerate(pairs)]
    answers = [answer(said, str(k)) for k, (_, said) in enumerate(pairs)]
    done = run(examples, answers, Evaluator(vocabulary, replace(STRICT, claims="none")))
    got = open_record(done, mode)
    assert list(got["parts"]) == list(COLUMNS[mode])
    for name, belongs in COLUMNS[mode].items():
        part = got["parts"][name]
        triplets = [[t for t in truth.triplets if belongs(*t)] for truth, _ in pairs]
        assert part["relations"] == sum(map(len, triplets))
        assert part["images"] == sum(map(bool, triplets))
        assert part["predicates"] == len({p for ts in triplets for _, p, _ in ts})
        for k in (20, 50, 100):
            for prefix, constraint in (("", True), ("ng", False)):
                mean, by_predicate = expected(pairs, belongs, k, constraint)
                assert part[f"{prefix}R@{k}"] == (None if mean is None else pytest.approx(mean))
                assert part[f"{prefix}mR@{k}"] == (None if mean is None else pytest.approx(by_predicate))
    assert "precision" not in part


def sample(shared: Path) -> list[Example]:
    rows = json.loads((shared / "data" / "vg_sample" / "vg150_style_images_1-49.json").read_text())
    found = []
    for row in rows:
        boxes = [o["bbox"] for o in row["objects"]]
        width, height = max(b[2] for b in boxes), max(b[3] for b in boxes)
        graph = graph_of_rows(row["objects"], row["relationships"], (width, height), "here", exported=True)
        found.append(Example(str(row["image_id"]), width, height, replace(graph, ids=number_ids(graph.labels))))
    return found


def test_the_truth_as_predictions_gives_100_in_each_column(shared: Path, tmp_path: Path):
    """99.5 at the least where one predicate a pair counts: 16 pairs of these images have two."""
    examples = sample(shared)
    write_ground_truth(tmp_path / "gt.jsonl", examples)
    lines = [
        {"image_id": e.image_id, "completion": render(e.graph, (e.width, e.height)), "frame": [e.width, e.height]}
        for e in examples
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts = {"ovd": [269, 108], "ovr": [269, 142], "ovd+r": [269, 108, 142]}
    for mode, relations in counts.items():
        command = ["evaluate", tmp_path / "p.jsonl", "--ground-truth", tmp_path / "gt.jsonl", "--vocabulary", "vg150"]
        command += ["--open-vocabulary", mode.upper(), "--json", tmp_path / "o.json", "--bootstrap", 20]
        shown = CliRunner().invoke(app, [str(a) for a in command], catch_exceptions=False)
        assert shown.exit_code == 0
        got = json.loads((tmp_path / "o.json").read_text())["open_vocabulary"]
        assert got["mode"] == mode
        assert [part["relations"] for part in got["parts"].values()] == relations
        for name, part in got["parts"].items():
            assert name in shown.output
            for k in (20, 50, 100):
                assert part[f"ngR@{k}"] == part[f"ngmR@{k}"] == 1
                assert 0.9 < part[f"R@{k}"] <= 1
            low, high = part["intervals"]["R@50"]
            assert low <= part["R@50"] <= high


def test_only_names_of_vg150_are_base_or_novel(tmp_path: Path):
    """ "bear near gizmo" is in no novel column and counted as unknown; a vocabulary of other names is refused."""
    truth = scene(("bear", "gizmo", "man"), ((0, "near", 1), (2, "riding", 0)))
    write_ground_truth(tmp_path / "gt.jsonl", [example(truth)])
    row = {"image_id": "1", "completion": render(truth, FRAME), "frame": FRAME}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    command = ["evaluate", tmp_path / "p.jsonl", "--ground-truth", tmp_path / "gt.jsonl", "--open-vocabulary", "ovd+r"]

    def call(*options: str):
        return CliRunner().invoke(app, [str(a) for a in (*command, "--json", tmp_path / "o.json", *options)])

    for vocabulary, unknown in (("open", 1), ("vg150", 0)):
        shown = call("--vocabulary", vocabulary)
        got = json.loads((tmp_path / "o.json").read_text())["open_vocabulary"]
        assert got["unknown"] == unknown
        assert [part["relations"] for part in got["parts"].values()] == [1 + unknown, 0, 1]
        assert ("1 true relations have names that VG150 lacks" in shown.output) == bool(unknown)
    for vocabulary, other in (("psg", "'bicycle'"), ("mine", "'zapping'")):
        if vocabulary == "mine":
            names = {"name": "mine", "objects": ["man"], "predicates": ["on", "zapping"]}
            (tmp_path / "mine.json").write_text(json.dumps(names))
            vocabulary = str(tmp_path / "mine.json")
        assert f"expected names of VG150, which are base or novel, found {other}" in str(
            call("--vocabulary", vocabulary).exception
        )


def test_modes_by_any_spelling():
    assert [mode_of(name) for name in ("OvD", "ovr", "OVD+R")] == list(MODES)
    with pytest.raises(ConfigError, match="--open-vocabulary: expected one of OvD, OvR, OvD"):
        mode_of("ov", "--open-vocabulary")


def test_a_column_without_relations_has_no_figures():
    truth = scene(("bear", "rock"), ((0, "near", 1),))
    done = run([example(truth)], [answer(truth)], Evaluator(VG150))
    parts = open_record(done, "ovd+r", bootstrap=5)["parts"]
    assert parts["Joint"]["R@50"] == 1
    for name in ("Novel Object", "Novel Relation"):
        assert (parts[name]["relations"], parts[name]["R@50"], parts[name]["mR@50"]) == (0, None, None)
        assert parts[name]["intervals"]["R@50"] is None


def test_predictions_of_rows_have_columns_too():
    truth = scene(("man", "dog"), ((0, "riding", 1),))
    rows = [{"id": i, "bbox": (b * 1000).tolist()} for i, b in zip(truth.ids, truth.boxes, strict=True)]
    row = {"image_id": "1", "frame": FRAME, "objects": rows,
           "relationships": [{"subject": "man.1", "predicate": "riding", "object": "dog.2"}]}  # fmt: skip
    parts = open_record(run([example(truth)], [prediction_of_record(row, "x")], Evaluator(VG150)), "ovd+r")["parts"]
    assert [part["R@20"] for part in parts.values()] == [1, 1, 1]
    assert np.isclose(parts["Novel Relation"]["mR@20"], 1), "not divided by predicates of other columns"


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "predcls"])
def test_on_drawn_scenes_the_truth_gives_995_or_more_where_one_predicate_a_pair_counts(task: str):
    examples = list(open_data("scenes:40,split=test,preset=small"))
    answers = []
    for e in examples:
        text = render(replace(e.graph, ids=number_ids(e.graph.labels)), FRAME)
        row = {"image_id": e.image_id, "completion": text, "frame": FRAME, "task": task}
        answers.append(prediction_of_record(row, "here"))
    done = run(examples, answers, Evaluator(task=task))
    values = done.figures.values()
    pairs = [list(e.graph.pairs) for e in examples if e.graph.pairs]
    least = sum(len(set(p)) / len(p) for p in pairs) / len(pairs)  # 1 unless a pair has two predicates
    for k in (20, 50, 100):
        assert values[f"ngR@{k}"] == values[f"ngmR@{k}"] == 1
        assert values[f"R@{k}"] == pytest.approx(least)
    assert least > 0.95
    for part in open_record(done, "ovd+r")["parts"].values():
        assert part["ngR@20"] == part["ngmR@20"] == 1
        assert part["R@20"] > 0.95
