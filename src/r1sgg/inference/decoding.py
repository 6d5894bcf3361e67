"""The decoding loop: what `generate` of transformers calls in place of its own, and the way back to that.

    model.generate(**inputs, max_new_tokens=1024, custom_generate=Decoding(writer, threads))

transformers prepares the prompt as ever (images, rotary positions, embeddings) and calls `Decoding`, which reads it by
the model's own forward and continues with `r1sgg.inference.layers`. Models that these don't suit keep transformers'
loop; `StepByStep` and `Ended` let the same `Writer` choose there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import LogitsProcessor, StoppingCriteria

from r1sgg.inference.layers import Layers
from r1sgg.inference.threads import Threads
from r1sgg.inference.writing import Writer

_MASKS = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}
"""Inputs with a value for each token, and the value of one that was generated."""


class Decoding:
    """Generates one batch.

    Args:
        writer: fresh; it holds the completions afterwards.
        threads: of the model.
    """

    def __init__(self, writer: Writer, threads: Threads) -> None:
        self._writer, self._threads = writer, threads

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As transformers calls it, with the prompts (B, T) and the inputs of the model's forward.

        Returns:
            (B, T + N) prompts and completions, padded on the right.
        """
        writer, count = self._writer, len(input_ids)
        opening = writer.opening()
        logits, layers = self._prompt(model, input_ids, opening, kwargs)
        order = list(range(count))  # which completion each row of the cache is
        for draft in writer.drafts:
            draft.read = len(opening)
        writer.take(order, logits.flatten(0, 1), [len(opening) + 1] * count)
        del logits
        while order := self._left(layers, order):
            self._threads.use(len(order))
            runs = [writer.read(k) for k in order]
            writer.take(order, layers.read(runs), [len(run) for run in runs])
        pad = generation_config._pad_token_tensor
        ids = [torch.tensor(draft.ids, dtype=torch.long) for draft in writer.drafts]
        written = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=0 if pad is None else int(pad))
        return torch.cat([input_ids, written.to(input_ids.device)], dim=1)

    def _left(self, layers: Layers, order: list[int]) -> list[int]:
        """The rows that go on, the others dropped from the cache."""
        for row in range(len(order) - 1, -1, -1):
            if self._writer.finished(order[row]):
                layers.drop(row)
                order[row] = order[-1]
                order.pop()
        return order

    def _prompt(
        self, model: Any, input_ids: torch.Tensor, opening: list[int], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, Layers]:
        """Read the prompts, and behind them what all completions begin with: logits (B, 1 + opening, V)."""
        more = len(opening)
        positions = kwargs["position_ids"]
        if more:
            new = torch.tensor(opening, device=input_ids.device)
            input_ids = torch.cat([input_ids, new.expand(len(input_ids), more)], 1)
            for name, value in _MASKS.items():
                if (given := kwargs.get(name)) is not None:
                    kwargs[name] = functional.pad(given, (0, more), value=value)
            further = positions[..., -1:] + torch.arange(1, more + 1, device=positions.device)
            kwargs["position_ids"] = positions = torch.cat([positions, further], -1)
            if (embedded := kwargs.get("inputs_embeds")) is not None:
                new_embedded = model.get_input_embeddings()(new).to(embedded)
                kwargs["inputs_embeds"] = torch.cat([embedded, new_embedded.expand(len(embedded), -1, -1)], 1)
        if "logits_to_keep" in kwargs:
            kwargs["logits_to_keep"] = more + 1
        mask = kwargs.get("attention_mask")
        inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **kwargs)
        outputs = model(**inputs, return_dict=True)
        # of Qwen's four rows of positions, the last three (time, height, width) are the same for a text's token
        last = positions.reshape(-1, *positions.shape[-2:])[-1, :, -1].expand(len(input_ids)).tolist()
        return outputs.logits[:, -(more + 1) :], Layers(model, outputs.past_key_values, mask, last)


class StepByStep(LogitsProcessor):  # type: ignore[misc]
    """Lets a writer choose each next token in transformers' loop."""

    def __init__(self, writer: Writer, threads: Threads) -> None:
        self._writer, self._threads, self._steps = writer, threads, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) -> the same with all but one token at -inf, in each row that goes on."""
        self._threads.use(len(scores))
        rows = [k for k in range(len(scores)) if not self._writer.finished(k)]
        self._writer.take(rows, scores[rows], [1] * len(rows))
        next_b = [self._writer.drafts[k].ids[self._steps] for k in rows]
        self._steps += 1
        only = scores.clone()
        only[rows] = -torch.inf
        only[rows, next_b] = 0.0
        return only


class Ended(StoppingCriteria):  # type: ignore[misc]
    """Ends the rows that a writer has ended."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(B,) whether the completions end here."""
        ended = [self._writer.finished(k) for k in range(len(input_ids))]
        return torch.tensor(ended, device=input_ids.device)
