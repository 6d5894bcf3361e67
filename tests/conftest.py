"""Fixtures that more than one test file uses."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .browser import browser_page as browser_page
from .browser import chromium as chromium
from .matrix import pytest_addoption as pytest_addoption
from .matrix import pytest_collection_modifyitems as pytest_collection_modifyitems
from .matrix import pytest_configure as pytest_configure
from .matrix import pytest_terminal_summary as pytest_terminal_summary

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: no test asks the Hub
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: as many processes as cores already

settings.register_profile("r1sgg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("r1sgg")  # no test depends on how fast the machine is

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and independent answers that lie beside a developer's checkout; tests that need them skip elsewhere."""
    folder = ROOT.parent / "shared"
    if not (folder / "oracle").is_dir():
        pytest.skip("needs ../shared (real data samples and independently computed answers)")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Qwen2-VL with random weights."""
    from r1sgg.miniature.tiny import build_tiny

    return build_tiny(tmp_path_factory.mktemp("tiny_checkpoint"), seed=0, max_pixels=336 * 336)
