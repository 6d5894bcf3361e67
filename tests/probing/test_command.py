"""`r1sgg probe`: a run on the tiny checkpoint, the joint table, and options that are refused in one sentence."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import orjson
import pytest

from r1sgg.cli import main
from r1sgg.errors import InputError
from r1sgg.models.families import Checkpoint
from r1sgg.probing.plan import Probe
from r1sgg.probing.prompts import SETTINGS
from r1sgg.probing.report import html, markdown, read_probes
from r1sgg.probing.run import run

from .conftest import Scripted


def leave(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def probes(scenes: Path, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished probes of the same name, one of all settings and one of a third of them."""
    folder = tmp_path_factory.mktemp("probes")
    for name, settings in (("all", SETTINGS), ("some", SETTINGS[:3])):
        plan = Probe(settings=settings, resamples=20)
        run(scenes, folder / name, checkpoint, Scripted(lambda image, text, key: "A"), plan, batch_size=32)
    return [folder / "all", folder / "some"]


def test_a_run_writes_its_files_and_prints_its_rows(
    scenes: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["probe", "--ground-truth", str(scenes), "--model", str(tiny_checkpoint), "--out", str(tmp_path / "p")]
    arguments += ["--settings", "*/no-boxes", "--answering", "letters", "--limit", "1", "--bootstrap", "10"]
    assert leave([*arguments, "--distractors", "hard", "--train", str(scenes), "--vocabulary", "vg150"]) == 0
    said = capsys.readouterr()
    assert "questions asked" in said.out
    assert "masked objects" in said.out
    names = {path.name for path in (tmp_path / "p").iterdir()}
    assert names == {
        "questions.jsonl", "answers.jsonl", "answers.jsonl.run.json", "results.json", "summary.json", "figure.svg"
    }  # fmt: skip
    summary = orjson.loads((tmp_path / "p/summary.json").read_bytes())
    assert (summary["distractors"], summary["vocabulary"], summary["answering"]) == ("hard", "vg150", "letters")
    assert leave(arguments) == 2, "other distractors: not the same run"
    assert "answers.jsonl: questions" in capsys.readouterr().err


def test_models_are_joined_into_one_table(
    probes: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(["probe", "--table", *map(str, probes), "--out", str(tmp_path / "t")]) == 0
    assert "masked image" in capsys.readouterr().out
    rows = [line for line in (tmp_path / "t/table.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 10
    assert len({line.count("|") for line in rows}) == 1
    first = [cell.strip() for cell in rows[1].split("|")[1:-1]]
    last = [cell.strip() for cell in rows[9].split("|")[1:-1]]
    assert first[:2] == ["original", "names+boxes"]
    assert re.fullmatch(r"2\d\.\d \[\d+\.\d, \d+\.\d\]", first[2])
    assert first[2:5] == first[5:8], "the same questions, the same answers"
    assert last[5:] == ["-", "-", "-"], "a setting that a model was not asked in"
    page = (tmp_path / "t/table.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert page.count("<svg") == 1


def test_the_figure_has_a_bar_a_setting_and_is_well_formed(probes: list[Path]) -> None:
    svg = "{http://www.w3.org/2000/svg}"
    root = ET.parse(probes[0] / "figure.svg").getroot()
    titles = [title.text for title in root.iter(f"{svg}title")]
    assert sum(", original/" in (title or "") or ", masked-" in (title or "") for title in titles) == 9
    results = orjson.loads((probes[0] / "results.json").read_bytes())
    bar = next(g for g in root.iter(f"{svg}g") if g.find(f"{svg}title") is not None)
    height = float(bar.find(f"{svg}rect").get("height"))
    assert height == pytest.approx(146 * results["original/names+boxes"]["acc"], abs=0.1)


def test_names_are_escaped_and_unlike_questions_are_named(probes: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("results.json", "summary.json"):
        content = orjson.loads((probes[1] / name).read_bytes())
        if name == "summary.json":
            content |= {"model": "<b>|x", "questions": "feedbeef"}
        (other / name).write_bytes(orjson.dumps(content))
    models = read_probes([probes[0], other])
    assert "<b>" not in html(models)
    assert "&lt;b&gt;|x" in html(models)
    assert r"<b>\|x Acc" in markdown(models)
    assert "asked different questions" in markdown(models)
    assert "different questions" not in markdown(read_probes(probes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ground-truth", "gt.jsonl"], "expected --ground-truth and --out"),
        (["--table"], "--table: expected folders"),
        (["somewhere"], "expected folders with --table only"),
        (["--ground-truth", "{gt}", "--out", "x", "--answering", "shout"], "--answering: expected one of generate"),
        (["--ground-truth", "{gt}", "--out", "x", "--distractors", "odd"], "--distractors: expected one of uniform"),
        (["--ground-truth", "{gt}", "--out", "x", "--boxes", "inches"], "--boxes: expected one of family"),
        (["--ground-truth", "{gt}", "--out", "x", "--settings", "blurred"], "settings: expected all"),
        (["--ground-truth", "{gt}", "--out", "x", "--distractors", "hard"], "hard: expected a training set"),
        (["--ground-truth", "gone.jsonl", "--out", "x"], "gone.jsonl: expected a readable"),
        (["--table", "gone"], "expected a readable JSON file"),
    ],
)
def test_what_is_refused_is_one_sentence(
    arguments: list[str],
    message: str,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave(["probe", *(argument.format(gt=scenes) for argument in arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_a_folder_with_other_files_is_no_probe(tmp_path: Path) -> None:
    for results, summary in (("[]", "{}"), ('{"a": {}}', '{"model": "m", "answering": "letters"}')):
        (tmp_path / "results.json").write_text(results)
        (tmp_path / "summary.json").write_text(summary)
        with pytest.raises(InputError, match="expected"):
            read_probes([tmp_path])
