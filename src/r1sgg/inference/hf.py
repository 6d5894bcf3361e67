"""The transformers engine: batches on whatever device the model is on, no server, no other package.

An answer does not depend on which images share the batch (`r1sgg.inference.choosing`), but for rounding: padding
changes sums in the last digits, which can flip a near tie. With guides, tokens that have no alternative are not drawn,
and the model reads them together with what was drawn before them (`r1sgg.inference.decoding`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch.distributed.fsdp import FSDPModule
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from r1sgg.errors import ModelError
from r1sgg.guiding.guide import Guide
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable, suppressed_token_ids
from r1sgg.inference.choosing import Streams, widened
from r1sgg.inference.decoding import Decoding, Ended, StepByStep
from r1sgg.inference.engine import Completion, LogProbs, Sampling
from r1sgg.inference.layers import suits
from r1sgg.inference.parity import Ran
from r1sgg.inference.pieces import decode, pieces_of
from r1sgg.inference.threads import Threads
from r1sgg.inference.writing import Writer
from r1sgg.models.coordinates import check_aspect
from r1sgg.models.families import LoadedModel
from r1sgg.models.finding import image_token_of
from r1sgg.models.prompts import Message, as_parts, with_image


def engine_name(device: str, dtype: str) -> str:
    """Return the name of the engine on a type of device ("cpu") with weights of a type ("float32")."""
    return f"transformers {device} {dtype}"


class TransformersEngine:
    """Generates with a loaded model; see `r1sgg.inference.engine.Engine`.

    Args:
        loaded: the model.
        threads: so many threads on a CPU; None chooses, see `r1sgg.inference.threads`.
    """

    def __init__(self, loaded: LoadedModel, threads: int | None = None) -> None:
        self.loaded = loaded
        self._threads = Threads(loaded.model, threads)
        self.name = engine_name(loaded.model.device.type, str(loaded.model.dtype).removeprefix("torch."))
        own = loaded.model.generation_config
        tokenizer = loaded.processor.tokenizer
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        self._ends: list[int] = ends if isinstance(ends, list) else [ends]
        self._pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._ends[0]
        self._suppressed = suppressed_token_ids(loaded.model.config, tokenizer)

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
        """Answer one batch.

        Raises:
            ImageError: an image that no image processor takes.
            ModelError: the batch does not fit into the device's memory, or no guide can be made for the tokenizer.
            ConfigError: a guide has no answer that is short enough, or names that the tokenizer can't spell.
        """
        names = keys or [str(k) for k in range(len(images))]
        return self._answer(images, messages, sampling, names, guides or (), pieces) if images else []

    def chat(
        self,
        messages: Sequence[list[Message]],
        sampling: Sampling,
        *,
        images: Sequence[Image.Image] | None = None,
        schemas: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Completion]:
        """Answer one batch of chats; the answers are free, whatever the schemas. Raises as `generate` does."""
        names = [str(k) for k in range(len(messages))]
        return self._answer(images or (), messages, sampling, names, (), False) if messages else []

    def watch(
        self,
        image: Image.Image,
        messages: list[Message],
        sampling: Sampling,
        listener: Callable[[str], bool],
        *,
        guide: GuideSpec | None = None,
        pieces: bool = False,
    ) -> Completion:
        """See `r1sgg.inference.engine.WatchedEngine`; raises as `generate` does."""
        tokenizer = self.loaded.processor.tokenizer

        def heard(ids: list[int]) -> bool:
            return listener(decode(tokenizer, ids))

        specs = [] if guide is None else [guide]
        (completion,) = self._answer([image], [messages], sampling, ["0"], specs, pieces, heard)
        return completion

    def _answer(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str],
        guides: Sequence[GuideSpec],
        pieces: bool,
        heard: Callable[[list[int]], bool] | None = None,
    ) -> list[Completion]:
        started = time.perf_counter()
        model = self.loaded.model
        writer = Writer(
            Streams(sampling, keys, model.device),
            len(messages),
            self._ends,
            sampling.max_new_tokens,
            self._suppressed,
            guides=[self._guide(spec, sampling.max_new_tokens) for spec in guides],
            heard=heard,
            decode=functools.partial(decode, self.loaded.processor.tokenizer) if sampling.cut_loops else None,
        )
        if suits(model):
            self._run(images, messages, sampling.max_new_tokens, custom_generate=Decoding(writer, self._threads))
        else:
            self._run(
                images,
                messages,
                sampling.max_new_tokens,
                logits_processor=LogitsProcessorList([StepByStep(writer, self._threads)]),
                stopping_criteria=StoppingCriteriaList([Ended(writer)]),
            )
        return self._completions(writer, (time.perf_counter() - started) / len(messages), pieces, sampling.tags)

    def next_token_logprobs(
        self, images: Sequence[Image.Image], messages: Sequence[list[Message]], words: Sequence[str]
    ) -> list[list[float]]:
        """Natural-log probability, for each chat, that its answer begins with each of the words.

        A word counts in each form that is one token: as it stands, and after a space.

        Raises:
            ImageError: an image that no image processor takes.
            ModelError: a word is no single token, or the batch does not fit into the device's memory.
        """
        if not images:
            return []
        tokens = [self._forms(word) for word in words]
        recorder = _Recorder()
        self._run(images, messages, 1, logits_processor=LogitsProcessorList([recorder]))
        logs_BV = widened(recorder.scores, recorder.scores.device).log_softmax(-1)
        scores: list[list[float]] = torch.stack([logs_BV[:, ids].logsumexp(-1) for ids in tokens], dim=1).tolist()
        return scores

    def score(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        completions: Sequence[Sequence[int]],
        temperature: float = 1.0,
    ) -> list[Ran]:
        """Read completions that another engine sampled, one after the other.

        Args:
            images: one for each chat.
            messages: the chats.
            completions: token ids, one sequence for each chat.
            temperature: that they were sampled at.

        Returns:
            For each, the prompt as this model reads it, and the log-probabilities of its tokens over the whole
            vocabulary at that temperature.
        """
        return [
            self._read(image, chat, list(ids), temperature)
            for image, chat, ids in zip(images, messages, completions, strict=True)
        ]

    def _read(self, image: Image.Image, chat: list[Message], ids: list[int], temperature: float) -> Ran:
        inputs, processor = self._inputs([image], [chat]), self.loaded.processor
        prompt_T = inputs["input_ids"][0].tolist()
        size = None
        if (grid := inputs.get("image_grid_thw")) is not None:
            side = processor.image_processor.patch_size
            size = (int(grid[0, 2]) * side, int(grid[0, 1]) * side)
        kind = self.loaded.family.completion_type
        for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", kind)):
            if name in inputs:
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, len(ids)), value=value)
        new_1C = torch.tensor([ids], device=inputs["input_ids"].device)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], new_1C], 1)
        with torch.inference_mode(), self._threads.restored():
            self._threads.use(inputs["input_ids"].numel())
            logits_CV = self.loaded.model(**inputs, logits_to_keep=len(ids) + 1, use_cache=False).logits[0, :-1]
        logits_CV = widened(logits_CV, logits_CV.device) / temperature
        logs_C = logits_CV.log_softmax(-1).gather(-1, new_1C[0, :, None].to(logits_CV.device))[:, 0]
        features = prompt_T.count(processor.tokenizer.convert_tokens_to_ids(image_token_of(processor)))
        return Ran(tuple(prompt_T), features, size, logs_C.cpu().numpy())

    def _guide(self, spec: GuideSpec, tokens: int) -> Guide:
        """The guide of one answer of at most so many tokens."""
        return Guide(self._table, spec, tokens)

    @cached_property
    def _table(self) -> TokenTable:
        """The vocabulary as guides need it, made for the first one."""
        tokenizer = self.loaded.processor.tokenizer
        end = tokenizer.eos_token_id if tokenizer.eos_token_id in self._ends else self._ends[0]
        return TokenTable.of(tokenizer, end, self._suppressed)

    def _forms(self, word: str) -> list[int]:
        """The tokens that write a word at the beginning of an answer."""
        tokenizer = self.loaded.processor.tokenizer
        forms = [tokenizer.encode(form, add_special_tokens=False) for form in (word, f" {word}")]
        if not (single := sorted({ids[0] for ids in forms if len(ids) == 1})):
            raise ModelError(
                f"{self.loaded.name}: {word!r} is more than one token of this model, so it can't be scored"
            )
        return single

    def _inputs(self, images: Sequence[Image.Image], messages: Sequence[list[Message]]) -> Any:
        """input_ids (B, T) padded on the left, attention_mask, and what the family's model takes of the images."""
        processor = self.loaded.processor
        family = self.loaded.family
        if family.template and not images:
            raise ModelError(f"{self.loaded.name}: this family answers about images only, found a chat without one")
        shown = with_image if images else as_parts
        texts = [
            processor.apply_chat_template(shown(chat), add_generation_prompt=True, tokenize=False) for chat in messages
        ]
        views = [family.view(image, processor) for image in images]
        inputs = family.inputs(processor, texts, views)
        return inputs.to(self.loaded.model.device, dtype=self.loaded.model.dtype)

    def _run(
        self, images: Sequence[Image.Image], messages: Sequence[list[Message]], max_new_tokens: int, **how: Any
    ) -> None:
        """Generate; `how` says by what tokens are chosen."""
        for image in images:
            check_aspect(image.size)
        inputs = self._inputs(images, messages)
        model = self.loaded.model
        inner = self.loaded.family.speaker
        speakers: list[Any] = [model] if inner is None else [model, getattr(model, inner)]
        own = [speaker.generation_config for speaker in speakers]
        text = model.config.get_text_config()
        routed = getattr(text, "output_router_logits", None)
        try:
            if routed:  # as TRL leaves a mixture of experts; its balance of one new token fails in transformers 5.23
                text.output_router_logits = False
            for speaker in speakers:
                # a checkpoint's generation_config may hold a repetition penalty, which forbids JSON its brackets
                speaker.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=self._pad)
            # weights spread over processes (FSDP2) are put together in place, which training could not use afterwards
            with torch.inference_mode(not isinstance(model, FSDPModule)), self._threads.restored():
                self._threads.use(inputs["input_ids"].numel())
                model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens, **how)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"a batch of {len(messages)} images does not fit into the memory of {model.device}: "
                "lower the batch size or the largest image size"
            ) from error
        finally:
            if routed:
                text.output_router_logits = routed
            for speaker, configuration in zip(speakers, own, strict=True):
                speaker.generation_config = configuration

    def _completions(self, writer: Writer, seconds: float, pieces: bool, tags: bool) -> list[Completion]:
        tokenizer = self.loaded.processor.tokenizer
        logprobs = writer.logprobs()
        allowed = writer.allowed()
        completions = []
        for k, draft in enumerate(writer.drafts):
            said = draft.ids[: len(draft.ids) - (draft.ended == "stop")]
            text = decode(tokenizer, said if tags else draft.ids, tags=tags)
            logs = logprobs[k]
            completions.append(
                Completion(
                    text=text,
                    tokens=len(draft.ids),
                    finish_reason=draft.ended,
                    seconds=seconds,
                    logprobs=LogProbs(sum(logs), sum(logs) / len(logs)),
                    pieces=pieces_of(tokenizer, said, text, logs, allowed[k] if allowed else None, tags=tags)
                    if pieces
                    else None,
                    passes=draft.passes,
                )
            )
        return completions


class _Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps the scores (B, V) of the first new token."""

    scores: torch.Tensor

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores unchanged."""
        self.scores = scores
        return scores
