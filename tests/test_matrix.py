"""A sampled matrix (tests/matrix.py): how much of it runs, which of it, and that a sample can be repeated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .matrix import sample

Run = Callable[..., tuple[list[str], str]]
ROOT = Path(__file__).parents[1]
NAMES = tuple("abcdefgh")
FILE = f"""
import pytest

pytestmark = pytest.mark.matrix(name=3)

@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", {NAMES})
def test_cell(name: str, size: int) -> None:
    print("ran", name, size)

def test_alone() -> None:
    print("ran", "alone")
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the file above with more arguments; returns what ran, and what pytest printed."""
    (tmp_path / "test_cells.py").write_text(FILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -m 'not slow'\nmarkers = slow: later\n")

    def run(*arguments: str, test: str = "") -> tuple[list[str], str]:
        command = [sys.executable, "-m", "pytest", "-p", "tests.matrix", "-p", "no:cacheprovider", "-qs"]
        place = f"{tmp_path / 'test_cells.py'}{test}"
        done = subprocess.run([*command, *arguments, place], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line.removeprefix(".") for line in done.stdout.splitlines()]
        return sorted(line.removeprefix("ran ") for line in lines if line.startswith("ran ")), done.stdout

    return run


def test_a_sample_runs_and_can_be_repeated(run: Run) -> None:
    first, printed = run("--matrix-seed", "x")
    names = {line.split()[0] for line in first} - {"alone"}
    assert names == sample("x", NAMES, 3)
    assert first == sorted([*(f"{name} {size}" for name in names for size in (1, 2)), "alone"])
    assert "--matrix-seed x" in printed
    assert run("--matrix-seed", "x", "-m", "slow")[0] == sorted(
        f"{name} {size}" for name in set(NAMES) - names for size in (1, 2)
    )


def test_everything_runs_when_it_is_asked_for(run: Run) -> None:
    assert len(run("-m", "")[0]) == 17
    left_out = min(set(NAMES) - sample("x", NAMES, 3))
    assert run("--matrix-seed", "x", test=f"::test_cell[{left_out}-1]")[0] == [f"{left_out} 1"]
    assert run("--matrix-seed", "x", "-k", f"{left_out}-2")[0] == [f"{left_out} 2"]


def test_without_a_seed_it_is_the_commit_in_every_process(run: Run) -> None:
    _, printed = run("-n", "2")
    assert "7 passed" in printed, "the workers agree on the sample"
    seed = printed.partition("--matrix-seed ")[2].partition(";")[0]
    assert run()[0] == run("--matrix-seed", seed)[0]


def test_every_member_is_drawn_by_some_seed() -> None:
    drawn = [sample(str(seed), NAMES, 3) for seed in range(200)]
    assert all(len(names) == 3 for names in drawn)
    counts = [sum(name in names for names in drawn) for name in NAMES]
    assert min(counts) > 40  # 75 is the mean
    small, large = sample("s", NAMES[:5], 3), sample("s", NAMES, 3)
    assert large & set(NAMES[:5]) <= small, "a new member only takes places, it moves no others"
