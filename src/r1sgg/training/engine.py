"""vLLM as the engine of GRPO's rollouts: made as the model needs it, and asked what the trainer trains.

Three things that TRL 1.16 leaves open (huggingface/trl issues 6294, 6401, 6718):

- It hands vLLM token ids in which the processor has expanded the image placeholder, with the image beside them, and
  vLLM expands the first placeholder again: 34 tokens become 49. Here a colocated engine gets one placeholder per image
  (`unexpanded`) and expands it itself. A server is sent finished image features with the expanded ids.
- It makes the colocated engine without the recipe's pixel limits and precision. `made_for` adds them, and on CPUs keeps
  vLLM from packing weights into a layout that a later weight sync would not reach.
- It ignores which prompt vLLM ran. `RolloutEngine.noted` reads it, for `r1sgg.training.gate`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from r1sgg.inference.parity import Ran
from r1sgg.inference.vllm import SURROUNDINGS, engine_arguments, is_cpu_build
from r1sgg.inference.vllm_inputs import EngineInputs, patch_of
from r1sgg.training.upstream import replaced

if TYPE_CHECKING:
    import torch

    from r1sgg.models.families import Checkpoint

_OURS = ("model", "logits_processors")  # TRL names the model; image tokens are suppressed by the sampling parameters


def set_surroundings() -> None:
    """Set vLLM's environment variables, each where it is not set; before vLLM is imported."""
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def made_for(checkpoint: Checkpoint, precision: str) -> Iterator[None]:
    """Let TRL make its colocated engine, within the block, with the arguments that the checkpoint needs.

    Args:
        checkpoint: the model to train; the pixel limits are its processor's.
        precision: in which the model computes: "float32", "bfloat16" or "float16".
    """
    module = importlib.import_module("trl.generation.vllm_generation")
    ours = {k: v for k, v in engine_arguments(checkpoint, precision).items() if k not in _OURS}
    if _short_names(checkpoint):
        ours["load_format"] = "dummy"  # TRL writes all weights before the first rollout
    with replaced(module, "LLM", partial(_make, module.LLM, ours)):
        yield


def _make(kind: Any, ours: Mapping[str, Any], **theirs: Any) -> Any:
    if not is_cpu_build():
        return kind(**{**theirs, **ours})
    layers = importlib.import_module("vllm.model_executor.layers.utils")
    with replaced(layers, "dispatch_cpu_unquantized_gemm", _unpacked):
        return kind(**{**theirs, **ours})


def _unpacked(layer: torch.nn.Module, remove_weight: bool) -> None:
    """Compute a layer by the weight that a weight sync writes (vLLM's packed copy would keep the first weights)."""
    import torch

    layer.cpu_linear = torch.nn.functional.linear


def _short_names(checkpoint: Checkpoint) -> bool:
    """Whether transformers leaves a part of the names out that vLLM 0.32 expects, as published checkpoints have it."""
    return bool(checkpoint.family.served_tower)


def name_weights(generation: Any, checkpoint: Checkpoint) -> None:
    """Let a weight sync name the tower's weights as vLLM does; nothing changes for most families.

    Args:
        generation: TRL's `VLLMGeneration`.
        checkpoint: the model that is trained.
    """
    if not _short_names(checkpoint):
        return
    plain = generation._fix_param_name_to_vllm

    def named(*args: Any, **kwargs: Any) -> str:
        name: str = plain(*args, **kwargs)
        family = checkpoint.family
        return (
            name if f"{family.served_tower}." in name else name.replace(f"{family.tower}.", f"{family.served_tower}.")
        )

    generation._fix_param_name_to_vllm = named


@contextmanager
def replies_read() -> Iterator[None]:
    """Let TRL's client read, within the block, what a server of vLLM 0.32 replies.

    It names tokens by `token_id`, and TRL 1.16, which declares vLLM to 0.31, looks for `token`.
    """
    module = importlib.import_module("trl.generation.vllm_client")
    plain = module.parse_logprobs

    def parse_logprobs(choices: Sequence[Any]) -> Any:
        named = [{**one, "content": _named(one["content"])} if one and "content" in one else one for one in choices]
        return plain(named)

    with replaced(module, "parse_logprobs", parse_logprobs):
        yield


def _named(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add the names that TRL looks for to the entries of one completion, or of the candidates at one place."""
    return [
        {
            **entry,
            "token": entry.get("token", f"token_id:{entry.get('token_id')}"),
            "top_logprobs": _named(entry.get("top_logprobs", ())),
        }
        for entry in entries
    ]


def unexpanded(processor: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of prompts with one placeholder per image, as vLLM takes them together with the images.

    Args:
        processor: the checkpoint's.
        texts: prompts by its chat template.
    """
    tokenizer = processor.tokenizer
    # the rule of transformers' apply_chat_template, which made the ids that are trained
    own = tokenizer.bos_token is not None and texts[0].startswith(tokenizer.bos_token)
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=not own)["input_ids"]
    return ids


class RolloutEngine:
    """TRL's engine, colocated or a server, with what it ran.

    Args:
        generation: TRL's `VLLMGeneration`.
        processor: the checkpoint's.
    """

    def __init__(self, generation: Any, processor: Any) -> None:
        self._generation, self._processor = generation, processor
        self.colocated = generation.mode == "colocate"
        self._inputs = EngineInputs(generation.llm, patch_of(processor)) if self.colocated else None

    @property
    def precision(self) -> str:
        """In which the engine computes."""
        if self._inputs is None:
            kind = self._generation.vllm_client.get_server_info()["model_config"]["dtype"]
        else:
            kind = self._generation.llm.llm_engine.vllm_config.model_config.dtype
        return str(kind).removeprefix("torch.")

    @contextmanager
    def noted(self, prompt_ids: Sequence[Sequence[int]], group: int) -> Iterator[list[Ran]]:
        """Yield a list that holds, after the block, what the engine ran for the prompts of this process.

        Args:
            prompt_ids: the prompts that are trained, in the order in which the block sends them.
            group: completions of each prompt that a server is asked for at once.
        """
        ran: list[Ran] = []
        if self._inputs is None:
            with self._served(prompt_ids, group, ran):
                yield ran
            return
        with self._inputs.noted() as seen:
            yield ran
        # with tensor parallelism, each process sends the prompts of all processes of its group
        first = 0
        if self._generation.tensor_parallel_size > 1:
            import torch

            first = torch.distributed.get_rank(group=self._generation.tp_group) * len(prompt_ids)
        ran += seen[first : first + len(prompt_ids)]

    @contextmanager
    def _served(self, prompt_ids: Sequence[Sequence[int]], group: int, ran: list[Ran]) -> Iterator[None]:
        """Note the image features that a server makes; the ids that it runs are those that it is sent.

        Only the first process asks the server; the others have nothing to compare.
        """
        if not self._generation.accelerator.is_main_process:
            yield
            return
        counts: list[int] = []
        client = self._generation.vllm_client
        plain = client.image_features

        def image_features(images: Any, *args: Any, **kwargs: Any) -> Any:
            features = plain(images, *args, **kwargs)
            counts.extend(sum(place["length"] for place in one["mm_placeholders"]["image"]) for one in features)
            return features

        with replaced(client, "image_features", image_features):
            yield
        ran += [Ran(tuple(ids), count) for ids, count in zip(prompt_ids, _repeat(counts, group), strict=False)]

    @contextmanager
    def whole_distribution(self, tokens: int, stops: Sequence[int]) -> Iterator[None]:
        """Sample, within the block, from the whole vocabulary at the recipe's temperature.

        Args:
            tokens: the longest completion.
            stops: tokens that end one, beside the model's own.
        """
        # a seed, so that the requests leave torch's random state, which the trainer uses too, as it is
        more = {"seed": 0, "stop_token_ids": list(stops)}
        free = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0, "structured_outputs_regex": None}
        wanted = {**free, "generation_kwargs": more, "max_completion_length": tokens}
        kept = {name: getattr(self._generation, name) for name in wanted}
        vars(self._generation).update(wanted)
        try:
            yield
        finally:
            vars(self._generation).update(kept)

    def sample(
        self, sent: Sequence[Sequence[int]], trained: Sequence[Sequence[int]], images: Sequence[Any]
    ) -> list[tuple[Ran, list[int]]]:
        """Sample one completion per prompt.

        Args:
            sent: the prompts as the engine takes them.
            trained: the same prompts as the model reads them.
            images: lists of images, one per prompt.

        Returns:
            What the engine ran, with log-probabilities, and the completion's token ids. Empty in processes that a
            server tells nothing.
        """
        import numpy as np

        with self.noted(trained, 1) as ran:
            _, completions, logprobs, _ = self._generation.generate(
                prompts=[list(ids) for ids in sent], images=list(images), num_generations=1
            )
        rows = [np.array([np.nan if one[0] is None else one[0] for one in row]) for row in logprobs]
        return [
            (dataclasses.replace(one, logprobs=row), list(ids))
            for one, row, ids in zip(ran, rows, completions, strict=False)
        ]


def _repeat(counts: Sequence[int], group: int) -> Iterator[int]:
    for count in counts:
        yield from [count] * group
