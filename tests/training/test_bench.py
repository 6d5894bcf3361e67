"""`r1sgg bench`: what it trains, resumes and compares; trainings are stand-ins, answers are scored for real."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.cli.bench_runs import Commands, seconds
from r1sgg.data.sources import open_data
from r1sgg.errors import TrainingError
from r1sgg.graph.text import render
from r1sgg.metrics import seeds as over_seeds
from r1sgg.miniature.shipped import bench_entries

SCENES = 6


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that the bench has run. A training takes 2 seconds; answers have as many relations as it had steps."""
    ran: list[list[str]] = []

    def run(commands: Commands, arguments: Sequence[str], log: Path, spent: Path | None = None) -> None:
        ran.append([str(word) for word in arguments])
        if arguments[0] != "generate":
            folder, recipe = Path(value(arguments, "--output_dir")), Path(value(arguments, "--config"))
            folder.mkdir()
            (folder / "trainer_state.json").write_text(str(yaml.safe_load(recipe.read_text())["max_steps"]))
            assert spent is not None
            spent.write_text(f'{{"cpu_seconds": {seconds(spent) + 2}}}')
            return
        most = int((Path(value(arguments, "--model")) / "trainer_state.json").read_text())
        lines = []
        for example in open_data(value(arguments, "--images")):
            graph = example.graph
            kept = list(range(len(graph.pairs)))[:most]
            text = render(
                replace(
                    graph,
                    pairs=tuple(graph.pairs[k] for k in kept),
                    predicates=tuple(graph.predicates[k] for k in kept),
                ),
                (1000, 1000),
            )
            lines.append(orjson.dumps({"image_id": example.image_id, "frame": [1000, 1000], "completion": text}))
        target = Path(value(arguments, "--out"))
        already = target.read_bytes().count(b"\n") if target.is_file() else 0
        with target.open("ab") as file:
            file.writelines(line + b"\n" for line in lines[already:])

    monkeypatch.setattr(Commands, "run", run)
    monkeypatch.setattr(over_seeds, "RESAMPLES", 50)
    monkeypatch.chdir(tmp_path)
    Path("grpo.yaml").write_text("max_steps: 3\nrewards: paper-v4\n")
    Path("sft.yaml").write_text("max_steps: 3\n")
    return ran


def value(arguments: Sequence[str], option: str) -> str:
    return str(arguments[list(arguments).index(option) + 1])


def start(*arguments: str, code: int = 0, config: str = "") -> str:
    config = config or ("sft.yaml" if "sft" in arguments else "grpo.yaml")
    result = CliRunner().invoke(app, ["bench", *arguments, "--config", config, "--scenes", str(SCENES)])
    assert result.exit_code == code, result.output
    if code:
        return str(result.exception)
    return result.output


def test_an_idea_is_compared_with_recipe_and_control_on_the_same_scenes(done: list[list[str]]) -> None:
    said = start("recipe", "--seeds", "2", "--max_steps", "1")
    assert "compared with nothing" in said
    assert f"seed 1: trains; its output goes to {Path('bench/recipe/s1.log')}" in said
    assert f"seed 1: answers {SCENES} test scenes, sampled" in said
    start("control", "--stage", "sft", "--seeds", "1", "--max_steps", "9")
    output = start("idea", "--seeds", "2", "--max_steps", "9", "--num_generations", "4")
    assert "compared with nothing" not in output
    row = orjson.loads(Path("bench/idea/results.json").read_bytes())
    assert row["greedy"]["R@50 truth"][0] == 1
    assert row["greedy"]["R@50 / recipe"][0] > 1
    assert row["greedy"]["R@50 / control"] == [1, 1, 1]
    assert row["sampled"]["precision - control"] == [0, 0, 0]
    assert row["cpu_seconds"] == 4
    table = Path("bench/table.md").read_text()
    assert [line.split()[1] for line in table.splitlines() if " x 6 " in line] == ["control", "idea", "recipe"] * 2
    assert value(next(words for words in done if words[0] == "sft"), "--data").endswith(
        "seed=20,annotation=vg,questions=20"
    )
    trained = [words for words in done if words[0] == "grpo"]
    assert yaml.safe_load(Path(value(trained[-1], "--config")).read_text())["num_generations"] == 4
    assert {value(words, "--data") for words in trained} == {
        f"scenes:200000,seed={seed},annotation=vg" for seed in (10, 11)
    }
    assert all(value(words, "--model") == "tiny-sft" for words in trained)


def test_the_package_has_what_ideas_are_compared_with(done: list[list[str]]) -> None:
    """The shipped figures are those of the shipped answers, and an idea on those scenes is compared with them."""
    shipped = bench_entries()
    for name in ("recipe", "control", "recipe-short", "control-short"):
        entry = shipped / name
        row = orjson.loads((entry / "results.json").read_bytes())
        assert row["scenes"] == 1000
        assert len(list(entry.glob("s*.greedy.jsonl"))) == len(list(entry.glob("s*.sampled.jsonl"))) == row["seeds"]
    truth, annotation = (list(open_data(f"scenes:1000,seed=1,split=test,annotation={how}")) for how in ("full", "vg"))
    row = orjson.loads((shipped / "control-short/results.json").read_bytes())
    runs = over_seeds.runs_of(sorted((shipped / "control-short").glob("s*.sampled.jsonl")), truth, annotation)
    assert over_seeds.summary(runs, "R@50 truth")[0] == pytest.approx(row["sampled"]["R@50 truth"][0])
    assert "control" in {line.split()[1] for line in table_of("idea") if " x 1000 " in line}


def table_of(name: str) -> list[str]:
    start(name, "--seeds", "1", "--max_steps", "1")
    return Path("bench/table.md").read_text().splitlines()


def test_a_short_entry_has_its_own_steps_and_its_own_company(done: list[list[str]]) -> None:
    start("recipe", "--seeds", "1", "--max_steps", "1")
    assert "compared with nothing" in start("idea", "--short", "--seeds", "1")
    assert Path("bench/idea-short/s0/trainer_state.json").read_text() == "15", "not the recipe's 3"
    assert "with --short" in start("idea", "--short", "--max_steps", "9", code=1)
    assert "idea-short: recipe.max_steps: expected" in start("idea-short", "--seeds", "1", code=1)
    start("recipe", "--short", "--seeds", "1")
    assert "R@50 / recipe" in start("other", "--short", "--seeds", "1")
    assert Path("bench/idea-short/s0.greedy.jsonl").is_file()


def test_the_same_command_resumes_and_another_is_refused(done: list[list[str]]) -> None:
    start("idea", "--seeds", "1", "--max_steps", "1")
    ran = len(done)
    Path("bench/idea/s0.sampled.jsonl").unlink()
    start("idea", "--seeds", "2", "--max_steps", "1")
    assert [words[0] for words in done[ran:]].count("grpo") == 1, "one more seed"
    assert [words[0] for words in done[ran:]].count("generate") == 3
    refused = start("idea", "--max_steps", "2", code=1)
    assert "idea: recipe.max_steps: expected an entry with the same settings (2), found 1" in refused
    assert "choose another name, or remove" in refused
    assert "expected a name" in start("../idea", code=1)
    assert "expected grpo or sft" in start("idea", "--stage", "dpo", code=1)


def test_answers_that_are_cut_off_are_completed(done: list[list[str]]) -> None:
    start("idea", "--seeds", "1")
    answers, ran = Path("bench/idea/s0.greedy.jsonl"), len(done)
    whole = answers.read_bytes()
    answers.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    start("idea", "--seeds", "1")
    assert [words[0] for words in done[ran:]] == ["generate"], "which resumes; the other file has all"
    assert answers.read_bytes() == whole
    shutil.rmtree("bench/idea/s0")
    start("idea", "--seeds", "1")
    assert len(done) == ran + 1, "a model that has answered everything may be removed"
    assert "recipe.max_steps: expected" in start("idea", "--seeds", "1", "--max_steps", "1", code=1), "it has answers"
    answers.write_bytes(whole[:-9])
    start("idea", "--seeds", "1")
    assert [words[0] for words in done[ran + 1 :]] == ["grpo", "generate", "generate"], "a new model answers anew"
    assert answers.read_bytes() == whole
    assert orjson.loads(Path("bench/idea/results.json").read_bytes())["cpu_seconds"] == 2
    Path("bench/idea/settings.json").unlink()
    refused = start("idea", "--seeds", "1", code=1)
    assert "settings.json: expected the settings of the work in this folder, found none; choose another name" in refused


def test_another_recipe_or_reward_under_the_same_name_is_refused(done: list[list[str]]) -> None:
    term = "def mine(evidence):\n    return {}\n"
    Path("terms.py").write_text(term.format(1))
    start("idea", "--seeds", "1", "--rewards", "terms.py:mine")
    Path("terms.py").write_text(term.format(2))
    refused = start("idea", "--seeds", "1", "--rewards", "terms.py:mine", code=1)
    assert "idea: expected terms.py as it was when the entry was begun, found that it was changed since" in refused
    Path("terms.py").write_text(term.format(1))
    Path("grpo.yaml").write_text("max_steps: 4\nrewards: paper-v4\n")
    refused = start("idea", "--seeds", "1", "--rewards", "terms.py:mine", code=1)
    assert "idea: recipe.max_steps: expected an entry with the same settings (4), found 3" in refused


def test_a_file_that_changes_between_two_seeds_stops_the_second(
    done: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe is read once; a file of terms is read by each training."""
    Path("terms.py").write_text("def mine(evidence):\n    return 1\n")
    real = Commands.run

    def run(commands: Commands, arguments: Sequence[str], *rest: Any) -> None:
        real(commands, arguments, *rest)
        Path("grpo.yaml").write_text("rewards: nothing\n")
        if arguments[0] == "grpo":
            Path("terms.py").write_text("def mine(evidence):\n    return 2\n")

    with monkeypatch.context() as patched:
        patched.setattr(Commands, "run", run)
        refused = start("idea", "--jobs", "1", "--seeds", "2", "--rewards", "terms.py:mine", code=1)
    assert "expected terms.py as it was when the entry was begun" in refused
    assert [words[0] for words in done] == ["grpo", "generate", "generate"]
    Path("grpo.yaml").write_text("max_steps: 3\nrewards: paper-v4\n")
    done.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Commands, "run", run)
        start("other", "--jobs", "1", "--seeds", "2")
    assert [Path(f"bench/other/s{seed}/trainer_state.json").read_text() for seed in (0, 1)] == ["3", "3"]


def test_a_failure_begins_nothing_new_and_lets_the_rest_end(
    done: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Commands.run

    def run(commands: Commands, arguments: Sequence[str], log: Path, *rest: Any) -> None:
        if log.name == "s1.log":
            raise TrainingError("seed 1 is unlucky")
        if arguments[0] == "grpo":
            time.sleep(1)
        real(commands, arguments, log, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Commands, "run", run)
        assert start("idea", "--jobs", "2", "--seeds", "5", code=1) == "seed 1 is unlucky"
    assert [words[0] for words in done] == ["grpo"], "that of seed 0, which ran"
    start("idea", "--seeds", "5")
    assert orjson.loads(Path("bench/idea/results.json").read_bytes())["seeds"] == 5


def test_only_finished_entries_are_compared_with(done: list[list[str]]) -> None:
    start("recipe", "--seeds", "1", "--max_steps", "1")
    before = orjson.loads(Path("bench/recipe/results.json").read_bytes())
    for name in ("s1", "s0-old"):
        Path(f"bench/recipe/{name}.greedy.jsonl").write_text("junk\n")
    start("idea", "--seeds", "1", "--max_steps", "1")
    row = orjson.loads(Path("bench/idea/results.json").read_bytes())
    assert row["greedy"]["R@50 / recipe"] == [1, 1, 1]
    assert row["greedy"]["R@50 truth"] == before["greedy"]["R@50 truth"]
    Path("bench/recipe/s0.greedy.jsonl").unlink()
    said = start("another", "--seeds", "1", "--max_steps", "1")
    assert f"{Path('bench/recipe')}: not compared with, because its answers are incomplete" in said
    assert "compared with nothing" in said


def test_every_value_of_a_recipe_can_be_resumed(done: list[list[str]]) -> None:
    Path("grpo.yaml").write_text(
        "max_steps: 3\nrewards: {format: 1, node: 2}\nmax_grad_norm: .inf\nrun_name: 2024-01-01\n"
        "lora_target_modules: [q_proj]\n"
    )
    start("idea", "--seeds", "1")
    ran = len(done)
    start("idea", "--seeds", "1")
    start("idea", "--seeds", "1", "--max_steps", "3")
    assert len(done) == ran
    refused = start("idea", "--seeds", "1", "--lora_target_modules", "q_proj", "v_proj", code=1)
    assert "recipe.lora_target_modules: expected an entry with the same settings (['q_proj', 'v_proj'])" in refused


def test_other_weights_of_the_same_name_are_another_start(done: list[list[str]]) -> None:
    Path("m").mkdir()
    Path("m/config.json").write_text("{}")
    start("idea", "--seeds", "1", "--model", "./m")
    Path("m/config.json").write_text('{"x": 1}')
    assert "idea: expected ./m as it was when" in start("idea", "--seeds", "2", "--model", "./m", code=1)


def test_figures_are_those_of_the_seeds_that_were_asked_for(done: list[list[str]]) -> None:
    start("idea", "--seeds", "1")
    one = orjson.loads(Path("bench/idea/results.json").read_bytes())
    for how in ("greedy", "sampled"):
        Path(f"bench/idea/s1.{how}.jsonl").write_bytes(b"")
    start("idea", "--seeds", "1")
    assert orjson.loads(Path("bench/idea/results.json").read_bytes()) == one


def test_a_wrong_option_or_reward_leaves_no_entry_behind(done: list[list[str]]) -> None:
    """Else the corrected command would be refused, because the entry has other settings."""
    Path("bench/other").mkdir(parents=True)
    for said, *wrong in (
        ("FILE.py|no.* at mine.py", "--rewards", "mine.py:term"),
        ("num_generation ", "--num_generation", "4"),
        ("--output_dir: expected none, because the bench chooses it", "--output-dir=elsewhere"),
        ("--seed: expected none", "--seed", "7"),
        ("--requeue: expected none", "--no_requeue"),
        ("invalid int value: 'abc'", "--num_generations", "abc"),
        ("no-such-folder", "--model", "./no-such-folder"),
        ("pass --stage grpo", "--stage", "sft"),
    ):
        refused = start("idea", *wrong, code=1, config="grpo.yaml")
        assert re.search(said, refused), refused
    assert "one of SFT needs --stage sft" in start("idea", code=1, config="sft.yaml")
    junk: dict[str, Any] = {"seeds": 1, "scenes": 1, "cpu_seconds": None, "greedy": [], "sampled": {}}
    for wrong_json in (b"[]", orjson.dumps(junk), orjson.dumps({"hello": 1})):
        Path("bench/other/results.json").write_bytes(wrong_json)
        assert "other/results.json: expected the results of an entry" in start("idea", code=1)
    assert not Path("bench/idea").exists()
    assert not done


def test_an_entry_whose_training_never_began_takes_other_settings(
    done: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(commands: Commands, arguments: Sequence[str], log: Path, spent: Path | None = None) -> None:
        assert spent is not None
        spent.write_text('{"cpu_seconds": 9}')
        raise TrainingError("no such value")

    with monkeypatch.context() as broken:
        broken.setattr(Commands, "run", fails)
        assert "no such value" in start("idea", "--seeds", "1", "--num_generations", "8", code=1)
    start("idea", "--seeds", "1", "--num_generations", "4")
    assert orjson.loads(Path("bench/idea/results.json").read_bytes())["cpu_seconds"] == 2, "the other 9 left nothing"


def test_what_a_recipe_says_and_the_bench_does_not_read_is_said(done: list[list[str]]) -> None:
    Path("grpo.yaml").write_text(
        "max_steps: 3\nrewards: paper-v4\nmodel: tiny-base\ndata: scenes:9,seed=3,preset=small,annotation=full\n"
    )
    said = start("idea", "--seeds", "1")
    assert "grpo.yaml: its model, tiny-base, is not used: the bench takes tiny-sft" in said
    assert "its data, scenes:9,seed=3,preset=small,annotation=full, is not used: the bench takes scenes:200000" in said
    data = "scenes:200000,seed=2,preset=small,annotation=vg"
    Path("grpo.yaml").write_text(f"max_steps: 3\nrewards: paper-v4\nmodel: tiny-sft\ndata: {data}\n")
    assert "not used" not in start("another", "--seeds", "1")


@pytest.mark.parametrize("status", [9, 0])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_commands_too_and_no_other_begins(
    number: signal.Signals, status: int, tmp_path: Path, done: list[list[str]]
) -> None:
    """For real: the command that runs gets one SIGTERM; if it ends well despite that, no other follows."""
    command = (
        f"import signal, sys, time; signal.signal(15, lambda *_: (print(15), sys.exit({status}))); "
        "print(1, flush=True); time.sleep(60)"
    )
    script = (
        "import signal, subprocess, sys, types\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs in the background begin without it
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from r1sgg.cli import bench_runs, main\n"
        f"start = lambda words, **more: subprocess.Popen([sys.executable, '-c', {command!r}], **more)\n"
        "bench_runs.subprocess = types.SimpleNamespace(Popen=start, STDOUT=subprocess.STDOUT)\n"
        "main(['bench', 'idea', '--config', 'grpo.yaml', '--jobs', '1', '--seeds', '2'])\n"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    log = tmp_path / "bench/idea/s0.log"
    try:
        for _ in range(1200):
            if log.is_file() and log.read_text().startswith("1"):
                break
            time.sleep(0.1)
        running.send_signal(number)
        _, said = running.communicate(timeout=50)
    finally:
        running.kill()
    assert running.returncode == 128 + number, said
    assert "idea: stopped; the same command resumes it" in said
    assert "seed 1" not in said
    assert log.read_text().split() == ["1", "15"]
    assert not (tmp_path / "bench/idea/s1.log").exists()


def test_a_command_that_fails_is_one_sentence_and_leaves_its_log(tmp_path: Path) -> None:
    commands, log, spent = Commands(), tmp_path / "s0.log", tmp_path / "s0.json"
    with pytest.raises(TrainingError, match=r"r1sgg grpo ended with 2: r1sgg: .*nowhere.yaml.*all of it"):
        commands.run(["grpo", "--config", "nowhere.yaml"], log, spent)
    assert "nowhere.yaml" in log.read_text()
    failed = seconds(spent)
    commands.run(["--version"], log, spent)
    assert seconds(spent) > failed > 0, "failures cost time, too"
    commands.stop(now=False)
    with pytest.raises(TrainingError, match="not begun"):
        commands.run(["--version"], log)
