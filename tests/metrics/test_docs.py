"""docs/metrics.md defines every key of the results and every switch."""

from dataclasses import fields
from pathlib import Path

import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.vocabulary import VG150
from r1sgg.metrics import Protocol, evaluate
from r1sgg.metrics.ratios import RATIOS, Ratio
from r1sgg.metrics.reading import FAILURE_KINDS
from r1sgg.metrics.report import RECALLS

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def undefined() -> set[str]:
    keys = set(evaluate([], [], VG150)) - set(RECALLS)
    keys |= {"against", "frequency_baseline", "R@K", "mR@K", "ngR@K", "ngmR@K"}
    keys |= {f.name for f in fields(Protocol)} - {"name"}
    keys |= set(FAILURE_KINDS)
    return {key for key in keys if f"`{key}`" not in PAGE}


def test_every_key_switch_and_failure_is_defined():
    assert not undefined()


def test_a_figure_of_an_unknown_count_is_one_sentence(monkeypatch):
    monkeypatch.setitem(RATIOS, "pair_recall", Ratio(("pairs",), ("true_relations",)))
    with pytest.raises(ConfigError, match=r"figure pair_recall: expected counts among true_objects, .*, found 'pairs'"):
        evaluate([], [])


def test_a_new_figure_must_be_defined(monkeypatch):
    monkeypatch.setitem(RATIOS, "pair_recall", Ratio(("relations",), ("true_relations",)))
    assert undefined() == {"pair_recall"}
