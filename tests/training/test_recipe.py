"""Recipes: what wins, what is inherited, and one sentence for every mistake."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from trl import GRPOConfig

from r1sgg.cli import main
from r1sgg.errors import ConfigError
from r1sgg.training.grpo import without_tokens
from r1sgg.training.options import RewardOptions, RunOptions, TargetOptions
from r1sgg.training.recipe import Recipe, read_recipe

CPU = {"bf16": False, "use_cpu": True, "activation_checkpointing": False}


def read(path: Path | None, *arguments: str) -> Recipe:
    return read_recipe((RunOptions, GRPOConfig, RewardOptions), path, arguments, CPU)


def recipe(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_file_and_the_file_over_what_it_includes(tmp_path: Path) -> None:
    recipe(tmp_path, "learning_rate: 1e-5\nmax_steps: 3\nsamples: 7\n", "base.yaml")
    path = recipe(tmp_path, "include: base.yaml\nmax_steps: 4\nsave_steps: 9\nrewards: {format: 1}\nthink: true\n")
    run, trl, rewards = read(path, "--save_steps", "11", "--no_shuffle_dataset").options
    assert (trl.learning_rate, trl.max_steps, trl.save_steps, trl.shuffle_dataset) == (1e-5, 4, 11, False)
    assert (run.logged_completions, run.think, run.minify) == (7, True, None)
    assert rewards.rewards == {"format": 1}


def test_an_older_name_is_not_overruled_by_a_default(tmp_path: Path) -> None:
    assert read(recipe(tmp_path, "gradient_checkpointing: true")).options[1].activation_checkpointing is True
    assert read(None).options[1].activation_checkpointing is False


@dataclass
class Before523:
    """The option as transformers before 5.23 has it."""

    gradient_checkpointing: bool = True


@pytest.mark.parametrize(
    ("text", "arguments", "wanted"),
    [
        ("", [], False),
        ("activation_checkpointing: true", [], True),
        ("gradient_checkpointing: true", [], True),
        ("activation_checkpointing: true", ["--activation_checkpointing", "false"], False),
        ("activation_checkpointing: false", ["--gradient_checkpointing", "true"], True),
    ],
)
def test_an_older_transformers_understands_both_names(
    tmp_path: Path, text: str, arguments: list[str], wanted: bool
) -> None:
    defaults = {"activation_checkpointing": False}  # as `machine_defaults` says
    found = read_recipe((RunOptions, Before523), recipe(tmp_path, text), arguments, defaults)
    assert found.option(Before523).gradient_checkpointing is wanted


def test_every_trl_option_is_an_option(tmp_path: Path) -> None:
    names = [name for name in GRPOConfig.__dataclass_fields__ if not name.startswith("_")]
    values: dict[str, Any] = {"loss_type": "dr_grpo", "top_k": 7, "generation_kwargs": {"min_new_tokens": 2}}
    assert set(values) <= set(names)
    trl = read(recipe(tmp_path, yaml.safe_dump(values))).options[1]
    assert {name: getattr(trl, name) for name in values} == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_step: 2", "recipe.yaml: 'max_step' is not an option that anything reads; did you mean max_steps"),
        ("max_steps: 2.5", "recipe.yaml: max_steps: expected a whole number, found 2.5"),
        ("learning_rate: fast", "recipe.yaml: learning_rate: expected a number, found 'fast'"),
        ("learning_rate: [1]", "expected one value, found a list of 1"),
        ("fp16: perhaps", "fp16: expected true or false, found 'perhaps'"),
        ("lr_scheduler_type: round", "expected one of linear, cosine"),
        ("- 1\n- 2", "expected a mapping of option names to values, found list"),
        ("a: [", "expected YAML, found"),
        ("include: recipe.yaml", "includes itself"),
        ("include: nowhere.yaml", "nowhere.yaml: expected a YAML recipe, found No such file"),
        ("num_generations: 5", "must be divisible by num_generations"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(recipe(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["grpo", "--num_generation", "4"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip() == (
        "r1sgg: --num_generation is not an option that anything reads; "
        "did you mean --num_generations or --num_generations_eval or --num_iterations?"
    )


def test_only_sft_takes_target_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["grpo", "--object_order", "shuffled"])
    assert "--object_order is not an option that anything reads" in capsys.readouterr().err
    options = read_recipe((RunOptions, GRPOConfig, TargetOptions), None, ["--max_relationships", "0"], CPU).options
    assert options[2] == TargetOptions(max_relationships=0)


def test_a_saved_recipe_gives_the_same_options_again(tmp_path: Path) -> None:
    first = read(recipe(tmp_path, "max_steps: 4\nrewards: {format: 1}\n"), "--resume", "--top_k", "3")
    first.save(tmp_path / "config.yaml", {"versions": {"trl": "1"}})
    again = read(tmp_path / "config.yaml")
    assert again.options[2] == first.options[2]
    assert (again.options[1].max_steps, again.options[1].top_k, again.options[0].resume) == (4, 3, False)


def test_rewards_in_a_recipe_are_a_set_terms_or_a_mapping(tmp_path: Path) -> None:
    for written in ("paper-v4", '{"node": 2}', {"node": 2, "my_rewards.py:my_term": 1}):
        (tmp_path / "recipe.yaml").write_text(json.dumps({"rewards": written}))
        recipe = read_recipe((RewardOptions,), tmp_path / "recipe.yaml", [], {})
        assert recipe.option(RewardOptions).rewards == written
    recipe = read_recipe((RewardOptions,), None, ["--rewards", "my_rewards.py:my_term"], {})
    assert recipe.option(RewardOptions).rewards == "my_rewards.py:my_term"
    assert read_recipe((RewardOptions,), None, [], {}).option(RewardOptions).rewards == "paper-v1"


def test_image_tokens_join_what_a_recipe_suppresses() -> None:
    assert without_tokens({"suppress_tokens": [1], "min_p": 0.1}, [5, 4], vllm=False) == {
        "suppress_tokens": [1, 4, 5],
        "min_p": 0.1,
    }
    assert without_tokens(None, [5], vllm=True) == {"logit_bias": {5: -100.0}}
