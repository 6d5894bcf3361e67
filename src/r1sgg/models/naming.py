"""Which family a server's name for a model says: "qwen2.5vl:7b" and "Qwen2_5-VL-3B-GGUF" are Qwen2.5-VL.

A server does not tell config.json, by which a checkpoint is recognised, so the name is all there is. Punctuation and
case do not matter, owners and quantisations are ignored, and a name that says two families or none is not guessed.
"""

from __future__ import annotations

import re

from r1sgg.models.family import ModelFamily
from r1sgg.models.registry import FAMILIES

UNKNOWN = ModelFamily("0-1000", (), "thousandths", max_pixels=None)
"""A model that was taught no boxes, or nobody knows which: the prompt defines its coordinates."""

_ALIASES = {
    "Qwen2-VL": (r"r1-sgg(-zero)?-\d+b",),
    "Qwen2.5-VL": (r"mimo-vl",),
    "Qwen3.5": (r"qwen-?3-?5(?!\d*b\b)",),
    "Gemma 3": (r"gemma-?3(?!-?n|-(it-)?(1b|270m)|\d*b\b)", r"medgemma-(1-5-)?4b"),
    "Gemma 4": (r"gemma-?4(?!\d*b\b)",),
    "LFM2-VL": (r"lfm-?2(-5)?-?vl",),
    "GLM-V": (r"glm-?4-?[156]v", r"glm-v"),
    "SmolVLM": (r"smolvlm", r"idefics-?3"),
    "LLaVA-1.5": (r"(?<![a-z])(?<![a-z]-)llava-v?1-5",),
    # Ollama's "llava" is version 1.6
    "LLaVA-NeXT": (
        r"(?<![a-z])(?<![a-z]-)llava-(v?1-6|next(?!-(video|interleave)))",
        r"^llava(-(latest|\d+b)\b|$)",
    ),
    UNKNOWN.name: (r"^(chat)?gpt(?!-?(oss|2|j|neo))", r"^o[134](-|$)", r"^claude-"),
}
"""How models of a family are called beside the family's own name; hosted ones whose prompt defines the coordinates."""


def plain(name: str) -> str:
    """Return a name in small letters, its words joined by single hyphens: "Qwen2_5-VL" -> "qwen2-5-vl"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def family_by_name(name: str) -> ModelFamily | None:
    """Return the family whose name is written so, punctuation and case aside ("qwen2.5vl"); None if there is none."""
    wanted = plain(name).replace("-", "")
    for family in (*FAMILIES, UNKNOWN):
        if plain(family.name).replace("-", "") == wanted:
            return family
    return None


def families_said(model: str) -> list[ModelFamily]:
    """Return the families that a server's name for a model says: usually one; none, or several, is no answer.

    Args:
        model: such as "qwen2.5vl:7b", "unsloth/Qwen3-VL-4B-Instruct-bnb-4bit" or "/models/gemma-3-4b-it-Q4_K_M.gguf".
    """
    said = plain(model.replace("\\", "/").rstrip("/").rpartition("/")[2])
    return [family for family in (*FAMILIES, UNKNOWN) if any(re.search(p, said) for p in _patterns(family))]


def _patterns(family: ModelFamily) -> tuple[str, ...]:
    if family.name in _ALIASES and family.name not in _OWN_NAME_TOO:
        return _ALIASES[family.name]
    # "Qwen2.5-VL" as a word of its own: qwen-?2-?5-?vl
    parts = re.findall(r"[a-z]+|\d", plain(family.name))
    return (r"(?<![a-z])" + "-?".join(parts), *_ALIASES.get(family.name, ()))


_OWN_NAME_TOO = ("Qwen2-VL", "Qwen2.5-VL")
"""Families whose own name says them without exception; for the others with aliases the aliases say all."""
