"""Which token comes next: among all, or among those that a guide allows; drawn from each image's own numbers.

torch's global generator is not used by `Streams`. Each image has its own stream of uniform numbers, seeded by
(`Sampling.seed`, the image's key), and each token is drawn by inverting the cumulative distribution at the next one.
`Multinomial` draws as transformers does, for rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from r1sgg.guiding.guide import Guide
from r1sgg.guiding.processor import flags_of
from r1sgg.inference.engine import Sampling


class Draw(Protocol):
    """How one of several tokens is taken."""

    def __call__(self, scores_bK: torch.Tensor, rows: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        """Take one of K tokens for each of b images.

        Args:
            scores_bK: log-probabilities up to a constant each; -inf is never taken.
            rows: which of the batch's images these are.
            places: how many tokens each of them has already.

        Returns:
            (b,) positions among the K.
        """
        ...


WITHOUT_FLOAT64 = frozenset(("mps",))
"""Types of devices without float64: Apple's GPUs."""


def widened(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return values as float64 on a device, or on the CPU where the device has no float64."""
    return values.cpu().double() if device.type in WITHOUT_FLOAT64 else values.to(device).double()


class Streams:
    """Draws of the engine: the most probable token, or one by the image's own stream of numbers.

    Args:
        sampling: how tokens are chosen.
        keys: names that decide the images' draws.
        device: where the scores are.
    """

    def __init__(self, sampling: Sampling, keys: Sequence[str], device: torch.device) -> None:
        self._greedy = sampling.temperature == 0
        self._warpers: list[Any] = []
        if self._greedy:
            return
        draws = [
            torch.rand(
                sampling.max_new_tokens,
                generator=torch.Generator().manual_seed(sampling.generator_seed(key)),
                dtype=torch.float64,
            )
            for key in keys
        ]
        self._uniforms_BN = widened(torch.stack(draws), device)
        if sampling.temperature != 1:
            self._warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, scores_bK: torch.Tensor, rows: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        """See `Draw`."""
        if self._greedy:
            return scores_bK.argmax(-1)
        for warp in self._warpers:
            scores_bK = warp(None, scores_bK)
        cumulative = widened(scores_bK, scores_bK.device).softmax(-1).cumsum(-1)
        # scaled by the last entry, which rounding leaves next to 1; the first entry above is never an impossible one
        draw_b1 = self._uniforms_BN[rows, places, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, draw_b1, right=True)[:, 0].to(scores_bK.device)


class Multinomial:
    """Draws of transformers' sampling: its warpers, then torch's global generator.

    Args:
        warpers: logits processors that don't look at the tokens so far.
        greedy: take the most probable token.
    """

    def __init__(self, warpers: Sequence[Any], *, greedy: bool = False) -> None:
        self._warpers, self._greedy = warpers, greedy

    def __call__(self, scores_bK: torch.Tensor, rows: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        """See `Draw`."""
        for warp in self._warpers:
            scores_bK = warp(None, scores_bK)
        if self._greedy:
            return scores_bK.argmax(-1)
        return torch.multinomial(scores_bK.softmax(-1), 1)[:, 0]


def choose(
    scores_bV: torch.Tensor, draw: Draw, rows: Sequence[int], places: Sequence[int], guides: Sequence[Guide | None]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Choose each image's next token.

    Where a guide allows few tokens only they are looked at.

    Args:
        scores_bV: the model's scores over the vocabulary.
        draw: how one is taken.
        rows: which of the batch's images these are.
        places: how many tokens each of them has already.
        guides: b guides, none of them finished, None for a free completion; no guides where all are free.

    Returns:
        (b,) tokens, and (b,) their log-probabilities among the allowed ones; None without guides.
    """
    if not guides:
        return draw(scores_bV, rows, places), None
    sets = [None if guide is None else guide.few() for guide in guides]
    device = scores_bV.device
    chosen_b = torch.zeros(len(sets), dtype=torch.long, device=device)
    allowed_b = torch.zeros(len(sets), device=device)
    if narrow := [k for k, ids in enumerate(sets) if ids is not None]:
        longest = max(len(ids) for ids in sets if ids is not None)
        ids_bK = np.zeros((len(narrow), longest), dtype=np.int64)
        beyond_bK = np.ones(ids_bK.shape, dtype=np.bool_)
        for n, k in enumerate(narrow):
            if (ids := sets[k]) is not None:
                ids_bK[n, : len(ids)] = ids
                beyond_bK[n, : len(ids)] = False
        tokens_bK = torch.from_numpy(ids_bK).to(device)
        part = scores_bV if len(narrow) == len(sets) else scores_bV[narrow]
        part = part.gather(1, tokens_bK).masked_fill_(torch.from_numpy(beyond_bK).to(device), -torch.inf)
        taken_b1 = draw(part, [rows[k] for k in narrow], [places[k] for k in narrow])[:, None]
        chosen_b[narrow] = tokens_bK.gather(1, taken_b1)[:, 0]
        allowed_b[narrow] = (part.gather(1, taken_b1) - part.logsumexp(-1, keepdim=True))[:, 0]
    if wide := [k for k, ids in enumerate(sets) if ids is None]:
        part = scores_bV[wide]
        held = [n for n, k in enumerate(wide) if guides[k] is not None]
        masks = [mask for guide in (guides[k] for k in wide) if guide and (mask := guide.mask()) is not None]
        if masks:
            flags_hV = flags_of(masks, scores_bV.shape[1], device)
            part[held] = part[held].masked_fill_(~flags_hV, -torch.inf)
        taken_b = draw(part, [rows[k] for k in wide], [places[k] for k in wide])
        chosen_b[wide] = taken_b
        allowed_b[wide] = part.gather(1, taken_b[:, None])[:, 0] - part.logsumexp(-1)
    return chosen_b, allowed_b
