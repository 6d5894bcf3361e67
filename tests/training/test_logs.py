"""metrics.jsonl and completions.jsonl: cut where a run goes on, and what they hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import orjson

from r1sgg.training.logs import MetricsLog, StepFile


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


def test_a_run_that_is_not_told_how_often_to_log_logs_by_its_length_and_at_its_end(tmp_path: Path) -> None:
    for steps, pace in ((3, 1), (57, 5), (4000, 10)):
        args = SimpleNamespace(logging_steps=10, logging_strategy=SimpleNamespace(value="steps"))
        state = SimpleNamespace(global_step=0, max_steps=steps, is_world_process_zero=True, logging_steps=10)
        log, control = MetricsLog(tmp_path, "sft", paced=True), SimpleNamespace(should_log=False)
        log.on_train_begin(args, state, control)
        assert (args.logging_steps, state.logging_steps) == (pace, pace)
        state.global_step = steps - 1
        log.on_step_end(args, state, control)
        assert not control.should_log
        state.global_step = steps
        log.on_step_end(args, state, control)
        assert control.should_log
