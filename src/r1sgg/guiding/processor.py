"""Guides for anything that generates with transformers: a logits processor, and sets of tokens as tensors.

    table = TokenTable.of(tokenizer)
    guides = [Guide(table, spec, max_tokens=1024) for spec in specs]          # one an answer, for one call
    model.generate(**inputs, max_new_tokens=1024, logits_processor=LogitsProcessorList([GuideLogitsProcessor(guides)]))

Each answer of a batch has a guide of its own, so sampling works as ever and beam search does not (it moves answers
between rows). `r1sgg.inference.hf` draws for itself and reads its guides directly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor

from r1sgg.guiding.guide import Guide
from r1sgg.guiding.table import Bits

__all__ = ["GuideLogitsProcessor", "flags_of", "unpacked"]


def flags_of(sets: Sequence[Bits], size: int, device: torch.device) -> torch.Tensor:
    """Sets of tokens as booleans (B, size); the bits, not the booleans, are sent to the device."""
    bits_BW = np.stack(sets)
    if device.type == "cpu":
        flags_BV = torch.from_numpy(np.unpackbits(bits_BW.view(np.uint8), axis=1, bitorder="little")).bool()
    else:
        flags_BV = unpacked(torch.from_numpy(bits_BW).to(device))
    return torch.nn.functional.pad(flags_BV, (0, size - flags_BV.shape[1]))  # negative where the model knows fewer


def unpacked(words_BW: torch.Tensor) -> torch.Tensor:
    """The bits of int32 words as booleans (B, 32 W), on whatever device they are."""
    places = torch.arange(32, device=words_BW.device, dtype=torch.int32)
    return (words_BW[:, :, None] >> places & 1).bool().flatten(1)


class GuideLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """Leaves each answer the tokens that its guide allows, and a finished one alone.

    Args:
        guides: one an answer, fresh, None for a free one; they are used up by one call of `generate`.
    """

    def __init__(self, guides: Sequence[Guide | None]) -> None:
        self._guides = guides
        self._started = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) after the tokens (B, T) -> the same with -inf for what is not allowed.

        Raises:
            ValueError: a token was drawn that was not allowed, or there are more or fewer rows than guides.
        """
        if len(scores) != len(self._guides):
            raise ValueError(f"expected a guide for each of {len(scores)} answers, found {len(self._guides)}")
        if self._started:
            for guide, token in zip(self._guides, input_ids[:, -1].tolist(), strict=True):
                if guide is not None and not guide.finished:
                    guide.advance(token)
        self._started = True
        rows = [k for k, guide in enumerate(self._guides) if guide is not None and not guide.finished]
        if not rows:
            return scores
        masks = [mask for guide in self._guides if guide is not None and (mask := guide.mask()) is not None]
        flags_BV = flags_of(masks, scores.shape[1], scores.device)
        scores = scores.clone()
        scores[rows] = scores[rows].masked_fill(~flags_BV, -torch.inf)
        return scores
