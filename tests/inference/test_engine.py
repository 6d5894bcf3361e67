"""Sampling options and batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.errors import ConfigError
from r1sgg.inference.engine import Sampling, batches_by_size, describe


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1)],
)
def test_wrong_sampling_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected"):
        Sampling(**{name: value})
    with pytest.raises(ConfigError, match="max_new_tokens: expected 1 or more, found 0"):
        Sampling(max_new_tokens=0)


def test_draws_depend_on_seed_and_key() -> None:
    seeds = {Sampling(seed=s).generator_seed(k) for s in (0, 1) for k in ("a", "b", "\ud800")}
    assert len(seeds) == 6
    assert all(0 <= s < 2**63 for s in seeds)
    assert Sampling(seed=1).generator_seed("a") == Sampling(temperature=1, seed=1).generator_seed("a")


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50))), st.integers(1, 7))
def test_batches_hold_every_image_once_largest_first(sizes: list[tuple[int, int]], batch_size: int) -> None:
    batches = batches_by_size(sizes, batch_size)
    order = [k for batch in batches for k in batch]
    assert sorted(order) == list(range(len(sizes)))
    areas = [sizes[k][0] * sizes[k][1] for k in order]
    assert areas == sorted(areas, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_a_greedy_run_does_not_name_what_it_does_not_use() -> None:
    assert describe(Sampling(seed=1)) == describe(Sampling(seed=2))
    assert describe(Sampling(1.0, seed=1)) != describe(Sampling(1.0, seed=2))
