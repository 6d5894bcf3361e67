"""`r1sgg bench`: what it trains, resumes and compares; trainings are stand-ins, answers are scored for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app, bench
from r1sgg.data.sources import open_data
from r1sgg.errors import ConfigError, TrainingError
from r1sgg.graph.text import render
from r1sgg.metrics import seeds
from r1sgg.miniature.shipped import bench_entries

SCENES = 6


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that the bench has run. A training takes 2 seconds; answers have as many relations as it had steps."""
    ran: list[list[str]] = []

    def run(arguments: Sequence[str], log: Path) -> float:
        ran.append([str(word) for word in arguments])
        log.parent.mkdir(parents=True, exist_ok=True)
        if arguments[0] != "generate":
            folder = Path(value(arguments, "--output_dir"))
            folder.mkdir()
            (folder / "trainer_state.json").write_text(value(arguments, "--max_steps"))
            return 2.0
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
        return 0.5

    monkeypatch.setattr(bench, "_run", run)
    monkeypatch.setattr(seeds, "RESAMPLES", 50)
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("max_steps: 3\n")
    return ran


def value(arguments: Sequence[str], option: str) -> str:
    return str(arguments[list(arguments).index(option) + 1])


def start(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["bench", *arguments, "--config", "r.yaml", "--scenes", str(SCENES)])
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
    assert value(done[-3], "--max_steps") == "15"
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
    assert "choose another name" in start("idea", "--max_steps", "2", code=1)
    assert "expected a name" in start("../idea", code=1)
    assert "expected grpo or sft" in start("idea", "--stage", "dpo", code=1)


def test_a_wrong_option_or_reward_leaves_no_entry_behind(done: list[list[str]]) -> None:
    """Else the corrected command would be refused, because the entry has other settings."""
    for wrong in (["--rewards", "mine.py:term"], ["--num_generation", "4"]):
        result = CliRunner().invoke(app, ["bench", "idea", "--config", "r.yaml", *wrong])
        assert isinstance(result.exception, ConfigError), result.output
    assert not Path("bench").exists()
    assert not done


def test_a_command_that_fails_is_one_sentence_and_leaves_its_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"r1sgg grpo ended with 2: r1sgg: .*nowhere.yaml.*all of it"):
        bench._run(["grpo", "--config", "nowhere.yaml"], tmp_path / "s0.log")
    assert "nowhere.yaml" in (tmp_path / "s0.log").read_text()
    assert bench._run(["--version"], tmp_path / "s0.log") > 0
