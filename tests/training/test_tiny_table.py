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
    ordered = ["baseline", "zero-rl", "sft", "control", "sft-rl", "closed-sft", "ablate-kl"]
    assert sorted(set(ordered), key=table.place) == ordered
    others = {"sft-rl": "control", "zero-rl": "baseline", "closed-zero-rl": "closed-baseline"}
    others |= {"closed-sft-rl": "closed-control", "ablate-kl": "sft-rl"}
    assert {name: table.reference(name) for name in others} == others
