"""Every guard is triggered once, by what it is for, and stays silent beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import torch
from typer.testing import Result

from r1sgg.cli import main
from r1sgg.data.base import Example
from r1sgg.errors import TrainingError
from r1sgg.graph.text import Frame, parse, render
from r1sgg.judging.frames import FrameEvidence
from r1sgg.models.families import load_checkpoint
from r1sgg.rewards.adapters import trl_rewards
from r1sgg.rewards.rubric import Rubric
from r1sgg.training.diagnosis import missing_images, resized_units
from r1sgg.training.guards import STREAK, TROUBLES, Guards
from r1sgg.training.logs import MetricsLog
from r1sgg.training.rows import TrainingRows, open_source
from r1sgg.training.validation import Answer

Command = Callable[..., Result]


@pytest.fixture
def guards(mini: Path, tmp_path: Path) -> Guards:
    made = Guards(tmp_path, MetricsLog(tmp_path, "grpo"), load_checkpoint(mini).processor)
    made.on_train_begin(None, state(0), None)
    return made


def state(step: int) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, is_world_process_zero=True)


def warnings_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "warnings.jsonl"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def seen(guards: Guards) -> list[tuple[int, str]]:
    return [(row["step"], row["trouble"]) for row in warnings_of(guards.file.path.parent)]


def examples(count: int) -> list[Example]:
    source = open_source(f"scenes:{count},seed=3")
    return [source.draw(row)[1] for row in range(count)]


def measured(guards: Guards, step: int, *, failed: float = 0.0, recall: float = 0.3, relations: float = 2.0) -> None:
    """An evaluation with these figures, of scenes with 3 relations each."""
    numbers = {"failure_rate": failed, "R@50": recall, "relations_per_image": relations, "clipped_ratio": 0.0}
    truth = next(e for e in examples(8) if len(e.graph.pairs) == 3)
    answers = [Answer(0, truth, (112, 112), (1000.0, 1000.0), "{}", False)]
    guards.on_validation(None, state(step), None, numbers, answers)


def logged(guards: Guards, step: int, **numbers: float) -> None:
    guards.on_log(None, state(step), None, logs={name.replace("__", "/"): value for name, value in numbers.items()})


# ---------------------------------------------------------------- gradients and rewards


def test_a_gradient_of_zero_is_told_once(r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from r1sgg.training.sft import AnswerTrainer

    plain = AnswerTrainer.compute_loss
    monkeypatch.setattr(AnswerTrainer, "compute_loss", lambda *a, **k: plain(*a, **k) * 0.0)
    assert r1sgg("sft", tmp_path / "run", max_steps=STREAK + 2, save_strategy="no").exit_code == 0
    found = warnings_of(tmp_path / "run")
    assert [(row["step"], row["trouble"]) for row in found] == [(STREAK, "zero_gradient")]
    assert TROUBLES["zero_gradient"].do in found[0]["message"]


def test_rewards_that_never_differ_are_told_and_not_their_zero_gradient(
    r1sgg: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"num_generations": 2, "max_completion_length": 8, "max_steps": STREAK + 1, "save_strategy": "no"}
    with caplog.at_level(logging.WARNING, "r1sgg"):
        assert r1sgg("grpo", tmp_path / "run", **options).exit_code == 0  # a random model never writes a graph
    found = warnings_of(tmp_path / "run")
    assert {(row["step"], row["trouble"]) for row in found} == {(1, "clipped"), (STREAK, "equal_rewards")}
    assert all(row["message"] in caplog.messages for row in found)
    rows = [orjson.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines()]
    assert rows[0]["completions/failure_rate"] == 1
    assert rows[0]["completions/relations_per_image"] == 0


def test_a_streak_has_to_be_one(guards: Guards) -> None:
    for norm in (0.0, 0.0, 0.1, 0.0, 0.0):
        guards.gradient(norm)
    for share in (1.0, 1.0, 0.9, 1.0, 1.0):
        guards.rollouts(share)
    assert seen(guards) == []


def test_a_gradient_that_is_not_finite_stops_the_run_before_its_step(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from r1sgg.training.sft import AnswerTrainer

    plain = AnswerTrainer.compute_loss

    def broken(self: Any, *more: Any, **named: Any) -> Any:
        return plain(self, *more, **named) * (float("nan") if self.state.global_step == 1 else 1.0)

    monkeypatch.setattr(AnswerTrainer, "compute_loss", broken)
    options = {"model": mini, "data": "scenes:64,seed=1", "report_to": "none", "per_device_train_batch_size": 4}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    monkeypatch.chdir(tmp_path)
    arguments += ["--output_dir", "run", "--max_steps", "3", "--save_steps", "1"]
    with pytest.raises(SystemExit) as stopped:
        main(["sft", *arguments])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("r1sgg: step 2: the gradient is nan")
    assert [p.name for p in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]


def test_half_precision_may_overflow_for_a_while(guards: Guards) -> None:
    for _ in range(10):
        guards.gradient(float("inf"), scaled=True)
    guards.gradient(1.0, scaled=True)
    for _ in range(10):
        guards.gradient(float("inf"), scaled=True)
    with pytest.raises(TrainingError, match="the gradient is inf"):
        guards.gradient(float("inf"), scaled=True)


# ---------------------------------------------------------------- trends


def test_reward_that_rises_while_recall_falls(guards: Guards) -> None:
    for step in range(1, 31):
        logged(guards, step, reward=0.3 + step / 100)
        if step % 10 == 0:
            measured(guards, step, recall={10: 0.30, 20: 0.31, 30: 0.20}[step])
    assert seen(guards) == [(30, "reward_without_recall")]
    assert "from 0.310 (step 20) to 0.200" in warnings_of(guards.file.path.parent)[0]["message"]


@pytest.mark.parametrize(
    ("slope", "last"), [(0.01, 0.29), (-0.01, 0.20), (0.0, 0.20)], ids=["noise", "both fall", "reward is flat"]
)
def test_recall_alone_is_no_sign(guards: Guards, slope: float, last: float) -> None:
    for step in range(1, 31):
        logged(guards, step, reward=0.5 + step * slope)
        if step % 10 == 0:
            measured(guards, step, recall={10: 0.30, 20: 0.31, 30: last}[step])
    assert seen(guards) == []


def test_relations_that_grow_without_recall(guards: Guards) -> None:
    measured(guards, 0, relations=2.2, recall=0.28)
    measured(guards, 10, relations=4.0, recall=0.36)
    assert seen(guards) == []  # more of them are right
    measured(guards, 20, relations=8.0, recall=0.33)
    assert seen(guards) == [(20, "enumeration")]
    assert (
        "8.0 relations per image (3.0 are annotated) instead of 4.0"
        in warnings_of(guards.file.path.parent)[0]["message"]
    )


def test_learning_to_list_what_is_there_is_no_enumeration(guards: Guards) -> None:
    measured(guards, 0, relations=0.0, recall=0.0)
    measured(guards, 10, relations=1.0, recall=0.0)
    measured(guards, 20, relations=3.2, recall=0.01)
    assert seen(guards) == []


def test_enumeration_is_seen_in_the_sampled_answers_too(guards: Guards) -> None:
    truth = next(e for e in examples(8) if len(e.graph.pairs) == 3)
    for step in range(1, 11):
        pay(guards, ["{}"], [truth])
        relations = 2.0 if step <= 5 else 9.0
        logged(guards, step, completions__relations_per_image=relations, rewards__hard_recall__mean=0.2)
    assert seen(guards) == [(7, "enumeration")]  # the mean of five


def test_answers_that_can_no_longer_be_read(guards: Guards) -> None:
    for step, failed in enumerate((0.9, 0.4, 0.1, 0.3, 0.7, 0.9), 1):
        logged(guards, step, completions__failure_rate=failed)
    assert seen(guards) == [(5, "format_collapse")]
    assert (
        "70% of the sampled completions cannot be read, after 10%" in warnings_of(guards.file.path.parent)[0]["message"]
    )


def test_a_model_that_never_could_write_graphs_has_not_collapsed(guards: Guards) -> None:
    for step in range(5):
        logged(guards, step, completions__failure_rate=0.95)
        measured(guards, step, failed=1.0)
    assert seen(guards) == []


def test_answers_cut_at_the_limit(guards: Guards) -> None:
    logged(guards, 1, completions__clipped_ratio=0.2)
    assert seen(guards) == []
    logged(guards, 2, completions__clipped_ratio=0.25)
    logged(guards, 3, completions__clipped_ratio=0.9)
    assert seen(guards) == [(2, "clipped")]


def test_what_was_said_is_not_said_again_when_a_run_goes_on(guards: Guards, mini: Path, tmp_path: Path) -> None:
    logged(guards, 4, completions__clipped_ratio=0.9)
    for step, again in ((5, []), (3, [(4, "clipped")])):
        going_on = Guards(tmp_path, MetricsLog(tmp_path, "grpo"), guards.processor)
        going_on.on_train_begin(None, state(step), None)
        before = seen(going_on)
        logged(going_on, 4, completions__clipped_ratio=0.9)
        assert seen(going_on)[len(before) :] == again


# ---------------------------------------------------------------- images


def test_a_prompt_that_is_cut_stops_the_run(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["sft", "--model", str(mini), "--data", "scenes:8", "--output_dir", "run", "--report_to", "none"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--max_length", "16", "--max_steps", "2"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a batch has" in said
    assert "image tokens, but image grids of" in said
    assert "max_length" in said


def test_rollouts_without_images_do_not_start(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["grpo", "--model", str(mini), "--data", "scenes:8", "--output_dir", "run", "--report_to", "none"]
    with pytest.raises(SystemExit):
        main([*arguments, "--use_transformers_continuous_batching", "true"])
    assert "generates without the images" in capsys.readouterr().err


def test_images_that_are_missing(mini: Path) -> None:
    checkpoint = load_checkpoint(mini)
    rows = TrainingRows(open_source("scenes:2"), checkpoint, completion=True)
    chats = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}] for _ in range(2)]
    text = [checkpoint.processor.apply_chat_template(chat, tokenize=False) for chat in chats]
    batch = dict(checkpoint.processor(text=text, images=[[rows[k]["image"]] for k in range(2)], return_tensors="pt"))
    ids = batch["input_ids"]
    token = checkpoint.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert missing_images(ids, batch, token, 2) is None
    count = int((ids == token).sum())
    assert missing_images(ids, {}, token, 2) == f"{count} image tokens and no pixel_values"
    lost = ids.clone()
    lost[1] = 0
    assert missing_images(lost, batch, token, 2) == "1 of 2 prompts have no image token"
    more = torch.cat([ids, torch.full_like(ids[:, :1], token)], 1)
    assert missing_images(more, batch, token, 2) == f"{count + 2} image tokens, but image grids of {count}"
    fewer = {**batch, "pixel_values": batch["pixel_values"][:-4]}
    assert "patches, but image grids of" in str(missing_images(ids, fewer, token, 2))
    assert missing_images(ids, {"pixel_values": torch.zeros(2, 3, 8, 8)}, token, None) is None  # a family without grids


def test_rollouts_are_checked(r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import GRPOTrainer

    plain = GRPOTrainer._generate_and_score_completions

    def blind(self: Any, inputs: Any) -> dict[str, Any]:
        output: dict[str, Any] = plain(self, inputs)
        return {key: value for key, value in output.items() if key not in ("pixel_values", "image_grid_thw")}

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", blind)
    with pytest.raises(TrainingError, match=r"step 1: a batch has \d+ image tokens and no pixel_values"):
        r1sgg("grpo", tmp_path / "run", num_generations=2, max_completion_length=8, max_steps=1)


# ---------------------------------------------------------------- frames


def written_in(frame: Frame, truths: Sequence[Example]) -> list[str]:
    return [render(truth.graph, frame) for truth in truths]


def pay(guards: Guards, texts: list[str], truths: Sequence[Example]) -> None:
    """One batch of rewards, whose completions are read in thousandths."""
    (reward,), _ = trl_rewards(Rubric({"format": 1.0}), [guards.sampled])
    records = [orjson.dumps(truth.to_record()).decode() for truth in truths]
    reward(completions=texts, ground_truth=records, frame=[[1000.0, 1000.0]] * len(texts))


@pytest.mark.parametrize(
    ("frame", "unit"),
    [((1.0, 1.0), "fractions"), ((56.0, 56.0), "pixels of the image"), ((112.0, 112.0), "pixels of the resized image")],
)
def test_boxes_written_in_another_unit(guards: Guards, frame: Frame, unit: str) -> None:
    from dataclasses import replace

    truths = [replace(example, width=56, height=56) for example in examples(24)]
    guards.processor.image_processor.size["shortest_edge"] = 112 * 112
    texts = [
        orjson.dumps(
            {
                "objects": [
                    {"id": i, "bbox": [round(v, 3) for v in (box * (*frame, *frame)).tolist()]}
                    for i, box in zip(e.graph.ids, e.graph.boxes, strict=True)
                ],
                "relationships": [],
            }
        ).decode()
        for e in truths
    ]
    for start in range(0, 24, 8):
        pay(guards, texts[start : start + 8], truths[start : start + 8])
    assert [name for _, name in seen(guards)] == ["frame_mismatch"]
    assert f"read as {unit}" in warnings_of(guards.file.path.parent)[0]["message"]


def test_boxes_in_the_right_unit_and_wrong_labels_are_no_mismatch(guards: Guards) -> None:
    truths = examples(24)
    right = written_in((1000.0, 1000.0), truths)
    for texts in (right, [text.replace("<", "").replace(".", "x.") for text in written_in((112.0, 112.0), truths)]):
        for start in range(0, 24, 8):
            pay(guards, texts[start : start + 8], truths[start : start + 8])
    assert seen(guards) == []


def test_an_evaluation_sees_the_mismatch(guards: Guards) -> None:
    truths = examples(24)
    texts = written_in((112.0, 112.0), truths)
    answers = [
        Answer(k, e, (112, 112), (1000.0, 1000.0), t, False) for k, (e, t) in enumerate(zip(truths, texts, strict=True))
    ]
    numbers = {"failure_rate": 0.0, "R@50": 0.0, "relations_per_image": 3.0, "clipped_ratio": 0.0}
    guards.on_validation(None, state(7), None, numbers, answers)
    assert seen(guards) == [(7, "frame_mismatch")]


def test_overlap_is_that_of_the_best_box_of_the_class(mini: Path) -> None:
    check = FrameEvidence()
    truths = examples(6)
    units = resized_units((112, 112), load_checkpoint(mini).processor)
    for truth, text in zip(truths, written_in((1000.0, 1000.0), truths), strict=True):
        check.add(parse(text, (1000.0, 1000.0)), truth.graph, (112, 112), units)
    assert check.objects == check.named == sum(len(e.graph) for e in truths)
    verdict = check.verdict()
    assert verdict is not None
    assert verdict.overlap == pytest.approx(1.0, abs=0.02)
    assert str(verdict.best) == "thousandths (0 to 1000)"  # the same frame under its name
    assert not verdict.wrong


def test_one_graph_for_every_image_is_seen(guards: Guards) -> None:
    truths = examples(24)
    texts = written_in((1000.0, 1000.0), truths[:1]) * 24
    answers = [
        Answer(k, e, (112, 112), (1000.0, 1000.0), t, False) for k, (e, t) in enumerate(zip(truths, texts, strict=True))
    ]
    numbers = {"failure_rate": 0.0, "R@50": 0.0, "relations_per_image": 3.0, "clipped_ratio": 0.0}
    guards.on_validation(None, state(7), None, numbers, answers)
    assert (7, "misread") in seen(guards)
    assert "all 24 completions hold the same graph" in warnings_of(guards.file.path.parent)[-1]["message"]


def test_the_documentation_has_every_trouble() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    for name, trouble in TROUBLES.items():
        assert f"| `{name}` |" in text
        assert trouble.means in text
        assert trouble.do in text
