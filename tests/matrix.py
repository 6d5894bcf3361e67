"""Tests over a matrix (families, engines, formats) run for a drawn sample of it, so that a run takes the same time when
the matrix grows.

    pytestmark = pytest.mark.matrix(name=6)    # of the values of the parameter `name` in this file, six run

The seed is the commit, so each commit draws another sample and a run of one commit can be repeated; it is printed at
the end of each run. `--matrix-seed` sets it. What is not drawn is marked slow: `-m slow` runs it, `-m ''` runs
everything. Tests that are asked for by name (`-k qwen3`, or their node id) run whatever is drawn.
"""

from __future__ import annotations

import datetime
import hashlib
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --matrix-seed."""
    parser.addoption("--matrix-seed", default="", help="draws the sample of each matrix; default: the commit")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed; pytest-xdist hands the options of this process to its workers, so all draw the same sample."""
    config.addinivalue_line("markers", "matrix(**keep): of the values of each named parameter, run a sample this large")
    config.option.matrix_seed = config.option.matrix_seed or _commit() or datetime.date.today().isoformat()


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is not drawn as slow."""
    if config.option.keyword:
        return
    values: dict[tuple[Path, str, int], set[str]] = defaultdict(set)
    for item in items:
        for axis, value in _cells(item):
            values[axis].add(value)
    drawn = {axis: sample(config.option.matrix_seed, found, axis[2]) for axis, found in values.items()}
    for item in items:
        if any(value not in drawn[axis] for axis, value in _cells(item)):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed, also with -q."""
    seed = config.option.matrix_seed
    terminalreporter.write_line(f"matrix: sampled with --matrix-seed {seed}; -m '' runs everything")


def sample(seed: str, values: Iterable[str], keep: int) -> set[str]:
    """Draw `keep` of the values. Which of two values comes first does not depend on the others."""
    return set(sorted(values, key=lambda value: hashlib.sha256(f"{seed}/{value}".encode()).digest())[:keep])


def _cells(item: pytest.Item) -> Iterator[tuple[tuple[Path, str, int], str]]:
    """Yield the sampled parameters of a test as (file, parameter, size of the sample), and their values."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    for mark in item.iter_markers("matrix"):
        for name, keep in mark.kwargs.items():
            if name in parameters:
                yield (item.path, name, keep), str(parameters[name])


def _commit() -> str:
    """Return the commit of this checkout; "" where there is none."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
