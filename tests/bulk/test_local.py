"""`--workers`: the same file from several processes on this machine, when one is killed and when the whole run is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.local import run_on_cards
from r1sgg.bulk.processes import cards_of_workers
from r1sgg.bulk.run import Job, run
from r1sgg.cli import app
from r1sgg.errors import ConfigError, InputError, ModelError
from r1sgg.inference.engine import Sampling

from ..inference.pretend import Interrupted, Opened
from .local_jobs import Dying, Noting, annotate

JOB = Job(Sampling(max_new_tokens=8), batch_size=2, window=2)


@pytest.fixture(scope="module")
def folder(ground_truth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 images, one of which cannot be read, and what an ordinary run writes about them."""
    place = tmp_path_factory.mktemp("local") / "images"
    shutil.copytree(ground_truth.parent, place)
    (place / "5.png").write_bytes(b"no image")
    run(open_inputs(str(place / "gt.jsonl")), place / "whole.jsonl", Opened().open(), JOB)
    return place


def start(folder: Path, name: str, opened: Any, workers: list[str | None], **options: Any) -> Any:
    inputs = open_inputs(str(folder / "gt.jsonl"))
    return run_on_cards(inputs, folder / name, opened, JOB, workers, 4, **options)


def test_the_file_is_that_of_one_process_and_each_process_has_its_card(folder: Path, tmp_path: Path) -> None:
    done = start(folder, "cards.jsonl", Noting(folder=str(tmp_path)), ["3", "5"])
    assert (done.images, done.failed, done.resumed) == (21, 1, 0)
    assert (folder / "cards.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert not (folder / "cards.jsonl.parts").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cards-3", "cards-5"]
    settings = orjson.loads((folder / "cards.jsonl.run.json").read_bytes())["settings"]
    assert settings["engine"] == "local parrot"
    again = start(folder, "cards.jsonl", Opened(fault="a finished run opens no model"), [None])
    assert again.resumed == 21


def test_the_processes_give_the_true_objects_and_say_so(folder: Path) -> None:
    inputs, job = open_inputs(str(annotate(folder)), annotated=True), replace(JOB, task="predcls")
    run(inputs, folder / "given.jsonl", Opened().open(), job)
    done = run_on_cards(inputs, folder / "given-cards.jsonl", Opened(), job, [None, None], 4)
    assert (done.images, done.failed) == (21, 1)
    assert (folder / "given-cards.jsonl").read_bytes() == (folder / "given.jsonl").read_bytes()
    run_on_cards(inputs, folder / "given-tables", Opened(), job, [None], 4)
    rows = pq.read_table(folder / "given-tables", partitioning=None).to_pylist()
    assert sum(row["task"] == "predcls" for row in rows) == 20
    assert sum(row["error"] is not None for row in rows) == 1


def test_a_process_that_dies_loses_nothing_and_repeats_nothing(folder: Path, tmp_path: Path) -> None:
    done = start(folder, "killed.jsonl", Dying(folder=str(tmp_path), deaths=2), [None, None])
    assert (done.images, done.failed) == (21, 1)
    assert (tmp_path / "deaths").stat().st_size >= 3
    assert (folder / "killed.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_images_on_which_every_process_dies_stop_the_run_with_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"images \d+ to \d+: 3 (processes|workers) died while they processed them"):
        start(folder, "dead.jsonl", Dying(folder=str(tmp_path), deaths=99), [None])


def test_an_interrupted_run_keeps_its_shards(folder: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        start(folder, "again.jsonl", Opened(), [None], progress=interrupt)
    done = start(folder, "again.jsonl", Opened(), [None])
    assert done.resumed >= 8
    assert (folder / "again.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_an_error_that_concerns_all_images_is_one_sentence(folder: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        start(folder, "fault.jsonl", Opened(fault="no such model"), [None])


def test_cards_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cards_of_workers(0) == [None], "no card: one process"
    assert cards_of_workers(3) == [None] * 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert cards_of_workers(0) == ["0", "1", "2", "3"]
    assert cards_of_workers(2) == ["0", "1"]
    assert cards_of_workers(0, 2) == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert cards_of_workers(0) == ["4", "5", "6", "7"]
    for workers, each in ((5, 1), (3, 2), (0, 8)):
        with pytest.raises(ConfigError, match="--workers: expected at most"):
            cards_of_workers(workers, each)
    assert cards_of_workers(2, device="cpu") == [None] * 2, "the cards stay unused"
    with pytest.raises(ConfigError, match="--device cuda:1: expected cpu or cuda with --workers"):
        cards_of_workers(2, device="cuda:1")


def test_another_precision_does_not_continue_a_run(folder: Path) -> None:
    start(folder, "types.jsonl", Opened(), [None], limit=4)
    with pytest.raises(
        InputError, match=r"types\.jsonl: engine: expected a run with the same settings \('local parrot b"
    ):
        start(folder, "types.jsonl", Opened(dtype="bfloat16"), [None])


def test_workers_are_for_models_of_this_machine() -> None:
    for arguments, says in (
        (
            ["--workers", "2", "--engine", "openai:http://127.0.0.1:9/v1"],
            "expected --engine hf or vllm, found a server",
        ),
        (["--shard-size", "4"], "--shard-size: expected --ray ADDRESS or --workers too"),
    ):
        result = CliRunner().invoke(app, ["generate", "--images", "scenes:2", "--out", "x.jsonl", *arguments])
        assert says in str(result.exception)


@pytest.mark.slow
def test_two_processes_with_a_real_model_write_what_one_writes(tmp_path: Path) -> None:
    asked = ["generate", "--images", "scenes:6,seed=1,preset=small", "--model", "tiny", "--batch-size", "1"]
    for name, more in (("one", []), ("two", ["--workers", "2", "--device", "cpu", "--shard-size", "4"])):
        done = CliRunner().invoke(app, [*asked, *more, "--out", str(tmp_path / f"{name}.jsonl")])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
