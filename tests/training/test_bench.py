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
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app, bench
from r1sgg.data.sources import open_data
from r1sgg.errors import TrainingError
from r1sgg.graph.text import render
from r1sgg.metrics import seeds
from r1sgg.miniature.shipped import bench_entries

SCENES = 6


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that the bench has run. A training takes 2 seconds; answers have as many relations as it had steps."""
    ran: list[list[str]] = []

    def run(arguments: Sequence[str], log: Path, spent: Path | None = None) -> None:
        ran.append([str(word) for word in arguments])
        log.parent.mkdir(parents=True, exist_ok=True)
        if arguments[0] != "generate":
            folder = Path(value(arguments, "--output_dir"))
            folder.mkdir()
            steps = [after for word, after in pairwise(arguments) if word == "--max_steps"]
            (folder / "trainer_state.json").write_text(steps[-1] if steps else "3")
            assert spent is not None
            spent.write_text('{"cpu_seconds": 2}')
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
        Path(value(arguments, "--out")).write_bytes(b"\n".join(lines) + b"\n")

    monkeypatch.setattr(bench, "_run", run)
    monkeypatch.setattr(seeds, "RESAMPLES", 50)
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
    assert all("--num_generations" in words for words in trained[-2:])
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
    runs = seeds.runs_of(sorted((shipped / "control-short").glob("s*.sampled.jsonl")), truth, annotation)
    assert seeds.summary(runs, "R@50 truth")[0] == pytest.approx(row["sampled"]["R@50 truth"][0])
    assert "control" in {line.split()[1] for line in table_of("idea") if " x 1000 " in line}


def table_of(name: str) -> list[str]:
    start(name, "--seeds", "1", "--max_steps", "1")
    return Path("bench/table.md").read_text().splitlines()


def test_a_short_entry_has_its_own_steps_and_its_own_company(done: list[list[str]]) -> None:
    start("recipe", "--seeds", "1", "--max_steps", "1")
    assert "compared with nothing" in start("idea", "--short", "--seeds", "1")
    assert value(done[-3], "--max_steps") == "15", "not the recipe's 3"
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
    assert "idea: recipe.max_steps: expected an entry with the same settings ('2'), found '1'" in refused
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
    assert "recipe.max_steps: expected" in start("idea", "--seeds", "1", "--max_steps", "1", code=1), "it has answers"
    start("idea", "--seeds", "1")
    assert [words[0] for words in done[ran + 1 :]] == ["grpo", "generate", "generate"], "a new model answers anew"


def test_another_recipe_or_reward_under_the_same_name_is_refused(done: list[list[str]]) -> None:
    term = "def mine(evidence):\n    return {}\n"
    Path("terms.py").write_text(term.format(1))
    start("idea", "--seeds", "1", "--rewards", "terms.py:mine")
    Path("terms.py").write_text(term.format(2))
    assert "idea: files.terms.py: expected" in start("idea", "--seeds", "1", "--rewards", "terms.py:mine", code=1)
    Path("terms.py").write_text(term.format(1))
    Path("grpo.yaml").write_text("max_steps: 4\nrewards: paper-v4\n")
    refused = start("idea", "--seeds", "1", "--rewards", "terms.py:mine", code=1)
    assert "idea: recipe.max_steps: expected an entry with the same settings (4), found 3" in refused


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
        ("no-such-folder", "--model", "./no-such-folder"),
        ("pass --stage grpo", "--stage", "sft"),
    ):
        refused = start("idea", *wrong, code=1, config="grpo.yaml")
        assert re.search(said, refused), refused
    assert "one of SFT needs --stage sft" in start("idea", code=1, config="sft.yaml")
    Path("bench/other/results.json").write_text("[]")
    assert "other/results.json: expected the results of an entry" in start("idea", code=1)
    assert not Path("bench/idea").exists()
    assert not done


def test_an_entry_whose_training_never_began_takes_other_settings(
    done: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(arguments: Sequence[str], log: Path, spent: Path | None = None) -> None:
        assert spent is not None
        spent.write_text('{"cpu_seconds": 9}')
        raise TrainingError("no such value")

    with monkeypatch.context() as broken:
        broken.setattr(bench, "_run", fails)
        assert "no such value" in start("idea", "--seeds", "1", "--num_generations", "abc", code=1)
    start("idea", "--seeds", "1", "--num_generations", "4")
    assert orjson.loads(Path("bench/idea/results.json").read_bytes())["cpu_seconds"] == 2


def test_what_a_recipe_says_and_the_bench_does_not_read_is_said(done: list[list[str]]) -> None:
    Path("grpo.yaml").write_text(
        "rewards: paper-v4\nmodel: tiny-base\ndata: scenes:9,seed=3,preset=small,annotation=full\noutput_dir: x\n"
    )
    said = start("idea", "--seeds", "1")
    assert "grpo.yaml: its model, tiny-base, is not used: the bench takes tiny-sft" in said
    assert "its data, scenes:9,seed=3,preset=small,annotation=full, is not used: the bench takes scenes:200000" in said
    data = "scenes:200000,seed=2,preset=small,annotation=vg"
    Path("grpo.yaml").write_text(f"rewards: paper-v4\nmodel: tiny-sft\ndata: {data}\n")
    assert "not used" not in start("another", "--seeds", "1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_commands_too_and_the_same_command_goes_on(
    number: signal.Signals, tmp_path: Path, done: list[list[str]]
) -> None:
    """For real: the command that runs gets one SIGTERM, and no other seed begins."""
    command = (
        "import signal, sys, time; signal.signal(15, lambda *_: (print(15), sys.exit(9))); print(1, flush=True); "
        "time.sleep(60)"
    )
    script = (
        "import subprocess, sys, types\n"
        "from r1sgg.cli import bench, main\n"
        f"start = lambda words, **more: subprocess.Popen([sys.executable, '-c', {command!r}], **more)\n"
        "bench.subprocess = types.SimpleNamespace(Popen=start, STDOUT=subprocess.STDOUT)\n"
        "main(['bench', 'idea', '--config', 'grpo.yaml', '--jobs', '1', '--seeds', '2'])\n"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    log = tmp_path / "bench/idea/s0.log"
    for _ in range(600):
        if log.is_file() and log.read_text().startswith("1"):
            break
        time.sleep(0.1)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number], said
    assert "idea: stopped; the same command resumes it" in said
    assert log.read_text().split() == ["1", "15"]
    assert not (tmp_path / "bench/idea/s1.log").exists()


def test_a_command_that_fails_is_one_sentence_and_leaves_its_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"r1sgg grpo ended with 2: r1sgg: .*nowhere.yaml.*all of it"):
        bench._run(["grpo", "--config", "nowhere.yaml"], tmp_path / "s0.log")
    assert "nowhere.yaml" in (tmp_path / "s0.log").read_text()
    spent = tmp_path / "s0.json"
    for _ in range(2):
        with pytest.raises(TrainingError):
            bench._run(["grpo", "--config", "nowhere.yaml"], tmp_path / "s0.log", spent)
        seconds = orjson.loads(spent.read_bytes())["cpu_seconds"]
    bench._run(["--version"], tmp_path / "s0.log", spent)
    assert orjson.loads(spent.read_bytes())["cpu_seconds"] > seconds > 0, "failures cost time, too"
