"""A small set with two runs, for the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scenes import small_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """See `small_set`."""
    return small_set(tmp_path)
