"""benchmarks/tiny.py: the order of the stages, and what each is compared with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/tiny.py"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_table"] = module
    spec.loader.exec_module(module)
    return module


def test_stages_stand_in_order_and_are_compared_with_their_like(table: ModuleType) -> None:
    ordered = ["baseline", "zero-rl-guided", "zero-rl", "sft", "control", "sft-rl", "closed-sft", "ablate-kl"]
    assert sorted(set(ordered), key=table.place) == ordered
    others = {
        "sft-rl": "control",
        "zero-rl": "baseline",
        "zero-rl-guided": "baseline",
        "closed-zero-rl": "closed-baseline",
    }
    others |= {"closed-sft-rl": "closed-control", "ablate-kl": "sft-rl"}
    assert {name: table.reference(name) for name in others} == others


def test_the_short_table_fits_a_terminal(table: ModuleType) -> None:
    whole = [100.0, 100.0, 100.0]
    found = {key: [95.25, 90.0, 99.9] for key in ("failures", "R@50 truth", "precision", "relations per image")}
    apart = found | {"reference": "control", "R@50 truth / reference": [1.26, 1.22, 1.29]}
    empty = found | {"relations per image": [0.0, 0.0, 0.0], "failures": whole}
    stages = {"baseline": empty, "control": found, "sft-rl-balanced": apart}
    lines = list(table.short({"greedy": stages, "sampled": stages}))
    assert len(lines) == 2 + 2 * len(stages)
    assert max(map(len, lines)) <= 100
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert cells[2] == ["baseline", "greedy", "100.0", "95.2 [90.0, 99.9]", "-", "0.0", ""]
    assert cells[7] == ["", "sampled", "95.2", "95.2 [90.0, 99.9]", "95.2", "95.2", "1.26 [1.22, 1.29]"]
