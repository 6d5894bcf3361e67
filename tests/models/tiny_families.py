"""Tiny checkpoints of the other families, with random weights, for tests only."""

from pathlib import Path

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from r1sgg.models.tiny import CHAT_TEMPLATE, vision_token_ids
from r1sgg.models.tokenizer import build_tokenizer

_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}


def _text(vocab_size: int) -> dict[str, object]:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**shape, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": vocab_size, "rope_parameters": _ROPE}


def build_qwen2_5_vl(folder: Path) -> Path:
    """Patches of 14, coordinates in pixels of the resized image."""
    tokenizer = build_tokenizer()
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        text_config=_text(len(tokenizer)),
        vision_config={**vision, "fullatt_block_indexes": [1], "window_size": 56},
        **vision_token_ids(tokenizer),
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=_SIZE), tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)
    return folder


def build_qwen3_vl(folder: Path) -> Path:
    """Patches of 16, coordinates from 0 to 1000."""
    tokenizer = build_tokenizer()
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen3VLConfig(
        text_config=_text(len(tokenizer)),
        vision_config={**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
        **vision_token_ids(tokenizer),
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(size=_SIZE, patch_size=16),
        tokenizer,
        Qwen3VLVideoProcessor(patch_size=16),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder
