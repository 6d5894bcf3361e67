"""The lines that a person reads while a run trains, and what a first run leaves."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.models.families import load_checkpoint
from r1sgg.training.logs import MetricsLog
from r1sgg.training.progress import Progress

Command = Callable[..., Result]


def at(step: int, steps: int = 60) -> Any:
    return SimpleNamespace(global_step=step, max_steps=steps, is_world_process_zero=True)


def test_a_line_has_step_reward_failures_recall_and_the_time_left(tmp_path: Path) -> None:
    said: list[str] = []
    now = iter((100.0, 120.0, 130.0))
    progress = Progress(MetricsLog(tmp_path, "grpo"), said.append, clock=lambda: next(now))
    progress.on_train_begin(None, at(0), None)
    progress.on_log(None, at(20), None, {"loss": 0.1, "reward": 1.93456, "completions/failure_rate": 0.044})
    numbers = {"failure_rate": 0.005, "AP50": 0.8012, "R@50": 0.549, "mR@50": 0.3, "precision": 0.8}
    answers: Any = [None] * 200
    progress.on_validation(None, at(20), None, numbers, answers)
    progress.on_log(None, at(20), None, {"eval_R@50": 0.549})
    progress.on_log(None, at(30), None, {"loss": 0.25})
    progress.on_log(None, at(60), None, {"train_runtime": 3.0, "train_loss": 0.1})
    assert said == [
        "step 20 of 60: reward 1.935, failures 4.4 %, 0:00:40 left",
        "step 20: evaluation of 200 images: failures 0.5 %, AP50 80.1, R@50 54.9, mR@50 30.0, precision 80.0",
        "step 30 of 60: loss 0.25, failures 0.5 %, R@50 54.9, 0:00:30 left",
    ]


def test_a_resumed_run_knows_the_last_evaluation(tmp_path: Path) -> None:
    said: list[str] = []
    log = MetricsLog(tmp_path, "sft")
    log.earlier = [{"step": 5, "failure_rate": 0.5, "R@50": 0.25}]
    progress = Progress(log, said.append, clock=lambda: 0.0)
    progress.on_train_begin(None, at(5), None)
    progress.on_log(None, at(6), None, {"loss": 1.0})
    assert said == ["step 6 of 60: loss 1, failures 50.0 %, R@50 25.0, 0:00:00 left"]


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_run_of_three_steps_leaves_curves_samples_a_card_and_lines_to_read(
    r1sgg: Command, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / command
    more = {"num_generations": 2, "max_completion_length": 8} if command == "grpo" else {}
    # logged beyond the end of the run: the last step is logged all the same
    done = r1sgg(command, folder, max_steps=3, save_strategy="no", logging_steps=500, **more)
    assert done.exit_code == 0, done.output
    shown = [line for line in done.output.splitlines() if line.startswith("step ")]
    word = "reward" if command == "grpo" else "loss"
    assert re.fullmatch(rf"step 3 of 3: {word} [\d.e-]+(, failures [\d.]+ %)?, 0:00:00 left", shown[-1])
    assert "{'" not in done.output
    left = "checkpoint, README.md, completions.jsonl, metrics.jsonl, report.html"
    assert done.output.splitlines()[-1] == f"trained 3 steps; in {folder}: {left}"
    card = (folder / "README.md").read_text()
    assert "Base model: mini" in card
    assert f"r1sgg {command} --model mini" in card
    assert "scenes:64,seed=1" in card
    assert "None" not in card
    assert str(tmp_path) not in card
    assert 'r1sgg.load(".")  # in the folder of this file' in card
    other = tmp_path / "other.html"
    result = CliRunner().invoke(app, ["report", "--runs", str(folder), "--out", str(other)])
    assert result.exit_code == 0, result.output
    for page in (folder / "report.html", other):
        assert 'id="samples-data"' in page.read_text()
        assert '<figure class="chart' in page.read_text()


def test_the_cards_of_a_run_load_what_they_are_the_cards_of(
    r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = {"keep_best": "R@50", "validation": "scenes:2,split=validation", "eval_strategy": "steps", "eval_steps": 1}
    first = 'runs/the "first" é'
    done = r1sgg("sft", Path(first), max_steps=1, save_strategy="steps", save_steps=1, **kept)
    assert done.exit_code == 0, done.output
    for folder in (first, f"{first}/checkpoint-1", f"{first}/best"):
        card = Path(folder, "README.md").read_text()
        (line,) = re.findall(r"^read = r1sgg\.load\((.*)\)$", card, re.MULTILINE)
        assert ast.literal_eval(line) == folder
        assert '\n# the "first" é\n' in card
        assert load_checkpoint(folder).path == folder
