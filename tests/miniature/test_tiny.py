"""The tiny checkpoint: an ordinary folder, and a tokenizer that loses nothing."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.graph.vocabulary import VG150
from r1sgg.miniature.tiny import build_model, build_tiny
from r1sgg.miniature.tokenizer import SPECIAL, build_tokenizer
from r1sgg.models.prompts import AnswerSettings, build_messages, with_image

TOKENIZER = build_tokenizer()


def ids(text: str) -> list[int]:
    return TOKENIZER(text).input_ids


def test_the_folder_loads_like_any_checkpoint(tiny_checkpoint: Path) -> None:
    processor = AutoProcessor.from_pretrained(tiny_checkpoint, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint, local_files_only=True)
    assert isinstance(processor, Qwen2VLProcessor)
    assert isinstance(model, Qwen2VLForConditionalGeneration)
    assert model.dtype == torch.bfloat16
    assert 2e6 < model.num_parameters() < 5e6
    assert AnswerSettings.read(tiny_checkpoint) == AnswerSettings(prompt="short", minify=True)
    text = 'Ünïcode {"objects":[{"id":"man.1"'
    assert processor.tokenizer(text).input_ids == ids(text)
    assert processor.tokenizer.padding_side == "left"


def test_equal_seeds_give_equal_weights() -> None:
    size = {"layers": 1, "vision_layers": 1}
    one, same, other = (build_model(TOKENIZER, seed=s, **size).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_model(TOKENIZER, seed=0, layers=1, vision_layers=1)
    assert torch.equal(torch.rand(1), expected)


def test_settings_and_pixel_limits_reach_the_folder(tmp_path: Path) -> None:
    settings = AnswerSettings(prompt="paper", think=True)
    build_tiny(tmp_path, max_pixels=112 * 112, settings=settings, layers=1, vision_layers=1)
    assert AnswerSettings.read(tmp_path) == settings
    assert AutoProcessor.from_pretrained(tmp_path).image_processor.size["longest_edge"] == 112 * 112


@given(st.text().filter(lambda t: not any(s in t for s in SPECIAL)))
def test_any_text_survives(text: str) -> None:
    assert TOKENIZER.decode(ids(text)) == text


@pytest.mark.parametrize("text", ["<|im_end|>", "", " ", "\r\n", "a  b", "\x00", "x 12345 0.50", "🙂 é"])
def test_odd_text_survives(text: str) -> None:
    assert TOKENIZER.decode(ids(text)) == text


@pytest.mark.parametrize("name", VG150.objects)
def test_a_class_is_one_token(name: str) -> None:
    assert len(ids(f'{{"objects":[{{"id":"{name}.1","bbox":[')) == 4


@pytest.mark.parametrize("name", VG150.predicates)
def test_a_predicate_is_one_token(name: str) -> None:
    assert len(ids(f'","predicate":"{name}","object":"')) == 3


def test_numbers_up_to_1000_are_one_token() -> None:
    assert all(len(ids(str(n))) == 1 for n in range(1001))
    assert len(ids("1001")) == 4


def test_a_minified_answer_is_short() -> None:
    objects = [SceneObject(f"{n}.1", n, (0.1, 0.2, 0.3, 0.4)) for n in ("man", "horse", "hat", "tree")]
    relations = [Relationship(0, "riding", 1), Relationship(0, "wearing", 2), Relationship(1, "in front of", 3)]
    graph = SceneGraph.build(objects, relations)
    assert len(ids(render(graph, (1000, 1000), minify=True))) == 1 + 4 * 11 + 3 * 8
    empty = render(SceneGraph.build(objects[:1]), (1000, 1000), minify=True)
    assert len(ids(empty)) == 12


def test_the_vocabulary_stays_small_and_the_prompt_a_handful_of_tokens(tiny_checkpoint: Path) -> None:
    assert len(TOKENIZER) <= 2000
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    chat = with_image(build_messages(AnswerSettings(prompt="short")))
    assert len(ids(processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))) < 25


def test_extra_words_become_tokens() -> None:
    own = build_tokenizer(["traffic light"])
    text = '{"objects":[{"id":"traffic light.1","bbox":['
    assert len(own(text).input_ids) == 4 < len(ids(text))
