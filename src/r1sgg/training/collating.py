"""Batches for SFT: TRL's collator, and what it does not know of InstructBLIP.

TRL pads prompts on the left. InstructBLIP's Q-Former, which reads the prompt with a tokenizer of its own, numbers
positions from the left end: padding there would change what it reads, so its tokens are moved back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


def collator(plain: Collator) -> Collator:
    """TRL's collator, with the Q-Former's tokens (where there are any) padded on the right."""

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = plain(examples)
        mask = batch.get("qformer_attention_mask")
        if mask is not None:
            order = mask.argsort(dim=1, descending=True, stable=True)
            for name in ("qformer_input_ids", "qformer_attention_mask"):
                batch[name] = batch[name].gather(1, order)
        return batch

    return collate
