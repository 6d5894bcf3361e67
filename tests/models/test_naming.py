"""Which family a server's name for a model says."""

from __future__ import annotations

import pytest

from r1sgg.models.naming import UNKNOWN, families_said, family_by_name, plain
from r1sgg.models.registry import FAMILIES

NAMES = [
    # Ollama
    ("qwen2.5vl:7b", "Qwen2.5-VL"),
    ("qwen2.5vl", "Qwen2.5-VL"),
    ("qwen3-vl:8b-instruct-q4_K_M", "Qwen3-VL"),
    ("llava:13b", "LLaVA-NeXT"),
    ("llava", "LLaVA-NeXT"),
    ("gemma3:4b", "Gemma 3"),
    ("gemma3:27b-it-qat", "Gemma 3"),
    ("gemma4:e2b", "Gemma 4"),
    ("hf.co/bartowski/Qwen2-VL-7B-Instruct-GGUF:Q4_K_M", "Qwen2-VL"),
    # LM Studio, llama.cpp
    ("qwen/qwen2.5-vl-7b", "Qwen2.5-VL"),
    ("qwen2-vl-2b-instruct", "Qwen2-VL"),
    ("google/gemma-3-12b", "Gemma 3"),
    ("Qwen2_5-VL-3B-GGUF", "Qwen2.5-VL"),
    ("/models/Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf", "Qwen2.5-VL"),
    ("C:\\models\\SmolVLM2-2.2B-Instruct-Q8_0.gguf", "SmolVLM"),
    ("ggml-org/InternVL3-2B-Instruct-GGUF", "InternVL"),
    # the Hub, vLLM and MLX
    ("unsloth/Qwen3-VL-4B-Instruct-bnb-4bit", "Qwen3-VL"),
    ("Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", "Qwen3-VL"),
    ("Qwen/Qwen3.5-0.8B", "Qwen3.5"),
    ("mlx-community/Qwen2.5-VL-7B-Instruct-8bit", "Qwen2.5-VL"),
    ("llava-hf/llava-1.5-7b-hf", "LLaVA-1.5"),
    ("liuhaotian/llava-v1.5-13b", "LLaVA-1.5"),
    ("llava-hf/llava-v1.6-mistral-7b-hf", "LLaVA-NeXT"),
    ("llava-hf/llama3-llava-next-8b-hf", "LLaVA-NeXT"),
    ("OpenGVLab/InternVL3_5-2B-HF", "InternVL"),
    ("LiquidAI/LFM2.5-VL-1.6B", "LFM2-VL"),
    ("zai-org/GLM-4.6V-Flash", "GLM-V"),
    ("google/paligemma2-3b-mix-448", "PaliGemma"),
    ("openbmb/MiniCPM-V-4_6", "MiniCPM-V 4.6"),
    ("HuggingFaceTB/SmolVLM-500M-Instruct", "SmolVLM"),
    ("HuggingFaceM4/Idefics3-8B-Llama3", "SmolVLM"),
    ("Salesforce/instructblip-vicuna-7b", "InstructBLIP"),
    ("IDEA-Research/Rex-Omni", "Rex-Omni"),
    ("XiaomiMiMo/MiMo-VL-7B-RL", "Qwen2.5-VL"),
    ("JosephZ/R1-SGG-7B", "Qwen2-VL"),
    ("R1-SGG-Zero-7B.Q8_0.gguf", "Qwen2-VL"),
    # hosted: the prompt defines the coordinates
    ("gpt-4o", UNKNOWN.name),
    ("gpt-5-mini", UNKNOWN.name),
    ("claude-sonnet-4-5", UNKNOWN.name),
    ("o3", UNKNOWN.name),
]
TRAPS = [
    *("my-model", "m", "parrot", "default", "tgi", "local-model", "gpt-oss:20b"),
    *("Qwen/Qwen2.5-7B-Instruct", "qwen3:4b", "Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-Omni-7B", "qwen-vl-max"),
    *("llava-llama3:8b", "bakllava:7b", "lmms-lab/llava-onevision-qwen2-7b-ov", "LLaVA-NeXT-Video-7B-hf"),
    *("gemma3n:e4b", "google/gemma-3-1b-it", "gemma3:270m", "google/gemma-2-9b-it", "gemma:7b", "THUDM/glm-4v-9b"),
    *("minicpm-v:8b", "someone/Qwen2-VL-2B-distilled-from-Qwen3-VL-8B"),
]


@pytest.mark.parametrize(("model", "family"), NAMES, ids=[name for name, _ in NAMES])
def test_a_real_world_name_says_its_family(model: str, family: str) -> None:
    assert [found.name for found in families_said(model)] == [family]
    assert [found.name for found in families_said(model.upper())] == [family], "case does not matter"


@pytest.mark.parametrize("model", TRAPS)
def test_a_name_that_says_no_family_or_two_is_not_guessed(model: str) -> None:
    assert len(families_said(model)) != 1


def test_every_family_is_said_by_its_own_name_and_found_by_it_in_any_punctuation() -> None:
    for family in (*FAMILIES, UNKNOWN):
        for written in (family.name, plain(family.name), family.name.replace(".", "").replace("-", "_").upper()):
            assert family_by_name(written) is family
        if family is not UNKNOWN:
            assert families_said(f"someone/{family.name.replace(' ', '-')}-7B-GGUF") == [family]
    assert family_by_name("qwen9") is None
