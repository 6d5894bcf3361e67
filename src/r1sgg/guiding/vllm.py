"""The guide inside vLLM: a V1 logits processor, for offline engines and servers alike (docs/vllm.md).

    python -m vllm.entrypoints.openai.api_server --model MODEL --logits-processors r1sgg.guiding.vllm:GuideProcessor

A request carries its guide as {"vllm_xargs": {"r1sgg": GuideSpec.to_json()}}; without one its answer is free. In every
request the tokens that stand for images are impossible: a drawn one would break the next step. This module is loaded by
vLLM's processes and deliberately imports vLLM; whoever only sends requests needs `GuideSpec` alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from vllm.sampling_params import SamplingParams
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, process_dict_updates

from r1sgg.errors import R1SGGError
from r1sgg.guiding.guide import Guide
from r1sgg.guiding.processor import flags_of
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import Bits, Ids, TokenTable, suppressed_token_ids

if TYPE_CHECKING:
    from vllm.config import VllmConfig

GUIDE, TICKET = "r1sgg", "r1sgg_ticket"
"""Names among a request's extra arguments: its `GuideSpec` as JSON; under which name its scores are noted."""

Noted = dict[int, float]
"""By place in an answer, what a token's log-probability gains where only the allowed tokens are counted."""

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Row:
    """One request: its guide (None: the answer ends here), vLLM's list of what was drawn, how much of it is read."""

    guide: Guide | None
    drawn: list[int]
    ticket: str | None
    read: int = 0

    def catch_up(self) -> None:
        """Tell the guide what has been drawn since the last step."""
        new, self.read = self.drawn[self.read :], len(self.drawn)
        if self.guide is None:
            return
        try:
            for token in new:
                self.guide.advance(token)
        except ValueError as error:  # a model whose logits are no numbers draws anything
            _LOG.error("a guided answer is broken off: %s", error)
            self.guide = None


class GuideProcessor(LogitsProcessor):  # type: ignore[misc]
    """Leaves each guided request of a batch the tokens that its guide allows."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        """As vLLM calls it, in each process that samples."""
        config = vllm_config.model_config
        self._tokenizer = cached_tokenizer_from_config(config)
        self._table: TokenTable | None = None
        self._context = config.max_model_len
        self._device = device
        suppressed = suppressed_token_ids(config.hf_config, self._tokenizer)
        self._suppressed = torch.tensor(suppressed, dtype=torch.long, device=device)
        self._rows: dict[int, _Row] = {}
        self._steps: list[tuple[list[tuple[str, int]], torch.Tensor]] = []

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse a request (a server: 400) whose guide can't be read.

        Raises:
            ConfigError: see `GuideSpec.from_json`.
        """
        if (given := (sampling_params.extra_args or {}).get(GUIDE)) is not None:
            GuideSpec.from_json(given)

    def is_argmax_invariant(self) -> bool:
        """False: a guide changes the most probable token."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow vLLM's batch: who came, went or moved."""
        process_dict_updates(self._rows, batch_update, self._row)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) -> the same with what is not allowed at -inf."""
        scored = [(index, row) for index, row in self._rows.items() if row.ticket is not None]
        places = [index for index, _ in scored]
        whole = logits[places].logsumexp(-1) if scored else None
        logits.index_fill_(1, self._suppressed, -torch.inf)
        if self._rows:
            self._restrict(logits)
        if whole is not None:
            names = [(str(row.ticket), row.read) for _, row in scored]
            self._steps.append((names, whole - logits[places].logsumexp(-1)))
        return logits

    def take(self) -> dict[str, Noted]:
        """What was noted since the last call, by ticket."""
        found: dict[str, Noted] = {}
        for names, gains in self._steps:
            for (ticket, place), gain in zip(names, gains.tolist(), strict=True):
                found.setdefault(ticket, {})[place] = gain
        self._steps.clear()
        return found

    @property
    def table(self) -> TokenTable:
        """Made at the first guided request."""
        if self._table is None:
            self._table = TokenTable.of(self._tokenizer)
        return self._table

    def _row(self, params: SamplingParams, prompt: list[int] | None, drawn: list[int]) -> _Row | None:
        """A request that joins the batch; one that was interrupted brings the tokens it has."""
        arguments = params.extra_args or {}
        if arguments.get(GUIDE) is None:
            return None
        room = self._context - len(prompt or ())
        try:
            spec = GuideSpec.from_json(arguments[GUIDE])
            guide = Guide(self.table, spec, min(params.max_tokens or room, room))
        except R1SGGError as error:  # there is no way to refuse a request here
            _LOG.error("a guided request gets an empty answer: %s", error)
            guide = None
        return _Row(guide, drawn, arguments.get(TICKET))

    def _restrict(self, logits: torch.Tensor) -> None:
        """Put what the guides don't allow at -inf."""
        few: list[tuple[int, Ids]] = []
        many: list[tuple[int, Bits]] = []
        for index, row in self._rows.items():
            row.catch_up()
            if row.guide is None or row.guide.finished:
                few.append((index, np.array([self.table.end])))
            elif (ids := row.guide.few()) is not None:
                few.append((index, ids))
            elif (bits := row.guide.mask()) is not None:
                many.append((index, bits))
        if many:
            rows = torch.tensor([index for index, _ in many], device=logits.device)
            flags = flags_of([bits for _, bits in many], logits.shape[1], logits.device)
            logits[rows] = logits[rows].masked_fill_(~flags, -torch.inf)
        if few:
            rows = torch.tensor([index for index, _ in few], device=logits.device)
            lengths = torch.tensor([len(ids) for _, ids in few], device=logits.device)
            columns = torch.from_numpy(np.concatenate([ids for _, ids in few])).to(logits.device)
            where = rows.repeat_interleave(lengths), columns
            kept = logits[where]
            logits.index_fill_(0, rows, -torch.inf)[where] = kept


class GuideScores:
    """Gives vLLM's workers a method that the offline engine calls (vLLM's `worker_extension_cls`)."""

    def r1sgg_scores(self) -> dict[str, Noted]:
        """See `GuideProcessor.take`."""
        processors = self.model_runner.input_batch.logitsprocs.all  # type: ignore[attr-defined]
        return next(processor.take() for processor in processors if isinstance(processor, GuideProcessor))
