"""Every capability that the table of families claims is shown by a test, and every family has a tiny checkpoint."""

from __future__ import annotations

import pytest

from r1sgg.models.family import CAPABILITIES, Capability
from r1sgg.models.registry import FAMILIES

from ..models import test_families as _generating
from ..models.capabilities import SHOWN, able, keys, unbuilt
from ..vllm import test_colocate as _colocating
from ..vllm import test_families as _serving
from ..vllm import test_rollout_server as _rollouts
from . import test_families as _training

HERE = (_generating, _training, _serving, _colocating, _rollouts)
"""The files of these tests; importing them fills `SHOWN`."""


def test_every_row_can_be_built() -> None:
    assert not unbuilt()
    names = [key for family in FAMILIES for key in keys(family)]
    assert len(names) == len(set(names))
    assert len({family.name.lower() for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_claim_is_a_test(capability: Capability) -> None:
    shown = {key for _, families in SHOWN[capability] for key in families}
    assert shown == set(able(capability)), "tests/models/capabilities.py"
    functions = {name for file in HERE for name in vars(file)}
    assert all(test in functions for test, _ in SHOWN[capability])


def test_what_is_not_claimed_has_a_reason_or_was_not_run() -> None:
    for family in FAMILIES:
        assert set(family.cannot) | set(family.not_run) <= set(CAPABILITIES)
        assert all(reason and not reason.endswith(".") for reason in family.cannot.values())
        assert family.source
        assert family.checked
