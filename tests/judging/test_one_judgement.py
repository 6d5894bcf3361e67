"""Rewards and metrics say the same, and what independent loops say, on random pairs of graphs of every kind.

Nothing is left out: the graphs hold twins, boxes moved by a pixel, objects declared again, self-loops, repeated
triplets on either side, names that only one side has, and nothing at all.
"""

import random

import numpy as np
import pytest

from r1sgg.data.base import Example
from r1sgg.data.predictions import Prediction
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.judging.labels import load_similarity
from r1sgg.judging.protocol import STRICT
from r1sgg.judging.triplets import judge
from r1sgg.metrics.columns import Evaluator
from r1sgg.metrics.figures import Figures
from r1sgg.rewards.rubric import Rubric

from .loops import Judgement

SIDE = 40  # boxes are whole pixels of a square, which a completion can say exactly
FRAME = (float(SIDE), float(SIDE))
LABELS, PREDICATES = ("man", "horse", "tree"), ("on", "near", "riding")


def drawn_box(rng):
    x, y = rng.randrange(0, SIDE - 12), rng.randrange(0, SIDE - 12)
    return x, y, x + rng.randrange(4, 13), y + rng.randrange(4, 13)


def moved(box, rng):
    """The same box, one moved by a pixel or two, or one that overlaps it by less."""
    far = rng.choice((0, 1, 1, 2, 4))
    dx, dy = rng.randint(-far, far), rng.randint(-far, far)
    x1, y1 = min(max(box[0] + dx, 0), SIDE - 2), min(max(box[1] + dy, 0), SIDE - 2)
    x2, y2 = min(max(box[2] + dx, x1 + 1), SIDE), min(max(box[3] + dy, y1 + 1), SIDE)
    return x1, y1, x2, y2


def drawn_objects(rng, others):
    objects = []
    for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6))):
        pool = objects + others
        if pool and rng.random() < 0.7:  # a twin, an object declared again, or what the other side holds
            label, box = rng.choice(pool)
            objects.append((label if rng.random() < 0.9 else rng.choice(LABELS), moved(box, rng)))
        else:
            objects.append((rng.choice(LABELS), drawn_box(rng)))
    return objects


def drawn_triplets(rng, objects, pool):
    """Pairs of any objects, an object with itself among them, and repeats of what there is."""
    triplets = []
    for _ in range(rng.choice((0, 1, 2, 4, 6, 8)) if objects else 0):
        if triplets and rng.random() < 0.25:
            triplets.append(rng.choice(triplets))
        else:
            predicate = rng.choice(pool) if pool and rng.random() < 0.7 else rng.choice(PREDICATES)
            triplets.append((rng.randrange(len(objects)), predicate, rng.randrange(len(objects))))
    return triplets


def graph_of(objects, triplets, scores=None):
    rows = [
        SceneObject(f"{label}.{k}", label, tuple(v / SIDE for v in box), None if scores is None else scores[0][k])
        for k, (label, box) in enumerate(objects)
    ]
    related = [Relationship(s, p, o, None if scores is None else scores[1][k]) for k, (s, p, o) in enumerate(triplets)]
    return SceneGraph.build(rows, related)


def drawn_pairs(count, seed, *, scored=False):
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        true = drawn_objects(rng, [])
        said = drawn_triplets(rng, true, [])
        objects = drawn_objects(rng, true) if rng.random() < 0.8 else list(true)
        triplets = drawn_triplets(rng, objects, [p for _, p, _ in said])
        if objects == true and rng.random() < 0.5:
            triplets = [*said, *triplets]  # the truth, and more
        scores = None
        if scored:
            scores = ([rng.choice((0.2, 0.5, 0.9)) for _ in objects], [rng.choice((0.1, 0.5, 0.7)) for _ in triplets])
        pairs.append((graph_of(true, said), graph_of(objects, triplets, scores)))
    return pairs


@pytest.mark.parametrize("seed", range(4))
def test_rewards_metrics_and_loops_agree(seed: int) -> None:
    pairs = drawn_pairs(2500, seed)
    truths, graphs = [truth for truth, _ in pairs], [graph for _, graph in pairs]
    texts = [render(graph, FRAME) for graph in graphs]
    names = ("hard_recall", "precision", "f1", "distinct", "triplet_f1")
    rubric = Rubric(dict.fromkeys(names, 1.0), load_similarity("exact"))
    scores = rubric.score(texts, truths, [FRAME] * len(texts))

    evaluator = Evaluator()
    examples = [Example(str(k), SIDE, SIDE, truth) for k, truth in enumerate(truths)]
    predictions = [Prediction(str(k), FRAME, text) for k, text in enumerate(texts)]
    results = dict(evaluator.results(zip(range(len(pairs)), examples, predictions, strict=True)))
    columns = evaluator.finish()
    rows = [dict(zip(columns.count_names, row, strict=True)) for row in columns.images.tolist()]
    figures = Figures(columns, STRICT, closed=False)
    assert columns.counts()["claiming"].all()

    recalls: dict[str, list[float]] = {"R@20": [], "ngR@20": []}
    for k, (truth, graph) in enumerate(pairs):
        loops, terms, row = Judgement(truth, graph), scores[k].terms, rows[k]
        want = loops.figures()
        assert row["declared_again"] == loops.declared_again()
        assert ratio(row["true_positives"], row["counted"]) == close(want["precision"])
        assert ratio(row["repeats"], row["counted"]) == close(want["duplicates"])
        assert ratio(row["true_positives"], row["distinct_true"]) == close(want["recall"])
        if not truth.pairs:
            assert all(terms[name] is None for name in names if name != "triplet_f1")
            assert terms["triplet_f1"] == (0.0 if graph.pairs else None)  # relations where none is true
            continue
        assert terms["hard_recall"] == close(loops.recall()) == close(figures_recall(results[k].match.ranks_ng))
        assert figures_recall(results[k].match.ranks) == close(loops.recall(constraint=True))
        assert terms["precision"] == close(want["precision"] or 0.0)
        assert terms["f1"] == close(want["f1"]) == terms["triplet_f1"]  # with exact names the soft F1 is the F1
        assert terms["distinct"] == close(0.0 if want["duplicates"] is None else 1 - want["duplicates"])
        recalls["R@20"].append(loops.recall(20, constraint=True))
        recalls["ngR@20"].append(loops.recall(20))
    values = figures.values()
    for name, found in recalls.items():
        assert values[name] == close(float(np.mean(found)))


def test_scores_rank_objects_and_triplets_as_the_loops_do() -> None:
    for truth, graph in drawn_pairs(1500, 7, scored=True):
        for claims in (True, False):
            found = judge([truth], [graph], STRICT, claiming=[claims]).image(0)
            loops = Judgement(truth, graph, claims)
            if truth.pairs:
                for k in (1, 2, 3, 20):
                    recall = sum(rank < k for rank in found.ranks) / len(truth.pairs)
                    assert recall == close(loops.recall(k, constraint=True))
                    recall = sum(rank < k for rank in found.ranks_ng) / len(truth.pairs)
                    assert recall == close(loops.recall(k))
            want = loops.figures()
            assert found.repeats == len(loops.said()[1])
            assert ratio(found.true_positives, found.counted) == close(want["precision"])


def test_a_block_says_what_each_image_alone_says() -> None:
    pairs = drawn_pairs(300, 11, scored=True)
    claiming = [k % 3 != 0 for k in range(len(pairs))]
    block = judge([t for t, _ in pairs], [g for _, g in pairs], claiming=claiming)
    for k, (truth, graph) in enumerate(pairs):
        assert block.image(k) == judge([truth], [graph], claiming=[claiming[k]]).image(0)


@pytest.mark.parametrize("seed", range(3))
def test_the_ground_truth_scores_full_marks_whatever_it_repeats(seed: int) -> None:
    names = ("node", "edge", "hard_recall", "node_f1", "triplet_f1", "precision", "f1", "edge_f1", "distinct")
    rubric = Rubric(dict.fromkeys(names, 1.0))
    rng = random.Random(seed)
    truths = []
    for _ in range(300):
        objects = drawn_objects(rng, [])
        truths.append(graph_of(objects, drawn_triplets(rng, objects, [])))
    scores = rubric.score([render(t, FRAME) for t in truths], truths, [FRAME] * len(truths))
    for truth, score in zip(truths, scores, strict=True):
        below = {
            name: score.terms[name] for name in names if score.terms[name] is not None and score.terms[name] < 1 - 1e-9
        }
        assert below == {}, truth
    for name in ("balanced", "paper-v1", "paper-v4"):
        texts = [render(t, FRAME, think=True) for t in truths if len(t)]
        some = [t for t in truths if len(t)]
        totals = [s.total for s in Rubric.of(name).score(texts, some, [FRAME] * len(some))]
        assert min(totals) == pytest.approx(1.0)


def figures_recall(ranks):
    return sum(rank < 1 << 30 for rank in ranks) / len(ranks)


def ratio(a, b):
    return a / b if b else None


def close(value):
    return None if value is None else pytest.approx(value, abs=1e-12)


def test_a_completion_in_a_loop_is_judged_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large groups of objects of one class are compared in turn, small ones all at once: to the same end."""
    pairs = drawn_pairs(400, 13, scored=True)
    truths, graphs = [t for t, _ in pairs], [g for _, g in pairs]
    want = judge(truths, graphs)
    monkeypatch.setattr("r1sgg.judging.claims._LARGE", 1)
    found = judge(truths, graphs)
    for k in range(len(pairs)):
        assert found.image(k) == want.image(k)
    assert np.array_equal(found.evidence.claims.unit, want.evidence.claims.unit)
