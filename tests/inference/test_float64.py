"""Devices without float64 (Apple's GPUs): nothing of that type is made on them. Shown with fake tensors of a device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from r1sgg.inference import choosing
from r1sgg.inference.choosing import Streams, widened
from r1sgg.inference.engine import Sampling

DEVICE = torch.device("cuda")  # fake tensors of "mps" need a build for it; the code asks for the type only


class RefusesFloat64(TorchDispatchMode):
    """Raises as a device without float64 does."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor) and value.device.type == DEVICE.type and value.dtype == torch.float64:
                raise TypeError(f"{function} made float64 on {DEVICE.type}")
        return made


@pytest.fixture(autouse=True)
def without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mps" in choosing.WITHOUT_FLOAT64
    monkeypatch.setattr(choosing, "WITHOUT_FLOAT64", {DEVICE.type})


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.7])
def test_draws_make_no_float64_on_the_device_and_come_back_to_it(temperature: float) -> None:
    with FakeTensorMode(), RefusesFloat64():
        draw = Streams(Sampling(temperature, 0.9, 5, max_new_tokens=4), ["a", "b"], DEVICE)
        taken = draw(torch.empty((2, 10), device=DEVICE), [0, 1], [0, 0])
        assert (taken.device.type, taken.dtype) == (DEVICE.type, torch.int64)


def test_log_probabilities_are_wide_where_they_can_be() -> None:
    with FakeTensorMode(), RefusesFloat64():
        scores = torch.empty((2, 10), device=DEVICE)
        assert widened(scores, scores.device).device.type == "cpu"
        with pytest.raises(TypeError, match="made float64"):  # so the check does see it
            scores.double()
    assert widened(torch.ones(2), torch.device("cpu")).dtype == torch.float64
