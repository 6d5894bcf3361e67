"""Sampling options, batches, and opening an engine by its name."""

import dataclasses
import importlib.util
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from r1sgg.endpoint.engine import EndpointEngine
from r1sgg.endpoint.remote import remote
from r1sgg.endpoint.settings import Endpoint, Prices
from r1sgg.errors import ConfigError, MissingDependencyError, ModelError
from r1sgg.inference import engines
from r1sgg.inference.engine import Sampling, batches_by_size, describe
from r1sgg.inference.engines import EngineKind, Habits, Opening, option_value, own_checkpoint, parse_engine
from r1sgg.inference.vllm import SURROUNDINGS
from r1sgg.models.prompts import SETTINGS_FILE, AnswerSettings, OwnPrompt


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1)],
)
def test_wrong_sampling_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected"):
        Sampling(**{name: value})
    with pytest.raises(ConfigError, match="max_new_tokens: expected 1 or more, found 0"):
        Sampling(max_new_tokens=0)


def test_draws_depend_on_seed_and_key() -> None:
    seeds = {Sampling(seed=s).generator_seed(k) for s in (0, 1) for k in ("a", "b", "\ud800")}
    assert len(seeds) == 6
    assert all(0 <= s < 2**63 for s in seeds)
    assert Sampling(seed=1).generator_seed("a") == Sampling(temperature=1, seed=1).generator_seed("a")


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50))), st.integers(1, 7))
def test_batches_hold_every_image_once_largest_first(sizes: list[tuple[int, int]], batch_size: int) -> None:
    batches = batches_by_size(sizes, batch_size)
    order = [k for batch in batches for k in batch]
    assert sorted(order) == list(range(len(sizes)))
    areas = [sizes[k][0] * sizes[k][1] for k in order]
    assert areas == sorted(areas, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_a_greedy_run_does_not_name_what_it_does_not_use() -> None:
    assert describe(Sampling(seed=1)) == describe(Sampling(seed=2))
    assert describe(Sampling(1.0, seed=1)) != describe(Sampling(1.0, seed=2))


# ---------------------------------------------------------------- opening


def test_an_engine_s_name_is_taken_apart() -> None:
    assert parse_engine("hf")[:2] == ("hf", "")
    assert parse_engine("vllm:tensor_parallel_size=2,dtype=auto").options == {
        "tensor_parallel_size": "2",
        "dtype": "auto",
    }
    lookup = '{"method":"ngram","num_speculative_tokens":6,"list":[1,2]}'
    json_values = parse_engine(f"vllm:logits_processors=[],speculative_config={lookup},seed=1").options
    assert json_values == {"logits_processors": "[]", "speculative_config": lookup, "seed": "1"}
    assert option_value(lookup)["list"] == [1, 2]
    spec = parse_engine("openai:http://127.0.0.1:8000/v1,server=vllm")
    assert (spec.address, spec.options, spec.habits) == (
        "http://127.0.0.1:8000/v1",
        {"server": "vllm"},
        Habits(64, 1),
    )
    assert parse_engine("openai:server=plain")[1:] == ("", {"server": "plain"})
    assert parse_engine("openai")[1:] == ("", {})


@pytest.mark.parametrize(
    ("opening", "message"),
    [
        ({"engine": "ollama"}, "--engine: expected one of hf, vllm, openai, found 'ollama'"),
        ({"engine": "hf:beams=3"}, "hf has no options here"),
        ({"engine": "vllm:fast"}, "expected OPTION=VALUE, found 'fast'"),
        ({"engine": "openai", "device": "cuda"}, "--device cuda: this option is for --engine hf, not openai"),
        ({"engine": "vllm", "device": "cuda"}, "--device cuda: this option is for --engine hf, not vllm"),
        ({"engine": "openai", "dtype": "auto"}, "--dtype auto: this option is for --engine hf or vllm, not openai"),
        ({"engine": "openai:speed=3"}, "expected options of server=, .*found 'speed'"),
        ({"engine": "openai:concurrency=many"}, "concurrency: expected a number, found 'many'"),
        ({"engine": "openai:prices=3"}, "prices: expected a number, found ''"),
        ({"engine": "openai:family=Qwen9"}, "family: expected one of Qwen2-VL, .*0-1000, found 'Qwen9'"),
        ({"engine": "openai:ftp://x"}, "base_url: expected http"),
        ({"engine": "openai", "model": ""}, "expected the name of the model on the server"),
    ],
)
def test_what_no_engine_is_called_is_said_in_one_sentence(opening: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Opening(**{"model": "gpt", **opening}).open()


def test_a_server_s_options_are_those_of_its_settings() -> None:
    text = "openai:http://here/v1,server=vllm,concurrency=3,timeout=2.5,prices=0.5/2,budget=7,family=Qwen2.5-VL,model=b"
    reader = Opening("a", f"{text},extra.effort=low,extra.n=1", max_pixels=50_000).open()
    assert isinstance(reader.engine, EndpointEngine)
    assert reader.engine.endpoint == Endpoint(
        "b",
        "http://here/v1",
        "vllm",
        concurrency=3,
        timeout=2.5,
        prices=Prices(0.5, 2),
        budget=7,
        extra={"effort": "low", "n": 1},
    )
    assert reader.checkpoint.name == "a"
    assert reader.checkpoint.family.name == "Qwen2.5-VL"
    assert reader.checkpoint.image_pixels == [56 * 56, 50_000]
    reader.close()


MINE = EngineKind(lambda opening: (own_checkpoint(opening), None), takes=("dtype",), options=("speed", "depth"))


def test_another_package_s_engine_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/howto/engine.md opens one (tests/test_howto.py); here is what it is not asked for."""
    found = [EntryPoint(name, f"{__name__}:{value}", "r1sgg.engines") for name, value in MADE.items()]
    monkeypatch.setattr(engines, "entry_points", lambda group: found)
    engines._engines.cache_clear()
    try:
        assert parse_engine("mine:speed=3").options == {"speed": "3"}
        assert Opening("gpt", "mine", dtype="auto").spec.habits == Habits(8, 4)
        with pytest.raises(ConfigError, match="--engine mine:sped=3: expected options of speed=, depth=, found 'sped'"):
            parse_engine("mine:sped=3")
        with pytest.raises(ConfigError, match=r"--dtype auto: .* for --engine hf or vllm, not openai"):
            Opening("gpt", "openai", dtype="auto")
        with pytest.raises(ConfigError, match="expected one of hf, vllm, openai, mine, wrong, found 'yours'"):
            parse_engine("yours")
        with pytest.raises(TypeError, match=r"'wrong' of r1sgg\.engines: expected an EngineKind, found PosixPath"):
            parse_engine("wrong")
        assert engines.engine_kind("hf") is engines.HF, "a package can't take the place of ours"
    finally:
        engines._engines.cache_clear()


MADE = {"mine": "MINE", "wrong": "WRONG", "hf": "WRONG"}
WRONG = Path("not an engine")


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_one_sentence(tiny_checkpoint: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'r1sgg\[vllm\]'"):
        Opening(str(tiny_checkpoint), "vllm").open()


def test_an_option_that_vllm_does_not_have_is_answered_with_the_nearest(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its names are those of the vLLM that is installed; here one that is made up."""
    names = [
        "model",
        "dtype",
        "max_model_len",
        "max_num_seqs",
        "tensor_parallel_size",
        *(f"other_{k}" for k in "abcde"),
    ]

    class Loaded(Exception):
        pass

    class LLM:
        def __init__(self, model: str, *, enforce_eager: bool = False, **options: object) -> None:
            raise Loaded

    vllm = ModuleType("vllm")
    monkeypatch.setattr(vllm, "LLM", LLM, raising=False)
    monkeypatch.setattr(vllm, "EngineArgs", dataclasses.make_dataclass("EngineArgs", names), raising=False)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    for name in SURROUNDINGS:
        monkeypatch.setenv(name, "")
    message = "--engine vllm: expected options of max_model_len=, .* and 3 more, found 'max_model_lenn'"
    with pytest.raises(ConfigError, match=message):
        Opening(str(tiny_checkpoint), "vllm:max_num_seqs=4,max_model_lenn=512").open()
    with pytest.raises(Loaded):
        Opening(str(tiny_checkpoint), "vllm:max_model_len=512,enforce_eager=true").open()


def test_a_checkpoint_without_a_chat_template_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"bare: expected a checkpoint with a chat template \(chat_template\.jinja\)"):
        Opening(str(folder), device="cpu").open()


@pytest.mark.parametrize(
    ("changed", "given", "listed"),
    [
        ({}, {}, "open"),
        ({"vocabulary": "vg150"}, {}, "psg"),
        (None, {}, "psg"),  # how it was trained is not recorded
        ({}, {"guide_vocabulary": "open"}, "open"),
        ({}, {"prompt": OwnPrompt(""), "column": "", "prompt_vocabulary": "psg"}, "psg"),  # --prompt closed
        ({}, {"prompt_vocabulary": "psg", "guide_vocabulary": None}, "psg"),  # --vocabulary psg without --guide
        ({}, {"prompt": OwnPrompt("What is there?"), "column": ""}, "open"),
        ({}, {"ask": "native"}, "psg"),
    ],
)
@pytest.mark.parametrize("engine", ["hf", "openai:http://here/v1"])
def test_the_guides_names_stay_out_of_a_prompt_that_was_trained_open(
    tiny_checkpoint: Path,
    tmp_path: Path,
    changed: dict[str, str] | None,
    given: dict[str, Any],
    listed: str,
    engine: str,
) -> None:
    folder = tmp_path / "it"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / SETTINGS_FILE).unlink()
    if changed is not None:
        dataclasses.replace(AnswerSettings.read(tiny_checkpoint), **changed).write(folder)
    opening = Opening(str(folder), engine, **{"guide_vocabulary": "psg", **given})
    asked = opening.checkpoint()
    assert asked.settings.vocabulary == listed
    assert opening.keeps_open(asked) == (not given and changed == {})


def test_how_it_is_asked_can_be_changed(tiny_checkpoint: Path) -> None:
    own = AnswerSettings.read(tiny_checkpoint)
    opening = Opening(str(tiny_checkpoint), prompt_vocabulary="psg", answer_format="compact")
    settings = opening.checkpoint().settings
    assert (settings.vocabulary, settings.answer_format, settings.prompt) == ("psg", "compact", own.prompt)
    assert Opening(str(tiny_checkpoint)).checkpoint().settings == own


# ---------------------------------------------------------------- models behind a server


def test_a_model_behind_a_server_is_asked_as_its_folder_says(tiny_checkpoint: Path) -> None:
    told = remote(str(tiny_checkpoint))
    assert told.settings == AnswerSettings.read(tiny_checkpoint)
    assert (told.family.name, told.path) == ("Qwen2-VL", str(tiny_checkpoint))
    with pytest.raises(ConfigError, match="is a checkpoint folder that states its own"):
        remote(str(tiny_checkpoint), "Qwen3-VL")


@pytest.mark.parametrize(
    ("model", "family", "expected"),
    [
        ("gpt-5", None, "0-1000"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", None, "Qwen2.5-VL"),
        ("qwen/qwen3-vl-8b", None, "Qwen3-VL"),
        ("my-model", "qwen2-vl", "Qwen2-VL"),
        ("llava-hf/llava-1.5-7b-hf", None, "LLaVA-1.5"),
    ],
)
def test_a_name_tells_the_family(model: str, family: str | None, expected: str) -> None:
    assert remote(model, family).family.name == expected


def test_an_image_is_sent_so_that_its_frame_is_known() -> None:
    photo = Image.new("RGB", (3000, 1000))
    told = remote("gpt")
    assert told.frame(photo.size) == (1000, 1000)
    assert told.view(photo) is photo
    small = remote("gpt", max_pixels=30_000).view(photo)
    assert small.size == (300, 100)
    qwen = remote("Qwen2.5-VL", max_pixels=300_000)
    assert qwen.view(photo).size == qwen.frame(photo.size)
    assert all(side % 28 == 0 for side in qwen.view(photo).size)
    assert qwen.frame(qwen.view(photo).size) == qwen.frame(photo.size), "the server's own resizing changes nothing"
    square = remote("llava-1.5").view(photo)
    assert square.size == (3000, 3000)
    assert np.asarray(square)[:1000].max() == 0, "the image lies at the top left, as the frame says"
    assert remote("llava-1.5").frame(photo.size) == (1000, pytest.approx(333.3, abs=0.1))
