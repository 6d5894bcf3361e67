"""The commands of README and docs: their names and options are those of `--help`, and the cheap ones run.

Cheap is what needs no model: `data`, `score`, `evaluate`, `report`, `draw`, `export`, `captions check`. They run in a
folder with the files that the pages name; those that need files which cannot be had are listed with the reason. The
pages of docs/howto, docs/others.md and docs/own_data.md have tests of their own that run all of them.
"""

from __future__ import annotations

import glob
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from typer.testing import CliRunner

from r1sgg import read_ground_truth, render
from r1sgg.cli import app
from r1sgg.cli.recipe_options import our_options, trl_options

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.name != "cli.md")]
RECIPES = {"sft": ("sft",), "grpo": ("grpo",), "doctor": ("sft", "grpo"), "bench": ("sft", "grpo")}
"""Commands that also take the options of these recipes."""
CHEAP = ("data", "score", "evaluate", "report", "draw", "export", "captions")
ELSEWHERE = {"own_data.md": "tests/test_own_data.py", "others.md": "tests/data/test_importers.py"}
NOT_RUN = {
    r"data vg |VG/|vg150:VG": "needs Visual Genome",
    r"data captions |captions check ": "tests/data/captions and docs/captions.md name files of their own",
    r"predcls.jsonl|test.jsonl --ground-truth scenes:": "evaluates what the page's long commands generate",
}
"""Cheap commands that are not run, by a pattern, and why."""


class Written(NamedTuple):
    """A command of a page."""

    page: Path
    words: list[str]

    def __str__(self) -> str:
        return f"{self.page.name}: r1sgg {' '.join(self.words)}"


def commands_of(page: Path) -> Iterator[Written]:
    """The commands in the blocks of a page, also those behind a launcher such as torchrun."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"(?:^ {4}\S.*\n)+", plain, re.MULTILINE)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.finditer(r"(?:^|\s)r1sgg (?=[a-z])(.*)", line.split(" #")[0]):
                words = shlex.split(found[1])
                stop = next((k for k, word in enumerate(words) if word in ("|", "&&", ">", "&")), len(words))
                yield Written(page, words[:stop])


WRITTEN = [one for page in PAGES for one in commands_of(page)]


def test_there_are_commands_to_check() -> None:
    assert len(WRITTEN) > 80
    assert {one.page.name for one in WRITTEN} >= {"README.md", "training.md", "generate.md", "evaluate.md"}


@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_names_and_options_are_those_of_help(written: Written) -> None:
    command: Any = typer.main.get_command(app)
    words = list(written.words)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words[0]
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    recipe = {o.name for name in RECIPES.get(command.name, ()) for o in (*our_options(name), *trl_options(name))}
    for word in words:
        if word.startswith("--"):
            option = word.partition("=")[0]
            bare = option.removeprefix("--").replace("-", "_")
            assert option in known or bare in recipe or (recipe and bare == "include"), option


def is_cheap(written: Written) -> bool:
    return written.words[0] in CHEAP and "..." not in written.words and written.page.parent.name != "howto"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth, predictions, runs and cases by the names that the pages use."""
    folder = tmp_path_factory.mktemp("files")
    scenes = folder / "scenes"
    made = ["data", "scenes", "--preset", "small", "--count", "6", "--split", "test", "--seed", "1"]
    assert CliRunner().invoke(app, [*made, "--out", str(scenes)]).exit_code == 0
    text = (scenes / "gt.jsonl").read_text().replace('"images/', '"scenes/images/')
    text = text.replace(f'"{json.loads(text.splitlines()[0])["image_id"]}"', '"2417"')
    for name in ("gt", "val", "train", "mine"):
        (folder / f"{name}.jsonl").write_text(text)
    truths = list(read_ground_truth(folder / "gt.jsonl"))
    frame = (1000.0, 1000.0)
    lines = [{"image_id": t.image_id, "frame": frame, "completion": render(t.graph, frame)} for t in truths]
    for name in ("predictions", "sft", "grpo", "paper", "native"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cases = [{**json.loads(row), **line} for row, line in zip(text.splitlines(), lines, strict=True)]
    (folder / "CASES.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    names = {"objects": sorted({n for t in truths for n in t.graph.labels})}
    names["predicates"] = sorted({n for t in truths for n in t.graph.predicates})
    (folder / "mine.json").write_text(json.dumps({"name": "mine", **names}))
    for run in ("sft", "grpo", "rl-s0", "rl-s1"):
        (folder / "runs" / run).mkdir(parents=True)
        logged = [{"step": k, "stage": run[:2], "failure_rate": 0.1 * k, "AP50": 0.5, "R@50": 0.2} for k in (1, 2)]
        (folder / "runs" / run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    return folder


WITH_CHEAP = [p for p in PAGES if p.name not in ELSEWHERE and any(map(is_cheap, commands_of(p)))]


@pytest.mark.parametrize("page", WITH_CHEAP, ids=lambda p: p.stem)
def test_the_cheap_commands_of_a_page_run(
    page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [one for one in commands_of(page) if is_cheap(one)]
    folder = tmp_path / "here"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    for one in written:
        line = " ".join(one.words)
        if any(re.search(pattern, line) for pattern in NOT_RUN):
            continue
        words = [*one.words, "--overwrite"] if one.words[:2] == ["data", "scenes"] else one.words
        words = [*words, "--count", "40"] if words[:2] == ["data", "scenes"] else words  # the last one counts
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (line, done.output, done.exception)


def test_the_quickstart_works_from_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "index.md"
    monkeypatch.chdir(tmp_path)
    run = [one.words for one in commands_of(page) if one.words[0] not in ("serve", "web")]
    assert [words[0] for words in run] == ["data", "predict"]
    for words in run:
        given = [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]
        assert CliRunner().invoke(app, given).exit_code == 0, words
    images = sorted(tmp_path.glob("scenes/images/*.png"))
    assert len(images) == 4
    assert all((tmp_path / "graphs" / f"{image.stem}.json").is_file() for image in images)
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(block, "index.md", "exec"), {"__name__": "documentation"})
    assert capsys.readouterr().out.count(".png ((") == 4


def test_what_is_not_run_is_still_written() -> None:
    lines = [" ".join(one.words) for one in WRITTEN if is_cheap(one)]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in lines), pattern
    assert {page.name for page in PAGES} >= set(ELSEWHERE)
