"""Help, completion and the check of names list the options that the recipe reader takes, without importing it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.cli.recipe_options import OURS, USUAL, our_options, panel_of, trl_options

COMMANDS = ("sft", "grpo")


def classes(command: str) -> list[Any]:
    from r1sgg.training import options, parts, rollouts

    return [getattr(m, name) for name in OURS[command] for m in (options, parts, rollouts) if hasattr(m, name)][
        : len(OURS[command])
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_ours_are_those_of_the_classes_with_defaults_and_help(command: str) -> None:
    by_name = {cls.__name__: cls for cls in classes(command)}
    listed = our_options(command)
    assert [(o.owner, o.name) for o in listed] == [
        (name, f.name) for name in OURS[command] for f in dataclasses.fields(by_name[name])
    ]
    for option in listed:
        field = next(f for f in dataclasses.fields(by_name[option.owner]) if f.name == option.name)
        shown = {None: "", True: "true", False: "false"}
        default = shown[field.default] if field.default is None or isinstance(field.default, bool) else field.default
        assert option.default == str(default)
        assert option.help == field.metadata["help"]
        assert panel_of(option)


@pytest.mark.parametrize("command", COMMANDS)
def test_trls_are_those_of_the_installed_trl(command: str) -> None:
    from trl import GRPOConfig, SFTConfig

    config = {"sft": SFTConfig, "grpo": GRPOConfig}[command]
    real = {f.name: f for f in dataclasses.fields(config) if f.init}
    listed = {option.name: option for option in trl_options(command)}
    assert set(listed) == set(real)
    assert set(USUAL[command]) <= set(real)
    for name in ("num_train_epochs", "max_grad_norm", "logging_steps", "per_device_train_batch_size", "save_steps"):
        assert float(listed[name].default) == real[name].default
    assert sum(not option.help for option in listed.values()) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_ours_by_group_and_says_how_to_reach_trls(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    text = CliRunner().invoke(app, [command, "--help"]).output
    for option in our_options(command):
        assert f"--{option.name} " in text
        assert panel_of(option) in text
    assert "[default: 200]" in text  # validate_images
    assert f"r1sgg {command} --help trl" in text
    assert "--adam_beta2" not in text
    every = CliRunner().invoke(app, [command, "--help", "trl"]).output
    assert all(f"--{option.name}" in every for option in trl_options(command))
    assert "transformers.TrainingArguments" in every


REFUSED = """
import json, sys
from r1sgg.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as stop:
    print(json.dumps({"code": stop.code, "torch": "torch" in sys.modules, "trl": "trl" in sys.modules}))
"""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sft", "--max_step", "3"], "--max_step is not an option that anything reads; did you mean --max_steps"),
        (["grpo", "--data", "scenes:4", "--reward=balanced"], "did you mean --rewards"),
        (["grpo", "--confg", "x.yaml"], "did you mean --config"),
        (["sft", "--config", "wrong.yaml"], "wrong.yaml: 'learning_rat' is not an option that anything reads"),
        (["sft", "--include", "wrong.yaml"], "wrong.yaml: 'learning_rat'"),
        (["sft", "--rewards", "balanced"], "--rewards is not an option that anything reads"),
        (["grpo", "--rewards", "mine.py:term"], "rewards: expected a Python file, found none at mine.py"),
        (["grpo", "--rewards=terms.py:tern"], "rewards: terms.py: expected a function 'tern', found np, term, torch"),
        (["grpo", "--include", "rewards.yaml"], "rewards: expected a term among format, "),
        (["sft", "--data", "train.jsn"], "train.jsn: expected a readable JSON Lines file, found No such file"),
        (["grpo", "--data", "."], "expected a ground-truth file (JSON Lines), or KIND:PATH, found a folder; with anno"),
        (
            ["sft", "--data", "train.jsonl"],
            "the command line: expected an output_dir, found none; add --output_dir FOL",
        ),
        (["grpo", "--output_dir", "x", "--include", "data.yaml"], "expected data, found none; add --data GT.jsonl"),
        (["grpo", "--similarity", "glvoe"], "similarity: expected one of glove, exact, spacy:MODEL, found 'glvoe'"),
        (["grpo", "--similarity=spacy:none_such"], "spacy"),
        (["sft", "--vocabulary", "vg15"], "vocabulary 'vg15': expected one of vg150, psg, open, "),
        (["sft", "--data", "scenes:4", "--validation", "coco:val.json"], "val.json: expected"),
    ],
)
def test_a_misspelt_name_is_refused_before_torch_is_imported(arguments: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("learning_rat: 1e-5\n")
    (tmp_path / "rewards.yaml").write_text("rewards: {formt: 1}\n")
    (tmp_path / "data.yaml").write_text("data:\n")
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "terms.py").write_text("import torch\nimport numpy as np\n\ndef term(evidence): ...\n")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, json.dumps(arguments)], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert json.loads(done.stdout) == {"code": 2, "torch": False, "trl": False}
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_the_reader_takes_is_not_refused(tmp_path: Path) -> None:
    from r1sgg.cli.training import check_names

    (tmp_path / "r.yaml").write_text("samples: 3\ngradient_checkpointing: false\nrecorded: {x: 1}\ninclude: b.yaml\n")
    (tmp_path / "b.yaml").write_text("learning_rate: 1e-5\nrewards: {format: 1}\n")
    arguments = ["--no_shuffle_dataset", "--max-steps=3", "--resume", "--learning_rate", "-1", "--include"]
    check_names("grpo", tmp_path / "r.yaml", [*arguments, str(tmp_path / "b.yaml")])


def test_the_root_lists_commands_by_what_they_are_for() -> None:
    import typer.main

    from r1sgg.cli.root import PANELS

    text = CliRunner().invoke(app, ["--help"]).output
    places = [text.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {name for names in PANELS.values() for name in names} == set(commands)
