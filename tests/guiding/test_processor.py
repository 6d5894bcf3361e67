"""The logits processor inside transformers' own generate, and sets of tokens as tensors."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LogitsProcessorList

from r1sgg.graph.text import parse
from r1sgg.guiding.guide import Guide
from r1sgg.guiding.processor import GuideLogitsProcessor, flags_of, unpacked
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable
from r1sgg.models.families import load_model

SPEC = GuideSpec((112, 112), max_objects=3, max_relationships=2, minify=True)


def test_sampling_with_transformers_own_generate_gives_valid_answers(tiny_checkpoint: Any) -> None:
    loaded = load_model(tiny_checkpoint, device="cpu")
    tokenizer = loaded.processor.tokenizer
    images = [Image.new("RGB", (56, 56), colour) for colour in ("red", "green", "blue")]
    chat = "<|vision_start|><|image_pad|><|vision_end|>graph"
    inputs = loaded.processor(text=[chat] * 3, images=[[i] for i in images], return_tensors="pt", padding=True)
    table = TokenTable.of(tokenizer)
    budgets = (30, 60, 90)
    guides = [Guide(table, SPEC, budget) for budget in budgets]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids = loaded.model.generate(
            **inputs,
            do_sample=True,
            max_new_tokens=90,
            logits_processor=LogitsProcessorList([GuideLogitsProcessor(guides)]),
        )
    answers = ids[:, inputs["input_ids"].shape[1] :]
    ends = [row.index(tokenizer.eos_token_id) for row in answers.tolist()]
    for row, end, guide, budget in zip(answers.tolist(), ends, guides, budgets, strict=True):
        assert end < budget
        assert guide.finished or end == max(ends), "the end of the longest is drawn after its guide's last look"
        parsed = parse(tokenizer.decode(row, skip_special_tokens=True), SPEC.frame)
        assert parsed.issues == ()
        assert 1 <= len(parsed.graph) <= 3


def test_each_row_follows_its_own_guide_and_a_finished_one_is_left_alone(tiny_table: TokenTable) -> None:
    short = Guide(tiny_table, GuideSpec((1, 1), ("man",), (), 1, 0, minify=True), 50)
    long = Guide(tiny_table, SPEC, 50)
    processor = GuideLogitsProcessor([short, long])
    scores = torch.zeros(2, tiny_table.size + 13)  # models have more rows than their tokenizer has tokens
    ids = torch.zeros(2, 1, dtype=torch.long)
    finished = False
    while not finished:
        left = processor(ids, scores)
        assert left[:, tiny_table.size :].max() == -torch.inf or short.finished
        assert (scores == 0).all(), "the scores given are not changed"
        finished = short.finished
        ids = torch.cat([ids, left.argmax(1)[:, None]], 1)
    assert (left[0] == 0).all()
    assert (left[1] == -torch.inf).any()
    with pytest.raises(ValueError, match="a guide for each of 1 answers, found 2"):
        processor(ids[:1], scores[:1])


def test_a_row_without_a_guide_is_free(tiny_table: TokenTable) -> None:
    processor = GuideLogitsProcessor([None, Guide(tiny_table, SPEC, 50)])
    scores = torch.zeros(2, tiny_table.size)
    ids = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(3):
        left = processor(ids, scores)
        assert (left[0] == 0).all()
        assert (left[1] == -torch.inf).any()
        ids = torch.cat([ids, left.argmax(1)[:, None]], 1)
    assert torch.equal(GuideLogitsProcessor([None])(ids[:1], scores[:1]), scores[:1])


def test_sets_as_tensors_agree_on_every_device() -> None:
    flags = np.random.default_rng(0).random((3, 96)) < 0.3
    sets = list(np.packbits(flags, axis=1, bitorder="little").view(np.int32))
    for size in (90, 96, 120):
        expected = np.pad(flags, ((0, 0), (0, 24)))[:, :size]
        assert np.array_equal(flags_of(sets, size, torch.device("cpu")).numpy(), expected)
        assert flags_of(sets, size, torch.device("meta")).shape == (3, size)
    assert np.array_equal(unpacked(torch.from_numpy(np.stack(sets))).numpy(), flags), "as other devices do it"
