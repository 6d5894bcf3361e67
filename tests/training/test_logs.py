"""metrics.jsonl and completions.jsonl: cut where a run goes on, and what they hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import orjson

from r1sgg.data.base import Example
from r1sgg.graph.scene import SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.rewards.adapters import trl_rewards
from r1sgg.rewards.rubric import Rubric
from r1sgg.training.logs import CompletionsLog, MetricsLog, StepFile


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_resumed_run_drops_later_steps_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = StepFile(tmp_path / "metrics.jsonl")
    assert file.begin(3) == []
    file.append([{"step": step} for step in (1, 2, 2, 3)])
    with file.path.open("ab") as handle:
        handle.write(b'{"step": 1, "lo')
    assert file.begin(2) == [{"step": 1}, {"step": 2}, {"step": 2}]
    assert lines(file.path) == [{"step": 1}, {"step": 2}, {"step": 2}]


def test_time_goes_on_where_an_earlier_part_ended(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, "sft")
    log.file.append([{"step": 1, "time": 100.0}, {"step": 2, "time": 200.0}])
    log.on_train_begin(None, SimpleNamespace(global_step=1, is_world_process_zero=True), None)
    log.write(2, {"loss": 1.0, "bad": float("nan"), "name": "text"})
    last = lines(log.file.path)[-1]
    assert 100.0 <= last.pop("time") < 200.0
    assert last == {"step": 2, "stage": "sft", "loss": 1.0}


def test_samples_hold_every_term_and_the_weighted_total(tmp_path: Path) -> None:
    truth = SceneGraph.build([SceneObject("man.1", "man", (0.1, 0.1, 0.5, 0.5))])
    record = orjson.dumps(Example("1", 100, 100, truth).to_record()).decode()
    text = render(truth, (1000.0, 1000.0))
    log = CompletionsLog(tmp_path, 1, {"node": 2.0, "edge": 5.0})
    functions, _ = trl_rewards(Rubric({"node": 1.0, "edge": 1.0}), [log.sampled])
    for function in functions:
        function(completions=[text, "x"], ground_truth=[record] * 2, frame=[[1000, 1000]] * 2, image_id=["1", "2"])
    log.on_log(None, SimpleNamespace(global_step=7, is_world_process_zero=True), None)
    log.on_log(None, SimpleNamespace(global_step=8, is_world_process_zero=True), None)  # nothing new
    assert lines(log.file.path) == [
        {"step": 7, "image_id": "1", "completion": text, "terms": {"node": 1.0, "edge": None}, "total": 2.0}
    ]
