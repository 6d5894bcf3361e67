"""The comparison of two sides: its figures by hand, what counts as a fault, and what its sentences say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.inference.parity import LIMITS, Parity, Ran

LOGS = np.log([0.5, 0.25, 0.125])
SAME = Ran((1, 2, 2, 3), 2, (56, 28), LOGS)


def parity(engine: Ran, trainer: Ran = SAME, precision: tuple[str, str] = ("float32", "float32")) -> Parity:
    return Parity((engine,), (trainer,), precision)


def ran(**changed: object) -> Ran:
    values = {name: getattr(SAME, name) for name in Ran.__slots__} | changed
    return Ran(**values)  # type: ignore[arg-type]


def test_equal_sides_have_no_fault() -> None:
    found = parity(SAME)
    assert found.fault() is None
    assert (found.mean_kl, found.largest, found.share_off, found.tokens) == (0, 0, 0, 3)
    assert set(found.metrics().values()) == {0, 1}
    assert all(fine for *_, fine in found.rows())
    assert "DIFFERS" not in found.table()


def test_figures_by_hand() -> None:
    found = parity(ran(logprobs=LOGS + np.array([0.0, 0.05, -np.log(2)])))
    r = np.exp([0.0, -0.05, np.log(2)])
    assert found.mean_kl == pytest.approx(np.mean(r - 1 - np.log(r)))
    assert found.largest == pytest.approx(np.log(2))
    assert found.share_off == pytest.approx(1 / 3)


@given(st.lists(st.floats(-80, 80), max_size=8))
def test_the_divergence_is_a_number_and_never_negative(apart: list[float]) -> None:
    found = parity(ran(logprobs=np.array(apart)), ran(logprobs=np.zeros(len(apart))))
    assert np.isfinite(found.mean_kl)
    assert found.mean_kl >= 0


def test_the_estimate_is_the_divergence() -> None:
    """Over many samples of q, the mean is sum q log(q / p)."""
    q, p = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
    drawn = np.random.default_rng(0).choice(3, 200_000, p=q)
    found = parity(ran(logprobs=np.log(q)[drawn]), ran(logprobs=np.log(p)[drawn]))
    assert found.mean_kl == pytest.approx((q * np.log(q / p)).sum(), rel=0.02)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"prompt_ids": (1, 2, 2, 2, 3)},
            "ran a prompt of 5 tokens for one that is trained with 4; they differ from token 3",
        ),
        (
            {"prompt_ids": (1, 2, 2)},
            "ran a prompt of 3 tokens for one that is trained with 4; they differ from token 3",
        ),
        ({"image_features": 0}, "put 0 image features into a prompt for which the trainer has 2"),
        (
            {"image_size": (28, 56)},
            "resized an image to 28x56 pixels, and the trainer reads its boxes in a frame of 56x28",
        ),
        ({"logprobs": LOGS + 0.02}, "mean KL divergence of 0.0002"),
        ({"logprobs": LOGS - 40}, "mean KL divergence"),
        ({"logprobs": LOGS * np.nan}, "not finite"),
        ({"logprobs": LOGS - np.inf}, "not finite"),
    ],
)
def test_what_differs_is_said(changed: dict[str, object], said: str) -> None:
    found = parity(ran(**changed))
    assert said in str(found.fault())
    assert "DIFFERS" in found.table()
    assert not all(fine for *_, fine in found.rows())


def test_what_one_side_does_not_tell_is_not_compared() -> None:
    found = parity(ran(image_features=None, image_size=None))
    assert found.fault() is None
    assert "not told" in found.table()


def test_a_few_tokens_that_are_off_are_a_fault_of_their_own() -> None:
    logs = np.zeros(1000)
    off = np.where(np.arange(1000) < 150, 0.11, 0.0)
    found = parity(ran(logprobs=off), ran(logprobs=logs), ("bfloat16", "bfloat16"))
    assert found.mean_kl < LIMITS["bfloat16"].mean_kl
    assert "15.0% of 1000 sampled tokens" in str(found.fault())


def test_precision_is_compared_and_sets_the_limits() -> None:
    rounded = ran(logprobs=LOGS + 0.02)
    assert parity(rounded, precision=("bfloat16", "bfloat16")).fault() is None
    assert "computes in float16, and the trainer in bfloat16" in str(
        parity(SAME, precision=("float16", "bfloat16")).fault()
    )


def test_the_table_shows_a_completion_that_differs() -> None:
    found = Parity((SAME, ran(prompt_ids=(1, 2))), (SAME, SAME), ("float32", "float32"))
    row = next(line for line in found.table().splitlines() if line.startswith("prompt tokens"))
    assert row.split()[2:] == ["2", "4", "DIFFERS"]
    assert found.metrics()["parity/prompts_equal"] == 0.5
