"""The probe on a tiny random checkpoint of each family of the paper's table, through its real processor."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from r1sgg.errors import ModelError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.models.families import LoadedModel, load_model
from r1sgg.probing.plan import Probe
from r1sgg.probing.prompts import SETTINGS, parse_settings
from r1sgg.probing.questions import LETTERS
from r1sgg.probing.run import run

from ..models.tiny_families import build_instructblip, build_llava, build_llava_next, build_qwen2_vl

BUILDERS = {
    "Qwen2-VL": build_qwen2_vl,
    "LLaVA-1.5": build_llava,
    "LLaVA-NeXT": build_llava_next,
    "InstructBLIP": build_instructblip,
}


@pytest.fixture(scope="module", params=list(BUILDERS))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    model = load_model(BUILDERS[request.param](tmp_path_factory.mktemp("checkpoint")), device="cpu")
    assert model.family.name == request.param
    return model


def test_the_nine_rows(loaded: LoadedModel, scenes: Path, tmp_path: Path) -> None:
    probe = Probe(answering="letters", limit=1, resamples=5)
    outcome = run(scenes, tmp_path, loaded, TransformersEngine(loaded), probe, batch_size=9)
    assert list(outcome.results) == [str(setting) for setting in SETTINGS]
    assert all(row["n"] > 0 and row["unparsed"] == 0 for row in outcome.results.values())


@pytest.mark.parametrize("answering", ["generate", "logprobs"])
def test_answers_are_the_same_in_batches_and_one_by_one(
    loaded: LoadedModel, scenes: Path, tmp_path: Path, answering: str
) -> None:
    probe = Probe(settings=parse_settings("*/no-boxes"), answering=answering, limit=1, max_new_tokens=3, resamples=5)
    engine = TransformersEngine(loaded)
    together = run(scenes, tmp_path / "together", loaded, engine, probe, batch_size=4)
    alone = run(scenes, tmp_path / "alone", loaded, engine, probe, batch_size=1)
    assert together.results == alone.results
    if answering == "generate":  # scores differ in their last digits
        written = [(tmp_path / name / "answers.jsonl").read_bytes() for name in ("together", "alone")]
        assert written[0] == written[1]


def test_what_is_said_and_shown_reaches_the_model(loaded: LoadedModel) -> None:
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 255, (60, 90, 3), dtype=np.uint8)) for _ in range(2)]
    chats = [[{"role": "user", "content": text}] for text in ("A) on B) in C) has D) of", "A) of B) has C) on D) in")]
    engine = TransformersEngine(loaded)

    def scores(image: int, chat: int) -> list[float]:
        return engine.next_token_logprobs([images[image]], [chats[chat]], LETTERS)[0]

    assert scores(0, 0) == scores(0, 0)
    assert scores(0, 0) != scores(1, 0)
    assert scores(0, 0) != scores(0, 1)
    assert sum(np.exp(scores(0, 0))) < 1


def test_unequal_prompts_and_images_in_one_batch_score_as_alone(loaded: LoadedModel) -> None:
    draw = np.random.default_rng(1)
    sizes = [(60, 90), (120, 40), (56, 56)]
    images = [Image.fromarray(draw.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    chats = [[{"role": "user", "content": "which of the options " * k}] for k in (1, 5, 2)]
    engine = TransformersEngine(loaded)
    together = engine.next_token_logprobs(images, chats, LETTERS)
    alone = [engine.next_token_logprobs([i], [c], LETTERS)[0] for i, c in zip(images, chats, strict=True)]
    np.testing.assert_allclose(together, alone, atol=2e-4)
    assert engine.generate([], [], Sampling()) == engine.next_token_logprobs([], [], LETTERS) == []
    with pytest.raises(ModelError, match="more than one token"):
        engine.next_token_logprobs(images, chats, ["no such word here"])


def test_the_sides_of_a_wide_image_are_seen(loaded: LoadedModel) -> None:
    grey = np.full((40, 160, 3), 120, dtype=np.uint8)
    marked = grey.copy()
    marked[:, :30] = np.random.default_rng(3).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    engine = TransformersEngine(loaded)
    chat = [{"role": "user", "content": "A) on B) in"}]
    plain, other = (engine.next_token_logprobs([Image.fromarray(i)], [chat], LETTERS) for i in (grey, marked))
    assert plain != other, "a square cut out of the middle would lose them"


def test_images_of_one_size_have_no_pixel_limit(loaded: LoadedModel) -> None:
    if loaded.family.max_pixels is None:
        assert loaded.image_pixels is None
        with pytest.raises(ModelError, match=r"images of .* are limited by (their one size|a number of tiles)"):
            load_model(loaded.path, device="cpu", max_pixels=5000)


def test_an_instructblip_with_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found an encoder-decoder"):
        load_model(build_instructblip(tmp_path / "t5", encoder_decoder=True), device="cpu")
