"""Whole checkpoints, full disks, the best model, early stop, and what trackers get."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import Result

from r1sgg.cli import main
from r1sgg.errors import ConfigError, ModelError, TrainingError
from r1sgg.training.checkpoints import (
    STATE_FILE,
    ResumableTrainer,
    atomic_folder,
    check_checkpoint,
    complete_checkpoints,
    last_checkpoint,
    remove_leftovers,
)
from r1sgg.training.logs import StepFile
from r1sgg.training.validation import Validation

Command = Callable[..., Result]


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def same_weights(one: Path, two: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def writer() -> SimpleNamespace:
    """A trainer, as far as `atomic_folder` knows one."""
    return SimpleNamespace(
        accelerator=SimpleNamespace(wait_for_everyone=lambda: None),
        args=SimpleNamespace(should_save=True),
        is_local_process_zero=lambda: True,
    )


# ---------------------------------------------------------------- whole or not there


def test_a_folder_appears_when_everything_is_in_it(writer: SimpleNamespace, tmp_path: Path) -> None:
    target = tmp_path / "checkpoint-3"
    with atomic_folder(target, writer) as partial:
        partial.mkdir(parents=True)
        (partial / "a").write_text("1")
        (partial / STATE_FILE).write_text("{}")
        assert not target.exists()
        assert complete_checkpoints(tmp_path) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-3"]
    assert last_checkpoint(tmp_path) == target
    with atomic_folder(target, writer) as partial:
        partial.mkdir(parents=True)
        (partial / "b").write_text("2")
    assert [p.name for p in target.iterdir()] == ["b"]


def test_files_that_move_into_a_folder_leave_the_others(writer: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("1")
    (tmp_path / "model").write_text("1")
    with atomic_folder(tmp_path, writer, into=True) as partial:
        partial.mkdir(parents=True)
        for name in ("model", STATE_FILE):
            (partial / name).write_text("2")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"old": "1", "model": "2", STATE_FILE: "2"}


def test_what_a_kill_leaves_is_tidied(tmp_path: Path) -> None:
    for name in ("partial/checkpoint-4", "aside-best", "aside-checkpoint-2", "checkpoint-2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a").write_text(name)
    remove_leftovers(tmp_path)
    found = {p.name: (p / "a").read_text() for p in tmp_path.iterdir()}
    assert found == {"best": "aside-best", "checkpoint-2": "checkpoint-2"}


@pytest.mark.parametrize("name", ["partial/notes.txt", "partial/a/b"])
def test_a_folder_that_is_no_run_s_is_not_tidied(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / name, tmp_path / "aside-notes/a", tmp_path / "notes/a"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    with pytest.raises(ConfigError, match="expected half-written checkpoints or none, found other files; move them"):
        remove_leftovers(tmp_path)
    assert sorted(path.read_text() for path in tmp_path.rglob("*") if path.is_file()) == ["mine"] * 3


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The files of a checkpoint, with little in them."""
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    for name in ("config.json", "generation_config.json", STATE_FILE):
        (folder / name).write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "progress_0.pt", "training_args.bin"):
        torch.save({"a": torch.zeros(1000)}, folder / name)
    save_file({"a.weight": torch.zeros(1000)}, folder / "model.safetensors")
    return folder


FILES = (
    *("config.json", STATE_FILE, "optimizer.pt", "scheduler.pt", "rng_state.pth", "progress_0.pt"),
    *("training_args.bin", "model.safetensors"),
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "a web page", "a folder"])
def test_a_damaged_checkpoint_is_named_before_a_run_resumes(name: str, damage: str, checkpoint: Path) -> None:
    check_checkpoint(checkpoint)
    file = checkpoint / name
    content = file.read_bytes()
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    else:
        file.write_bytes({"cut": content[: len(content) // 2], "empty": b""}.get(damage, b"<html>404</html>"))
    with pytest.raises(ModelError) as said:
        check_checkpoint(checkpoint)
    assert str(said.value).startswith(f"--resume: {file}: expected ")
    assert str(said.value).endswith("; without checkpoint-2 the run resumes from the one before")
    assert "\n" not in str(said.value)


def test_a_checkpoint_without_its_optimizer_is_not_resumed_from(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(ModelError, match="expected the state of the optimizer"):
        check_checkpoint(checkpoint)


def test_only_the_disk_is_blamed_for_the_disk(writer: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), atomic_folder(tmp_path / "best", writer):
        raise RuntimeError("shapes differ")


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("file", ["model.safetensors", pytest.param("optimizer.pt", marks=pytest.mark.slow)])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    file: str, r1sgg: Command, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"max_steps": 3, "save_steps": 1}
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert r1sgg("sft", whole, **options).exit_code == 0
    size = (whole / "checkpoint-1" / file).stat().st_size - 1000
    plain = ResumableTrainer._save_checkpoint

    def full(self: Any, *more: Any) -> None:
        if self.state.global_step < 2:
            plain(self, *more)
        else:
            with small_files(size):
                plain(self, *more)

    with monkeypatch.context() as patched:
        patched.setattr(ResumableTrainer, "_save_checkpoint", full)
        with pytest.raises(TrainingError) as stopped:
            r1sgg("sft", folder, **options)
    said = str(stopped.value)
    assert "checkpoint-2: expected room to write it, found " in said
    assert "resume from checkpoint-1, which is complete, with --resume" in said
    assert "\n" not in said
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["checkpoint-1"]
    assert r1sgg("sft", folder, "--resume", **options).exit_code == 0
    assert same_weights(whole, folder)
    assert [row["step"] for row in lines(folder / "metrics.jsonl")] == [1, 2, 3]


def test_a_line_of_the_logs_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = StepFile(tmp_path / "metrics.jsonl")
    file.append([{"step": 1, "text": "x" * 50}])
    with small_files(120), pytest.raises(TrainingError, match=r"metrics\.jsonl: expected room for another line"):
        file.append([{"step": 2, "text": "x" * 80}])
    assert lines(file.path) == [{"step": 1, "text": "x" * 50}]


# ---------------------------------------------------------------- going on


def test_a_run_killed_after_its_last_step_takes_no_other(r1sgg: Command, tmp_path: Path) -> None:
    options = {"max_steps": 2, "save_steps": 2, "validation": "scenes:2,split=validation", "validate_tokens": 8}
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert r1sgg("sft", whole, **options).exit_code == 0
    shutil.copytree(whole, folder)
    for name in ("model.safetensors", STATE_FILE):
        (folder / name).unlink()
    log = lines(whole / "metrics.jsonl")
    assert [row["step"] for row in log if "failure_rate" in row] == [0, 2]
    last = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(last[:-1]))  # before its last evaluation, too
    assert r1sgg("sft", folder, "--resume", **options).exit_code == 0
    assert same_weights(whole, folder)
    assert [{**row, "time": 0} for row in lines(folder / "metrics.jsonl")] == [{**row, "time": 0} for row in log]


def test_a_queue_repeats_one_command(r1sgg: Command, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert r1sgg("sft", folder, "--requeue", max_steps=2, save_steps=1).exit_code == 0
    with pytest.raises(ConfigError, match="expected no earlier run, found checkpoint-2 of one; resume it with"):
        r1sgg("sft", folder, max_steps=2, save_steps=1)
    assert r1sgg("sft", folder, "--requeue", max_steps=3, save_steps=1).exit_code == 0
    assert [row["step"] for row in lines(folder / "metrics.jsonl")] == [1, 2, 3]
    assert "requeue:" not in (folder / "config.yaml").read_text(), "the command is recorded, the option is not a key"


def test_an_adapter_goes_on_too(r1sgg: Command, tmp_path: Path) -> None:
    options = {"max_steps": 3, "save_steps": 1, "use_peft": "true", "lora_r": 2, "lora_dropout": 0.2}
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert r1sgg("sft", whole, learning_rate=1e-2, **options).exit_code == 0
    shutil.copytree(whole, folder)
    for gone in ("checkpoint-3", "checkpoint-2"):
        shutil.rmtree(folder / gone)
    (folder / "adapter_model.safetensors").unlink()
    assert r1sgg("sft", folder, "--resume", learning_rate=1e-2, **options).exit_code == 0
    first, second = (load_file(run / "adapter_model.safetensors") for run in (whole, folder))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(value.abs().sum() > 0 for name, value in first.items() if "lora_B" in name)


# ---------------------------------------------------------------- the best model


def test_the_best_model_is_loaded_at_the_end_and_outlives_the_limit(r1sgg: Command, tmp_path: Path) -> None:
    options = {"max_steps": 4, "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 1e-3}
    best = {"load_best_model_at_end": "true", "metric_for_best_model": "eval_loss", "greater_is_better": "true"}
    more = {"validation": "scenes:2,split=validation", "validate_tokens": 8, "save_total_limit": 2}
    folder = tmp_path / "run"
    done = r1sgg("sft", folder, **more, **options, **best)
    assert done.exit_code == 0, done.output
    assert [p.name for p in complete_checkpoints(folder)] == ["checkpoint-1", "checkpoint-4"]
    assert same_weights(folder, folder / "checkpoint-1")  # the greatest loss is the first
    assert not same_weights(folder, folder / "checkpoint-4")
    assert orjson.loads((folder / STATE_FILE).read_bytes())["best_model_checkpoint"] == str(folder / "checkpoint-1")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Let the evaluations of a run find these values of R@50, step by step."""

    def choose(values: list[float]) -> None:
        def measure(self: Validation, answers: Any) -> dict[str, float]:
            plain = {"failure_rate": 0.0, "relations_per_image": 1.0, "clipped_ratio": 0.0}
            return {**plain, "R@50": values[self.trainer.state.global_step]}

        monkeypatch.setattr(Validation, "measure", measure)

    return choose


VALIDATED = {"validation": "scenes:2,split=validation", "validate_tokens": 8, "validate_steps": 1, "save_steps": 1}


def test_the_best_model_is_kept(r1sgg: Command, tmp_path: Path, figures: Callable[[list[float]], None]) -> None:
    figures([0.1, 0.2, 0.4, 0.4, 0.3])
    folder = tmp_path / "run"
    assert r1sgg("sft", folder, max_steps=4, keep_best="R@50", **VALIDATED).exit_code == 0
    assert same_weights(folder / "best", folder / "checkpoint-2")
    assert not same_weights(folder / "best", folder)
    assert orjson.loads((folder / "best" / "best.json").read_bytes()) == {"step": 2, "R@50": 0.4}
    assert (folder / "best" / "r1sgg.json").is_file()


def test_a_run_that_no_longer_gets_better_stops(
    r1sgg: Command, tmp_path: Path, figures: Callable[[list[float]], None]
) -> None:
    figures([0.1, 0.3, 0.2, 0.3, 0.9, 0.9, 0.9])
    whole, folder = tmp_path / "whole", tmp_path / "run"
    options = {"max_steps": 6, "keep_best": "R@50", "early_stop": 2, "logging_steps": 4, **VALIDATED, "save_steps": 2}
    assert r1sgg("sft", whole, **options).exit_code == 0
    assert [(row["step"], row.get("R@50")) for row in lines(whole / "metrics.jsonl")] == [
        (0, 0.1),
        (1, 0.3),
        (2, 0.2),
        (3, 0.3),
        (3, None),  # the losses since the last line
    ]
    assert [p.name for p in complete_checkpoints(whole)] == ["checkpoint-2", "checkpoint-3"]
    for lost in ("checkpoint-3", ""):  # killed before it stopped, and after
        shutil.copytree(whole, folder)
        (folder / STATE_FILE).unlink()
        if lost:
            shutil.rmtree(folder / lost)
        assert r1sgg("sft", folder, "--resume", **options).exit_code == 0
        assert same_weights(whole, folder)
        assert [r["step"] for r in lines(folder / "metrics.jsonl")] == [
            r["step"] for r in lines(whole / "metrics.jsonl")
        ]
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--keep_best", "R@50"], "keep_best: expected validation to measure by, found none"),
        (["--keep_best", "loss", "--validation", "scenes:2"], "keep_best: expected one of AP, AP50"),
        (["--early_stop", "2"], "early_stop: expected keep_best to stop by, found none"),
        (["--early_stop", "-1", "--keep_best", "f1", "--validation", "scenes:2"], "early_stop: expected a number of"),
    ],
)
def test_what_cannot_be_kept(
    options: list[str], says: str, mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(mini), "--data", "scenes:4", "--output_dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(["sft", *arguments, *options])
    assert says in capsys.readouterr().err


# ---------------------------------------------------------------- trackers


def test_tensorboard_gets_the_evaluation_and_no_step_twice(r1sgg: Command, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tmp_path / "run"
    options = {"report_to": "tensorboard", "max_steps": 4, **VALIDATED, "save_steps": 2}
    assert r1sgg("sft", folder, **options).exit_code == 0
    shutil.rmtree(folder / "checkpoint-4")  # as if killed before it was whole
    assert r1sgg("sft", folder, "--resume", **options).exit_code == 0
    found = accumulator.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.step for event in found.Scalars("eval/R@50")] == [0, 1, 2, 3, 4]


def test_a_run_keeps_its_name_and_number(r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from r1sgg.training.trackers import continue_trackers

    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    monkeypatch.setenv("WANDB_RESUME", "must")  # what a user has set stays
    found = []
    for step in (0, 5, 0):
        arguments = SimpleNamespace(run_name=None, report_to=["wandb"])
        continue_trackers(tmp_path, arguments, [], step)
        found.append((arguments.run_name, os.environ.pop("WANDB_RUN_ID")))
        assert os.environ["WANDB_RESUME"] == "must"
    assert found[0] == found[1] != found[2]
    assert found[0][0] == f"{tmp_path.name}-{found[0][1][:8]}"
