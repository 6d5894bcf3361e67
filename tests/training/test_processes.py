"""Runs that are killed, and runs of several processes: the same weights and logs as one that is left in peace."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file

from r1sgg.training.checkpoints import complete_checkpoints

ROOT = Path(__file__).resolve().parents[2]
CLOCKS = {"time", "step_time"}
"""Numbers of the logs that are times."""

COMMON = {"data": "scenes:64,seed=1", "report_to": "none", "per_device_train_batch_size": 4, "learning_rate": 1e-3}
WATCHED = {"validation": "scenes:2,split=validation", "validate_tokens": 8, "keep_best": "failure_rate"}
KILLED: dict[str, dict[str, object]] = {
    "sft": {"max_steps": 6, "save_steps": 2, "logging_steps": 4, "validate_steps": 4, "object_order": "shuffled"},
    # rollouts serve two steps, so every second checkpoint is written between the steps of one rollout
    "grpo": {"max_steps": 4, "save_steps": 1, "logging_steps": 3, "validate_steps": 2, "num_iterations": 2},
}
ROLLOUTS = {"num_generations": 2, "max_completion_length": 8, "samples": 2}


class Forks:
    """The server of `forked`, for a test module."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.forked"],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        command: str,
        folder: Path,
        *more: str,
        processes: int = 1,
        environment: dict[str, str] | None = None,
        **options: object,
    ) -> dict[str, Any]:
        """Run a command; `stop_at` and `seconds` say when it is killed."""
        stop = {"stop_at": options.pop("stop_at", 0), "seconds": options.pop("seconds", None)}
        arguments = [command, *arguments_of({**options, "output_dir": folder}), *more]
        job = {"arguments": arguments, "folder": str(folder), "processes": processes, "port": free_port(), **stop}
        job["environment"] = environment or {}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(orjson.dumps(job).decode() + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = orjson.loads(self.process.stdout.readline())
        assert set(found["codes"]) <= {0, -9}, Path(f"{folder}.log").read_text()[-3000:]
        return found


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    server = Forks()
    yield server
    assert server.process.stdin is not None
    assert server.process.stdout is not None
    server.process.stdin.close()
    server.process.wait()
    server.process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def arguments_of(options: dict[str, object]) -> list[str]:
    return [text for key, value in options.items() for text in (f"--{key}", str(value))]


def lines(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in orjson.loads(line).items() if k not in CLOCKS} for line in path.read_bytes().splitlines()]


def options_of(command: str, mini: Path) -> dict[str, object]:
    return {"model": mini, **COMMON, **WATCHED, **KILLED[command], **(ROLLOUTS if command == "grpo" else {})}


def kill_and_go_on(
    forks: Forks, command: str, options: dict[str, object], tmp_path: Path, *, kills: int, seed: int, processes: int = 1
) -> None:
    """Run once in peace and once killed: by turns at a random file operation and after a random time; compare."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = forks(command, whole, processes=processes, **options)
    parts = len(range(0, int(str(options["max_steps"])), int(str(options["save_steps"]))))
    draw = random.Random(seed)
    for number in range(kills):
        if number % 2 == 0:
            stop: dict[str, object] = {"stop_at": draw.randint(1, undisturbed["operations"] // parts)}
        else:
            stop = {"seconds": draw.uniform(0, undisturbed["seconds"] / parts)}
        ended = forks(command, killed, processes=processes, requeue=True, **stop, **options)
        assert -9 in ended["codes"], (number, stop)
    assert set(forks(command, killed, processes=processes, requeue=True, **options)["codes"]) == {0}
    assert_same(whole, killed)


def assert_same(whole: Path, killed: Path) -> None:
    """Weights, optimizer, best model and logs of two runs are equal, bit by bit; and nothing else lies about."""
    for folder in ("", "best"):
        first, second = (load_file(run / folder / "model.safetensors") for run in (whole, killed))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("metrics.jsonl", "completions.jsonl", "warnings.jsonl"):
        assert (whole / name).exists() == (killed / name).exists()
        if (whole / name).exists():
            assert lines(whole / name) == lines(killed / name)
    assert [p.name for p in complete_checkpoints(whole)] == [p.name for p in complete_checkpoints(killed)]
    states = [torch.load(complete_checkpoints(run)[-1] / "optimizer.pt", weights_only=True) for run in (whole, killed)]
    for key, values in states[0]["state"].items():
        assert all(torch.equal(values[name], states[1]["state"][key][name]) for name in values)
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in killed.iterdir())


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_two_kills_leave_no_trace(command: str, forks: Forks, mini: Path, tmp_path: Path) -> None:
    kill_and_go_on(forks, command, options_of(command, mini), tmp_path, kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_twenty_kills_leave_no_trace(command: str, forks: Forks, mini: Path, tmp_path: Path) -> None:
    longer = {"max_steps": 16, "save_steps": 4 if command == "sft" else 3, "save_total_limit": 2}
    kill_and_go_on(forks, command, {**options_of(command, mini), **longer}, tmp_path, kills=20, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_kills_of_two_processes_leave_no_trace(command: str, forks: Forks, mini: Path, tmp_path: Path) -> None:
    kill_and_go_on(forks, command, options_of(command, mini), tmp_path, kills=4, seed=2, processes=2)


PARITY = {"save_strategy": "no", "logging_steps": 1, "validation": "scenes:3,split=validation", "validate_tokens": 8}
PARITY |= {"max_steps": 4}
SHARES = {"sft": {}, "grpo": {**ROLLOUTS, "num_iterations": 2}}  # in the first pass over a rollout the loss is about 0


def assert_parity(command: str, one: Path, two: Path, start: Path) -> None:
    """Two runs have the same curves, within what rounding makes of sums in another order, and moved alike."""
    first, second = lines(one / "metrics.jsonl"), lines(two / "metrics.jsonl")
    assert [(row["step"], "loss" in row) for row in first] == [(row["step"], "loss" in row) for row in second]
    for a, b in zip(first, second, strict=True):
        for key in ("loss", "grad_norm", "mean_token_accuracy", "reward", "AP50", "images", "num_tokens"):
            if key in a or key in b:
                assert a[key] == pytest.approx(b[key], rel=1e-4, abs=1e-6), (a["step"], key)
    weights = [load_file(folder / "model.safetensors") for folder in (start, one, two)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[2][name], rtol=0, atol=2e-4)


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_two_processes_give_the_curve_of_one(command: str, forks: Forks, mini: Path, tmp_path: Path) -> None:
    options = {"model": mini, **COMMON, **PARITY, **SHARES[command]}
    forks(command, tmp_path / "one", **options)
    forks(command, tmp_path / "two", processes=2, **{**options, "per_device_train_batch_size": 2})
    assert_parity(command, tmp_path / "one", tmp_path / "two", mini)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_two_processes_of_torchrun_give_the_curve_of_one(command: str, mini: Path, tmp_path: Path) -> None:
    program = ["-m", "tests.training.forked"]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    runs = {"one": (program, 4), "two": ([*launcher, *program], 2)}
    for name, (head, batch) in runs.items():
        options = {"model": mini, **COMMON, **PARITY, **SHARES[command], "per_device_train_batch_size": batch}
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(
            [sys.executable, *head, command, *arguments_of({**options, "output_dir": tmp_path / name})],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert_parity(command, tmp_path / "one", tmp_path / "two", mini)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", ["sft", "grpo"])
@pytest.mark.parametrize("kind", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_sharded_weights_give_the_curve_of_one_and_go_on(
    command: str, kind: str, forks: Forks, mini: Path, tmp_path: Path
) -> None:
    options = {"model": mini, **COMMON, **PARITY, **SHARES[command], "keep_best": "failure_rate"}
    forks(command, tmp_path / "one", **options)
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": kind}
    sharded["FSDP_AUTO_WRAP_POLICY"] = "TRANSFORMER_BASED_WRAP"
    options |= {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1}
    two, killed = tmp_path / "two", tmp_path / "killed"
    forks(command, two, processes=2, environment=sharded, **options)
    assert list((two / "checkpoint-1").glob("pytorch_model_fsdp*"))  # it was sharded indeed
    assert_parity(command, tmp_path / "one", two, mini)
    shutil.copytree(two, killed)
    for step in (2, 3, 4):
        shutil.rmtree(killed / f"checkpoint-{step}")
    forks(command, killed, "--resume", processes=2, environment=sharded, **options)
    for folder in ("", "best"):
        first, second = (load_file(run / folder / "model.safetensors") for run in (two, killed))
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert lines(two / "metrics.jsonl") == lines(killed / "metrics.jsonl")
