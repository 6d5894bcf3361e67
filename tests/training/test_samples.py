"""completions.jsonl: what a line holds, which completions are a group, what a checkpoint keeps until the next log."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from r1sgg.data.base import Example
from r1sgg.graph.scene import SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.pages.samples import read_samples
from r1sgg.rewards.adapters import trl_rewards
from r1sgg.rewards.rubric import Rubric
from r1sgg.training.samples import CompletionsLog

FRAME = (1000.0, 1000.0)
WEIGHTS = {"node": 2.0, "edge": 5.0}
TRUTH = SceneGraph.build([SceneObject("man.1", "man", (0.1, 0.1, 0.5, 0.5))])
GOOD = render(TRUTH, FRAME)


def state(step: int) -> Any:
    return SimpleNamespace(global_step=step, is_world_process_zero=True)


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return image.size


def sampled(log: CompletionsLog, texts: list[str], ids: list[str], **columns: object) -> None:
    """A batch as TRL hands it over, scored and with advantages."""
    records = [orjson.dumps(Example(name, 100, 80, TRUTH).to_record()).decode() for name in ids]
    functions, _ = trl_rewards(Rubric({"node": 1.0, "edge": 1.0}), [log.sampled])
    for function in functions:
        function(completions=texts, ground_truth=records, frame=[[1000, 1000]] * len(texts), image_id=ids, **columns)
    log.advantages([0.5 - k for k in range(len(texts))])


def test_a_line_holds_terms_weights_total_advantage_group_and_truth(tmp_path: Path) -> None:
    log = CompletionsLog(tmp_path, 3, WEIGHTS)
    sampled(log, [GOOD, "x", GOOD, GOOD], ["1", "1", "2", "2"])
    log.on_log(None, state(7), None, {"loss": 0.0})
    log.on_log(None, state(8), None, {"loss": 0.0})  # nothing new
    first, second, third = lines(log.file.path)
    assert first == {
        "step": 7,
        "image_id": "1",
        "picture": None,
        "frame": [1000.0, 1000.0],
        "completion": GOOD,
        "terms": {"node": 1.0, "edge": None},
        "weights": WEIGHTS,
        "total": 2.0,
        "advantage": 0.5,
        "group": {"number": 0, "size": 2, "mean": 1.0, "spread": 1.0},
        "truth": Example("1", 100, 80, TRUTH).to_record(),
    }
    assert (second["total"], second["advantage"], second["group"]) == (0.0, -0.5, first["group"])
    assert third["group"] == {"number": 1, "size": 2, "mean": 2.0, "spread": 0.0}


def test_figures_of_an_evaluation_are_no_log_of_the_samples(tmp_path: Path) -> None:
    log = CompletionsLog(tmp_path, 1, WEIGHTS)
    sampled(log, [GOOD], ["1"])
    log.on_log(None, state(4), None, {"eval_R@50": 0.5})
    assert not log.file.path.exists()
    log.on_log(None, state(5), None, {"loss": 0.1})
    assert [row["step"] for row in lines(log.file.path)] == [5]


def test_what_waits_for_a_log_is_the_same_after_a_checkpoint(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8))
    whole, resumed = CompletionsLog(tmp_path / "a", 2, WEIGHTS), CompletionsLog(tmp_path / "b", 2, WEIGHTS)
    sampled(whole, [GOOD, "x"], ["1", "1"], image=[image, image])
    resumed.load_resume_state(whole.resume_state())
    for log in (whole, resumed):
        log.on_log(None, state(3), None, {"loss": 0.0})
    assert lines(whole.file.path) == lines(resumed.file.path)
    (picture,) = (tmp_path / "a" / "samples").iterdir()
    assert picture.read_bytes() == (tmp_path / "b" / "samples" / picture.name).read_bytes()
    assert size_of(picture) == (100, 80)


def test_the_padding_of_a_square_is_no_part_of_the_picture(tmp_path: Path) -> None:
    log = CompletionsLog(tmp_path, 1, WEIGHTS)
    sampled(log, [GOOD], ["1"], image=[Image.new("RGB", (100, 100))])
    log.on_log(None, state(1), None, {"loss": 0.0})
    assert size_of(next((tmp_path / "samples").iterdir())) == (100, 80)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_evaluated_completions_of_sft_are_written_once_a_step(tmp_path: Path, count: int) -> None:
    log = CompletionsLog(tmp_path, count, None)
    source: Any = SimpleNamespace(draw=lambda row: (Image.new("RGB", (100, 80)), None))
    answers: Any = [
        SimpleNamespace(row=k, example=Example(str(k), 100, 80, TRUTH), frame=FRAME, text=GOOD) for k in range(2)
    ]
    log.on_train_begin(None, state(0), None)
    for _ in range(2):  # a run that was killed between the completions and the figures evaluates again
        log.on_answers(state(4), answers, source)
    rows = lines(log.file.path) if count else []
    assert [row["image_id"] for row in rows] == [str(k) for k in range(count)]
    assert all(row["total"] == 0.5 + 2.0 and row["weights"] == {"format": 1, "node": 2, "edge": 5} for row in rows)
    again = CompletionsLog(tmp_path, count, None)
    again.on_train_begin(None, state(4), None)
    again.on_answers(state(4), answers, source)
    assert (lines(log.file.path) if count else []) == rows


def test_the_report_judges_them_and_shows_the_most_uneven_groups(tmp_path: Path) -> None:
    log = CompletionsLog(tmp_path, 2, WEIGHTS)
    for step in range(150):
        texts = [GOOD, "x"] if step == 77 else [GOOD, GOOD]
        sampled(log, texts, [str(step)] * 2, image=[Image.new("RGB", (100, 80))] * 2)
        log.on_log(None, state(step), None, {"loss": 0.0})
    (run,) = read_samples([tmp_path], ["mine"])
    assert run["terms"] == ["node", "edge"]
    assert (run["of"], len(run["steps"])) == (150, 100)
    uneven = max(run["rows"], key=lambda row: row["group"]["spread"])
    assert uneven["step"] == 77
    good, bad = (row for row in run["rows"] if row["step"] == 77)
    assert good["graphs"]["trueObjects"] == good["graphs"]["objects"] == "m"
    assert (bad["failure"], bad["graphs"]["trueObjects"], bad["graphs"]["objects"]) == ("no_json", "x", "")
    assert {row["picture"] for row in run["rows"]} == set(run["pictures"])
