"""Published checkpoints: those without an r1sgg.json, and how they were trained to be asked; and the one for photos.

A checkpoint is recognised by its name on the Hub, given as --model or as the folder of the Hub's cache. A copy in
another folder is asked by the same settings if they are given: `--think --prompt column:prompt_close`, or an r1sgg.json
in the folder. Coordinates are those of the family, which config.json says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from r1sgg.data.predictions import Ask
from r1sgg.models.prompts import AnswerSettings


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """How a published checkpoint is asked.

    Attributes:
        family: the name of its family.
        frame: what its boxes are relative to.
        settings: prompt, tags and column; where the data has no such column, our prompt with its classes is used.
        max_pixels: of images, as its authors evaluate it.
        source: where that is said.
    """

    family: str
    frame: str
    settings: AnswerSettings
    max_pixels: int
    source: str


@dataclass(frozen=True, slots=True)
class Recommended:
    """A published model under a short name.

    Attributes:
        hub: its name on the Hub.
        family: the name of its family.
        gigabytes: size of the download, about.
        licence: of the weights.
        source: where that is said.
        ask: how commands and `r1sgg.load` ask it unless they are told otherwise (`generate`, which is for evaluation,
            asks by the paper's prompt).
    """

    hub: str
    family: str
    gigabytes: float
    licence: str
    source: str
    ask: Ask = "native"

    def __str__(self) -> str:
        return f"{self.hub} ({self.licence}), about {self.gigabytes:g} GB"


RECOMMENDED = {
    "photo": Recommended(
        "Qwen/Qwen3.5-0.8B",
        "Qwen3.5",
        1.8,
        "Apache-2.0",
        "the model's card, November 2026; bytes: its 0.87 billion weights in bfloat16; why this one: docs/photos.md",
    )
}
"""By the name that --model takes. Nothing of it is fetched before it is asked for by this name."""


def recommended_ask(model: str) -> Ask:
    """Return how a model is asked where nobody says: as its row in `RECOMMENDED` says, else by the paper's prompt.

    Args:
        model: the name that the user gave.
    """
    return "paper" if (recommended := RECOMMENDED.get(model)) is None else recommended.ask


_TAGS = "github.com/gpt4vision/R1-SGG: open_r1/grpo.py, src/sgg_inference_vllm.py"
_CLOSED = AnswerSettings(think=True, vocabulary="vg150", column="prompt_close")

KNOWN = {
    "JosephZ/R1-SGG-7B": KnownCheckpoint(
        "Qwen2-VL", "0..1000", _CLOSED, 1024 * 28 * 28, f"{_TAGS}; classes in the prompt: arXiv 2504.13617v4, Table 1"
    ),
    "JosephZ/R1-SGG-Zero-7B": KnownCheckpoint(
        "Qwen2-VL", "0..1000", _CLOSED, 1024 * 28 * 28, f"{_TAGS}; classes in the prompt: arXiv 2504.13617v4, Table 1"
    ),
}
"""By name on the Hub."""

_CACHED = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/[^/]+")


def known_checkpoint(path: str) -> KnownCheckpoint | None:
    """Return what is known of a checkpoint, None if it is none of `KNOWN`.

    Args:
        path: a resolved checkpoint: a name on the Hub, or a folder.
    """
    if path in KNOWN:
        return KNOWN[path]
    cached = _CACHED.search(Path(path).as_posix())
    return None if cached is None else KNOWN.get(f"{cached[1]}/{cached[2]}")
