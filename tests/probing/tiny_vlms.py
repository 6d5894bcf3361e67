"""Tiny Qwen2-VL, LLaVA-1.5, LLaVA-NeXT and InstructBLIP checkpoints: random weights, their real processors."""

from pathlib import Path

import torch
from transformers import (
    BertTokenizerFast,
    BlipImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
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
    T5Config,
)

from r1sgg.models.tiny import build_tiny
from r1sgg.models.tokenizer import build_tokenizer

SIDE, PATCH = 56, 14
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _tokenizer():
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return tokenizer


def _text(tokenizer) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5(tokenizer) -> dict[str, object]:
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    return T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **shape).to_dict()


def _clip() -> CLIPVisionConfig:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    return CLIPVisionConfig(**shape, image_size=SIDE, patch_size=PATCH, projection_dim=32)


_SIZES = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
_LAYOUT = {
    "patch_size": PATCH,
    "vision_feature_select_strategy": "default",
    "chat_template": LLAVA_TEMPLATE,
    "num_additional_image_tokens": 1,
}


def build_qwen2_vl(folder: Path) -> Path:
    """Smaller than the embedded one."""
    shape = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 64}
    return build_tiny(folder, max_pixels=56 * 56, **shape, vision_dim=32, vision_layers=2, vision_heads=2)


def build_llava(folder: Path) -> Path:
    """The image processor cuts out the middle, as the converted checkpoints' does."""
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(text_config=_text(tokenizer), vision_config=_clip(), image_token_index=image_id)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(CLIPImageProcessor(**_SIZES), tokenizer, **_LAYOUT).save_pretrained(folder)
    return folder


def build_llava_next(folder: Path) -> Path:
    """Two grids of tiles."""
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    grids = [[SIDE, 2 * SIDE], [2 * SIDE, 2 * SIDE]]
    config = LlavaNextConfig(
        text_config=_text(tokenizer),
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
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = InstructBlipConfig(
        vision_config={**shape, "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.02},
        qformer_config={**shape, "vocab_size": len(words), "encoder_hidden_size": 32, "max_position_embeddings": 1024},
        text_config=_t5(tokenizer) if encoder_decoder else _text(tokenizer).to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    InstructBlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    InstructBlipProcessor(images, tokenizer, bert, num_query_tokens=4).save_pretrained(folder)
    return folder
