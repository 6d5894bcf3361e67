"""What each family is claimed to do, as parameters of the tests that show it.

A test that shows a capability has the decorator `shows`: it runs for every family that has the capability according to
the registry, and `SHOWN` remembers it. So a claim without a test, and a test without a claim, are both found
(tests/training/test_capabilities.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from r1sgg.models.family import Capability, ModelFamily
from r1sgg.models.registry import FAMILIES

from .tiny_families import BUILDERS

NEEDS_A_PACKAGE = pytest.mark.skipif(not find_spec("num2words"), reason="SmolVLM2's processor needs num2words")
SHOWN: dict[Capability, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
"""For each capability the tests that show it, and for which tiny checkpoints."""


def keys(family: ModelFamily) -> tuple[str, ...]:
    """Return the names of a family's tiny checkpoints in `BUILDERS`: its model types, or its name."""
    return (family.name.lower().replace("-", "_"),) if family.marks else family.model_types


BY_KEY = {key: family for family in FAMILIES for key in keys(family)}


def able(capability: Capability) -> list[str]:
    """Return the names of the tiny checkpoints that must show a capability."""
    with_vllm = capability in ("vllm", "colocate", "server")
    return [key for key, f in BY_KEY.items() if f.can(capability) and not (with_vllm and key in f.unserved)]


def parameters(capability: Capability) -> list[Any]:
    """Return them as parameters of a test or a fixture; a checkpoint that needs a package is skipped without it."""
    return [pytest.param(key, marks=NEEDS_A_PACKAGE if key == "smolvlm" else ()) for key in able(capability)]


def shows(capability: Capability, *, by_fixture: bool = False) -> Callable[[Any], Any]:
    """Mark a test as the one that shows a capability, and run it for each checkpoint that must show it.

    Args:
        capability: what is shown.
        by_fixture: the test gets its checkpoints by a fixture with `parameters(capability)`; else by its parameter
            `name`.
    """

    def marked(test: Any) -> Any:
        SHOWN[capability].append((test.__name__, tuple(able(capability))))
        return test if by_fixture else pytest.mark.parametrize("name", parameters(capability))(test)

    return marked


def unbuilt() -> set[str]:
    """Return what the registry names and no builder makes; a family that can do nothing needs none."""
    return {key for key, family in BY_KEY.items() if any(map(family.can, ("generate",)))} - set(BUILDERS)
