"""Tiny checkpoints of every family: random weights, their makers' real processors; for tests only."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertTokenizerFast,
    BlipImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
    T5Config,
)

from r1sgg.miniature.tiny import CHAT_TEMPLATE, build_tiny, vision_token_ids
from r1sgg.miniature.tokenizer import build_tokenizer

from .newer_families import NEWER

SIDE, PATCH = 56, 14
# heads of 32 numbers: vLLM's attention on CPUs takes no smaller ones
LAYERS = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


# ---------------------------------------------------------------- Qwen

_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
_QWEN_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
_QWEN_VISION = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}


def _qwen_text(tokenizer: PreTrainedTokenizerFast) -> dict[str, object]:
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    shape = {**LAYERS, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": len(tokenizer)}
    return {**shape, **ends, "rope_parameters": _ROPE}


def build_qwen2_vl(folder: Path) -> Path:
    """Smaller than the embedded one; coordinates from 0 to 1000."""
    shape = {"hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 64}
    return build_tiny(folder, max_pixels=56 * 56, **shape, vision_dim=32, vision_layers=2, vision_heads=2)


def build_qwen2_5_vl(folder: Path, more_tokens: Iterable[str] = ()) -> Path:
    """Patches of 14, coordinates in pixels of the resized image."""
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(list(more_tokens))
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config=_qwen_text(tokenizer),
        vision_config={**_QWEN_VISION, "fullatt_block_indexes": [1], "window_size": 56},
        **vision_token_ids(tokenizer),
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=_QWEN_SIZE), tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)
    return folder


def build_rex_omni(folder: Path) -> Path:
    """Qwen2.5-VL with 1,000 more tokens, which are its coordinates."""
    return build_qwen2_5_vl(folder, [f"<{k}>" for k in range(1000)])


def _qwen3_vl(folder: Path, kind: type[Any], config_kind: type[Any], **more: int) -> Path:
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = config_kind(
        text_config={**_qwen_text(tokenizer), **more},
        vision_config={**_QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
        **vision_token_ids(tokenizer),
    )
    kind(config).save_pretrained(folder)
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(size=_QWEN_SIZE, patch_size=16),
        tokenizer,
        Qwen3VLVideoProcessor(patch_size=16),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def build_qwen3_vl(folder: Path) -> Path:
    """Patches of 16, coordinates from 0 to 1000."""
    return _qwen3_vl(folder, Qwen3VLForConditionalGeneration, Qwen3VLConfig)


def build_qwen3_vl_moe(folder: Path) -> Path:
    """Layers with four experts of which two are asked; published configs say `norm_topk_prob`, which vLLM reads."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}
    return _qwen3_vl(folder, Qwen3VLMoeForConditionalGeneration, Qwen3VLMoeConfig, **experts)


# ---------------------------------------------------------------- Llama with a CLIP, BLIP or SigLIP tower


def _tokenizer(*more: str) -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<image>", *more], special_tokens=True)
    return tokenizer


def _llama(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        **LAYERS,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5(tokenizer: PreTrainedTokenizerFast) -> dict[str, object]:
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    return T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **shape).to_dict()


def _clip() -> CLIPVisionConfig:
    return CLIPVisionConfig(**{**LAYERS, "num_hidden_layers": 3}, image_size=SIDE, patch_size=PATCH, projection_dim=32)


_SIZES = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
_LAYOUT = {
    "patch_size": PATCH,
    "vision_feature_select_strategy": "default",
    "chat_template": LLAVA_TEMPLATE,
    "num_additional_image_tokens": 1,
}


def build_llava(folder: Path) -> Path:
    """The image processor cuts out the middle, as the converted checkpoints' does."""
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(text_config=_llama(tokenizer), vision_config=_clip(), image_token_index=image_id)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(CLIPImageProcessor(**_SIZES), tokenizer, **_LAYOUT).save_pretrained(folder)
    return folder


def build_llava_next(folder: Path) -> Path:
    """Two grids of tiles."""
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    grids = [[SIDE, 2 * SIDE], [2 * SIDE, 2 * SIDE]]
    config = LlavaNextConfig(
        text_config=_llama(tokenizer),
        vision_config=_clip(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grids,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    images = LlavaNextImageProcessor(**_SIZES, image_grid_pinpoints=grids)
    LlavaNextProcessor(images, tokenizer, **_LAYOUT).save_pretrained(folder)
    return folder


def build_instructblip(folder: Path, *, encoder_decoder: bool = False) -> Path:
    """A Q-Former with its own (BERT) tokenizer; no chat template. With Llama, or T5, as language model."""
    folder.mkdir(exist_ok=True)
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *'abcdefghijklmnopqrstuvwxyz0123456789[](),."', "##e"]
    words += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789" if c != "e"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    bert = BertTokenizerFast(str(folder / "vocab.txt"))
    config = InstructBlipConfig(
        vision_config={**LAYERS, "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.02},
        qformer_config={**LAYERS, "vocab_size": len(words), "encoder_hidden_size": 64, "max_position_embeddings": 1024},
        text_config=_t5(tokenizer) if encoder_decoder else _llama(tokenizer).to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = InstructBlipForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens, std=0.5)  # of zeros, the norm after them has gradients of a million
    model.save_pretrained(folder)
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    InstructBlipProcessor(images, tokenizer, bert, num_query_tokens=4).save_pretrained(folder)
    return folder


_TILES = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}


def _smolvlm(kind: type[Any], config_kind: type[Any], folder: Path) -> PreTrainedTokenizerFast:
    """Write the weights of a tower of 4 x 4 patches of which 2 x 2 make a token; returns the tokenizer."""
    rows = [f"<row_{y}_col_{x}>" for y in (1, 2) for x in (1, 2)]
    tokenizer = _tokenizer("<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *rows)
    torch.manual_seed(0)
    config = config_kind(
        text_config=_llama(tokenizer),
        vision_config={**LAYERS, "image_size": SIDE, "patch_size": PATCH},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind(config).save_pretrained(folder)
    return tokenizer


def build_idefics3(folder: Path) -> Path:
    """SmolVLM's first version, which has the classes of Idefics3; up to four tiles and the whole."""
    tokenizer = _smolvlm(Idefics3ForConditionalGeneration, Idefics3Config, folder)
    images = Idefics3ImageProcessor(**_TILES)
    Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=SMOLVLM_TEMPLATE).save_pretrained(folder)
    return folder


def build_smolvlm(folder: Path) -> Path:
    """SmolVLM2, whose processor needs the package num2words; up to four tiles and the whole."""
    tokenizer = _smolvlm(SmolVLMForConditionalGeneration, SmolVLMConfig, folder)
    videos = SmolVLMVideoProcessor(size={"longest_edge": SIDE})
    SmolVLMProcessor(
        SmolVLMImageProcessor(**_TILES), tokenizer, videos, image_seq_len=4, chat_template=SMOLVLM_TEMPLATE
    ).save_pretrained(folder)
    return folder


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2_vl": build_qwen2_vl,
    "qwen2_5_vl": build_qwen2_5_vl,
    "rex_omni": build_rex_omni,
    "qwen3_vl": build_qwen3_vl,
    "qwen3_vl_moe": build_qwen3_vl_moe,
    "llava": build_llava,
    "llava_next": build_llava_next,
    "instructblip": build_instructblip,
    "idefics3": build_idefics3,
    "smolvlm": build_smolvlm,
    **NEWER,
}
"""By `model_type`; a family that differs from another one by its tokens only, by its name."""

SUITED = (
    *("qwen2_vl", "qwen2_5_vl", "rex_omni", "qwen3_vl", "qwen3_vl_moe", "llava", "llava_next", "instructblip"),
    *("idefics3", "smolvlm", "internvl"),
)
"""Those that our decoding loop reads; the others are left to transformers (`r1sgg.inference.layers.suits`)."""
