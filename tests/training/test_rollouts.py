"""What TRL's loss makes up for of how answers were sampled, measured on a tiny model; see r1sgg.training.rollouts."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from trl import GRPOConfig
from trl.trainer import grpo_trainer
from typer.testing import Result

from r1sgg.cli import main
from r1sgg.errors import ConfigError, TrainingError
from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import VG150
from r1sgg.training import upstream
from r1sgg.training.engine import replies_read
from r1sgg.training.gate import steps_between
from r1sgg.training.guards import Guards
from r1sgg.training.internals import INTERNALS
from r1sgg.training.rollouts import GuidedRollouts, narrowing, settle_correction

from .conftest import CHECKPOINTING
from .vowels import use

Command = Callable[..., Result]
LENGTH = 24


class Engine:
    """The part of vLLM's LLMEngine that the gate reads: where requests enter, and its precision."""

    def __init__(self) -> None:
        self.vllm_config = types.SimpleNamespace(model_config=types.SimpleNamespace(dtype=torch.float32))

    def add_request(self, request_id: str, prompt: Any, params: Any) -> None: ...


class Sampler:
    """Stands in for TRL's vLLM: samples from the model that is trained, and returns log-probabilities as vLLM does.

    Like vLLM it expands image placeholders itself; it refuses prompts in which that was done, which vLLM would expand
    once more without a message (tests/vllm/test_colocate.py runs the real one).
    """

    keeps: float | None = None
    """top_p that TRL's GRPOConfig does not know of."""

    def __init__(self, model: Any, processing_class: Any, **settings: Any) -> None:
        self.model, self.processor = model, processing_class
        self.llm = types.SimpleNamespace(llm_engine=Engine())
        vars(self).update(settings)

    def sync_weights(self) -> None: ...

    def expanded(self, prompts: list[list[int]], grids: torch.Tensor) -> list[list[int]]:
        token, ids = self.model.config.image_token_id, []
        for prompt, grid in zip(prompts, grids.prod(1).tolist(), strict=True):
            assert prompt.count(token) == 1, f"vLLM would expand one of {prompt.count(token)} placeholders once more"
            count, place = grid // self.processor.image_processor.merge_size**2, prompt.index(token)
            ids.append([*prompt[:place], *[token] * count, *prompt[place + 1 :]])
            self.llm.llm_engine.add_request(
                "0",
                {
                    "prompt_token_ids": ids[-1],
                    "mm_placeholders": {"image": [types.SimpleNamespace(get_num_embeds=lambda count=count: count)]},
                    "mm_hashes": {"image": ["0"]},
                    "mm_kwargs": {"image": [None]},
                },
                None,
            )
        return ids

    @torch.no_grad()
    def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None) -> Any:
        pixels = self.processor.image_processor([one for some in images for one in some], return_tensors="pt")
        ids = torch.tensor(self.expanded(prompts, pixels["image_grid_thw"]))  # one length: the images have one size
        image = (ids == self.model.config.image_token_id).long()
        top_p = self.keeps or self.top_p
        out = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=image,
            **pixels,
            do_sample=True,
            top_p=top_p,
            top_k=0,
            temperature=self.temperature,
            max_new_tokens=LENGTH,
            min_new_tokens=LENGTH,
            suppress_tokens=list(self.generation_kwargs.get("logit_bias", [])) or None,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
        new = out.sequences[:, ids.shape[1] :, None]
        logits = torch.stack(out.logits, 1) / self.temperature
        if top_p < 1:
            logits = logits.masked_fill(torch.stack(out.scores, 1).isneginf(), -torch.inf)
        return ids.tolist(), new[..., 0].tolist(), logits.log_softmax(-1).gather(2, new).tolist(), None


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[Sampler]:
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", Sampler)
    monkeypatch.setattr("trl.generation.vllm_generation.LLM", None, raising=False)
    monkeypatch.setattr(upstream, "INTERNALS", tuple(one for one in INTERNALS if not one.needs))
    monkeypatch.setattr(Sampler, "keeps", None)
    use("vowels", monkeypatch)
    return Sampler


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What TRL makes of each batch of rollouts."""
    from r1sgg.training.grpo import GraphTrainer

    made: list[dict[str, Any]] = []
    plain = GraphTrainer._generate_and_score_completions

    def watched(self: Any, inputs: Any) -> Any:
        made.append(plain(self, inputs))
        return made[-1]

    monkeypatch.setattr(GraphTrainer, "_generate_and_score_completions", watched)
    return made


OPTIONS = {"max_steps": 1, "num_generations": 4, "max_completion_length": LENGTH, "save_strategy": "no"}


def train(r1sgg: Command, folder: Path, **more: object) -> dict[str, Any]:
    done = r1sgg("grpo", folder, **{**OPTIONS, "use_vllm": True, **more})
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = [orjson.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    return rows[0]


def test_a_narrowed_distribution_takes_the_gradient_away_by_sequence_and_settling_gives_it_back(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler], outputs: list[dict[str, Any]]
) -> None:
    plain = train(r1sgg, tmp_path / "whole")
    assert outputs[0]["importance_sampling_ratio"] == pytest.approx(torch.ones(4, 1), abs=1e-3)
    vllm.keeps = 0.7
    lost = train(r1sgg, tmp_path / "narrowed", parity="off")  # the recipe does not know of it
    kept = outputs[1]["importance_sampling_ratio"]
    assert kept.max() < 0.75**LENGTH
    assert lost["grad_norm"] < 0.01 * plain["grad_norm"]
    vllm.keeps = None
    settled = train(r1sgg, tmp_path / "settled", top_p=0.7)
    assert "importance_sampling_ratio" not in outputs[2]
    assert settled["grad_norm"] > 0.3 * plain["grad_norm"]
    token = train(r1sgg, tmp_path / "token", top_p=0.7, vllm_importance_sampling_mode="token_truncate")
    assert outputs[3]["importance_sampling_ratio"].shape == (4, LENGTH)
    assert token["grad_norm"] > 0.3 * plain["grad_norm"]


def test_temperature_needs_no_correction(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler], outputs: list[dict[str, Any]]
) -> None:
    train(r1sgg, tmp_path / "cold", temperature=0.5)
    batch = outputs[0]
    torch.testing.assert_close(batch["old_per_token_logps"], batch["sampling_per_token_logps"], atol=1e-4, rtol=1e-4)


def test_rollouts_by_transformers_correct_nothing(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler], outputs: list[dict[str, Any]]
) -> None:
    row = train(r1sgg, tmp_path / "run", use_vllm=False, top_p=0.7, top_k=5)
    assert not {"old_per_token_logps", "importance_sampling_ratio"} & set(outputs[0])
    assert row["grad_norm"] > 0


# ---------------------------------------------------------------- guides


def test_guided_rollouts_are_whole_graphs_and_train(
    r1sgg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    use("ranked", monkeypatch)
    plain = Guards.sampled
    monkeypatch.setattr(Guards, "sampled", lambda self, batch: (seen.extend(batch.texts), plain(self, batch))[1])
    options = {"use_vllm": False, "guide": True, "max_completion_length": 60, "vocabulary": "vg150"}
    row = train(r1sgg, tmp_path / "run", **options)
    assert row["grad_norm"] > 0
    assert len(seen) == 4
    for text in seen:
        graph = parse(text, (1000, 1000))
        assert not graph.issues
        assert set(graph.graph.labels) <= set(VG150.objects)
    with pytest.raises(ConfigError, match="raise the longest answer"):
        train(r1sgg, tmp_path / "short", **{**options, "max_completion_length": 4})


def test_guided_completions_count_where_they_are_better_than_their_group() -> None:
    advantages = torch.tensor([-1.0, 2.0, -3.0, 4.0, -5.0, 6.0])
    for guided, kept in ((2, [0, 2, -3, 0 + 4, 0, 6]), (3, [-1, 2, -3, 4, -5, 6])):
        changed = advantages.clone()
        GuidedRollouts(None, 9, 0, (), guided=guided, group=3).keep_good(changed)  # type: ignore[arg-type]
        assert changed.tolist() == kept


def test_a_share_of_each_group_is_guided(
    r1sgg: Command, tmp_path: Path, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    use("ranked", monkeypatch)
    plain = Guards.sampled
    monkeypatch.setattr(Guards, "sampled", lambda self, batch: (seen.extend(batch.texts), plain(self, batch))[1])
    options = {"use_vllm": False, "guide": True, "max_completion_length": 60, "guide_share": 0.5}
    train(r1sgg, tmp_path / "run", **options)
    readable = [not parse(text, (1000, 1000)).issues for text in seen]
    assert readable == [True, True, False, False], "the model has random weights: it fails where it is free"
    advantages = outputs[0]["advantages"]
    assert advantages[:2].min() >= 0
    assert advantages.sum() > 0.1, "those of a group sum up to 0, but for what was set to 0"
    for wrong, said in (({"guide_share": 0.1}, "at least one of 4 completions"), ({"guide": False}, "guide: true")):
        with pytest.raises(ConfigError, match=said):
            train(r1sgg, tmp_path / "no", **{**options, **wrong})


def test_rollouts_that_repeat_themselves_are_cut_where_that_is_asked_for(
    r1sgg: Command, tmp_path: Path, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    use("vowels", monkeypatch)
    monkeypatch.setattr("r1sgg.inference.loops.LoopWatch.loops", lambda self, ids: ids[0] % 2 == 0)
    for cut in (False, True):
        train(r1sgg, tmp_path / str(cut), use_vllm=False, cut_loops=cut, max_completion_length=40)
    whole, shorter = (batch["completion_mask"].sum(1).tolist() for batch in outputs)
    assert set(whole) == {40}
    first = [ids[0] % 2 for ids in outputs[1]["completion_ids"].tolist()]
    assert {0, 1} == set(first), "some of the rows are cut"
    assert shorter == [40 if odd else 16 for odd in first]
    with pytest.raises(ConfigError, match="cut_loops: expected false with use_vllm"):
        train(r1sgg, tmp_path / "vllm", cut_loops=True)


def test_with_vllm_a_guide_is_a_schema_and_the_correction_is_off(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler], outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[dict[str, Any]] = []
    plain = vllm.__init__

    def watched(self: Any, **given: Any) -> None:
        settings.append(given)
        plain(self, **given)

    monkeypatch.setattr(vllm, "__init__", watched)
    assert train(r1sgg, tmp_path / "run", guide=True, vocabulary="vg150")["grad_norm"] > 0
    schema = settings[0]["generation_kwargs"]["structured_outputs"]["json"]
    assert schema["properties"]["objects"]["items"]["properties"]["bbox"]["items"]["maximum"] == 1000
    assert "zebra" in str(schema)
    assert "importance_sampling_ratio" not in outputs[0]
    with pytest.raises(ConfigError, match="expected think: false"):
        train(r1sgg, tmp_path / "think", guide=True, think=True)
    with pytest.raises(ConfigError, match="leave one of them out"):
        train(r1sgg, tmp_path / "both", guide=True, vllm_structured_outputs_regex="a+")


# ---------------------------------------------------------------- the parity gate (real vLLM: tests/vllm)


def test_engine_and_trainer_are_compared_at_the_first_rollout_and_every_n_steps(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler]
) -> None:
    done = r1sgg("grpo", tmp_path, **{**OPTIONS, "use_vllm": True, "max_steps": 4, "parity": 2, "top_p": 0.8})
    assert done.exit_code == 0, done.output
    rows = [orjson.loads(line) for line in (tmp_path / "metrics.jsonl").read_bytes().splitlines()]
    assert [row.get("parity/mean_kl", 1.0) < 1e-9 for row in rows] == [True, False, True, False]
    assert done.output.count("parity of vLLM and the trained model:") == 1


def test_the_gate_stops_an_engine_with_another_distribution(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler]
) -> None:
    vllm.keeps = 0.7  # the recipe does not know of it
    with pytest.raises(TrainingError, match=r"step 1: the log-probabilities of \d+ sampled tokens have a mean KL"):
        train(r1sgg, tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_the_gate_stops_an_engine_that_runs_other_prompts(
    r1sgg: Command, tmp_path: Path, vllm: type[Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = vllm.expanded
    monkeypatch.setattr(vllm, "expanded", lambda self, prompts, grids: plain(self, [[5, *p] for p in prompts], grids))
    with pytest.raises(TrainingError, match=r"step 1: the engine ran a prompt of .* they differ from token 0 on"):
        train(r1sgg, tmp_path / "run")
    train(r1sgg, tmp_path / "off", parity="off")


@pytest.mark.parametrize("names", [{"token_id": 7}, {"token": "token_id:7"}], ids=["vLLM 0.32", "vLLM to 0.31"])
def test_the_replies_of_a_server_are_read(names: dict[str, object]) -> None:
    from trl.generation import vllm_client

    sampled = {**names, "logprob": -0.5, "top_logprobs": [{**names, "logprob": -0.5}]}
    plain = vllm_client.parse_logprobs
    with replies_read():
        assert vllm_client.parse_logprobs([{"content": [sampled, sampled]}]) == ([[[-0.5], [-0.5]]], [[[7], [7]]])
        assert vllm_client.parse_logprobs([None]) == (None, None)
    assert vllm_client.parse_logprobs is plain


@pytest.mark.parametrize(("text", "steps"), [("50", 50), ("1", 1), ("off", None), ("OFF", None), ("False", None)])
def test_how_often_is_a_number_or_off(text: str, steps: int | None) -> None:
    assert steps_between(text) == steps


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "on", "", "True"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="parity: expected a number of steps from 1 on, or off, found"):
        steps_between(text)


# ---------------------------------------------------------------- the decision alone


def arguments(**more: Any) -> GRPOConfig:
    plain = {"use_vllm": True, "use_cpu": True, "bf16": False, "report_to": [], CHECKPOINTING: False}
    return GRPOConfig(output_dir="unused", **{**plain, **more})


SCHEMA = {"generation_kwargs": {"structured_outputs": {"json": "{}"}}}


@pytest.mark.parametrize(
    ("options", "on"),
    [
        ({}, True),
        ({"top_p": 0.9}, False),
        ({"top_k": 50}, False),
        ({"min_p": 0.1}, False),
        ({"repetition_penalty": 1.1}, False),
        ({"generation_kwargs": {"top_p": 0.5}}, False),
        ({"top_p": 0.9, "generation_kwargs": {"top_p": 1.0}}, True),
        ({"top_p": 0.9, "vllm_importance_sampling_mode": "token_mask"}, True),
        ({"vllm_importance_sampling_mode": "token_mask", **SCHEMA}, False),
        (SCHEMA, False),
        ({"vllm_structured_outputs_regex": "a+"}, False),
        ({"temperature": 0.7}, True),
    ],
)
def test_when_the_correction_stays_on(options: dict[str, Any], on: bool) -> None:
    given = arguments(**options)
    settle_correction(given, options)
    assert given.vllm_importance_sampling_correction is on
    if not on:
        with pytest.raises(ConfigError, match="expected false"):
            settle_correction(arguments(**options), {**options, "vllm_importance_sampling_correction": True})


def test_without_vllm_there_is_nothing_to_settle() -> None:
    given = arguments(use_vllm=False, top_p=0.9)
    settle_correction(given, {"vllm_importance_sampling_correction": True})
    assert narrowing(given) == ["top_p 0.9"]


def test_vllm_that_is_not_installed_is_one_sentence(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    out = ["--output_dir", str(tmp_path), "--data", "scenes:4", "--model", str(mini), "--report_to", "none"]
    with pytest.raises(SystemExit):
        main(["grpo", *out, "--use_vllm", "true", "--num_generations", "4", "--per_device_train_batch_size", "4"])
    assert capsys.readouterr().err.strip().endswith("pip install 'r1sgg[vllm]'")
