"""The transformers engine on the tiny checkpoint: batching, draws, log-probabilities, what is never written."""

import numpy as np
import pytest
import torch
from PIL import Image

from r1sgg.errors import ImageError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine, _Chooser
from r1sgg.models.families import LoadedModel
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
    chooser = _Chooser(sampling, [str(k) for k in range(len(scores))], suppressed, torch.device("cpu"))
    left = chooser(torch.zeros(len(scores), 1, dtype=torch.long), scores)
    assert (left == 0).sum(1).tolist() == [1] * len(scores), "exactly one token stays possible"
    return left.argmax(1)


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
