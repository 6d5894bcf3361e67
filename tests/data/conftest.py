"""Fixtures of the data tests."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `datasets` prepares goes with the test run."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hub"))
        yield
