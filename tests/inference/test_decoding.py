"""The decoding loop against transformers' own, which reads a token at a time: same completions, same probabilities."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
)

from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import VG150
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference import hf, layers, writing
from r1sgg.inference.choosing import Draw
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.layers import decoder_of, suits
from r1sgg.miniature.scenes import SMALL, scene, split_seeds
from r1sgg.models.families import LoadedModel, load_model

from ..models.tiny_families import BUILDERS, SUITED, build_llava_next

SIZES = [(112, 112), (40, 90), (200, 64)]
IMAGES = [
    Image.fromarray(np.random.default_rng(k).integers(0, 255, (h, w, 3), dtype=np.uint8))
    for k, (w, h) in enumerate(SIZES)
]
GUIDES = [
    GuideSpec((1000, 1000), minify=True, max_objects=3),
    GuideSpec((1000, 1000), VG150.objects, VG150.predicates, max_objects=4, max_relationships=5),
    GuideSpec((112, 112), VG150.objects, (), answer_format="compact", max_objects=2, think=3),
]
pytestmark = pytest.mark.matrix(loaded=6)
SAMPLINGS = [Sampling(max_new_tokens=120), Sampling(temperature=1.0, max_new_tokens=120, seed=4)]


@pytest.fixture(scope="module", params=SUITED)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    if request.param == "smolvlm" and not find_spec("num2words"):
        pytest.skip("the processor of SmolVLM2 needs the package num2words")
    model = load_model(BUILDERS[request.param](tmp_path_factory.mktemp(request.param)), device="cpu")
    sharpen(model)
    return model


def sharpen(loaded: LoadedModel) -> None:
    """Let attention look at single tokens; with fresh weights a wrong position would change nothing."""
    with torch.no_grad():
        for layer in decoder_of(loaded.model).layers:
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                getattr(layer.self_attn, name).weight.mul_(12)


def both(
    loaded: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
    sampling: Sampling,
    guides: list[GuideSpec] | None,
    images: list[Image.Image] = IMAGES,
) -> tuple[list[Completion], list[Completion]]:
    """The loop's completions, and those of transformers' loop."""
    chats = [loaded.messages(image.size) for image in images]
    engine = TransformersEngine(loaded)
    assert suits(loaded.model)
    ours = engine.generate(images, chats, sampling, guides=guides, pieces=True)
    with monkeypatch.context() as patch:
        patch.setattr(hf, "suits", lambda model: False)
        theirs = engine.generate(images, chats, sampling, guides=guides, pieces=True)
    return ours, theirs


def agree(ours: list[Completion], theirs: list[Completion]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one.text, one.tokens, one.finish_reason) == (other.text, other.tokens, other.finish_reason)
        assert other.passes == other.tokens
        assert one.pieces is not None
        assert other.pieces is not None
        for piece, expected in zip(one.pieces, other.pieces, strict=True):
            assert piece.text == expected.text
            assert piece.logprob == pytest.approx(expected.logprob, abs=1e-4, rel=1e-5)
            assert (piece.allowed is None) == (expected.allowed is None)
            assert (piece.allowed or 0) == pytest.approx(expected.allowed or 0, abs=1e-4, rel=1e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("guides", [GUIDES, GUIDES[1:2] * 3])
def test_guided_completions_are_those_of_single_steps_in_fewer_passes(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, sampling: Sampling, guides: list[GuideSpec]
) -> None:
    ours, theirs = both(loaded, monkeypatch, sampling, guides)
    agree(ours, theirs)
    opening = guides[0] != guides[1]  # beginnings that differ are not read with the prompt
    for one in ours:
        assert one.pieces is not None
        assert one.passes is not None
        forced = sum(piece.allowed == 0 for piece in one.pieces) + 1  # the end of the turn is no piece
        assert one.passes == one.tokens - forced + 1 + opening


def test_free_completions_are_those_of_single_steps(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_ROOM", 3)  # the cache grows again and again
    for sampling in SAMPLINGS:
        ours, theirs = both(loaded, monkeypatch, sampling, None)
        agree(ours, theirs)
        assert [one.passes for one in ours] == [one.tokens for one in ours]


def test_images_leave_the_batch_one_after_another(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one ends early, so that the last one takes its place in the cache."""
    short, medium = (GuideSpec((100, 100), ("man",), (), count, 0, "compact") for count in (1, 2))
    ours, theirs = both(loaded, monkeypatch, SAMPLINGS[1], [short, GUIDES[1], medium])
    agree(ours, theirs)
    first, *others = (one.passes or 0 for one in ours)
    assert first < max(others)


@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_in_half_precision_probabilities_agree_as_far_as_it_goes(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    loaded = load_model(tiny_checkpoint, device="cpu", dtype="bfloat16" if how == "bfloat16" else "float32")
    one_way = GuideSpec((1, 1), ("man",), (), 1, 0, minify=True)  # of such an answer every token is forced
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        ours, theirs = both(loaded, monkeypatch, SAMPLINGS[0], [one_way] * 3)
        valid = both(loaded, monkeypatch, SAMPLINGS[0], GUIDES)[0]
    for one, other in zip(ours, theirs, strict=True):
        assert one.text == other.text
        assert one.passes == 1
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert one.logprobs.mean == pytest.approx(other.logprobs.mean, abs=0.02)
    for answer, guide in zip(valid, GUIDES, strict=True):
        assert parse(answer.text, guide.frame).issues == ()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("guide", [GuideSpec((1000, 1000), minify=True), None, GUIDES[1]])
def test_the_shipped_model_writes_the_same_in_few_passes(
    monkeypatch: pytest.MonkeyPatch, temperature: float, guide: GuideSpec | None
) -> None:
    loaded = load_model("tiny", device="cpu")
    images = [scene(seed, SMALL).image for seed in split_seeds("test", 4, 12)]
    chosen: list[int] = []
    plain = writing.choose

    def counted(scores: torch.Tensor, draw: Draw, rows: list[int], *more: Any) -> Any:
        chosen.append(len(rows))
        return plain(scores, draw, rows, *more)

    monkeypatch.setattr(writing, "choose", counted)
    guides = guide and [guide] * len(images)
    ours, theirs = both(loaded, monkeypatch, Sampling(temperature, max_new_tokens=192), guides, images)
    agree(ours, theirs)
    choices = sum(chosen) // 2
    assert sum(one.passes or 0 for one in ours) <= choices + len(images)  # and one for each prompt
    assert (choices < 0.7 * sum(one.tokens for one in ours)) == (guide is not None)


# ---------------------------------------------------------------- what the loop is not for


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """LLaVA-NeXT with a Mistral whose attention sees the last 24 tokens."""
    folder = build_llava_next(tmp_path_factory.mktemp("sliding"))
    config = LlavaNextConfig.from_pretrained(folder)
    llama = config.text_config
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("num_key_value_heads", "eos_token_id", "pad_token_id", "bos_token_id")
    shape = {name: getattr(llama, name) for name in (*names, *more)}
    config.text_config = MistralConfig(**shape, sliding_window=24)
    torch.manual_seed(0)
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    return load_model(folder, device="cpu")


def test_a_model_of_another_kind_is_left_to_transformers(sliding: LoadedModel) -> None:
    assert not suits(sliding.model)
    chats = [sliding.messages(image.size) for image in IMAGES]
    answers = TransformersEngine(sliding).generate(IMAGES, chats, SAMPLINGS[1], guides=GUIDES)
    assert [answer.finish_reason for answer in answers] == ["stop"] * 3
    assert [answer.passes for answer in answers] == [answer.tokens for answer in answers]


def test_weights_that_are_elsewhere_are_left_to_transformers(tiny: LoadedModel) -> None:
    assert suits(tiny.model)
    weight = next(tiny.model.parameters())
    weight.ds_id = 0  # as DeepSpeed marks what it has spread
    assert not suits(tiny.model)
    del weight.ds_id
    decoder = decoder_of(tiny.model)
    decoder.rotary_emb.rope_type = "dynamic"
    assert not suits(tiny.model)
    decoder.rotary_emb.rope_type = "default"
    assert suits(tiny.model)
