"""Tiny checkpoints of the families of 2025 and 2026, as `tiny_families` makes those of the earlier ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4VideoProcessor,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    Glm46VImageProcessor,
    Glm46VProcessor,
    Glm46VVideoProcessor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    Lfm2VlImageProcessor,
    Lfm2VlProcessor,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_6ImageProcessor,
    MiniCPMV4_6Processor,
    MiniCPMV4_6VideoProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
)

from r1sgg.miniature.tiny import CHAT_TEMPLATE, vision_token_ids
from r1sgg.miniature.tokenizer import build_tokenizer

SIDE, PATCH = 56, 14
TEXT = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
"""Heads of 32 numbers: vLLM's attention on CPUs takes no smaller ones."""
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
SQUARE = {"height": SIDE, "width": SIDE}


def _tokenizer(special: tuple[str, ...] = (), **named: str) -> PreTrainedTokenizerFast:
    """The embedded model's tokenizer with the family's special tokens; those with a name become attributes."""
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(list(dict.fromkeys((*named.values(), *special))), special_tokens=True)
    if named:
        tokenizer._set_model_specific_special_tokens(named)
    return tokenizer


def _template(image: str, turn: str = "<|im_start|>{role}\n{text}<|im_end|>\n", assistant: str = "assistant") -> str:
    """A chat template in which a message is a turn, and its image is the placeholder before its text."""
    before, _, after = turn.partition("{text}")
    start = before.replace("{role}", "{{ 'ASSISTANT' if message['role'] == 'assistant' else message['role'] }}")
    start = start.replace("ASSISTANT", assistant)
    text = (
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
    ).replace("IMAGE", image)
    opening = before.replace("{role}", assistant)
    return (
        f"{{% for message in messages %}}{start}{text}{after}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{opening}{{% endif %}}"
    )


def _ends(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    return {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": end, "pad_token_id": pad}


def _ids(tokenizer: PreTrainedTokenizerFast, **names: str) -> dict[str, int]:
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


# ---------------------------------------------------------------- Qwen3.5

_QWEN_TEXT = {
    **TEXT,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    },
}
_QWEN_VISION = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}


_THINKING = CHAT_TEMPLATE.replace(
    "<|im_start|>{{ message['role'] }}{{ '\\n' }}",
    "<|im_start|>{{ message['role'] }}{{ '\\n' }}"
    "{%- if message['role'] == 'assistant' -%}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}",
).replace(
    "<|im_start|>assistant{{ '\\n' }}{%- endif -%}",
    "<|im_start|>assistant{{ '\\n<think>\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}{{ '\\n</think>\\n\\n' }}{%- endif -%}"
    "{%- endif -%}",
)
"""It opens a thought, which `enable_thinking=False` closes at once."""


def _qwen3_5(folder: Path, kind: type[Any], config_kind: type[Any], **more: int) -> Path:
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = config_kind(
        text_config={**_QWEN_TEXT, **_ends(tokenizer), **more},
        vision_config={**_QWEN_VISION, "num_position_embeddings": 64},
        **vision_token_ids(tokenizer),
    )
    kind(config).save_pretrained(folder)
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
    images, videos = Qwen2VLImageProcessor(size=size, patch_size=16), Qwen3VLVideoProcessor(patch_size=16)
    Qwen3VLProcessor(images, tokenizer, videos, chat_template=_THINKING).save_pretrained(folder)
    return folder


def build_qwen3_5(folder: Path) -> Path:
    """A layer of Gated DeltaNet and one of attention; Qwen3-VL's processor."""
    return _qwen3_5(folder, Qwen3_5ForConditionalGeneration, Qwen3_5Config)


def build_qwen3_5_moe(folder: Path) -> Path:
    """The same with four experts of which two are asked."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    experts["shared_expert_intermediate_size"] = 16
    return _qwen3_5(folder, Qwen3_5MoeForConditionalGeneration, Qwen3_5MoeConfig, **experts)


# ---------------------------------------------------------------- Gemma

_GEMMA_TURN = "<start_of_turn>{role}\n{text}<end_of_turn>\n"
_GEMMA = {**TEXT, "num_key_value_heads": 1, "head_dim": 32, "sliding_window": 64}


def build_gemma3(folder: Path) -> Path:
    """One layer that sees 64 tokens and one that sees all; squares of 4 x 4 patches, four to a token."""
    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = _tokenizer(("<start_of_turn>", "<end_of_turn>"), **named)
    tokenizer.add_tokens(["\n" * count for count in (1, 2, 3, 4)])  # vLLM asks for their ids
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config={**_GEMMA, **_ends(tokenizer), "layer_types": ["sliding_attention", "full_attention"]},
        vision_config={**TOWER, "num_hidden_layers": 2, "image_size": SIDE, "patch_size": PATCH},
        mm_tokens_per_image=4,
        **_ids(
            tokenizer,
            image_token_index="<image_soft_token>",
            boi_token_index="<start_of_image>",
            eoi_token_index="<end_of_image>",
        ),
    )
    model = Gemma3ForConditionalGeneration(config)
    # of zeros, the norm after them has gradients of thousands
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.5)
    model.save_pretrained(folder)
    template = _template("<start_of_image>", _GEMMA_TURN, "model")
    images = Gemma3ImageProcessor(size=SQUARE)
    Gemma3Processor(images, tokenizer, chat_template=template, image_seq_length=4).save_pretrained(folder)
    return folder


def build_gemma4(folder: Path) -> Path:
    """As E2B: embeddings for each layer, no audio tower; at most 70 tokens an image, 3 x 3 patches to a token."""
    named = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
    named |= {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    tokenizer = _tokenizer(("<|turn>", "<turn|>", "<|video|>"), **named)
    torch.manual_seed(0)
    ends = _ends(tokenizer)
    layered = {"vocab_size_per_layer_input": len(tokenizer), "hidden_size_per_layer_input": 16, "global_head_dim": 32}
    config = Gemma4Config(
        text_config={**_GEMMA, **ends, **layered, "layer_types": ["sliding_attention", "full_attention"]},
        vision_config={
            **TOWER,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 8,
            "position_embedding_size": 128,
            "pooling_kernel_size": 3,
            "default_output_length": 70,  # vLLM reads it
        },
        audio_config=None,
        **_ids(tokenizer, image_token_id="<|image|>", boi_token_id="<|image>", eoi_token_id="<image|>"),
        **_ids(tokenizer, audio_token_id="<|audio|>", boa_token_id="<|audio>", eoa_token_index="<audio|>"),
        **_ids(tokenizer, video_token_id="<|video|>"),
    )
    Gemma4ForConditionalGeneration(config).save_pretrained(folder)
    layout = {"patch_size": 8, "max_soft_tokens": 70, "pooling_kernel_size": 3}
    Gemma4Processor(
        Gemma4AudioFeatureExtractor(),
        Gemma4ImageProcessor(**layout),
        tokenizer,
        Gemma4VideoProcessor(**layout),
        chat_template=_template("<|image|>", "<|turn>{role}\n{text}<turn|>\n", "model"),
        image_seq_length=70,
    ).save_pretrained(folder)
    return folder


def build_paligemma(folder: Path) -> Path:
    """PaliGemma 2's parts: a Gemma 2 that reads the prompt in both directions; location tokens."""
    tokenizer = _tokenizer(("<bos>",))
    tokenizer.bos_token = "<bos>"
    torch.manual_seed(0)
    images = SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tokenizer)  # it adds <image> and the location tokens
    text = {**_GEMMA, **_ends(tokenizer), "model_type": "gemma2", "query_pre_attn_scalar": 32}
    text |= {"layer_types": ["sliding_attention", "full_attention"], "bos_token_id": tokenizer.bos_token_id}
    config = PaliGemmaConfig(
        text_config=text,
        vision_config={**TOWER, "num_hidden_layers": 2, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=64,
        hidden_size=64,
        vocab_size=len(tokenizer),
        **_ids(tokenizer, image_token_index="<image>"),
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------- InternVL, LFM2-VL, MiniCPM-V


def build_internvl(folder: Path) -> Path:
    """Qwen2 as language model; up to four tiles of 4 x 4 patches and the whole, four patches to a token."""
    named = {"start_image_token": "<img>", "end_image_token": "</img>"}
    named |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    tokenizer = _tokenizer(**named)
    torch.manual_seed(0)
    config = InternVLConfig(
        text_config={**TEXT, **_ends(tokenizer), "num_key_value_heads": 1, "model_type": "qwen2"},
        vision_config={**TOWER, "num_hidden_layers": 2, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]},
        image_seq_length=4,
        **_ids(tokenizer, image_token_id="<IMG_CONTEXT>"),
    )
    InternVLForConditionalGeneration(config).save_pretrained(folder)
    InternVLProcessor(
        GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=4),
        tokenizer,
        InternVLVideoProcessor(size=SQUARE),
        image_seq_length=4,
        chat_template=_template("<IMG_CONTEXT>\n"),
    ).save_pretrained(folder)
    return folder


def build_lfm2_vl(folder: Path) -> Path:
    """A layer of short convolution and one of attention; images of up to 16 tokens, larger ones in tiles."""
    rows = [f"<|img_row_{y}_col_{x}|>" for y in range(1, 5) for x in range(1, 5)]
    named = {"image_token": "<image>", "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>"}
    tokenizer = _tokenizer(tuple(rows), **named, image_thumbnail_token="<|img_thumbnail|>")
    torch.manual_seed(0)
    text = {**TEXT, **_ends(tokenizer), "num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]}
    config = Lfm2VlConfig(
        # vLLM reads the sizes of the convolution
        text_config={
            **text,
            "model_type": "lfm2",
            "block_auto_adjust_ff_dim": False,
            "conv_dim": 64,
            "conv_dim_out": 64,
            "block_dim": 64,
        },
        vision_config={
            **TOWER,
            "num_hidden_layers": 2,
            "patch_size": PATCH,
            "num_patches": 64,
            "model_type": "siglip2_vision_model",
            "vision_use_head": False,
        },
        projector_hidden_size=64,
        **_ids(tokenizer, image_token_id="<image>"),
    )
    Lfm2VlForConditionalGeneration(config).save_pretrained(folder)
    images = Lfm2VlImageProcessor(
        encoder_patch_size=PATCH,
        tile_size=SIDE,
        min_tiles=2,
        max_tiles=4,
        min_image_tokens=4,
        max_image_tokens=16,
    )
    Lfm2VlProcessor(images, tokenizer, chat_template=_template("<image>")).save_pretrained(folder)
    return folder


def build_minicpmv4_6(folder: Path) -> Path:
    """Qwen3.5's text model; slices of at most 56 x 56 pixels and the whole, 4 x 4 patches to a token."""
    named = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "image_start_token": "<image>"}
    named |= {"image_end_token": "</image>", "slice_start_token": "<slice>", "slice_end_token": "</slice>"}
    named |= {"image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>"}
    tokenizer = _tokenizer(**named)
    torch.manual_seed(0)
    config = MiniCPMV4_6Config(
        text_config={**_QWEN_TEXT, **_ends(tokenizer), "model_type": "qwen3_5_text"},
        vision_config={**TOWER, "num_hidden_layers": 2, "image_size": 2 * SIDE, "patch_size": PATCH},
        insert_layer_id=0,
        **_ids(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    MiniCPMV4_6ForConditionalGeneration(config).save_pretrained(folder)
    layout = {"max_slice_nums": 4, "scale_resolution": SIDE, "patch_size": PATCH}
    MiniCPMV4_6Processor(
        MiniCPMV4_6ImageProcessor(**layout),
        MiniCPMV4_6VideoProcessor(**layout),
        tokenizer,
        chat_template=_template("<|image_pad|>\n"),
    ).save_pretrained(folder)
    return folder


# ---------------------------------------------------------------- GLM


def _glm(folder: Path, kind: type[Any], config_kind: type[Any], *parts: type[Any]) -> Path:
    begins = ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
    tokenizer = _tokenizer(("<|assistant|>", "<|user|>", *begins), image_token="<|image|>", video_token="<|video|>")
    torch.manual_seed(0)
    places = dict(zip(("image_start", "image_end", "video_start", "video_end"), begins, strict=True))
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [2, 3, 3]}
    config = config_kind(
        text_config={**TEXT, **_ends(tokenizer), "num_key_value_heads": 1, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "image_size": SIDE,
        },
        **_ids(tokenizer, image_token_id="<|image|>", video_token_id="<|video|>"),
        **_ids(tokenizer, **{f"{name}_token_id": token for name, token in places.items()}),
    )
    kind(config).save_pretrained(folder)
    processor, images, videos = parts
    size = {"shortest_edge": 2 * 56 * 56, "longest_edge": 2 * 28 * 28 * 1280}
    template = _template("<|begin_of_image|><|image|><|end_of_image|>", "<|{role}|>\n{text}<|im_end|>")
    processor(images(size=size), tokenizer, videos(size=size), chat_template=template).save_pretrained(folder)
    return folder


def build_glm4v(folder: Path) -> Path:
    """GLM-4.1V: patches of 14, four to a token."""
    parts = (Glm4vProcessor, Glm4vImageProcessor, Glm4vVideoProcessor)
    return _glm(folder, Glm4vForConditionalGeneration, Glm4vConfig, *parts)


def build_glm46v(folder: Path) -> Path:
    """GLM-4.6V, whose parts are those of GLM-4.1V under other names."""
    parts = (Glm46VProcessor, Glm46VImageProcessor, Glm46VVideoProcessor)
    return _glm(folder, Glm46VForConditionalGeneration, Glm46VConfig, *parts)


NEWER: dict[str, Callable[[Path], Path]] = {
    "qwen3_5": build_qwen3_5,
    "qwen3_5_moe": build_qwen3_5_moe,
    "gemma3": build_gemma3,
    "gemma4": build_gemma4,
    "paligemma": build_paligemma,
    "internvl": build_internvl,
    "lfm2_vl": build_lfm2_vl,
    "minicpmv4_6": build_minicpmv4_6,
    "glm4v": build_glm4v,
    "glm46v": build_glm46v,
}
