"""Pre-training of the tiny image encoder: its truth by hand, and that it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from r1sgg.miniature.scenes import SMALL, scene, split_seeds
from r1sgg.miniature.seeing import losses, pretrain_encoder, truth
from r1sgg.miniature.tiny import build_model, build_processor, build_tiny
from r1sgg.miniature.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()
SMALL_ENCODER = {"layers": 1, "vision_dim": 32, "vision_layers": 1, "vision_heads": 2}


def test_each_object_is_at_the_token_of_its_centre() -> None:
    drawn = scene(5, SMALL)
    graph = drawn.example.graph
    present, boxes = truth([drawn], 4, 4)
    assert present.sum() == len(graph)
    for label, box in zip(graph.labels, graph.boxes, strict=True):
        column, row = int((box[0] + box[2]) * 2), int((box[1] + box[3]) * 2)
        place = (0, row * 4 + column, SMALL.classes.index(label))
        assert present[place] == 1
        assert boxes[place].tolist() == pytest.approx(box.tolist())


def test_a_reader_that_is_right_loses_nothing() -> None:
    """The encoder's tokens are the truth itself, which a reader with equal weights for all would not know."""
    scenes = [scene(s, SMALL) for s in (1, 2)]
    processor = build_processor(TOKENIZER, min_pixels=784, max_pixels=112 * 112).image_processor
    encoder = build_model(TOKENIZER, **SMALL_ENCODER).model.visual
    present, boxes = truth(scenes, 4, 4)

    class Knowing(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.cat([(present[..., None] * 2 - 1) * 50, boxes], -1).flatten(-2)

    classes, away = losses(encoder, Knowing(), processor, scenes)
    assert classes.item() == pytest.approx(0, abs=1e-6)
    assert away.item() == pytest.approx(0, abs=1e-6)


def test_it_learns_and_repeats() -> None:
    processor = build_processor(TOKENIZER, min_pixels=784, max_pixels=112 * 112).image_processor
    scenes = [scene(s, SMALL) for s in split_seeds("validation", 0, 64)]
    taught = [build_model(TOKENIZER, **SMALL_ENCODER).model.visual for _ in range(2)]
    (one, away), (same, _) = (
        (t.item() for t in losses(encoder, pretrain_encoder(encoder, processor, 40, seed=1), processor, scenes))
        for encoder in taught
    )
    assert one == same
    untaught = build_model(TOKENIZER, **SMALL_ENCODER).model.visual
    start, away_at_start = losses(untaught, pretrain_encoder(untaught, processor, 1, seed=1), processor, scenes)
    assert one < 0.5 * start.item()
    assert away < 0.8 * away_at_start.item()


def test_the_folder_holds_the_trained_encoder_and_the_same_language_model(tmp_path: Path) -> None:
    models = [
        AutoModelForImageTextToText.from_pretrained(
            build_tiny(tmp_path / str(steps), max_pixels=112 * 112, vision_steps=steps, **SMALL_ENCODER)
        ).state_dict()
        for steps in (0, 2)
    ]
    changed = {name for name in models[0] if not torch.equal(models[0][name], models[1][name])}
    assert changed
    assert all(".visual." in name for name in changed)
