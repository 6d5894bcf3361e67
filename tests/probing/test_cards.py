"""`probe --workers`: the same files from several processes, when one is killed and when the whole run is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.endpoint.remote import remote
from r1sgg.errors import ModelError
from r1sgg.inference.reader import Reader
from r1sgg.probing.cards import CardAsker, ask_on_cards
from r1sgg.probing.plan import Probe
from r1sgg.probing.prompts import SETTINGS
from r1sgg.probing.run import Outcome, run, run_with

from .card_jobs import Hashing, Opened

PLAN = Probe(settings=SETTINGS[:2], limit=16, resamples=10)
FILES = ("questions.jsonl", "answers.jsonl", "results.json", "summary.json", "figure.svg")
SIZE = 2


class Interrupted(Exception):
    """Stands for whatever ends the process between two windows."""


@pytest.fixture(scope="module")
def whole(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process writes."""
    out = tmp_path_factory.mktemp("probe") / "whole"
    run(scenes, out, remote("hashing"), Hashing(), PLAN, batch_size=SIZE)
    return out


def start(scenes: Path, out: Path, opened: Opened, workers: list[str | None], **options: Any) -> Outcome:
    questions = PLAN.questions(scenes)
    asker = CardAsker(scenes, opened, PLAN, SIZE, questions.hash)
    return run_with(
        lambda starts: ask_on_cards(asker, starts, workers, SIZE),
        questions, out, opened.checkpoint(), "hashing", PLAN, batch_size=SIZE, **options,
    )  # fmt: skip


def same(one: Path, other: Path) -> None:
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_the_files_are_those_of_one_process_and_each_process_has_its_card(
    scenes: Path, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir()
    outcome = start(scenes, tmp_path / "out", Opened(str(tmp_path / "log")), ["3", "5"])
    same(tmp_path / "out", whole)
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["cards-3", "cards-5"]
    assert outcome.asked == (whole / "answers.jsonl").read_bytes().count(b"\n") > 4 * SIZE * 4, (
        "more windows than processes"
    )


def test_a_process_that_dies_loses_nothing_and_repeats_nothing(scenes: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    start(scenes, tmp_path / "out", Opened(str(tmp_path / "log"), deaths=1), [None, None])
    same(tmp_path / "out", whole)


def test_many_processes_resume_what_one_began_and_one_what_many_began(
    scenes: Path, whole: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise Interrupted

    opened = Opened(str(tmp_path))
    with pytest.raises(Interrupted):
        run(scenes, tmp_path / "a", remote("hashing"), Hashing(), PLAN, batch_size=SIZE, progress=interrupt)
    with pytest.raises(Interrupted):
        start(scenes, tmp_path / "b", opened, [None], progress=interrupt)
    total = (whole / "answers.jsonl").read_bytes().count(b"\n")
    assert 0 < start(scenes, tmp_path / "a", opened, [None]).asked < total
    assert 0 < run(scenes, tmp_path / "b", remote("hashing"), Hashing(), PLAN, batch_size=SIZE).asked < total
    same(tmp_path / "a", whole)
    same(tmp_path / "b", whole)
    again = start(scenes, tmp_path / "a", Opened(str(tmp_path), fault="opens no model"), [None])
    assert again.asked == 0


def test_what_stops_a_process_is_one_sentence_and_leaves_no_files(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        start(scenes, tmp_path / "a", Opened(str(tmp_path), fault="no such model"), [None])
    assert not list((tmp_path / "a").glob("*.json*"))


def test_a_ground_truth_that_changes_meanwhile_is_seen(scenes: Path, tmp_path: Path) -> None:
    asker = CardAsker(scenes, Opened(str(tmp_path)), PLAN, SIZE, "beef")
    (rows, _), stopped = asker.make(0)
    assert not rows
    assert "expected the questions beef of the start" in stopped


def test_processes_have_no_certain_card(scenes: Path) -> None:
    given = ["--ground-truth", str(scenes), "--out", "x", "--workers", "2", "--device", "cuda:1"]
    result = CliRunner().invoke(app, ["probe", *given])
    assert "--device cuda:1: expected cpu or cuda with --workers" in str(result.exception)


@pytest.mark.slow
def test_two_processes_with_a_real_model_write_what_one_writes(
    scenes: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    asked = ["probe", "--ground-truth", str(scenes), "--model", str(tiny_checkpoint), "--limit", "8"]
    asked += ["--bootstrap", "10", "--batch-size", "4", "--answering", "logprobs", "--settings", "*/no-boxes"]
    for name, more in (("one", []), ("two", ["--workers", "2", "--device", "cpu"])):
        done = CliRunner().invoke(app, [*asked, *more, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        summary = orjson.loads((tmp_path / name / "summary.json").read_bytes())
        assert summary["engine"] == "transformers cpu float32"
    same(tmp_path / "one", tmp_path / "two")


def test_the_reader_is_closed(scenes: Path, tmp_path: Path) -> None:
    closed: list[bool] = []

    class Closing(Hashing):
        def close(self) -> None:
            closed.append(True)

    class Opening(Opened):
        def open(self) -> Reader:
            return Reader(self.checkpoint(), Closing())

    asker = CardAsker(scenes, Opening(str(tmp_path)), PLAN, SIZE, PLAN.questions(scenes).hash)
    asker.close()
    assert not closed, "no model was opened"
    assert asker.make(0)[1] == ""
    asker.close()
    assert closed
