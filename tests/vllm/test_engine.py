"""Free answers: the same as transformers', reproducible, never an image token; bad input is one sentence."""

import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from r1sgg.errors import ConfigError, ModelError
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import suppressed_token_ids
from r1sgg.inference import vllm as vllm_engine
from r1sgg.inference.engine import Completion, Engine, Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.vllm import VLLMEngine, check_options, engine_arguments
from r1sgg.models.families import load_checkpoint
from r1sgg.models.prompts import Message

from .conftest import OPTIONS, Asked

GREEDY = Sampling(max_new_tokens=200)
SAMPLED = Sampling(temperature=1.0, max_new_tokens=200, seed=7)


def texts(answers: list[Completion]) -> list[str]:
    return [answer.text for answer in answers]


def near_tie(one: Completion, other: Completion) -> bool:
    """Whether two greedy answers part at a place where both tokens are equally probable, to rounding."""
    assert one.pieces is not None
    assert other.pieces is not None
    first = next(pair for pair in zip(one.pieces, other.pieces, strict=False) if pair[0].text != pair[1].text)
    return abs(first[0].logprob - first[1].logprob) < 1e-3


def test_it_runs_the_model_on_the_same_inputs(
    engine: VLLMEngine, transformers_engine: TransformersEngine, asked: Asked
) -> None:
    few = asked.first(6)
    for _ in range(2):  # the second time vLLM has the images in its cache
        parity = engine.parity(transformers_engine, few.images, few.chats)
        assert parity.fault() is None
        assert {ran.image_size for ran in parity.engine} == {(112, 112)}
    long = [{"role": "user", "content": "A man. " * 600}]
    with pytest.raises(ModelError, match="refuses the request"):
        engine.parity(transformers_engine, few.images[:1], [long])


def test_greedy_answers_are_those_of_transformers(
    engine: VLLMEngine, transformers_engine: TransformersEngine, asked: Asked
) -> None:
    images, chats, keys = asked.first(64)
    ours = engine.generate(images, chats, GREEDY, keys, pieces=True)
    theirs = transformers_engine.generate(images, chats, GREEDY, keys, pieces=True)
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0].text != pair[1].text]
    assert len(different) <= 2
    assert all(near_tie(*pair) for pair in different)
    for mine, other in zip(ours, theirs, strict=True):
        if mine.text == other.text:
            assert (mine.tokens, mine.finish_reason) == (other.tokens, other.finish_reason)
            assert mine.logprobs is not None
            assert other.logprobs is not None
            assert mine.logprobs.sum == pytest.approx(other.logprobs.sum, abs=0.02)
            assert mine.pieces is not None
            assert other.pieces is not None
            assert [p.text for p in mine.pieces] == [p.text for p in other.pieces]
            assert [p.logprob for p in mine.pieces] == pytest.approx(
                [p.logprob for p in other.pieces], abs=0.01, rel=0.01
            )


def test_draws_depend_on_seed_and_key_alone(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(40)
    together = texts(engine.generate(images, chats, SAMPLED, keys))
    reverse = texts(engine.generate(images[:10][::-1], chats[:10][::-1], SAMPLED, keys[:10][::-1]))[::-1]
    assert sum(a != b for a, b in zip(together, reverse, strict=False)) <= 1  # a draw at the edge of two tokens
    again = texts(engine.generate(images, chats, dataclasses.replace(SAMPLED, seed=8), keys))
    renamed = texts(engine.generate(images, chats, SAMPLED, [f"{key}#1" for key in keys]))
    for other in (again, renamed):
        assert sum(a == b for a, b in zip(together, other, strict=True)) < 20


def test_seeded_draws_after_long_prompts_do_not_stop_the_engine(engine: VLLMEngine, asked: Asked) -> None:
    """Together they are longer than one step reads; vLLM 0.32 stops on a CPU where it reads a prompt in parts."""
    images, _, keys = asked.first(32)
    chats: list[list[Message]] = [[{"role": "user", "content": "A man rides a horse. " * 30}]] * 32
    budget = engine._llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens
    tokens = len(engine.checkpoint.processor.tokenizer(chats[0][0]["content"])["input_ids"])
    assert budget < 32 * tokens
    answers = engine.generate(images, chats, dataclasses.replace(SAMPLED, max_new_tokens=4), keys)
    assert len(answers) == 32
    assert all(1 <= answer.tokens <= 4 for answer in answers)


def test_a_guide_that_nothing_would_follow_is_refused(
    engine: VLLMEngine, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_guides", False)  # as with logits_processors=[], which speculation needs
    images, chats, keys = asked.first(1)
    with pytest.raises(ConfigError, match="among vLLM's logits_processors, found that it is not"):
        engine.generate(images, chats, GREEDY, keys, guides=[GuideSpec((1000.0, 1000.0))])


def test_every_field_of_sampling_counts(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(16)
    greedy = texts(engine.generate(images, chats, GREEDY, keys))
    drawn = texts(engine.generate(images, chats, SAMPLED, keys))
    assert sum(a != b for a, b in zip(drawn, greedy, strict=True)) > 8
    for sharp in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 0.01}):
        found = texts(engine.generate(images, chats, dataclasses.replace(SAMPLED, **sharp), keys))
        assert sum(a != b for a, b in zip(found, greedy, strict=True)) <= 2  # near ties
    short = engine.generate(images, chats, dataclasses.replace(GREEDY, max_new_tokens=5), keys)
    assert all((answer.tokens, answer.finish_reason) == (5, "length") for answer in short)
    assert all(whole.startswith(answer.text) for whole, answer in zip(greedy, short, strict=True))


def test_a_token_that_stands_for_an_image_is_never_drawn(
    engine: VLLMEngine, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here they are by far the most probable ones; were one drawn, the next step would fail."""
    suppressed = suppressed_token_ids(engine._llm.model_config.hf_config, engine.checkpoint.processor.tokenizer)
    usual = vllm_engine._parameters

    def eager(*arguments: Any) -> Any:
        params = usual(*arguments)
        params.logit_bias = dict.fromkeys(suppressed, 100.0)
        return params

    images, chats, keys = asked.first(16)
    before = [engine.generate(images, chats, sampling, keys) for sampling in (GREEDY, SAMPLED)]
    monkeypatch.setattr(vllm_engine, "_parameters", eager)
    assert len(suppressed) >= 4
    for sampling, answers in zip((GREEDY, SAMPLED), before, strict=True):
        assert texts(engine.generate(images, chats, sampling, keys)) == texts(answers)


def test_pieces_are_the_text(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(8)
    wild = Sampling(temperature=2.0, max_new_tokens=100)
    for sampling in (GREEDY, wild):
        for answer in engine.generate(images, chats, sampling, keys, pieces=True):
            assert answer.pieces is not None
            assert "".join(piece.text for piece in answer.pieces) == answer.text
            assert all(piece.allowed is None and piece.logprob <= 0 for piece in answer.pieces)
    assert engine.generate(images[:1], chats[:1], GREEDY)[0].pieces is None
    assert engine.generate([], [], GREEDY) == []


def test_vllm_draws_no_hotter_than_two(engine: VLLMEngine, asked: Asked) -> None:
    with pytest.raises(ConfigError, match=r"temperature: vLLM takes at most 2, found 2\.5"):
        engine.generate(*asked.first(1)[:2], Sampling(temperature=2.5))


def test_an_image_without_an_answer_stops_no_other(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(4)
    images[1], chats[1] = images[1], [{"role": "user", "content": "A man. " * 600}]
    images[2] = Image.new("RGB", (1000, 3))
    answers = engine.generate(images, chats, GREEDY, keys)
    assert [answer.finish_reason for answer in answers] == ["stop", "error", "error", "stop"]
    assert [answer.error is None for answer in answers] == [True, False, False, True]
    assert "512 tokens" in str(answers[1].error)
    assert "200" in str(answers[2].error)
    assert all("\n" not in (answer.error or "") for answer in answers)
    alone = engine.generate(images[3:], chats[3:], GREEDY, keys[3:])
    assert texts(alone) == texts(answers[3:])


class _InterruptedError(Exception):
    pass


def test_an_interrupted_batch_leaves_nothing_behind(
    engine: VLLMEngine, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, chats, keys = asked.first(3)

    def prompt(image: Image.Image, chat: list[Message]) -> dict[str, Any]:
        if image is images[2]:
            raise _InterruptedError
        return real(image, chat)

    real = engine._prompt
    monkeypatch.setattr(engine, "_prompt", prompt)
    with pytest.raises(_InterruptedError):
        engine.generate(images, chats, GREEDY, keys)
    monkeypatch.undo()
    backwards = engine.generate(images[::-1], chats[::-1], GREEDY, keys[::-1])
    assert texts(backwards)[::-1] == texts(engine.generate(images, chats, GREEDY, keys))


def test_a_dead_process_is_one_sentence(engine: VLLMEngine, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    def dead(**options: Any) -> Any:
        wait(**options)
        raise EngineDeadError

    wait = engine._llm.wait_for_completion
    monkeypatch.setattr(engine._llm, "wait_for_completion", dead)
    with pytest.raises(ModelError, match="one of vLLM's processes has died"):
        engine.generate(asked.images[:1], asked.chats[:1], GREEDY)


def test_it_is_an_engine(engine: VLLMEngine) -> None:
    anything: Engine = engine
    assert anything.name == "vllm cpu float32"
    assert engine.checkpoint.name == "tiny"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nowhere", {}, "nowhere: no such checkpoint folder"),
        ("tiny", {"max_model_len": 1 << 30}, "tiny: vLLM does not load it: .*max_model_len"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        VLLMEngine.load(model, options=options)
    assert "\n" not in str(caught.value)


def test_an_option_that_vllm_does_not_have_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"--engine vllm: expected options of max_model_len=, .*max_model_lenn'"):
        VLLMEngine.load("tiny", options={"max_model_lenn": 5})
    check_options({*OPTIONS, *engine_arguments(load_checkpoint("tiny"))}, pytest.importorskip("vllm"))


def test_an_adapter_is_refused() -> None:
    adapter = dataclasses.replace(load_checkpoint("tiny"), base="Qwen/Qwen2-VL-2B-Instruct")
    with pytest.raises(ModelError, match="adapter of Qwen/Qwen2-VL-2B-Instruct; merge it first"):
        engine_arguments(adapter)


def test_the_pixel_limit_is_the_processors() -> None:
    assert engine_arguments(load_checkpoint("tiny"))["mm_processor_kwargs"]["size"]["longest_edge"] == 12544
    small = engine_arguments(load_checkpoint("tiny", max_pixels=7056), "bfloat16")
    assert (small["mm_processor_kwargs"]["size"]["longest_edge"], small["dtype"]) == (7056, "bfloat16")


def test_the_library_without_vllm_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from r1sgg.errors import MissingDependencyError

    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(MissingDependencyError, match=r"r1sgg\[vllm\]"):
        VLLMEngine.load("tiny")


def test_chats_are_held_to_their_schemas_with_and_without_an_image(engine: VLLMEngine, asked: Asked) -> None:
    kind = {"type": "string", "enum": ["man", "none"]}
    schema = {"type": "object", "properties": {"class": kind}, "required": ["class"], "additionalProperties": False}
    for images in (None, asked.images[:3]):
        answers = engine.chat(asked.chats[:3], Sampling(max_new_tokens=60), images=images, schemas=[schema] * 3)
        assert [answer.error for answer in answers] == [None] * 3
        assert {orjson.loads(answer.text)["class"] for answer in answers} <= {"man", "none"}
