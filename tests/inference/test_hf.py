"""The transformers engine on the tiny checkpoint: batching, draws, log-probabilities, what is never written."""

import numpy as np
import pytest
import torch
from PIL import Image

from r1sgg.errors import ConfigError, ImageError
from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import VG150
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.choosing import Streams
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.pieces import pieces_of
from r1sgg.inference.writing import Writer
from r1sgg.miniature.scenes import SMALL, scene, split_seeds
from r1sgg.models.families import LoadedModel, load_model
from r1sgg.models.prompts import with_image

SIZES = [(112, 112), (40, 90), (200, 64)]
IMAGES = [
    Image.fromarray(np.random.default_rng(k).integers(0, 255, (h, w, 3), dtype=np.uint8))
    for k, (w, h) in enumerate(SIZES)
]
SAMPLED = Sampling(temperature=1.0, top_p=0.9, top_k=50, max_new_tokens=12, seed=4)


def chats(tiny: LoadedModel) -> list[list[dict[str, object]]]:
    return [tiny.messages(image.size) for image in IMAGES]


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=12), SAMPLED])
def test_an_answer_does_not_depend_on_the_batch(
    tiny: LoadedModel, engine: TransformersEngine, sampling: Sampling
) -> None:
    keys = ["a", "b", "c"]
    together = engine.generate(IMAGES, chats(tiny), sampling, keys)
    backwards = engine.generate(IMAGES[::-1], chats(tiny)[::-1], sampling, keys[::-1])[::-1]
    alone = [engine.generate([i], [c], sampling, [k])[0] for i, c, k in zip(IMAGES, chats(tiny), keys, strict=True)]
    for batched, other, single in zip(together, backwards, alone, strict=True):
        assert batched.text == other.text == single.text
        assert batched.tokens == single.tokens
        assert batched.logprobs is not None
        assert single.logprobs is not None
        assert batched.logprobs.sum == pytest.approx(single.logprobs.sum, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_score_reads_a_completion_as_it_would_be_written(
    tiny: LoadedModel, engine: TransformersEngine, temperature: float
) -> None:
    """Against one pass for each token, on the whole vocabulary."""
    completions = [[5, 90, 41], [200], [17, 17, 300, 2]]
    ran = engine.score(IMAGES, chats(tiny), completions, temperature)
    for image, chat, ids, one in zip(IMAGES, chats(tiny), completions, ran, strict=True):
        text = tiny.processor.apply_chat_template(with_image(chat), add_generation_prompt=True, tokenize=False)
        inputs = tiny.processor(text=[text], images=[[image]], return_tensors="pt")
        assert list(one.prompt_ids) == inputs["input_ids"][0].tolist()
        assert one.image_features == int(inputs["image_grid_thw"].prod()) // 4
        assert one.image_size == (14 * int(inputs["image_grid_thw"][0, 2]), 14 * int(inputs["image_grid_thw"][0, 1]))
        for token, logprob in zip(ids, one.logprobs, strict=True):
            logits = tiny.model(**inputs).logits[0, -1].double() / temperature
            assert logprob == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-4)
            more = torch.tensor([[token]])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], more], 1)
            inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(more)], 1)
            inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(more)], 1)


def test_draws_follow_seed_and_key_and_leave_torch_s_generator_alone(
    tiny: LoadedModel, engine: TransformersEngine
) -> None:
    def answer(seed: int, key: str) -> str:
        sampling = Sampling(temperature=1.0, max_new_tokens=12, seed=seed)
        return engine.generate(IMAGES[:1], chats(tiny)[:1], sampling, [key])[0].text

    state = torch.get_rng_state()
    assert answer(0, "a") == answer(0, "a")
    assert len({answer(0, "a"), answer(1, "a"), answer(0, "b")}) == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_greedy_is_transformers_greedy_and_logprobs_are_the_model_s(
    tiny: LoadedModel, engine: TransformersEngine
) -> None:
    text = tiny.processor.apply_chat_template(with_image(chats(tiny)[0]), add_generation_prompt=True, tokenize=False)
    inputs = tiny.processor(text=[text], images=[IMAGES[0]], return_tensors="pt")
    (answer,) = engine.generate(IMAGES[:1], chats(tiny)[:1], Sampling(max_new_tokens=6))
    with torch.inference_mode():
        ids = tiny.model.generate(**inputs, do_sample=False, max_new_tokens=6, suppress_tokens=engine._suppressed)
        start = inputs["input_ids"].shape[1]
        assert tiny.processor.tokenizer.decode(ids[0, start:], skip_special_tokens=True) == answer.text
        more = ids.shape[1] - start
        types = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, more))
        logits = tiny.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
            mm_token_type_ids=types,
        ).logits[0, start - 1 : -1]
    logits = logits.clone()
    logits[:, engine._suppressed] = -torch.inf
    expected = logits.log_softmax(-1).gather(1, ids[0, start:, None]).sum().item()
    assert answer.logprobs is not None
    assert answer.logprobs.sum == pytest.approx(expected, abs=1e-3)
    assert answer.logprobs.mean == pytest.approx(expected / answer.tokens, abs=1e-3)


def test_a_checkpoint_s_repetition_penalty_is_not_applied_and_not_lost(
    tiny: LoadedModel, engine: TransformersEngine
) -> None:
    sampling = Sampling(max_new_tokens=12)
    plain = engine.generate(IMAGES, chats(tiny), sampling)
    own = tiny.model.generation_config
    own.repetition_penalty = 50.0
    try:
        assert [a.text for a in engine.generate(IMAGES, chats(tiny), sampling)] == [a.text for a in plain]
        assert tiny.model.generation_config is own
        assert own.repetition_penalty == 50.0
    finally:
        own.repetition_penalty = None


def test_the_end_of_turn_ends_an_answer(tiny: LoadedModel) -> None:
    engine = TransformersEngine(tiny)
    (cut,) = engine.generate(IMAGES[:1], chats(tiny)[:1], Sampling(max_new_tokens=3))
    assert (cut.finish_reason, cut.tokens) == ("length", 3)
    end = tiny.processor.tokenizer.eos_token_id
    engine._suppressed = [k for k in range(tiny.model.config.text_config.vocab_size) if k != end]
    (ended,) = engine.generate(IMAGES[:1], chats(tiny)[:1], Sampling(max_new_tokens=3))
    assert (ended.finish_reason, ended.tokens, ended.text) == ("stop", 1, "")


def test_no_images_no_answers(engine: TransformersEngine) -> None:
    assert engine.generate([], [], Sampling()) == []


def test_an_image_that_no_processor_takes_is_named(engine: TransformersEngine) -> None:
    with pytest.raises(ImageError, match="3000x10"):
        engine.generate([Image.new("RGB", (3000, 10))], [[{"role": "user", "content": "x"}]], Sampling())


def choose(sampling: Sampling, scores: torch.Tensor, suppressed: list[int]) -> torch.Tensor:
    """Tokens (B,) chosen for scores (B, V)."""
    rows = range(len(scores))
    writer = Writer(Streams(sampling, [str(k) for k in rows], torch.device("cpu")), len(rows), [], 2, suppressed)
    writer.take(rows, scores, [1] * len(rows))
    return torch.tensor([draft.ids for draft in writer.drafts])[:, 0]


def test_tokens_are_drawn_with_the_model_s_probabilities() -> None:
    logits = torch.tensor([1.0, 0.0, 3.0, -1.0, 2.0])
    count = 4000
    chosen = choose(Sampling(temperature=1.0, max_new_tokens=1), logits.expand(count, 5).clone(), [2])
    expected = logits.index_fill(0, torch.tensor([2]), -torch.inf).softmax(0)
    found = torch.bincount(chosen, minlength=5) / count
    assert found[2] == 0
    assert (found - expected).abs().max() < 0.04  # over 4 standard deviations


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(temperature=0.0), {4}),
        (Sampling(temperature=1.0, top_k=2), {0, 4}),
        (Sampling(temperature=1.0, top_p=0.5), {4}),
        (Sampling(temperature=1e-3), {4}),
        (Sampling(temperature=50.0), {0, 1, 3, 4}),
    ],
)
def test_each_option_narrows_or_widens_the_choice(sampling: Sampling, possible: set[int]) -> None:
    logits = torch.tensor([1.0, 0.0, 3.0, -1.0, 2.0]).expand(200, 5).clone()
    assert set(choose(sampling, logits, [2]).tolist()) == possible


GUIDES = [
    GuideSpec((1000, 1000), minify=True),
    GuideSpec((1000, 1000), VG150.objects, VG150.predicates, max_objects=4, max_relationships=5),
    GuideSpec((112, 112), VG150.objects, (), answer_format="compact", max_objects=4, think=3),
]


@pytest.mark.parametrize(
    "sampling", [Sampling(max_new_tokens=110), Sampling(temperature=1.0, max_new_tokens=90, seed=4)]
)
def test_guided_answers_are_valid_and_do_not_depend_on_the_batch(
    tiny: LoadedModel, engine: TransformersEngine, sampling: Sampling
) -> None:
    keys = ["a", "b", "c"]
    together = engine.generate(IMAGES, chats(tiny), sampling, keys, guides=GUIDES, pieces=True)
    for answer, guide, image, chat, key in zip(together, GUIDES, IMAGES, chats(tiny), keys, strict=True):
        parsed = parse(answer.text, guide.frame)
        assert parsed.issues == ()
        assert 1 <= len(parsed.graph) <= guide.max_objects
        assert (answer.finish_reason, answer.tokens <= sampling.max_new_tokens) == ("stop", True)
        (alone,) = engine.generate([image], [chat], sampling, [key], guides=[guide])
        assert alone.text == answer.text
        assert alone.pieces is None
        pieces = answer.pieces
        assert pieces is not None
        assert answer.logprobs is not None
        assert "".join(piece.text for piece in pieces) == answer.text
        assert len(pieces) == answer.tokens - 1, "the end of the turn is no piece of the text"
        assert all(p.allowed is not None and p.logprob <= p.allowed + 1e-4 <= 2e-4 for p in pieces)
        assert sum(p.allowed == 0 for p in pieces) >= 5, "what has no alternative is certain"
        assert sum(p.logprob for p in pieces) >= answer.logprobs.sum


def test_a_guide_changes_nothing_about_an_answer_that_is_valid_anyway() -> None:
    """After SFT the model writes valid graphs by itself: greedily it writes the same ones with a guide."""
    engine = TransformersEngine(load_model("tiny-sft", device="cpu"))
    draws = [scene(seed, SMALL) for seed in split_seeds("test", 3, 8)]
    images = [drawn.image for drawn in draws]
    messages = [engine.loaded.messages(image.size) for image in images]
    sampling = Sampling(max_new_tokens=256)
    free = engine.generate(images, messages, sampling, pieces=True)
    guided = engine.generate(images, messages, sampling, guides=[GUIDES[0]] * 8, pieces=True)
    same = 0
    for one, other in zip(free, guided, strict=True):
        assert one.pieces is not None
        assert all(piece.allowed is None for piece in one.pieces)
        assert "".join(piece.text for piece in one.pieces) == one.text
        assert parse(other.text, (1000, 1000)).issues == ()
        if not parse(one.text, (1000, 1000)).issues:
            assert one.text == other.text
            same += 1
    assert same >= 6


def test_pieces_of_characters_that_take_several_tokens_are_the_text(engine: TransformersEngine) -> None:
    text = "caf\u00e9 \u732b 3"
    tokenizer = engine.loaded.processor.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = pieces_of(tokenizer, ids, text, [-1.0] * len(ids))
    assert "".join(piece.text for piece in pieces) == text
    assert len(pieces) == len(ids) > len(text.split())


def test_a_budget_that_no_answer_fits_is_one_sentence(tiny: LoadedModel, engine: TransformersEngine) -> None:
    with pytest.raises(ConfigError, match=r"the shortest answer takes \d+ tokens, found a budget of 5; raise"):
        engine.generate(IMAGES[:1], chats(tiny)[:1], Sampling(max_new_tokens=5), guides=GUIDES[:1])


def test_sets_of_many_tokens_are_drawn_from_like_short_ones(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(temperature=1.0, max_new_tokens=60, seed=1)
    usual = TransformersEngine(tiny).generate(IMAGES, chats(tiny), sampling, guides=GUIDES)
    monkeypatch.setattr("r1sgg.guiding.guide.FEW", 3)
    masked = TransformersEngine(tiny).generate(IMAGES, chats(tiny), sampling, guides=GUIDES)
    assert [a.text for a in usual] == [a.text for a in masked]
