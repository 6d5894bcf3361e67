"""FREQ and FREQ+OVERLAP against loops that share no code with them; groups of predicates by name."""

import json
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.data.predictions import prediction_of_record
from r1sgg.data.sources import open_data
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.vocabulary import OPEN, VG150, Vocabulary
from r1sgg.metrics.baselines import FrequencyBaseline
from r1sgg.metrics.columns import Evaluator
from r1sgg.metrics.frequency import collect
from r1sgg.metrics.groups import BGNN, VG150_BY_FREQUENCY, named_groups
from r1sgg.metrics.report import baseline_record, run, run_baseline

from .conftest import example, graphs, scene

PREDICATES = ("on", "near", "under")


def meet(a, b):
    """Whether two xyxy boxes have an area in common."""
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def log_probabilities(train, predicates, overlap):
    """Motifs' table: log(counts / row sum + 0.001), "no relation" among them, for each pair of classes."""
    table = defaultdict(lambda: [1] + [0] * len(predicates))
    for graph in train:
        for i in range(len(graph)):
            for j in range(len(graph)):
                if i != j and (not overlap or meet(graph.boxes[i], graph.boxes[j])):
                    table[graph.labels[i], graph.labels[j]][0] += 1
        for (s, o), predicate in zip(graph.pairs, graph.predicates, strict=True):
            if predicate in predicates:
                table[graph.labels[s], graph.labels[o]][1 + predicates.index(predicate)] += 1
    return lambda a, b: [math.log(n / sum(table[a, b]) + 1e-3) for n in table[a, b]]


def softmax(logs):
    return [math.exp(v) / sum(map(math.exp, logs)) for v in logs]


def ranked(graph, logs, predicates, overlap):
    """All triplets (subject, predicate, object), best first: (constrained, free)."""
    rows = []
    for i in range(len(graph)):
        for j in range(len(graph)):
            if i != j and (not overlap or meet(graph.boxes[i], graph.boxes[j])):
                shares = softmax(logs(graph.labels[i], graph.labels[j]))[1:]
                own = 1 if graph.object_scores is None else graph.object_scores[i] * graph.object_scores[j]
                rows += [(-round(own * share, 12), i, j, k) for k, share in enumerate(shares)]
    rows.sort()
    first = {}
    for row in rows:
        first.setdefault(row[1:3], row)
    return (
        [(i, predicates[k], j) for _, i, j, k in sorted(first.values())],
        [(i, predicates[k], j) for _, i, j, k in rows],
    )


def recall(truth, graph, triplets):
    """Share of true triplets whose names and boxes one of the triplets has; nothing is claimed."""

    def same(k, t):
        a, b = graph.boxes[k], truth.boxes[t]
        inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
        return graph.labels[k] == truth.labels[t] and inter >= 0.5 * union - 1e-9

    found = 0
    for (s, o), p in zip(truth.pairs, truth.predicates, strict=True):
        found += any(p == q and same(i, s) and same(j, o) for i, q, j in triplets)
    return found / len(truth.pairs)


@pytest.mark.parametrize("overlap", [False, True])
@settings(max_examples=40)
@given(
    train=st.lists(graphs(min_objects=1), min_size=1, max_size=4),
    truth=graphs(min_objects=1),
    said=graphs(min_objects=1),
    scored=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_column_equals_a_loop(overlap, train, truth, said, scored, seed):
    if scored:
        said = replace(said, object_scores=np.random.default_rng(seed).random(len(said)).round(3))
    statistics = collect([example(g, str(k)) for k, g in enumerate(train)])
    baseline = FrequencyBaseline(statistics, PREDICATES, overlap=overlap)
    logs = log_probabilities(train, PREDICATES, overlap)
    for labels in (("man", "dog"), ("dog", "dog"), ("cat", "man")):
        assert baseline.scores(*labels) == pytest.approx(softmax(logs(*labels))[1:])
    vocabulary = Vocabulary("small", (), PREDICATES)
    evaluator = Evaluator(vocabulary, replace(STRICT_WITHOUT_CLAIMS), rewrite=baseline)
    rows = [{"id": i, "bbox": b.tolist()} for i, b in zip(said.ids, said.boxes, strict=True)]
    if scored:
        rows = [{**row, "score": s} for row, s in zip(rows, said.object_scores.tolist(), strict=True)]
    prediction = prediction_of_record({"image_id": "1", "frame": [1, 1], "objects": rows}, "here")
    got = baseline_record(run([example(truth)], [prediction], evaluator))
    assert got["precision"] is None
    if not truth.pairs:
        return
    constrained, free = ranked(said, logs, PREDICATES, overlap)
    for k in (20, 50, 100):
        assert got[f"R@{k}"] == pytest.approx(recall(truth, said, constrained[:k]))
        assert got[f"ngR@{k}"] == pytest.approx(recall(truth, said, free[:k]))


STRICT_WITHOUT_CLAIMS = replace(Evaluator().protocol, claims="none")


def test_on_drawn_scenes_all_predicates_find_more_than_one_a_pair():
    train = list(open_data("scenes:600,split=train,preset=small"))
    test = list(open_data("scenes:60,split=test,preset=small"))
    found = {}
    for overlap in (False, True):
        baseline = FrequencyBaseline(collect(train), overlap=overlap)
        figures = run_baseline(test, baseline, Evaluator(OPEN)).figures.values()
        found[overlap] = figures
        logs = log_probabilities([e.graph for e in train], baseline.predicates, overlap)
        for k in (20, 50):
            lists = [(e.graph, *ranked(e.graph, logs, baseline.predicates, overlap)) for e in test if e.graph.pairs]
            constrained = [recall(g, g, one[:k]) for g, one, _ in lists]
            free = [recall(g, g, every[:k]) for g, _, every in lists]
            assert figures[f"R@{k}"] == pytest.approx(sum(constrained) / len(lists))
            assert figures[f"ngR@{k}"] == pytest.approx(sum(free) / len(lists))
    assert found[False]["ngR@20"] > found[False]["R@20"] + 0.1


def test_more_than_a_hundred_triplets_are_cut_where_no_figure_looks():
    labels = ["man", "dog"] * 8
    truth = scene(labels, ((0, "on", 1), (3, "near", 2), (14, "under", 15)), [(0, 0, 0.9, 0.9)] * 16)
    baseline = FrequencyBaseline(collect([example(truth)]), PREDICATES)
    said = baseline(truth)
    logs = log_probabilities([truth], PREDICATES, False)
    constrained, free = ranked(truth, logs, PREDICATES, False)
    triplets = [(s, p, o) for (s, o), p in zip(said.pairs, said.predicates, strict=True)]
    assert triplets[:100] == free[:100]
    first = list(dict.fromkeys((s, o) for s, _, o in triplets))[:100]
    assert first == [(s, o) for s, _, o in constrained[:100]]
    assert len(triplets) <= 200


def test_one_object_or_none_has_no_relations():
    baseline = FrequencyBaseline(collect([example(scene(("man", "dog"), ((0, "on", 1),)))]), overlap=True)
    for graph in (scene((), ()), scene(("man",), ()), scene(("man", "dog"), ())):
        assert baseline(graph).pairs == ()


def test_bgnn_groups_are_those_of_its_numbers(shared):
    numbers = "bttt bbbhbt bttttbttbh bhbtbttthh htbtbttbtb btbttbbhbb".replace(" ", "")
    document = json.loads((shared / "data" / "vg150_dicts" / "VG-SGG-dicts-with-attri.json").read_text())
    for number, letter in enumerate(numbers, 1):
        group = {"h": "head", "b": "body", "t": "tail"}[letter]
        assert document["idx_to_predicate"][str(number)] in BGNN[group], number
    assert [len(BGNN[g]) for g in ("head", "body", "tail")] == [7, 21, 22]
    thirds = named_groups("thirds", VG150, None)[1]
    moved = [p for g in BGNN for p in BGNN[g] if p not in thirds[g]]
    assert len(moved) == 18


def test_groupings_by_name(tmp_path):
    small = Vocabulary("small", ("man", "horse"), ("near", "riding", "on"))
    statistics = collect([example(scene(("man", "horse"), ((0, "riding", 1),)))])
    assert named_groups(None, VG150, statistics) == ("bgnn", BGNN)
    assert named_groups(None, small, None) == (None, {})
    assert named_groups(None, small, statistics)[0] == "thirds"
    assert sorted(VG150_BY_FREQUENCY) == sorted(VG150.predicates)
    with pytest.raises(ConfigError, match="expected --vocabulary vg150"):
        named_groups("bgnn", small, None)
    with pytest.raises(ConfigError, match="expected --train DATA"):
        named_groups("thirds", small, None)
    path = tmp_path / "g.json"
    for content, said in (
        ([], 'expected {"head"'),
        ({"head": []}, 'expected {"head"'),
        ({"": ["on"]}, 'expected {"head"'),
        ({"head": ["on", "flying"]}, "g.json: head"),
        ({"head": ["on"], "tail": ["on"]}, "g.json: tail"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=said):
            named_groups(str(path), small, None)
