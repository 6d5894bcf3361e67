"""Parity: whether an engine samples from the model that is trained, on the same prompt and the same image.

Two sides run one prompt: the engine (vLLM), which samples a completion, and the model itself (transformers). Each is a
`Ran`; `Parity` puts them side by side: the figures, a table, and the sentence that stops a run.

What each side must tell is exact where it can be: the token ids of the prompt, the number of image features, and the
size of the image as the vision tower sees it, in which some families write boxes. Log-probabilities are those of the
sampled tokens over the whole vocabulary at the sampling temperature, before top_p, top_k, a guide or suppressed tokens:
narrowing changes what is sampled, and is no difference between the models.

No model runs here: `r1sgg.training.gate` compares a trainer with its engine, `r1sgg.inference.vllm.VLLMEngine.parity`
a checkpoint with vLLM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

APART = 0.1
"""Difference of two log-probabilities from which a token counts as off."""
_CUT = 50.0  # beyond it exp() says nothing more


@dataclass(frozen=True, slots=True)
class Ran:
    """What one side ran for one completion.

    Attributes:
        prompt_ids: tokens of the prompt as the model reads them, image placeholders expanded.
        image_features: vectors that the vision tower put into the prompt; None if this side does not tell.
        image_size: width and height of the resized image in pixels, the frame of boxes in the families that write
            pixels; None if this side does not tell, or the family has one size.
        logprobs: (T,) of the completion's tokens, see the module.
    """

    prompt_ids: tuple[int, ...]
    image_features: int | None = None
    image_size: tuple[int, int] | None = None
    logprobs: Floats = field(default_factory=lambda: np.zeros(0))


class Limits(NamedTuple):
    """The largest mean KL divergence (nats per token) and share of tokens that are off by more than `APART`."""

    mean_kl: float
    share_off: float


LIMITS = {"float32": Limits(1e-5, 0.005), "bfloat16": Limits(1e-2, 0.1), "float16": Limits(1e-2, 0.1)}
"""By the precision in which the model is trained. Sums in other orders and kernels differ in its last digits."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How an engine differs from the model, over some completions.

    Attributes:
        engine: what the engine ran; trainer: the same completions by the model.
        precision: of the engine and of the model, such as ("bfloat16", "bfloat16").
    """

    engine: tuple[Ran, ...]
    trainer: tuple[Ran, ...]
    precision: tuple[str, str]

    @property
    def differences(self) -> Floats:
        """(N,) log-probability in the engine minus that in the model, of every sampled token."""
        pairs = zip(self.engine, self.trainer, strict=True)
        return np.concatenate([np.zeros(0), *(one.logprobs - other.logprobs for one, other in pairs)])

    @property
    def mean_kl(self) -> float:
        """Estimate KL(engine || model) in nats per token: the mean of r - 1 - log r, where r = p / q; never negative.

        The tokens were sampled from the engine's distribution q. Source: J. Schulman,
        "Approximating KL divergence" (2020), k3.
        """
        apart = self.differences
        if not len(apart):
            return 0.0
        bounded = np.clip(apart, -_CUT, _CUT)
        return float(np.mean(np.expm1(-bounded) + bounded))

    @property
    def largest(self) -> float:
        """The largest difference of two log-probabilities."""
        return float(np.abs(self.differences).max(initial=0.0))

    @property
    def share_off(self) -> float:
        """Share of tokens whose log-probabilities differ by more than `APART`."""
        apart = self.differences
        return float((np.abs(apart) > APART).mean()) if len(apart) else 0.0

    @property
    def tokens(self) -> int:
        """Sampled tokens that were compared."""
        return len(self.differences)

    def metrics(self) -> dict[str, float]:
        """The figures for logs, by name."""
        return {
            "parity/mean_kl": self.mean_kl,
            "parity/max_difference": self.largest,
            "parity/share_off": self.share_off,
            "parity/prompts_equal": self._equal("prompt_ids"),
            "parity/images_equal": self._equal("image_features"),
            "parity/frames_equal": self._equal("image_size"),
        }

    def fault(self) -> str | None:
        """Say what differs beyond `LIMITS`, as the beginning of a sentence; None if nothing does."""
        inputs = (input_fault(one, other) for one, other in zip(self.engine, self.trainer, strict=True))
        return next((said for said in inputs if said), None) or self._numbers()

    def rows(self) -> list[tuple[str, str, str, bool]]:
        """Return a table: what is compared, the engine's, the trainer's or the limit, and whether it is in order."""
        kl, share = LIMITS[self.precision[1]]
        finite = bool(np.isfinite(self.differences).all())
        return [
            ("prompt tokens", *self._both(_length), self._equal("prompt_ids") == 1),
            ("image features", *self._both(_features), self._equal("image_features") == 1),
            *([("resized image", *self._both(_size), self._equal("image_size") == 1)] if self._sized else []),
            ("precision", *self.precision, self.precision[0] == self.precision[1]),
            (f"mean KL of {self.tokens} tokens", f"{self.mean_kl:.1e}", f"at most {kl:g}", self.mean_kl <= kl),
            ("largest difference", f"{self.largest:.1e}", "", finite),
            (f"off by over {APART:g}", f"{self.share_off:.1%}", f"at most {share:.1%}", self.share_off <= share),
        ]

    def table(self) -> str:
        """Format `rows` for a terminal."""
        told = [(what, one, other, "" if fine else "DIFFERS") for what, one, other, fine in self.rows()]
        lines = [(f"{len(self.engine)} completions", "engine", "trainer", ""), *told]
        widths = [max(len(line[k]) for line in lines) for k in range(4)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    @property
    def _sized(self) -> bool:
        return any(ran.image_size for ran in (*self.engine, *self.trainer))

    def _equal(self, name: str) -> float:
        """Share of completions for which both sides tell the same; 1 where one of them does not tell."""
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(self.engine, self.trainer, strict=True)]
        told = [a == b for a, b in pairs if a is not None and b is not None]
        return sum(told) / len(told) if told else 1.0

    def _both(self, read: Callable[[Ran], str]) -> tuple[str, str]:
        """What each side tells: of the first completion of which they differ, else of the first."""
        pairs = [(read(a), read(b)) for a, b in zip(self.engine, self.trainer, strict=True)]
        return next((pair for pair in pairs if pair[0] != pair[1]), (pairs or [("", "")])[0])

    def _numbers(self) -> str | None:
        mine, theirs = self.precision
        if mine != theirs:
            return f"the engine computes in {mine}, and the trainer in {theirs}"
        kl, share = LIMITS[theirs]
        if not np.isfinite(self.differences).all():
            return f"some log-probabilities of {self.tokens} sampled tokens are not finite"
        if self.mean_kl > kl:
            return (
                f"the log-probabilities of {self.tokens} sampled tokens have a mean KL divergence of "
                f"{self.mean_kl:.2g} from the trainer's (expected at most {kl:g} in {theirs}; largest difference "
                f"{self.largest:.2g})"
            )
        if self.share_off > share:
            return (
                f"{self.share_off:.1%} of {self.tokens} sampled tokens have log-probabilities that differ from the "
                f"trainer's by more than {APART:g} (expected at most {share:.1%} in {theirs})"
            )
        return None


def input_fault(engine: Ran, trainer: Ran) -> str | None:
    """Say how the inputs of one completion differ, as the beginning of a sentence; None if they do not."""
    mine, theirs = engine.image_features, trainer.image_features
    if mine is not None and theirs is not None and mine != theirs:
        return f"the engine put {mine} image features into a prompt for which the trainer has {theirs}"
    if engine.prompt_ids != trainer.prompt_ids:
        place = next(
            (k for k, (a, b) in enumerate(zip(engine.prompt_ids, trainer.prompt_ids, strict=False)) if a != b),
            min(len(engine.prompt_ids), len(trainer.prompt_ids)),
        )
        return (
            f"the engine ran a prompt of {len(engine.prompt_ids)} tokens for one that is trained with "
            f"{len(trainer.prompt_ids)}; they differ from token {place} on"
        )
    if engine.image_size and trainer.image_size and engine.image_size != trainer.image_size:
        return (
            f"the engine resized an image to {_size(engine)} pixels, and the trainer reads its boxes in a frame of "
            f"{_size(trainer)}"
        )
    return None


def _length(ran: Ran) -> str:
    return str(len(ran.prompt_ids))


def _features(ran: Ran) -> str:
    return "not told" if ran.image_features is None else str(ran.image_features)


def _size(ran: Ran) -> str:
    return "not told" if ran.image_size is None else f"{ran.image_size[0]}x{ran.image_size[1]}"
