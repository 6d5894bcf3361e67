"""docs/metrics.md defines every key of the results and every switch."""

from dataclasses import fields
from pathlib import Path

from r1sgg.graph.vocabulary import VG150
from r1sgg.metrics import Protocol, evaluate
from r1sgg.metrics.columns import FAILURE_KINDS
from r1sgg.metrics.report import RECALLS

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def test_every_key_switch_and_failure_is_defined():
    keys = set(evaluate([], [], VG150)) - set(RECALLS)
    keys |= {"against", "frequency_baseline", "R@K", "mR@K", "ngR@K", "ngmR@K"}
    keys |= {f.name for f in fields(Protocol)} - {"name"}
    keys |= set(FAILURE_KINDS)
    assert not {key for key in keys if f"`{key}`" not in PAGE}
