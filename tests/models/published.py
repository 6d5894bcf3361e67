"""Tiny checkpoints in the layout in which the makers publish the Qwen families: what a user downloads.

Names of weights as before transformers 5, tied embeddings left out, shards with an index, bfloat16, a flat config (the
text model's settings are not in `text_config`), rope_scaling, preprocessor_config.json and chat_template.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

_RENAMED = {"model.visual.": "visual.", "model.language_model.": "model."}
"""Names in memory, and in the files of Qwen2-VL and Qwen2.5-VL; Qwen3-VL's files have the first."""


def publish_as_its_makers(folder: Path, out: Path, shards: int = 2) -> Path:
    """Write a checkpoint of transformers 5 as its makers would have."""
    out.mkdir(parents=True)
    config = json.loads((folder / "config.json").read_text())
    newest = config["model_type"] == "qwen3_vl"
    (out / "config.json").write_text(json.dumps(_config(config, flat=not newest)))
    _write_weights(_weights(folder, newest, tied=_tied(config)), out, shards)
    generation = {"do_sample": True, "eos_token_id": _text(config)["eos_token_id"], "temperature": 0.01, "top_k": 1}
    (out / "generation_config.json").write_text(json.dumps({**generation, "repetition_penalty": 1.05}))
    processor = json.loads((folder / "processor_config.json").read_text())
    image = processor["image_processor"]
    size = image.pop("size")
    pixels = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    if newest:
        pixels = {"size": size}
        video = {**processor["video_processor"], "processor_class": processor["processor_class"]}
        (out / "video_preprocessor_config.json").write_text(json.dumps(video))
    image |= {**pixels, "processor_class": processor["processor_class"]}
    image["image_processor_type"] = "Qwen2VLImageProcessor" + ("Fast" if newest else "")
    (out / "preprocessor_config.json").write_text(json.dumps(image))
    template = (folder / "chat_template.jinja").read_text()
    (out / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (out / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (out / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "chat_template": template}))
    return out


def _text(config: dict[str, Any]) -> dict[str, Any]:
    return dict(config["text_config"])


def _tied(config: dict[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings") or _text(config).get("tie_word_embeddings"))


def _config(config: dict[str, Any], *, flat: bool) -> dict[str, Any]:
    text = _text(config)
    rope = text.pop("rope_parameters")
    text |= {"rope_theta": rope["rope_theta"], "torch_dtype": "bfloat16"}
    sections = {"mrope_section": rope["mrope_section"]}
    text["rope_scaling"] = {"type": "mrope", **sections} if flat else {"rope_type": "default", **sections}
    rest = {key: value for key, value in config.items() if key not in ("text_config", "dtype")}
    rest["transformers_version"] = "4.41.2" if flat else "4.57.0.dev0"
    if not flat:
        return {**rest, "text_config": text}
    own = {key: value for key, value in text.items() if key not in ("model_type", "dtype")}
    return {**own, **rest, "tie_word_embeddings": _tied(config)}


def _weights(folder: Path, newest: bool, tied: bool) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                found[name] = file.get_tensor(name).to(torch.bfloat16)
    named = {}
    for name, value in found.items():
        if tied and name == "lm_head.weight":
            continue
        old = next((old + name.removeprefix(new) for new, old in _RENAMED.items() if name.startswith(new)), name)
        named[name if newest else old] = value
    return named


def _write_weights(weights: dict[str, torch.Tensor], out: Path, shards: int) -> None:
    names = sorted(weights)
    step = -(-len(names) // shards)
    files = {}
    for k in range(shards):
        file = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name].contiguous() for name in names[k * step : (k + 1) * step]}
        save_file(part, str(out / file), metadata={"format": "pt"})
        files |= dict.fromkeys(part, file)
    total = sum(value.nbytes for value in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))


def full_width_7b(tiny: Path, out: Path) -> Path:
    """The configuration of Qwen2-VL-7B with a tiny model's tokenizer, and no weights: enough to compute with."""
    out.mkdir(parents=True)
    for file in tiny.iterdir():
        if file.suffix != ".safetensors" and file.name not in ("config.json", "model.safetensors.index.json"):
            (out / file.name).write_bytes(file.read_bytes())
    config = json.loads((tiny / "config.json").read_text())
    sizes = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    config |= {**sizes, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False}
    for derived in ("head_dim", "layer_types", "max_window_layers"):
        config.pop(derived, None)
    config["rope_scaling"] = {"type": "mrope", "mrope_section": [16, 24, 24]}
    vision = {"embed_dim": 1280, "depth": 32, "num_heads": 16, "mlp_ratio": 4, "hidden_size": 3584}
    config["vision_config"] = {**vision, "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2}
    (out / "config.json").write_text(json.dumps(config))
    return out
