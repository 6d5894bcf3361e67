"""The logits processor alone, driven as vLLM drives it: requests that come, go, move, are interrupted or broken."""

from typing import Any

import pytest
import torch

from r1sgg.errors import ConfigError
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import suppressed_token_ids
from r1sgg.inference.vllm import VLLMEngine

SPEC = GuideSpec((1000.0, 1000.0), minify=True)


class Batch:
    """A processor and the logits that it is given: nothing but noise, of which the best allowed token is drawn."""

    def __init__(self, engine: VLLMEngine) -> None:
        from r1sgg.guiding.vllm import GuideProcessor

        config = engine._llm.llm_engine.vllm_config
        self.processor = GuideProcessor(config, torch.device("cpu"), False)
        self.vocabulary = config.model_config.get_vocab_size()
        self.rows: list[list[int] | None] = [None] * 4
        self._noise = torch.Generator().manual_seed(0)

    def update(self, removed: Any = (), added: Any = (), moved: Any = ()) -> None:
        from vllm.v1.sample.logits_processor import BatchUpdate

        self.processor.update_state(BatchUpdate(len(self.rows), list(removed), list(added), list(moved)))

    def add(self, index: int, drawn: list[int], tokens: int = 100, **arguments: Any) -> None:
        from vllm import SamplingParams

        self.rows[index] = drawn
        self.update(added=[(index, SamplingParams(max_tokens=tokens, extra_args=arguments), [1] * 20, drawn)])

    def logits(self) -> torch.Tensor:
        self.processor.update_state(None)
        return self.processor.apply(torch.randn(len(self.rows), self.vocabulary, generator=self._noise))

    def step(self) -> None:
        for row, token in zip(self.rows, self.logits().argmax(-1).tolist(), strict=True):
            if row is not None:
                row.append(token)


@pytest.fixture
def batch(engine: VLLMEngine) -> Batch:
    return Batch(engine)


def allowed(logits: torch.Tensor, index: int) -> list[int]:
    return (logits[index] > -torch.inf).nonzero().flatten().tolist()


def test_without_a_guide_only_image_tokens_are_impossible(batch: Batch, engine: VLLMEngine) -> None:
    suppressed = suppressed_token_ids(engine._llm.model_config.hf_config, engine.checkpoint.processor.tokenizer)
    batch.add(0, [], r1sgg=SPEC.to_json())
    logits = batch.logits()
    for index in (1, 2, 3):
        assert allowed(logits, index) == sorted(set(range(batch.vocabulary)) - set(suppressed))
    assert len(allowed(logits, 0)) < 10
    assert not set(allowed(logits, 0)) & set(suppressed)


def test_values_of_allowed_tokens_are_kept(batch: Batch) -> None:
    batch.add(2, [], r1sgg=SPEC.to_json())
    for _ in range(3):
        batch.step()
    noise = torch.randn(4, batch.vocabulary)
    logits = batch.processor.apply(noise.clone())
    for index in range(4):
        kept = allowed(logits, index)
        assert logits[index, kept].tolist() == noise[index, kept].tolist()


def test_a_guide_goes_with_its_request(batch: Batch) -> None:
    from vllm.v1.sample.logits_processor import MoveDirectionality

    one: list[int] = []
    other: list[int] = []
    batch.add(0, one, r1sgg=SPEC.to_json())
    batch.step()
    batch.add(1, other, r1sgg=GuideSpec((9.0, 9.0), answer_format="compact").to_json())
    for _ in range(6):
        batch.step()
    before = batch.logits()
    batch.update(moved=[(0, 1, MoveDirectionality.SWAP)])
    after = batch.logits()
    assert allowed(after, 0) == allowed(before, 1) != allowed(before, 0) == allowed(after, 1)
    batch.update(moved=[(0, 3, MoveDirectionality.UNIDIRECTIONAL)])
    moved = batch.logits()
    assert allowed(moved, 3) == allowed(after, 0)
    assert len(allowed(moved, 0)) > 1000
    batch.update(removed=[3])
    assert len(allowed(batch.logits(), 3)) > 1000


@pytest.mark.parametrize(
    "spec", [SPEC, GuideSpec((50.0, 50.0), think=10), GuideSpec((50.0, 50.0), answer_format="compact")]
)
def test_an_interrupted_request_goes_on_where_it_was(batch: Batch, spec: GuideSpec) -> None:
    drawn: list[int] = []
    batch.add(0, drawn, r1sgg=spec.to_json())
    for _ in range(25):
        batch.step()
        batch.update(removed=[1])
        batch.add(1, list(drawn), r1sgg=spec.to_json())
        batch.rows[1] = None
        logits = batch.logits()
        assert allowed(logits, 0) == allowed(logits, 1) != []


def test_an_answer_that_left_its_guide_ends(batch: Batch) -> None:
    drawn: list[int] = []
    batch.add(0, drawn, r1sgg=SPEC.to_json())
    batch.step()
    drawn.append(next(token for token in range(batch.vocabulary) if token not in allowed(batch.logits(), 0)))
    assert allowed(batch.logits(), 0) == [batch.processor.table.end]


def test_a_guide_without_room_gives_an_empty_answer(batch: Batch) -> None:
    batch.add(0, [], tokens=2, r1sgg=SPEC.to_json())
    assert allowed(batch.logits(), 0) == [batch.processor.table.end]


@pytest.mark.parametrize(
    "argument", ["", "[1]", "{}", '{"frame": [9]}', '{"frame": [9, 9], "x": 1}', '{"frame": [9, 9], "think": -1}', 7]
)
def test_a_request_with_a_broken_guide_is_refused(argument: Any) -> None:
    from vllm import SamplingParams

    from r1sgg.guiding.vllm import GuideProcessor

    with pytest.raises(ConfigError, match="guide") as caught:
        GuideProcessor.validate_params(SamplingParams(extra_args={"r1sgg": argument}))
    assert "\n" not in str(caught.value)
    GuideProcessor.validate_params(SamplingParams(extra_args={"r1sgg": SPEC.to_json()}))
    GuideProcessor.validate_params(SamplingParams())
