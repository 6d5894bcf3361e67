"""The frame probe: asks a model where drawn shapes are, and finds out what the numbers of its boxes mean.

    r1sgg doctor --frame --model M                                      transformers
    r1sgg doctor --frame --model M --engine openai:URL                  whatever a server makes of it

The pictures are `r1sgg.doctor.shapes`, the candidates `conventions`, the fit `fitting`. A model that r1sgg did not
train is asked in its family's own format, one that it trained by the prompt that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from r1sgg.doctor.conventions import SENT, Candidate, Sizes, candidate_of, candidates
from r1sgg.doctor.fitting import Fit, Verdict, fit
from r1sgg.doctor.reading import Found, answers_of, assigned, read_objects
from r1sgg.doctor.shapes import Picture
from r1sgg.errors import require
from r1sgg.graph.dialects.registry import DIALECTS, OURS, choose_dialect
from r1sgg.graph.frames import Frame
from r1sgg.inference.engine import Completion, Engine, Sampling
from r1sgg.models.families import Checkpoint
from r1sgg.models.prompts import AnswerSettings
from r1sgg.models.registry import FAMILIES
from r1sgg.models.tongue import Tongue, tongue_of

TOKENS = 512
"""Longest answer: four shapes take about 150 tokens."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe found.

    Attributes:
        model: its name.
        family: the family whose frame is expected; None where nobody said one.
        expected: that frame; None without a family.
        asked, answered: the dialects of the questions and of the answers.
        verdict: of the fit.
        found: the boxes of named shapes.
        pictures: what was shown.
        texts: the answers.
        others: boxes of answers that are of no shape, or of one that has a box already.
        errors: pictures without an answer.
        error: why the first of them has none; "" where all have one.
        suggested: families whose frame is the one that was found.
    """

    model: str
    family: str | None
    expected: Candidate | None
    asked: str
    answered: str
    verdict: Verdict
    found: tuple[Found, ...]
    pictures: tuple[Picture, ...]
    texts: tuple[str, ...]
    others: int
    errors: int
    error: str
    suggested: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the answers can be in the frame that is expected; True where nothing is expected or can be told."""
        if self.expected is None or self.verdict.why_not:
            return True
        own = (self.verdict.best, *self.verdict.twins)
        return not self.verdict.shifted and any(each.candidate is self.expected for each in own)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        fits = self.verdict.fits
        return {
            "model": self.model,
            "family": self.family,
            "expected": None if self.expected is None else self.expected.name,
            "asked_in": self.asked,
            "answered_in": self.answered,
            "verdict": None if self.verdict.why_not else _fit_record(self.verdict.best),
            "why_not": self.verdict.why_not or None,
            "agrees": None if self.expected is None or self.verdict.why_not else self.agrees,
            "shifted": self.verdict.shifted,
            "margin": self.verdict.margin if fits else None,
            "twins": [_fit_record(each) for each in self.verdict.twins],
            "fits": [_fit_record(each) for each in fits[:8]],
            "suggested_families": list(self.suggested),
            "boxes": [{"picture": f.picture, "shape": f.name, "written": list(f.written)} for f in self.found],
            "other_boxes": self.others,
            "errors": self.errors,
            "error": self.error or None,
            "pictures": [
                {"size": list(p.image.size), "shapes": list(p.names), "boxes": p.boxes.tolist()} for p in self.pictures
            ],
            "completions": list(self.texts),
        }


def _fit_record(each: Fit) -> dict[str, Any]:
    return {
        "frame": each.candidate.name,
        "same_here": list(each.candidate.same),
        "gain": round(each.gain, 2),
        "error": round(each.error, 5),
        "explains": round(each.right, 4),
        "shift": [round(value, 5) for value in each.shift],
    }


def probe(
    checkpoint: Checkpoint,
    engine: Engine,
    pictures: Sequence[Picture],
    *,
    batch_size: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Probed:
    """Ask a model about pictures and fit its frame.

    Args:
        checkpoint: how it is asked.
        engine: who answers.
        pictures: what is shown.
        batch_size: pictures that are asked about together.
        progress: called with the number of finished pictures and of all.

    Raises:
        ModelError, ConfigError: as the engine raises.
    """
    tongue = tongue_of(checkpoint)
    trained = _trained(checkpoint)
    named = not getattr(checkpoint, "nameless", "")
    sizes = [p.image.size for p in pictures]
    sights = [checkpoint.view(p.image) for p in pictures]
    sampling = Sampling(max_new_tokens=TOKENS, cut_loops=True, tags=tongue.asking.tags and not trained)
    replies: list[Completion] = []
    for start in range(0, len(pictures), batch_size):
        part = range(start, min(start + batch_size, len(pictures)))
        chats = [
            checkpoint.messages(sizes[k])
            if trained
            else [{"role": "user", "content": question(tongue, pictures[k], stated=named)}]
            for k in part
        ]
        replies += engine.generate([sights[k] for k in part], chats, sampling, [str(k) for k in part])
        progress(len(replies), len(pictures))
    own = DIALECTS[OURS] if trained else tongue.dialect
    texts = [reply.text for reply in replies]
    choice = choose_dialect(texts)
    answered = choice.dialect if choice.looks else own.name
    if answered != own.name and choice.looks[own.name]:  # a text may look like both
        answered = own.name
    found, others = assigned([read_objects(text, answered) for text in texts], pictures)
    known = candidates([sizes_of(checkpoint, picture.image) for picture in pictures])
    expected = None
    if named:
        expected, known = expected_of(checkpoint, pictures, known)
    verdict = fit(answers_of(found, pictures), known, [p.boxes for p in pictures])
    clear = not verdict.why_not and not verdict.shifted
    return Probed(
        checkpoint.name,
        checkpoint.family.name if named else None,
        expected,
        own.name,
        answered,
        verdict,
        tuple(found),
        tuple(pictures),
        tuple(texts),
        others,
        sum(reply.error is not None for reply in replies),
        next((reply.error for reply in replies if reply.error is not None), ""),
        tuple(_families_with(verdict, sizes, known, checkpoint, answered)) if clear else (),
    )


def question(tongue: Tongue, picture: Picture, *, stated: bool = True) -> str:
    """Return the question for the shapes of a picture.

    Args:
        tongue: the model's.
        picture: what is shown.
        stated: state the frame to a model that was taught none; else nothing is said about it.
    """
    return tongue.question(picture.image.size, picture.names) if stated else tongue.asking.question(picture.names)


def _trained(checkpoint: Checkpoint) -> bool:
    """Whether r1sgg trained it, which is asked by the prompt of its training."""
    return checkpoint.settings != AnswerSettings()


def expected_of(
    checkpoint: Checkpoint, pictures: Sequence[Picture], known: list[Candidate]
) -> tuple[Candidate, list[Candidate]]:
    """Return the candidate that a checkpoint is registered with, and all candidates with it."""
    ask = checkpoint.frame if _trained(checkpoint) else tongue_of(checkpoint).frame
    frames = [ask(picture.image.size) for picture in pictures]
    expected = candidate_of(f"the frame of {checkpoint.family.name}", frames, known)
    return expected, known if any(expected is each for each in known) else [*known, expected]


def sizes_of(checkpoint: Checkpoint, picture: Image.Image) -> Sizes:
    """Return the sizes of a picture that may matter to this checkpoint."""
    size, sent = picture.size, checkpoint.view(picture).size
    resized: list[tuple[str, Frame]] = []
    images = getattr(checkpoint.processor, "image_processor", None)
    limits = getattr(images, "size", None)
    if checkpoint.family.coordinates == "resized_pixels":
        place = checkpoint.family.placement(size, checkpoint.processor)
        resized.append(("pixels of the resized image", place.image))
    if limits is not None and getattr(limits, "height", None) and getattr(limits, "width", None):
        resized.append(("pixels of the processor's one size", (float(limits.width), float(limits.height))))
    for name, factor in (("Qwen2.5-VL", 28), ("Qwen3-VL", 32)):
        most = checkpoint.family.max_pixels or 1280 * factor * factor
        resized.append((f"pixels of the image resized as by {name}", _resized(sent, factor, most)))
    return Sizes(_floats(size), _floats(sent), tuple(resized))


def _resized(size: tuple[int, int], factor: int, most: int) -> Frame:
    require("transformers", "train")
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    height, width = smart_resize(size[1], size[0], factor=factor, min_pixels=56 * 56, max_pixels=most)
    return float(width), float(height)


def _floats(size: tuple[int, int]) -> Frame:
    return float(size[0]), float(size[1])


def _families_with(
    verdict: Verdict, sizes: Sequence[tuple[int, int]], known: Sequence[Candidate], checkpoint: Checkpoint, dialect: str
) -> list[str]:
    """Return the families that are taught the frame that was found; first those that write in the answers' dialect."""
    own = {id(each.candidate) for each in (verdict.best, *verdict.twins)}
    names = []
    for family in sorted(FAMILIES, key=lambda family: family.dialect != dialect):
        if not family.dialect:
            continue  # it was taught no boxes
        if family.coordinates == "resized_pixels" != checkpoint.family.coordinates:
            continue  # needs a processor that resizes so
        frames = [family.taught_frame(size, checkpoint.processor) for size in sizes]
        if id(candidate_of("", frames, known)) in own:
            names.append(family.name)
    if "Qwen2.5-VL" in " ".join(verdict.best.candidate.same) + verdict.best.candidate.name or _as_sent(verdict):
        names = list(dict.fromkeys([*names, "Qwen2.5-VL"]))
    return names


def _as_sent(verdict: Verdict) -> bool:
    """Whether boxes are in pixels of the image that was sent, as Qwen2.5-VL's are once r1sgg resizes it."""
    best = verdict.best.candidate
    return SENT in (best.name, *best.same)


def said(probed: Probed) -> str:
    """Return the sentence of the result: what was found, and what contradicts it."""
    verdict = probed.verdict
    if verdict.why_not:
        return f"{probed.model}: cannot tell: {verdict.why_not}"
    best, name = verdict.best, verdict.best.candidate.name
    if verdict.shifted:
        x, y = (f"{value:+.1%}" for value in best.shift)
        return (
            f"{probed.model}: boxes in {name!r} lie {x} of the width and {y} of the height beside their shapes: "
            "the engine loses a part of the image's positions"
        )
    if probed.expected is None:
        families = ", ".join(probed.suggested) or "0-1000"
        return f"{probed.model}: boxes in {name!r}; pass --family with a name that has this frame ({families})"
    if probed.agrees:
        return f"{probed.model}: boxes in {probed.expected.name!r}, as {probed.family} is registered"
    families = ", ".join(probed.suggested) or "none that is registered"
    return (
        f"{probed.model}: expected boxes in {probed.expected.name!r}, as {probed.family} is registered, found "
        f"{name!r}; its graphs would be read in the wrong frame; families with this frame: {families}"
    )
