"""Reward and metric can't disagree: the same answer gets the same recall, precision and F1 from both.

Left out: a truth that says a triplet twice, and twins of a predicted object; there the metric is the stricter one.
"""

import pytest
from hypothesis import assume, given, settings

from r1sgg.graph.text import parse, render
from r1sgg.judging.labels import load_similarity
from r1sgg.metrics.triplets import NEVER, match_triplets
from r1sgg.rewards.rubric import Rubric

from .conftest import FRAME, graphs

RUBRIC = Rubric({"hard_recall": 1.0, "precision": 1.0, "f1": 1.0}, load_similarity("exact"))


@settings(max_examples=100)
@given(graphs(), graphs(relations=8))
def test_hard_recall_precision_and_f1(truth, graph):
    assume(len(set(zip(truth.pairs, truth.predicates, strict=True))) == len(truth.pairs))
    assume(len({(label, tuple(box)) for label, box in zip(graph.labels, graph.boxes, strict=True)}) == len(graph))
    text = render(graph, FRAME)
    terms = RUBRIC.score([text], [truth], [FRAME])[0].terms
    match = match_triplets(truth, parse(text, FRAME).graph)
    true, said = len(truth.pairs), len(graph.pairs)
    if true:
        assert terms["hard_recall"] == pytest.approx(sum(rank < NEVER for rank in match.ranks_ng) / true)
        if said:
            assert terms["precision"] == pytest.approx(match.true_positives / said)
            assert terms["f1"] == pytest.approx(2 * match.true_positives / (said + true))
