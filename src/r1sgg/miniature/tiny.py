"""A Qwen2-VL of 3.1 million parameters with random weights, saved as an ordinary checkpoint folder.

It has the architecture, image processor and chat layout of the real family, so every command that works with it works
with Qwen2-VL; only its tokenizer differs (`r1sgg.miniature.tokenizer`). To train it, see `r1sgg sft`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1sgg.miniature.seeing import pretrain_encoder
from r1sgg.miniature.tokenizer import build_tokenizer
from r1sgg.models.prompts import AnswerSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, ProcessorMixin, Qwen2VLForConditionalGeneration

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}{{ '\\n' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part['type'] == 'text' -%}{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}
"""
"""ChatML with vision parts as in the Qwen families, without their default system prompt (10 tokens per prompt)."""

SETTINGS = AnswerSettings(prompt="short", minify=True, think=False)


def build_processor(tokenizer: PreTrainedTokenizerFast, *, min_pixels: int, max_pixels: int) -> ProcessorMixin:
    """Return Qwen2-VL's processor with another tokenizer.

    Args:
        tokenizer: one that has the vision tokens.
        min_pixels: images with fewer pixels are enlarged.
        max_pixels: images with more pixels are reduced; 28 x 28 pixels are one token.
    """
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    layout: dict[str, Any] = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **layout),
        tokenizer=tokenizer,
        # never used, but AutoProcessor refuses a checkpoint without it
        video_processor=Qwen2VLVideoProcessor(size=size, **layout),
        chat_template=CHAT_TEMPLATE,
    )


def vision_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return the four special ids of a Qwen-VL config."""
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


def build_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    hidden: int = 192,
    layers: int = 5,
    heads: int = 6,
    kv_heads: int = 2,
    intermediate: int = 320,
    vision_dim: int = 128,
    vision_layers: int = 4,
    vision_heads: int = 4,
    max_positions: int = 4096,
) -> Qwen2VLForConditionalGeneration:
    """Return a Qwen2-VL with random float32 weights; the same seed gives the same weights."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    pairs = hidden // heads // 2
    side = pairs * 3 // 8  # M-RoPE shares a head's rotary pairs 2 : 3 : 3 among time, height and width
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": max_positions,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [pairs - 2 * side, side, side],
            },
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": pad,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_layers,
            "embed_dim": vision_dim,
            "hidden_size": hidden,
            "num_heads": vision_heads,
            "mlp_ratio": 4,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=True,
        **vision_token_ids(tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2VLForConditionalGeneration(config)
    generation = model.generation_config
    generation.bos_token_id, generation.eos_token_id, generation.pad_token_id = None, end, pad
    return model


def build_tiny(
    out_dir: Path | str,
    seed: int = 0,
    *,
    min_pixels: int = 28 * 28,
    max_pixels: int = 112 * 112,
    settings: AnswerSettings = SETTINGS,
    vision_steps: int = 0,
    **size: int,
) -> Path:
    """Write the checkpoint folder: config, bf16 safetensors, processor, tokenizer and r1sgg.json.

    Args:
        out_dir: the folder, made if needed.
        seed: of the random weights.
        min_pixels: see `build_processor`.
        max_pixels: see `build_processor`.
        settings: prompt and answer format that later commands use with this checkpoint.
        vision_steps: of pre-training the image encoder (`r1sgg.miniature.seeing`); none leaves it random.
        **size: see `build_model`.

    Returns:
        The folder.
    """
    import torch

    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer, min_pixels=min_pixels, max_pixels=max_pixels)
    model = build_model(tokenizer, seed=seed, **size)
    if vision_steps:
        pretrain_encoder(model.model.visual, processor.image_processor, vision_steps, seed)
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
    settings.write(folder)
    return folder
