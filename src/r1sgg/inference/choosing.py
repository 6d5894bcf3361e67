"""How the transformers engine draws each next token: its own streams of numbers, a guide's sets, log-probabilities.

torch's global generator is not used. Each image has its own stream of uniform numbers, seeded by (`Sampling.seed`, the
image's key), and each token is drawn by inverting the cumulative distribution at the next of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from r1sgg.guiding.guide import Guide
from r1sgg.guiding.processor import flags_of
from r1sgg.inference.engine import Sampling


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps the scores (B, V) of the first new token."""

    scores: torch.Tensor

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores unchanged."""
        self.scores = scores
        return scores


class Listener(StoppingCriteria):  # type: ignore[misc]
    """Tells the first answer's tokens so far after each of them; where `heard` gives False, the answer ends there."""

    begin = 0

    def __init__(self, heard: Callable[[list[int]], bool]) -> None:
        self._heard = heard

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(B,) whether the answers end here."""
        on = self._heard(input_ids[0, self.begin :].tolist())
        return torch.full((len(input_ids),), not on, device=input_ids.device)


class Chooser(LogitsProcessor):  # type: ignore[misc]
    """Chooses each next token itself and leaves it as the only one possible; keeps its log-probabilities.

    Args:
        sampling: how tokens are chosen.
        keys: B names that decide the images' draws.
        suppressed: tokens that are never chosen.
        device: where the scores are.
        guides: B guides, fresh; none where answers are free.
    """

    def __init__(
        self,
        sampling: Sampling,
        keys: Sequence[str],
        suppressed: list[int],
        device: torch.device,
        guides: Sequence[Guide] = (),
    ) -> None:
        self._suppressed = torch.tensor(suppressed, dtype=torch.long, device=device)
        self._greedy = sampling.temperature == 0
        self._guides = guides
        self._warpers: list[Any] = []
        self._chosen: list[torch.Tensor] = []
        self._logprobs: list[torch.Tensor] = []
        self._allowed: list[torch.Tensor] = []
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
        self._uniforms_BN = torch.stack(draws).to(device)
        if sampling.temperature != 1:
            self._warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) -> the same with all but one token an image at -inf."""
        scores = scores.float().index_fill(1, self._suppressed, -torch.inf)
        logs = scores.log_softmax(-1)
        chosen_B1 = self._guided(logs) if self._guides else self._choose(logs)
        self._chosen.append(chosen_B1)
        self._logprobs.append(logs.gather(1, chosen_B1)[:, 0])
        return torch.full_like(logs, -torch.inf).scatter(1, chosen_B1, 0.0)

    def _choose(self, logs: torch.Tensor, rows: Sequence[int] | slice = slice(None)) -> torch.Tensor:
        """Log-probabilities (b, K) of these rows of the batch, up to a constant each -> places (b, 1) among the K."""
        if self._greedy:
            return logs.argmax(-1, keepdim=True)
        for warp in self._warpers:
            logs = warp(None, logs)
        cumulative = logs.double().softmax(-1).cumsum(-1)
        # scaled by the last entry, which rounding leaves next to 1; the first entry above is never an impossible one
        draw_b1 = self._uniforms_BN[rows, len(self._logprobs), None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, draw_b1, right=True)

    def _guided(self, logs: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 1) that the guides allow; how probable each was among those goes to `_allowed`.

        Where few tokens are allowed only they are looked at, where one is, nothing is drawn.
        """
        if self._chosen:
            for guide, token in zip(self._guides, self._chosen[-1][:, 0].tolist(), strict=True):
                if not guide.finished:
                    guide.advance(token)
        sets = [guide.few() for guide in self._guides]
        single = [int(ids[0]) if ids is not None and len(ids) else 0 for ids in sets]  # of a finished one, any
        chosen_B1 = torch.tensor(single, device=logs.device)[:, None]
        allowed_B = torch.zeros(len(logs), device=logs.device)
        several = [(row, ids) for row, ids in enumerate(sets) if ids is not None and len(ids) > 1]
        if several:
            rows = [row for row, _ in several]
            ids_bK = np.zeros((len(rows), max(len(ids) for _, ids in several)), dtype=np.int64)
            beyond_bK = np.ones(ids_bK.shape, dtype=np.bool_)
            for k, (_, ids) in enumerate(several):
                ids_bK[k, : len(ids)] = ids
                beyond_bK[k, : len(ids)] = False
            tokens_bK = torch.from_numpy(ids_bK).to(logs.device)
            part = logs[rows].gather(1, tokens_bK).masked_fill(torch.from_numpy(beyond_bK).to(logs.device), -torch.inf)
            places_b1 = self._choose(part, rows)
            chosen_B1[rows] = tokens_bK.gather(1, places_b1)
            allowed_B[rows] = part.log_softmax(-1).gather(1, places_b1)[:, 0]
        if wide := [row for row, ids in enumerate(sets) if ids is None]:
            masks = [mask for row in wide if (mask := self._guides[row].mask()) is not None]
            part = logs[wide].masked_fill(~flags_of(masks, logs.shape[1], logs.device), -torch.inf)
            places_b1 = self._choose(part, wide)
            chosen_B1[wide] = places_b1
            allowed_B[wide] = part.log_softmax(-1).gather(1, places_b1)[:, 0]
        self._allowed.append(allowed_B)
        return chosen_B1

    @property
    def logprobs(self) -> torch.Tensor:
        """Log-probabilities (B, N) of the tokens chosen so far, at temperature 1 and without top-k and top-p."""
        return torch.stack(self._logprobs, dim=1)

    @property
    def allowed(self) -> torch.Tensor | None:
        """The same among the tokens that the guides allowed; None without guides."""
        return torch.stack(self._allowed, dim=1) if self._guides else None
