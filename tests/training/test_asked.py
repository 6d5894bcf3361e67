"""How a recipe says what is asked: prompt files, prompts in the data; and a model that is named by a relative path."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from r1sgg.errors import ConfigError, InputError
from r1sgg.miniature.scenes import SMALL, write_scenes
from r1sgg.models.families import load_checkpoint, load_model
from r1sgg.models.prompts import AnswerSettings
from r1sgg.training.rows import TrainingRows, open_source

Command = Callable[..., Result]


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Ground truth whose images have a prompt, but for the last one's "half"."""
    truth = write_scenes(tmp_path / "scenes", 3, 5, SMALL, "train")
    rows = [json.loads(line) for line in truth.read_text().splitlines()]
    for k, row in enumerate(rows):
        row["meta"] = {"told": f"Image {k}.", **({"half": "Half."} if k < 2 else {})}
    path = truth.with_name("told.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_asked_by_their_own_prompts_or_by_none(mini: Path, told: Path) -> None:
    checkpoint = load_checkpoint(mini)

    def rows(column: str) -> TrainingRows:
        asked = replace(checkpoint, settings=replace(checkpoint.settings, column=column))
        return TrainingRows(open_source(str(told)), asked, completion=True)

    assert [row["prompt"][-1]["content"] for row in rows("told")] == ["Image 0.", "Image 1.", "Image 2."]
    assert rows("told").own_prompts
    assert not rows("other").own_prompts
    assert rows("other")[0]["prompt"] == checkpoint.messages(rows("other")[0]["image"].size)
    with pytest.raises(InputError, match="half: expected a prompt, as the first image has, found none"):
        list(rows("half"))


SMALL_RUN = {"max_steps": 1, "per_device_train_batch_size": 2, "save_strategy": "no"}


def test_a_run_keeps_the_column_and_refuses_one_that_is_not_there(r1sgg: Command, told: Path, tmp_path: Path) -> None:
    done = r1sgg(
        "sft", tmp_path / "run", data=told, prompt="column:told", validation=told, validate_tokens=4, **SMALL_RUN
    )
    assert done.exit_code == 0, done.output
    assert AnswerSettings.read(tmp_path / "run").column == "told"
    assert (
        yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["recorded"]["answer_settings"]["column"]
        == "told"
    )
    with pytest.raises(ConfigError, match=r"prompt: expected a column of the data, .* found no text 'other'"):
        r1sgg("sft", tmp_path / "other", data=told, prompt="column:other", **SMALL_RUN)


def test_a_prompt_file_goes_with_the_checkpoint_and_its_text_counts_when_it_resumes(
    r1sgg: Command, tmp_path: Path
) -> None:
    asked = tmp_path / "mine.txt"
    asked.write_text("What is where?")
    options = {"prompt": asked, "per_device_train_batch_size": 2, "save_steps": 1}
    assert r1sgg("sft", tmp_path / "run", max_steps=1, **options).exit_code == 0
    settings = AnswerSettings.read(tmp_path / "run")
    assert (settings.prompt, settings.own) == ("own", "What is where?")
    (message,) = load_checkpoint(tmp_path / "run").messages((112, 112))
    assert message["content"] == "What is where?"
    asked.write_text("What else?")
    with pytest.raises(ConfigError, match=r"prompt .* \(the model learns the other prompt\)"):
        r1sgg("sft", tmp_path / "run", "--resume", max_steps=2, **options)


def test_an_adapter_of_a_model_with_a_relative_name_loads_from_anywhere(
    r1sgg: Command, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").symlink_to(mini)
    monkeypatch.chdir(tmp_path)
    assert r1sgg("sft", Path("run"), model="base", use_peft=True, lora_r=2, **SMALL_RUN).exit_code == 0
    record = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert record["base_model_name_or_path"] == str(tmp_path / "base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_model(tmp_path / "run")
    record["base_model_name_or_path"] = "base"  # as earlier versions wrote it
    (tmp_path / "run" / "adapter_config.json").write_text(json.dumps(record))
    with pytest.raises(Exception, match="a relative path counts from the current folder"):
        load_model(tmp_path / "run")
