"""How GRPO samples completions, and which part of the sampling its loss corrects.

Read from the source of TRL 1.16 and tested on a tiny model (tests/training/test_rollouts.py):

- Temperature: the trained log-probabilities are those at the sampling temperature. Nothing is left to correct.
- top_p, top_k, min_p, a repetition penalty, suppressed tokens, a guide or a schema: completions come from the narrowed
  distribution q, the loss uses log-probabilities of the whole one, p. With rollouts by transformers nothing corrects
  that: the loss compares p with p, and the ratio is 1 in the first pass over a batch.
- vLLM returns log q, and TRL's importance-sampling correction multiplies the loss by p / q (huggingface/trl issue
  6789). Over a completion that is the product of the probability mass that the narrowing kept at each token: 0.977 on
  the embedded model with top_p 0.9, which over 450 tokens is 3e-5. In its default mode (sequence_mask) the correction
  thus removes the gradient without a message. `settle_correction` switches it off there. Modes by token stay on, except
  with a schema, under which a single token may have almost no probability.

With `guide: true` sampled completions are valid graphs: by one guide per completion with rollouts by transformers, by a
JSON schema with vLLM. `guide_share` guides some completions of each group and leaves the others free: they show a model
a layout that it would hardly find by itself, and only those that are better than their group count. With transformers
the completions are written by `r1sgg.inference.decoding`, which skips the tokens that the guide leaves no choice in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ConfigError
from r1sgg.graph.text import Frame
from r1sgg.inference.reader import guide_spec

if TYPE_CHECKING:
    import torch

    from r1sgg.guiding.guide import Guide
    from r1sgg.guiding.processor import GuideLogitsProcessor
    from r1sgg.guiding.table import TokenTable
    from r1sgg.inference.threads import Threads
    from r1sgg.models.families import Checkpoint

_log = logging.getLogger(__name__)

_SCHEMA = "structured_outputs"
_WARPERS = ("Temperature", "TopK", "TopP", "MinP")  # what looks at the scores alone


@dataclass
class RolloutOptions:
    """How completions are sampled, beside TRL's options."""

    guide: bool = field(default=False, metadata={"help": "Constrain sampled completions to valid graphs."})
    guide_share: float = field(
        default=1.0,
        metadata={"help": "With guide: the share of a group's completions that it constrains (no vLLM)."},
    )
    cut_loops: bool = field(default=False, metadata={"help": "Stop completions that repeat themselves (no vLLM)."})
    parity: str = field(
        default="50",
        metadata={"help": "Compare vLLM with the trained model every so many steps, from the first on; or off."},
    )


class GuidedRollouts:
    """Guides for the completions that a trainer samples with transformers, one per completion.

    Args:
        checkpoint: whose answer layout and vocabulary the guides follow.
        tokens: the longest completion.
        end: the token that ends a completion.
        suppressed: tokens that are never sampled.
        guided: how many completions of each group are guided; the others are free.
        group: completions per prompt.
    """

    def __init__(
        self, checkpoint: Checkpoint, tokens: int, end: int, suppressed: Sequence[int], guided: int, group: int
    ) -> None:
        self._checkpoint, self._tokens, self._end, self._suppressed = checkpoint, tokens, end, list(suppressed)
        self._guided, self._group = guided, group

    @cached_property
    def _table(self) -> TokenTable:
        from r1sgg.guiding.guide import TokenTable

        return TokenTable.of(self._checkpoint.processor.tokenizer, self._end, self._suppressed)

    def keep_good(self, advantages_B: torch.Tensor) -> None:
        """Set the negative advantages of guided completions to 0, in place, where others of the group are free.

        A guide writes tokens that the model finds all but impossible. To be pushed further away from them changes
        nothing that it does, but the gradient of such a token's log-probability is the largest of all.
        """
        if self._guided < self._group:
            for row in range(len(advantages_B)):
                if row % self._group < self._guided:
                    advantages_B[row].clamp_(min=0)

    @contextmanager
    def applied(self, model: Any, frames: Sequence[Frame], threads: Threads) -> Iterator[None]:
        """Guide the one call of `model.generate` within the block.

        Args:
            model: the unwrapped model.
            frames: one per completion: the width and height that its boxes are relative to.
            threads: of the model.

        Raises:
            ConfigError: no graph fits into so few tokens.
        """
        from transformers import LogitsProcessorList

        from r1sgg.guiding.guide import Guide
        from r1sgg.guiding.processor import GuideLogitsProcessor
        from r1sgg.inference.layers import suits

        specs = [guide_spec(self._checkpoint.settings, frame, self._tokens) for frame in frames]
        guides = [
            Guide(self._table, spec, self._tokens) if row % self._group < self._guided else None
            for row, spec in enumerate(specs)
        ]
        processor = GuideLogitsProcessor(guides)
        more: dict[str, Any] = {"logits_processor": LogitsProcessorList([processor])}
        if suits(model):
            more["custom_generate"] = partial(_write, guides, processor, threads, self._tokens, self._end)
        # TRL's call of `generate` passes no logits processors: an attribute of the instance hides the class's method
        model.generate = partial(model.generate, **more)
        try:
            yield
        finally:
            del model.generate


def guided_of_group(share: float, group: int) -> int:
    """Return how many of a group's completions are guided.

    Raises:
        ConfigError: the share is not above 0 and at most 1, or is no completion at all.
    """
    if not 0 < share <= 1 or round(share * group) < 1:
        raise ConfigError(
            f"guide_share: expected a share from 0 to 1 that is at least one of {group} completions, found {share}"
        )
    return round(share * group)


def _write(
    guides: Sequence[Guide | None],
    processor: GuideLogitsProcessor,
    threads: Threads,
    tokens: int,
    end: int,
    model: Any,
    input_ids: Any,
    logits_processor: Sequence[Any],
    stopping_criteria: Any,
    generation_config: Any,
    **kwargs: Any,
) -> Any:
    """Generate guided completions in few passes (transformers' `custom_generate`).

    Where an option looks at the tokens so far, transformers' own loop writes them.
    """
    import transformers

    from r1sgg.inference.choosing import Multinomial
    from r1sgg.inference.decoding import Decoding
    from r1sgg.inference.writing import Writer

    warpers, suppressed, others = [], [], []
    for one in logits_processor:
        if isinstance(one, transformers.SuppressTokensLogitsProcessor):
            suppressed += one.suppress_tokens.tolist()
        elif isinstance(one, tuple(getattr(transformers, f"{name}LogitsWarper") for name in _WARPERS)):
            warpers.append(one)
        elif one is not processor:
            others.append(one)
    if others:
        return model._sample(
            input_ids,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            generation_config=generation_config,
            **kwargs,
        )
    draw = Multinomial(warpers, greedy=not generation_config.do_sample)
    writer = Writer(draw, len(guides), (end,), tokens, suppressed, guides=guides, scores=False)
    return Decoding(writer, threads)(model, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs)


@contextmanager
def cutting_loops(model: Any, tokenizer: Any) -> Iterator[dict[int, int]]:
    """Stop completions that repeat themselves in the one call of `model.generate` within the block.

    Yields:
        For each row that was cut, the length of its completion in tokens; `generate` pads the rest.
    """
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    from r1sgg.inference.loops import LoopWatch
    from r1sgg.inference.pieces import decode

    cut: dict[int, int] = {}
    watches: list[LoopWatch] = []
    begin = 0

    class Loops(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            nonlocal begin
            if not watches:
                begin = input_ids.shape[1] - 1
                watches.extend(LoopWatch(partial(decode, tokenizer)) for _ in input_ids)
            written = input_ids.shape[1] - begin
            if watches[0].due(written):
                for row, (watch, ids) in enumerate(zip(watches, input_ids[:, begin:].tolist(), strict=True)):
                    if row not in cut and tokenizer.eos_token_id not in ids and watch.loops(ids):
                        cut[row] = written
            return torch.tensor([row in cut for row in range(len(input_ids))], device=input_ids.device)

    model.generate = partial(model.generate, stopping_criteria=StoppingCriteriaList([Loops()]))
    try:
        yield cut
    finally:
        del model.generate


def add_schema(arguments: Any, checkpoint: Checkpoint) -> None:
    """Let vLLM constrain completions by the JSON schema of a graph with the checkpoint's vocabulary.

    Args:
        arguments: TRL's GRPOConfig, changed in place.
        checkpoint: the model to train.

    Raises:
        ConfigError: the checkpoint's answers are not bare JSON, or the recipe has a schema of its own.
    """
    from r1sgg.endpoint.guided import graph_schema

    settings = checkpoint.settings
    if settings.think or settings.answer_format != "json":
        raise ConfigError(
            "guide: with vLLM completions are bare JSON; expected think: false and answer_format: json, found "
            f"think: {str(settings.think).lower()} and answer_format: {settings.answer_format}"
        )
    if has_schema(arguments):
        raise ConfigError("guide: expected no schema of the recipe's own beside it, found one; leave one of them out")
    frame = checkpoint.frame((1000, 1000))
    if checkpoint.frame((1000, 500)) != frame:  # boxes in pixels: one schema must allow the boxes of all images
        frame = (9999.0, 9999.0)
    schema = graph_schema(guide_spec(settings, frame, arguments.max_completion_length))
    arguments.generation_kwargs = {**(arguments.generation_kwargs or {}), _SCHEMA: {"json": schema}}


def narrowing(arguments: Any) -> list[str]:
    """List the options of a recipe that exclude tokens from sampling, as "top_p 0.9".

    Args:
        arguments: TRL's GRPOConfig; its `generation_kwargs` win, as they do in TRL.
    """
    kwargs: Mapping[str, Any] = arguments.generation_kwargs or {}
    plain = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    found = {name: kwargs.get(name, getattr(arguments, name)) for name in plain}
    return [f"{name} {value}" for name, value in found.items() if value not in (plain[name], None, -1)]  # top_k -1: off


def has_schema(arguments: Any) -> bool:
    """Whether vLLM constrains completions by a schema, grammar or regular expression."""
    kwargs: Mapping[str, Any] = arguments.generation_kwargs or {}
    return bool(arguments.vllm_structured_outputs_regex or kwargs.get(_SCHEMA))


def settle_correction(arguments: Any, chosen: Mapping[str, Any]) -> None:
    """Switch TRL's importance-sampling correction off where it would remove the gradient.

    Args:
        arguments: TRL's GRPOConfig, changed in place.
        chosen: the keys that the recipe sets itself.

    Raises:
        ConfigError: the recipe asks for the correction there.
    """
    if not (arguments.use_vllm and arguments.vllm_importance_sampling_correction):
        return
    by_sequence = arguments.vllm_importance_sampling_mode.startswith("sequence")
    reasons = ["a schema"] if has_schema(arguments) else []
    if by_sequence:
        reasons += narrowing(arguments)
    if not reasons:
        return
    because = "; ".join(reasons)
    if chosen.get("vllm_importance_sampling_correction"):
        other = "" if has_schema(arguments) else ", or vllm_importance_sampling_mode: token_truncate"
        raise ConfigError(
            f"vllm_importance_sampling_correction: expected false{other}, found true; with {because} it would scale "
            "the gradient to almost 0"
        )
    arguments.vllm_importance_sampling_correction = False
    _log.info("the importance-sampling correction of vLLM's rollouts is off, because of %s", because)
