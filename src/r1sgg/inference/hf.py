"""The transformers engine: batches on whatever device the model is on, no server, no other package.

Sampling does not use torch's global generator. Each image has its own stream of uniform numbers, seeded by
(`Sampling.seed`, the image's key), and each token is drawn by inverting the cumulative distribution at the next of
them. So an answer does not depend on which images share the batch, but for rounding: padding changes sums in the last
digits, which can flip a near tie.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from r1sgg.errors import ModelError
from r1sgg.inference.engine import Completion, LogProbs, Sampling
from r1sgg.models.coordinates import check_aspect
from r1sgg.models.families import LoadedModel, suppressed_token_ids
from r1sgg.models.prompts import Message, with_image


class TransformersEngine:
    """Generates with a loaded model; see `r1sgg.inference.engine.Engine`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.name = f"transformers {loaded.model.device.type} {str(loaded.model.dtype).removeprefix('torch.')}"
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
    ) -> list[Completion]:
        """Answer one batch.

        Raises:
            ImageError: an image that no image processor takes.
            ModelError: the batch does not fit into the device's memory.
        """
        if not images:
            return []
        started = time.perf_counter()
        device = self.loaded.model.device
        chooser = _Chooser(sampling, keys or [str(k) for k in range(len(images))], self._suppressed, device)
        answers = self._run(images, messages, sampling.max_new_tokens, chooser)
        seconds = (time.perf_counter() - started) / len(images)
        return self._completions(answers, chooser.logprobs, seconds)

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
        self._run(images, messages, 1, recorder)
        logs_BV = recorder.scores.double().log_softmax(-1)
        scores: list[list[float]] = torch.stack([logs_BV[:, ids].logsumexp(-1) for ids in tokens], dim=1).tolist()
        return scores

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
        qformer = getattr(processor, "qformer_tokenizer", None)  # InstructBLIP, which knows no chat layout
        text = [
            "\n".join(message["content"] for message in chat)
            if qformer
            else processor.apply_chat_template(with_image(chat), add_generation_prompt=True, tokenize=False)
            for chat in messages
        ]
        views = [self.loaded.family.view(image, processor) for image in images]
        inputs = processor(
            text=text,
            images=views if qformer else [[view] for view in views],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        if qformer:  # it numbers positions from the left end, so padding there would change what it reads
            again = qformer(text, padding=True, padding_side="right", return_tensors="pt")
            inputs["qformer_input_ids"] = again["input_ids"]
            inputs["qformer_attention_mask"] = again["attention_mask"]
        return inputs.to(self.loaded.model.device, dtype=self.loaded.model.dtype)

    def _run(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        max_new_tokens: int,
        chooser: LogitsProcessor,
    ) -> torch.Tensor:
        """Generated ids (B, N), padded on the right."""
        for image in images:
            check_aspect(image.size)
        inputs = self._inputs(images, messages)
        model = self.loaded.model
        # InstructBLIP generates with its language model, which has a configuration of its own
        inner = getattr(model, "language_model", None)
        speakers: list[Any] = [model, inner] if hasattr(inner, "generation_config") else [model]
        own = [speaker.generation_config for speaker in speakers]
        try:
            for speaker in speakers:
                # a checkpoint's generation_config may hold a repetition penalty, which forbids JSON its brackets
                speaker.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=self._pad)
            with torch.inference_mode():
                output = model.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=max_new_tokens,
                    logits_processor=LogitsProcessorList([chooser]),
                )
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"a batch of {len(images)} images does not fit into the memory of {model.device}: "
                "lower the batch size or the largest image size"
            ) from error
        finally:
            for speaker, configuration in zip(speakers, own, strict=True):
                speaker.generation_config = configuration
        return output[:, inputs["input_ids"].shape[1] :]

    def _completions(self, answers: torch.Tensor, logprobs: torch.Tensor, seconds: float) -> list[Completion]:
        tokenizer = self.loaded.processor.tokenizer
        completions = []
        for ids, logs in zip(answers.tolist(), logprobs.tolist(), strict=True):
            end = next((k for k, token in enumerate(ids) if token in self._ends), None)
            count = len(ids) if end is None else end + 1
            text = tokenizer.decode(ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            total = sum(logs[:count])
            completions.append(
                Completion(
                    text=text,
                    tokens=count,
                    finish_reason="length" if end is None else "stop",
                    seconds=seconds,
                    logprobs=LogProbs(total, total / count),
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


class _Chooser(LogitsProcessor):  # type: ignore[misc]
    """Chooses each next token itself and leaves it as the only one possible; keeps its log-probability."""

    def __init__(self, sampling: Sampling, keys: Sequence[str], suppressed: list[int], device: torch.device) -> None:
        self._suppressed = torch.tensor(suppressed, dtype=torch.long, device=device)
        self._greedy = sampling.temperature == 0
        self._warpers: list[Any] = []
        self._logprobs: list[torch.Tensor] = []
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
        if self._greedy:
            chosen_B1 = logs.argmax(-1, keepdim=True)
        else:
            for warp in self._warpers:
                scores = warp(input_ids, scores)
            cumulative = scores.double().softmax(-1).cumsum(-1)
            # scaled by the last entry, which rounding leaves next to 1; the first entry above is never a suppressed one
            draw_B1 = self._uniforms_BN[:, len(self._logprobs), None] * cumulative[:, -1:]
            chosen_B1 = torch.searchsorted(cumulative, draw_B1, right=True)
        self._logprobs.append(logs.gather(1, chosen_B1)[:, 0])
        return torch.full_like(logs, -torch.inf).scatter(1, chosen_B1, 0.0)

    @property
    def logprobs(self) -> torch.Tensor:
        """Log-probabilities (B, N) of the tokens chosen so far, at temperature 1 and without top-k and top-p."""
        return torch.stack(self._logprobs, dim=1)
