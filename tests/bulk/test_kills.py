"""`generate` that is killed 20 times at random, alone and beside a second process: nothing lost, nothing twice."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import orjson
import pytest

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.run import Job, run
from r1sgg.endpoint.remote import Remote, remote
from r1sgg.errors import InputError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reader

from ..inference.pretend import Parrot

KILLS = 20
WATCHED = ("open", "os.rename", "os.remove", "os.truncate")
LOCKED = 3  # exit code of a process that was told to wait


@pytest.fixture(scope="module")
def asked() -> Remote:
    return remote("parrot", "0-1000")


def generate(truth: Path, out: Path, asked: Remote) -> None:
    job = Job(Sampling(max_new_tokens=8), batch_size=2, window=2)
    run(open_inputs(str(truth)), out, Reader(asked, Parrot()), job)


def in_process(work: Callable[[], None], folder: Path, stop_at: int = 0) -> int:
    """Start a process that kills itself at its file operation `stop_at` in the folder; returns its number."""
    if (child := os.fork()) == 0:
        _child(work, folder, stop_at)
    return child


def _child(work: Callable[[], None], folder: Path, stop_at: int) -> NoReturn:
    count = 0

    def hook(event: str, values: tuple[Any, ...]) -> None:
        nonlocal count
        if event in WATCHED and str(values[0]).startswith(str(folder)):
            count += 1
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    code = 1
    try:
        work()
        folder.with_suffix(".count").write_text(str(count))
        code = 0
    except InputError as error:
        code = LOCKED if "another process" in str(error) else 1
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def whole(asked: Remote, ground_truth: Path, tmp_path: Path) -> tuple[bytes, dict[str, Any], int]:
    """What an undisturbed run writes, the settings beside it, and its number of file operations."""
    folder = tmp_path / "whole"
    folder.mkdir()
    assert ended(in_process(lambda: generate(ground_truth, folder / "p.jsonl", asked), folder)) == 0
    settings = orjson.loads((folder / "p.jsonl.run.json").read_bytes())["settings"]
    return (folder / "p.jsonl").read_bytes(), settings, int(folder.with_suffix(".count").read_text())


def assert_whole(folder: Path, whole: tuple[bytes, dict[str, Any], int]) -> None:
    assert (folder / "p.jsonl").read_bytes() == whole[0]
    assert orjson.loads((folder / "p.jsonl.run.json").read_bytes())["settings"] == whole[1]
    assert sorted(path.name for path in folder.iterdir()) == ["p.jsonl", "p.jsonl.run.json"]


def test_twenty_kills_leave_no_trace(
    asked: Remote, ground_truth: Path, tmp_path: Path, whole: tuple[bytes, dict[str, Any], int]
) -> None:
    draw = random.Random(0)
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()

        def work(out: Path = folder / "p.jsonl") -> None:
            generate(ground_truth, out, asked)

        assert ended(in_process(work, folder, draw.randint(1, whole[2]))) == -signal.SIGKILL
        for stop_at in (draw.randint(1, whole[2] // 2), 0):  # perhaps once more, then to its end
            assert ended(in_process(work, folder, stop_at)) in (-signal.SIGKILL, 0)
        assert_whole(folder, whole)


def test_twenty_kills_beside_a_second_process_leave_no_trace(
    asked: Remote, ground_truth: Path, tmp_path: Path, whole: tuple[bytes, dict[str, Any], int]
) -> None:
    draw, refused = random.Random(1), 0
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()

        def work(out: Path = folder / "p.jsonl") -> None:
            generate(ground_truth, out, asked)

        first = in_process(work, folder, draw.randint(1, whole[2]))
        code = LOCKED
        while code == LOCKED:  # until the first is dead, or before it has begun
            code = ended(in_process(work, folder))
            refused += code == LOCKED
            time.sleep(0.002)
        assert code == 0
        assert ended(first) in (-signal.SIGKILL, LOCKED, 0)
        assert_whole(folder, whole)
    assert refused
