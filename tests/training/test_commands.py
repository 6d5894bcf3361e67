"""`r1sgg sft` and `r1sgg grpo` from end to end, two to four steps on a one-layer model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import Result

from r1sgg.cli import main
from r1sgg.data.provenance import read_trained_on
from r1sgg.data.sources import open_data
from r1sgg.data.splits import describe
from r1sgg.miniature.scenes import SMALL, write_scenes
from r1sgg.models.families import load_model

from .vowels import use

Command = Callable[..., Result]


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def four_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sft") / "run"


def test_sft_trains_measures_and_saves_a_checkpoint(r1sgg: Command, mini: Path, four_steps: Path) -> None:
    done = r1sgg(
        "sft", four_steps, max_steps=4, save_steps=2, validation="scenes:3,split=validation", validate_tokens=8
    )
    assert done.exit_code == 0, done.output
    before, after = weights(mini), weights(four_steps)
    moved = [name for name in before if not torch.equal(before[name].float(), after[name].float())]
    assert any("visual" in name for name in moved)
    assert any("visual" not in name for name in moved)
    rows = lines(four_steps / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "failure_rate" in row] == [0, 4]
    assert {"R@50", "AP50", "mR@100", "ngR@20"} <= set(rows[0])
    assert all(row["grad_norm"] > 0 for row in rows if "loss" in row)
    assert load_model(four_steps).settings.prompt == "short"
    assert (four_steps / "checkpoint-2" / "r1sgg.json").is_file()
    saved = yaml.safe_load((four_steps / "config.yaml").read_text())
    assert saved["max_steps"] == 4
    assert saved["recorded"]["data"] == describe(open_data("scenes:64,seed=1"))
    assert saved["recorded"]["validation"]["split"] == "validation"
    assert saved["recorded"]["targets"] == {
        "object_order": "annotated",
        "max_objects": None,
        "max_relationships": None,
        "task": "sgdet",
    }
    assert saved["recorded"]["versions"]["trl"]


def test_a_resumed_run_ends_with_the_same_weights_and_log(r1sgg: Command, four_steps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(four_steps, folder)
    shutil.rmtree(folder / "checkpoint-4")
    (folder / "model.safetensors").unlink()
    (folder / "checkpoint-3").mkdir()  # its writing was interrupted
    options = {"max_steps": 4, "save_steps": 2, "validation": "scenes:3,split=validation", "validate_tokens": 8}
    done = r1sgg("sft", folder, "--resume", **options)
    assert done.exit_code == 0, done.output
    whole, resumed = weights(four_steps), weights(folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for key in ("loss", "failure_rate"):
        first, second = (
            [(row["step"], row[key]) for row in lines(run / "metrics.jsonl") if key in row]
            for run in (four_steps, folder)
        )
        assert first == second


def test_a_checkpoint_remembers_what_it_was_trained_on(r1sgg: Command, four_steps: Path, tmp_path: Path) -> None:
    first = {"command": "sft", **describe(open_data("scenes:64,seed=1")), "vocabulary": "open"}
    assert read_trained_on(four_steps) == read_trained_on(four_steps / "checkpoint-2") == [first]
    folder = tmp_path / "run"
    options = {"model": four_steps, "data": "scenes:16,seed=2", "max_steps": 1, "save_strategy": "no"}
    done = r1sgg("grpo", folder, num_generations=2, max_completion_length=8, **options)
    assert done.exit_code == 0, done.output
    assert [stage["command"] for stage in read_trained_on(folder)] == ["sft", "grpo"]
    assert read_trained_on(folder)[0] == first
    assert read_trained_on(folder)[1]["name"] == "scenes:16,seed=2"


def test_targets_change_from_the_second_epoch_on_also_in_a_run_that_goes_on(
    r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from r1sgg.training.rows import TrainingRows

    made: list[tuple[int, int]] = []
    plain = TrainingRows._make

    def make(self: TrainingRows, row: int) -> dict[str, Any]:
        made.append((self.epoch, row))
        return plain(self, row)

    monkeypatch.setattr(TrainingRows, "_make", make)
    options = {"data": "scenes:8,seed=1", "save_steps": 1, "object_order": "shuffled", "num_train_epochs": 2}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert r1sgg("sft", whole, **options).exit_code == 0
    trained = [epoch for epoch, _ in made][-16:]
    assert trained == [0] * 8 + [1] * 8
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoint-4")
    made.clear()
    assert r1sgg("sft", resumed, "--resume", **options).exit_code == 0
    assert {epoch for epoch, _ in made[-4:]} == {1}
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    in_order = tmp_path / "in_order"
    assert r1sgg("sft", in_order, **{**options, "object_order": "annotated"}).exit_code == 0
    other, same = weights(in_order), weights(whole)
    assert any(not torch.equal(other[name], same[name]) for name in other)


def test_grpo_logs_each_reward_and_samples(r1sgg: Command, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("rewards: {format: 1, hard_recall: 5}\nsimilarity: exact\n")
    folder = tmp_path / "run"
    options = {"max_steps": 2, "num_generations": 2, "max_completion_length": 8, "logged_completions": 3}
    done = r1sgg("grpo", folder, "--config", str(path), **options)
    assert done.exit_code == 0, done.output
    rows = lines(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert {"reward", "rewards/format/mean", "rewards/hard_recall/mean"} <= set(rows[0])
    samples = lines(folder / "completions.jsonl")
    assert [row["step"] for row in samples] == [1] * 3 + [2] * 3
    assert set(samples[0]["terms"]) == {"format", "hard_recall"}
    assert not any("<|image_pad|>" in row["completion"] for row in samples)
    assert load_model(folder).settings.prompt == "short"


def test_a_resumed_grpo_run_ends_with_the_same_weights(
    r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("vowels", monkeypatch)
    options = {"max_steps": 2, "save_steps": 1, "num_generations": 2, "max_completion_length": 8}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert r1sgg("grpo", whole, **options).exit_code == 0
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoint-2")
    assert r1sgg("grpo", resumed, "--resume", **options).exit_code == 0
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("metrics.jsonl", "completions.jsonl"):
        assert [row["step"] for row in lines(whole / name)] == [row["step"] for row in lines(resumed / name)]
    assert lines(whole / "completions.jsonl") == lines(resumed / "completions.jsonl")


def test_grpo_moves_the_weights_by_a_term_of_a_users_file(r1sgg: Command, mini: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    term = f"{Path(__file__).with_name('vowels.py')}:vowels"
    (tmp_path / "recipe.yaml").write_text(f'rewards: {{format: 1, "{term}": 2}}\n')
    options = {"max_steps": 2, "num_generations": 4, "max_completion_length": 12, "learning_rate": 1e-3}
    done = r1sgg("grpo", folder, "--config", str(tmp_path / "recipe.yaml"), **options)
    assert done.exit_code == 0, done.output
    rows = lines(folder / "metrics.jsonl")
    assert all(row["grad_norm"] > 0 for row in rows)
    assert all(row["rewards/vowels/mean"] > 0 and row["completions/failure_rate"] == 1 for row in rows)
    sampled = lines(folder / "completions.jsonl")
    assert all(set(row["terms"]) == {"format", "vowels"} for row in sampled)
    assert all(row["total"] == pytest.approx(row["terms"]["format"] + 2 * row["terms"]["vowels"]) for row in sampled)
    assert yaml.safe_load((folder / "config.yaml").read_text())["rewards"] == {"format": 1, term: 2}
    before, after = weights(mini), weights(folder)
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)


def test_images_left_out_are_told_by_the_exit_code(r1sgg: Command, tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "data", 8, 0, SMALL)
    (tmp_path / "data" / orjson.loads(path.read_bytes().splitlines()[0])["image"]).unlink()
    done = r1sgg("sft", tmp_path / "run", data=path, max_steps=1, save_strategy="no")
    assert done.exit_code == 1
    assert "1 images could not be used" in done.output


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_two_steps_on_photos(command: str, r1sgg: Command, tmp_path: Path, shared: Path) -> None:
    from r1sgg.data.base import write_ground_truth
    from r1sgg.data.visual_genome import read_visual_genome
    from r1sgg.graph.vocabulary import VG150

    sample = shared / "data" / "vg_sample"
    found = read_visual_genome(
        sample / "raw_objects_1-15.json",
        sample / "raw_relationships_1-50.json",
        vocabulary=VG150,
        images=sample / "images",
    )
    examples = [e for e in found if e.image is not None and e.image.is_file() and len(e.graph)]
    assert len(examples) >= 3
    path = tmp_path / "gt.jsonl"
    write_ground_truth(path, examples)
    more = {"num_generations": 2, "max_completion_length": 8} if command == "grpo" else {}
    done = r1sgg(command, tmp_path / "run", data=path, max_steps=2, save_strategy="no", **more)
    assert done.exit_code == 0, done.output
    assert [row["step"] for row in lines(tmp_path / "run" / "metrics.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output_dir", "out"], "expected data, found none"),
        (["--data", "scenes:4"], "expected an output_dir, found none"),
        (["--data", "nowhere.jsonl", "--output_dir", "out"], "nowhere.jsonl: expected a readable JSON Lines file"),
        (
            ["--data", "scenes:4", "--output_dir", "out", "--resume"],
            "expected a checkpoint-N folder in out, found none",
        ),
        (
            ["--data", "scenes:4", "--output_dir", "out", "--prompt", "long"],
            "the recipe: prompt: expected open, closed, a file or column:NAME, found 'long'",
        ),
        (["--data", "scenes:4", "--output_dir", "out", "--max_objects", "0"], "max_objects: expected 1 or more"),
        (["--data", "scenes:4", "--output_dir", "out", "--object_order", "random"], "object_order"),
        (
            ["--data", "instruct:4", "--output_dir", "out", "--max_objects", "3"],
            "'instruct:4' holds instructions; object_order and limits are for scene graphs",
        ),
        (
            ["--data", "instruct:4,size=2", "--output_dir", "out"],
            "found 'size=2'",
        ),
        (
            ["--data", "scenes:4,questions=100", "--output_dir", "out"],
            "expected questions= a percentage from 1 to 99, found 100",
        ),
    ],
)
def test_what_cannot_start_is_one_sentence(
    arguments: list[str],
    says: str,
    mini: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["sft", "--model", str(mini), *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert error.count("\n") == 0
