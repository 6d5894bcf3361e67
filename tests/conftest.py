"""Fixtures that more than one test file uses."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and independent answers that lie beside a developer's checkout; tests that need them skip elsewhere."""
    folder = ROOT.parent / "shared"
    if not (folder / "oracle").is_dir():
        pytest.skip("needs ../shared (real data samples and independently computed answers)")
    return folder
