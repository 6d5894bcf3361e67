"""Guided answers through vLLM: always complete and readable, the same as transformers', whoever shares the batch."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.text import parse
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.vllm import VLLMEngine

from .conftest import Asked

FRAME = (1000.0, 1000.0)
PLAIN = GuideSpec(FRAME, minify=True)
CLOSED = GuideSpec(FRAME, objects=("man", "traffic light"), predicates=("on", "in front of"))
SPECS = [
    PLAIN,
    CLOSED,
    GuideSpec(FRAME, answer_format="compact"),
    GuideSpec(FRAME, think=20),
    GuideSpec((64.0, 48.0), max_objects=2, max_relationships=1, minify=True),
]
SAMPLINGS = [
    Sampling(max_new_tokens=220),
    Sampling(temperature=1.0, max_new_tokens=220),
    Sampling(temperature=2.0, max_new_tokens=220),
]


def faults(answers: Sequence[Completion], spec: GuideSpec) -> list[str]:
    """Answers that are not complete or have anything for the parser to remark."""
    return [
        answer.text
        for answer in answers
        if answer.error or answer.finish_reason != "stop" or parse(answer.text, spec.frame).issues
    ]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: f"T={sampling.temperature:g}")
def test_every_guided_answer_is_valid(engine: VLLMEngine, asked: Asked, sampling: Sampling) -> None:
    answers = engine.generate(*asked[:2], sampling, asked.keys, guides=[PLAIN] * len(asked.keys))
    assert len(answers) >= 100
    assert faults(answers, PLAIN) == []
    assert any(parse(answer.text, FRAME).graph.pairs for answer in answers)
    if sampling.temperature == 2:  # which breaks a free answer
        assert faults(engine.generate(*asked[:2], sampling, asked.keys), PLAIN)


@pytest.mark.parametrize("sampling", SAMPLINGS[::2], ids=lambda sampling: f"T={sampling.temperature:g}")
def test_each_request_has_its_own_guide(engine: VLLMEngine, asked: Asked, sampling: Sampling) -> None:
    images, chats, keys = asked.first(60)
    guides = [SPECS[k % len(SPECS)] for k in range(len(images))]
    answers = engine.generate(images, chats, sampling, keys, guides=guides)
    for k, spec in enumerate(SPECS):
        mine = answers[k :: len(SPECS)]
        assert faults(mine, spec) == []
        graphs = [parse(answer.text, spec.frame).graph for answer in mine]
        assert all(
            len(graph.ids) <= spec.max_objects and len(graph.pairs) <= spec.max_relationships for graph in graphs
        )
        if spec.objects:
            assert {label for graph in graphs for label in graph.labels} <= set(spec.objects)
            assert {name for graph in graphs for name in graph.predicates} <= set(spec.predicates)
        assert all(answer.text.startswith("<think>") == bool(spec.think) for answer in mine)
        assert all(answer.text.startswith("{") == (spec.answer_format == "json" and not spec.think) for answer in mine)


def test_a_guided_answer_ends_within_its_tokens(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(16)
    for tokens in (24, 60):
        sampling = Sampling(temperature=2.0, max_new_tokens=tokens)
        answers = engine.generate(images, chats, sampling, keys, guides=[PLAIN] * len(images))
        assert faults(answers, PLAIN) == []
        assert max(answer.tokens for answer in answers) <= tokens


def test_guided_answers_are_those_of_transformers(
    engine: VLLMEngine, transformers_engine: TransformersEngine, asked: Asked
) -> None:
    images, chats, keys = asked.first(24)
    guides = [CLOSED] * len(images)
    ours = engine.generate(images, chats, SAMPLINGS[0], keys, guides=guides, pieces=True)
    theirs = transformers_engine.generate(images, chats, SAMPLINGS[0], keys, guides=guides, pieces=True)
    same = [pair for pair in zip(ours, theirs, strict=True) if pair[0].text == pair[1].text]
    assert len(same) >= len(images) - 2  # near ties
    for mine, other in same:
        assert mine.pieces is not None
        assert other.pieces is not None
        assert "".join(piece.text for piece in mine.pieces) == mine.text
        for name in ("allowed", "logprob"):
            gaps = [abs(getattr(a, name) - getattr(b, name)) for a, b in zip(mine.pieces, other.pieces, strict=True)]
            # other kernels round otherwise, and forced, unlikely text makes that grow; a wrong mask gives whole units
            assert np.quantile(gaps, 0.9) < 0.05
            assert max(gaps) < 0.5


def test_a_score_over_the_allowed_tokens_is_no_lower(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(16)
    answers = engine.generate(images, chats, SAMPLINGS[2], keys, guides=[CLOSED] * len(images), pieces=True)
    pieces = [piece for answer in answers for piece in answer.pieces or ()]
    assert all(piece.allowed is not None and piece.logprob - 1e-4 <= piece.allowed <= 0 for piece in pieces)
    assert any(piece.allowed == 0 and piece.logprob < -0.1 for piece in pieces)  # the only token, and unlikely
    assert any(piece.allowed is not None and piece.allowed < -0.1 for piece in pieces)
    free = engine.generate(images, chats, SAMPLINGS[0], keys, pieces=True)
    assert all(piece.allowed is None for answer in free for piece in answer.pieces or ())


def test_draws_of_guided_answers_depend_on_their_key(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(40)
    together = engine.generate(images, chats, SAMPLINGS[1], keys, guides=[PLAIN] * 40)
    alone = engine.generate(images[:8], chats[:8], SAMPLINGS[1], keys[:8], guides=[PLAIN] * 8)
    assert sum(a.text != b.text for a, b in zip(together, alone, strict=False)) <= 1


@pytest.mark.parametrize(
    ("spec", "tokens", "message"),
    [
        (PLAIN, 3, "guide: the shortest answer takes .* tokens, found a budget of 3"),
        (dataclasses.replace(PLAIN, objects=("man", "\x00\ufffe")), 200, "guide"),
    ],
)
def test_a_guide_that_cannot_be_made_is_refused(
    engine: VLLMEngine, asked: Asked, spec: GuideSpec, tokens: int, message: str
) -> None:
    images, chats, keys = asked.first(2)
    with pytest.raises(ConfigError, match=message) as caught:
        engine.generate(images, chats, Sampling(max_new_tokens=tokens), keys, guides=[PLAIN, spec])
    assert "\n" not in str(caught.value)
    answers = engine.generate(images, chats, SAMPLINGS[0], keys, guides=[PLAIN] * 2)
    assert faults(answers, PLAIN) == []


def test_a_prompt_that_leaves_no_room_is_named(engine: VLLMEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(2)
    long = [{"role": "user", "content": "A man. " * 160}]
    answers = engine.generate(images, [long, chats[1]], SAMPLINGS[0], keys, guides=[PLAIN] * 2)
    assert answers[0].error is not None
    assert "512" in answers[0].error
    assert faults(answers[1:], PLAIN) == []
