"""A resumed run: what it may change and what it may not, what is written about it, and how a signal stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
import yaml
from safetensors.torch import load_file

from r1sgg.data.provenance import read_trained_on
from r1sgg.errors import ConfigError, InputError, ModelError
from r1sgg.files import locked
from r1sgg.training.checkpoints import complete_checkpoints
from r1sgg.training.resuming import RECORD

from .conftest import Command

ROOT = Path(__file__).resolve().parents[2]
TWO_STEPS: dict[str, object] = {"max_steps": 4, "save_steps": 2, "learning_rate": 1e-3, "lr_scheduler_type": "constant"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def rates(folder: Path) -> dict[int, float]:
    return {row["step"]: row["learning_rate"] for row in lines(folder / "metrics.jsonl") if "learning_rate" in row}


@pytest.fixture
def half(r1sgg: Command, tmp_path: Path) -> Path:
    """A run of four steps that was killed after its second."""
    folder = tmp_path / "run"
    done = r1sgg("sft", folder, **{**TWO_STEPS, "max_steps": 2})
    assert done.exit_code == 0, done.output
    return folder


def test_a_lower_learning_rate_counts_from_the_next_step_on_and_is_on_record(
    r1sgg: Command, half: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = r1sgg("sft", half, "--resume", **{**TWO_STEPS, "learning_rate": 1e-5})
    assert done.exit_code == 0, done.output
    assert rates(half) == {1: 1e-3, 2: 1e-3, 3: 1e-5, 4: 1e-5}
    assert "resumes after step 2 with changes: learning_rate 0.001 -> 1e-05; max_steps 2 -> 4" in caplog.text
    saved = yaml.safe_load((half / "config.yaml").read_text())
    first, second = saved["recorded"]["parts"]
    assert (first["steps"], second["steps"]) == ([1, 2], [3, None])
    assert (first["changed"], second["changed"]) == ({}, {"learning_rate": [1e-3, 1e-5], "max_steps": [2, 4]})
    assert first["data"] == second["data"] is not None
    assert first["recipe"] != second["recipe"]
    assert saved["learning_rate"] == 1e-5
    for folder in (half, half / "checkpoint-4"):
        (stage,) = read_trained_on(folder)
        assert stage["parts"] == [first, second]
        record = orjson.loads((folder / RECORD).read_bytes())
        assert (record["recipe"], record["data"]) == (second["recipe"], second["data"])
    (stage,) = read_trained_on(half / "checkpoint-2")
    assert "parts" not in stage
    weights = [load_file(half / name / "model.safetensors") for name in ("checkpoint-2", "checkpoint-4")]
    moved = max(float((weights[0][n].float() - weights[1][n].float()).abs().max()) for n in weights[0])
    assert 0 < moved < 1e-4  # two steps of Adam at 1e-5; at 1e-3 it would be about 2e-3


def test_schedule_and_warmup_count_from_the_next_step_on(r1sgg: Command, half: Path) -> None:
    changes = {"lr_scheduler_type": "linear", "max_steps": 10, "warmup_steps": 4, "save_steps": 3, "logging_steps": 2}
    done = r1sgg("sft", half, "--resume", **{**TWO_STEPS, **changes})
    assert done.exit_code == 0, done.output
    found = rates(half)
    assert set(found) == {1, 2, 4, 6, 8, 10}  # the new logging_steps
    assert found[4] == pytest.approx(1e-3 * 3 / 4)  # the rate of a step is that of the step before it in the schedule
    assert found[8] == pytest.approx(1e-3 * 3 / 6)
    assert [path.name for path in complete_checkpoints(half)] == [f"checkpoint-{k}" for k in (2, 3, 6, 9, 10)]


def test_nothing_changed_is_the_same_run_and_one_part(r1sgg: Command, half: Path, tmp_path: Path) -> None:
    assert r1sgg("sft", tmp_path / "whole", **TWO_STEPS).exit_code == 0
    assert r1sgg("sft", half, "--resume", **{**TWO_STEPS, "lr_scheduler_type": "constant"}).exit_code == 0
    first, second = (load_file(folder / "model.safetensors") for folder in (half, tmp_path / "whole"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    again = r1sgg("sft", half, "--resume", **TWO_STEPS)
    assert again.exit_code == 0
    assert (
        len(yaml.safe_load((half / "config.yaml").read_text())["recorded"]["parts"]) == 2
    )  # of max_steps, not of this


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": "scenes:32,seed=1"}, "data scenes:64,seed=1 ("),
        ({"data": "scenes:64,seed=2"}, "(the place in the data would be another)"),
        ({"seed": 7}, "seed 42 -> 7 (the order of the data and all draws follow from it)"),
        ({"prompt": "paper"}, "-> paper (the model learns the other prompt)"),
        ({"vocabulary": "vg150"}, "vocabulary None -> vg150 (the model learns the other prompt)"),
        ({"freeze_vision": True}, "freeze_vision False -> True (the optimizer's state belongs to the other weights)"),
        ({"per_device_train_batch_size": 2}, "4 -> 2 (the place in the data is counted in such steps)"),
        ({"weight_decay": 0.5}, "weight_decay 0.0 -> 0.5 (the steps before and after would not be one run)"),
        ({"lr_scheduler_type": "greedy", "eval_strategy": "steps"}, "lr_scheduler_type constant -> greedy"),
    ],
)
def test_what_may_not_change_is_refused_with_its_reason_and_nothing_is_touched(
    r1sgg: Command, half: Path, change: dict[str, object], reason: str
) -> None:
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigError, match=r"--resume: expected the recipe and data of .*checkpoint-2, found"
    ) as refused:
        r1sgg("sft", half, "--resume", **{**TWO_STEPS, **change})
    assert reason in str(refused.value)
    assert "start a new run with --model" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in half.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["config.json", "optimizer.pt"])
def test_a_damaged_checkpoint_is_one_sentence_and_nothing_is_touched(r1sgg: Command, half: Path, name: str) -> None:
    file = half / "checkpoint-2" / name
    file.write_bytes(file.read_bytes()[:-20])
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    with pytest.raises(ModelError, match=f"--resume: .*checkpoint-2/{name}: expected "):
        r1sgg("sft", half, "--resume", **TWO_STEPS)
    assert {path: path.read_bytes() for path in half.rglob("*") if path.is_file()} == before


def test_a_best_model_that_no_run_made_is_kept(r1sgg: Command, tmp_path: Path) -> None:
    (tmp_path / "runs/best").mkdir(parents=True)
    (tmp_path / "runs/best/model.safetensors").write_text("mine")
    with pytest.raises(ConfigError, match="expected nothing there, found files of no run"):
        r1sgg("sft", tmp_path / "runs", **TWO_STEPS)
    assert (tmp_path / "runs/best/model.safetensors").read_text() == "mine"


@pytest.mark.parametrize("change", [{"rewards": "balanced"}, {"num_generations": 4}, {"model": "other"}])
def test_rewards_group_size_and_model_may_not_change(
    r1sgg: Command, mini: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder, other = tmp_path / "run", tmp_path / "other"
    options = {"max_steps": 1, "save_steps": 1, "num_generations": 2, "max_completion_length": 8}
    assert r1sgg("grpo", folder, **options).exit_code == 0
    other.symlink_to(mini)
    assert r1sgg("grpo", folder, "--resume", **{**options, "model": other}).exit_code == 0  # the same by another name
    if "model" in change:
        change = {"model": folder / "checkpoint-1"}
    with pytest.raises(ConfigError, match=rf"found {next(iter(change))} .* -> "):
        r1sgg("grpo", folder, "--resume", **{**options, **change})


def test_data_are_known_by_their_content(r1sgg: Command, tmp_path: Path) -> None:
    from r1sgg.miniature.scenes import SMALL, write_scenes

    path = write_scenes(tmp_path / "data", 8, 0, SMALL)
    folder = tmp_path / "run"
    assert r1sgg("sft", folder, **{**TWO_STEPS, "data": path, "max_steps": 2}).exit_code == 0
    moved = (tmp_path / "data").rename(tmp_path / "moved") / "gt.jsonl"
    assert r1sgg("sft", folder, "--resume", **{**TWO_STEPS, "data": moved}).exit_code == 0
    moved.write_bytes(b"".join(moved.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match="the place in the data would be another"):
        r1sgg("sft", folder, "--resume", **{**TWO_STEPS, "data": moved, "max_steps": 6})


def test_the_run_s_own_record_is_a_recipe_to_resume_with_and_another_recipe_is_not_written_over(
    r1sgg: Command, half: Path, tmp_path: Path
) -> None:
    done = r1sgg("sft", half, "--resume", "--config", str(half / "config.yaml"), **TWO_STEPS)
    assert done.exit_code == 0, done.output
    mine = tmp_path / "mine" / "config.yaml"
    mine.parent.mkdir()
    mine.write_text("max_steps: 1 # my own words\n")
    with pytest.raises(InputError, match="an output that the command does not read"):
        r1sgg("sft", mine.parent, "--config", str(mine))
    assert mine.read_text() == "max_steps: 1 # my own words\n"


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_run_does_not_write_over_its_model_or_data(r1sgg: Command, command: str, mini: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(mini)
    before = {path: path.read_bytes() for path in mini.iterdir()}
    group = {"num_generations": 2} if command == "grpo" else {}
    for folder in (mini, tmp_path / "link", mini / ".." / mini.name):
        with pytest.raises(InputError, match="expected an output that the command does not read, found its input"):
            r1sgg(command, folder, max_steps=1, **group)
    assert {path: path.read_bytes() for path in mini.iterdir()} == before
    data = tmp_path / "run" / "metrics.jsonl"
    data.parent.mkdir()
    data.write_text("precious\n")
    with pytest.raises(InputError, match="an output that the command does not read"):
        r1sgg(command, data.parent, data=data, max_steps=1, **group)
    assert data.read_text() == "precious\n"


def test_two_runs_do_not_share_a_folder(r1sgg: Command, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(InputError, match="found one that another process is writing"):
        r1sgg("sft", tmp_path / "run", max_steps=1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_next_step_and_says_so_by_its_exit_code(
    number: int, code: int, mini: Path, r1sgg: Command, tmp_path: Path
) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    options = {"model": mini, "data": "scenes:64,seed=1", "report_to": "none", "per_device_train_batch_size": 4}
    options |= {"logging_steps": 1, "max_steps": 300, "save_strategy": "no", "validation": "scenes:2,split=validation"}
    options |= {"validate_tokens": 8}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training.forked", "sft", *arguments, "--output_dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not (
            (folder / "metrics.jsonl").is_file() and b'"loss"' in (folder / "metrics.jsonl").read_bytes()
        ):
            time.sleep(0.05)
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == code, said
    assert f"stopped by {signal.Signals(number).name} after step" in said
    (saved,) = complete_checkpoints(folder)
    step = int(saved.name.rpartition("-")[2])
    rows = lines(folder / "metrics.jsonl")
    assert rows[-1]["step"] == step
    assert [row["step"] for row in rows if "failure_rate" in row] == [0]  # the end of the run is not here
    assert not (folder / "model.safetensors").exists()
    assert not list(tmp_path.glob(".*.lock"))
    # resumed, the run gives what it would have given
    ending = {"max_steps": step + 2, "save_strategy": "no", "validation": options["validation"], "validate_tokens": 8}
    assert r1sgg("sft", whole, **ending, lr_scheduler_type="constant").exit_code == 0
    assert r1sgg("sft", folder, "--resume", **ending, lr_scheduler_type="constant").exit_code == 0
    kept = [[(row["step"], "loss" in row) for row in lines(run / "metrics.jsonl")] for run in (whole, folder)]
    assert kept[0] == kept[1]
