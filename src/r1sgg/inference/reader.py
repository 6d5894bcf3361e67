"""`Reader(...)(image) -> SceneGraph`: a model as a function, for any photo.

    reader = r1sgg.load("tiny")                           see `r1sgg.inference.engines.load`
    reader("photo.jpg")                                   a SceneGraph
    reader.read("photo.jpg", guide=True).graph.objects    with scores
    for reading in reader.stream("photo.jpg"): ...        what is written so far, again and again

Predictions for many images, with resume, are `r1sgg.bulk.run`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from r1sgg.data.base import Example
from r1sgg.data.images import open_image, upright_rgb
from r1sgg.data.predictions import Ask
from r1sgg.errors import ConfigError, ModelError
from r1sgg.graph.given import Given, Task
from r1sgg.graph.policies import FAILURES
from r1sgg.graph.records import graph_to_rows
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.text import Frame, Parsed, parse, render
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.confidence import scored
from r1sgg.inference.engine import Completion, Engine, Sampling, WatchedEngine
from r1sgg.inference.merge import merge
from r1sgg.inference.native import ask_natively
from r1sgg.inference.streaming import partial_answers

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint
    from r1sgg.models.prompts import AnswerSettings

_log = logging.getLogger(__name__)

Picture = Image.Image | Path | str
BoxUnit = Literal["pixels", "thousandths", "fractions"]
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_THINK = 512  # most tokens of a guided <think> block; half the answer where that is less


@runtime_checkable
class _Closing(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model said about one image, and what was read from it.

    Attributes:
        image: upright RGB.
        frame: width and height that the answer's boxes are relative to.
        completion: the answer; of several samples the merged graph as text, or the first sample where none has a graph.
        parsed: what the answer says; scores are set where the engine gave the tokens' probabilities, or for samples.
        samples: the answers that were merged; empty where only one was asked for.
        threshold: `graph` leaves out what is scored lower.
    """

    image: Image.Image
    frame: Frame
    completion: Completion
    parsed: Parsed
    samples: tuple[Completion, ...] = ()
    threshold: float = 0.0

    @property
    def graph(self) -> SceneGraph:
        """The graph, each triplet once, boxes clipped to the image; empty where nothing could be read.

        What the model repeated is an issue, `repeated_triplet`, and still in `parsed.graph`, which is evaluated.
        """
        graph = self.parsed.graph.distinct()
        graph = graph.above(self.threshold) if self.threshold else graph
        return dataclasses.replace(graph, boxes=np.clip(graph.boxes, 0, 1))

    @property
    def unread(self) -> str:
        """Why the graph has objects alone: a second question's answer is missing or could not be read; else ""."""
        asked = self.samples or (self.completion,)
        if self.parsed.graph.pairs or self.parsed.failure:
            return ""
        if self.completion.fault is not None:
            return self.completion.fault
        unread = [exchange for each in asked for exchange in each.exchanges if not exchange.read]
        kinds = [issue.kind for exchange in unread for issue in exchange.issues if issue.kind in FAILURES]
        return f"the answer about relationships could not be read: {kinds[0]}" if kinds else ""

    def above(self, threshold: float) -> Reading:
        """The reading without the objects and relationships scored lower; see `SceneGraph.above`.

        Raises:
            ModelError: it has no scores.
        """
        if len(self.parsed.graph) and self.parsed.graph.object_scores is None:
            raise ModelError(
                "a threshold needs scores, and this engine gave no log-probabilities to make them of: "
                "ask for several samples, or use an engine or a server that gives them"
            )
        return dataclasses.replace(self, threshold=threshold)

    def to_record(
        self,
        image_id: str,
        image: Path,
        model: str,
        *,
        size: tuple[int, int] | None = None,
        boxes: BoxUnit = "pixels",
    ) -> dict[str, Any]:
        """A ground-truth-like record with scores and the raw answer; boxes in another unit than pixels are named so.

        Args:
            image_id: the image's name.
            image: its file.
            model: the model's name.
            size: width and height that boxes are relative to, if `self.image` was reduced before it was read.
            boxes: "pixels" of the upright image, "thousandths" of its sides, or "fractions" of them.
        """
        size = size or self.image.size
        record = Example(image_id, *size, self.graph, image).to_record()
        if boxes == "pixels":
            record |= graph_to_rows(self.graph, size)
        else:
            side, digits = (1000, 2) if boxes == "thousandths" else (1, 6)
            record |= graph_to_rows(self.graph, (side, side), digits=digits) | {"boxes": boxes}
        record |= {
            "model": model,
            "completion": self.completion.text,
            "frame": list(self.frame),
            "finish_reason": self.completion.finish_reason,
            "failure": self.parsed.failure,
            "issues": [issue._asdict() for issue in self.parsed.issues],
        }
        record |= self.made_of()
        return record | ({"completions": [sample.text for sample in self.samples]} if self.samples else {})

    def made_of(self) -> dict[str, Any]:
        """What the completion was made of, as JSON: questions and answers, replies, what was left out, and the fault.

        Empty where the model wrote the completion as it is.
        """
        asked, made = self.samples or (self.completion,), dict[str, Any]()
        left_out = Counter[str]()
        for each in asked:
            left_out.update(each.left_out)
        if any(each.exchanges for each in asked):
            made |= {"ask": "native", "exchanges": [row for each in asked for row in _exchanges(each)]}
            made["left_out"] = {"objects": 0, **left_out}
        elif replies := [reply for each in asked for reply in each.replies]:
            made |= {"replies": replies, "left_out": dict(left_out)}
        if self.completion.unit is not None:
            made["written_in"] = list(self.completion.unit)
        if self.completion.fault is not None:
            made["fault"] = self.completion.fault
        return made


@dataclass(frozen=True, slots=True)
class Reader:
    """A model that reads images as scene graphs.

    Attributes:
        checkpoint: how it is asked, and what its answers' boxes are relative to.
        engine: who answers.
        guide_vocabulary: the names that a guided answer may use; None takes those that the prompt lists.
        ask: "paper" asks one prompt for the graph; "native" two questions in the words that the model's family was
            taught (`r1sgg.inference.native`).
    """

    checkpoint: Checkpoint
    engine: Engine
    guide_vocabulary: str | None = None
    ask: Ask = "paper"

    def __call__(self, image: Picture, sampling: Sampling | None = None) -> SceneGraph:
        """The scene graph of an image; empty where the answer could not be read.

        Args:
            image: a path or a PIL image of any mode.
            sampling: how tokens are chosen; greedy where None.

        Raises:
            ImageError: the image cannot be opened.
            ModelError: the engine gave no answer.
        """
        return self.read(image, sampling).graph

    def read(
        self,
        image: Picture,
        sampling: Sampling | None = None,
        *,
        guide: bool = False,
        samples: int = 1,
        scores: bool = False,
    ) -> Reading:
        """The same with the raw answer, its issues and its scores; the options are those of `read_batch`."""
        (reading,) = self.read_batch([image], sampling, guide=guide, samples=samples, scores=scores)
        if reading.completion.error is not None:
            raise ModelError(reading.completion.error)
        if reading.completion.fault is not None:
            _log.warning("%s", reading.completion.fault)
        return reading

    def read_batch(
        self,
        images: Sequence[Picture],
        sampling: Sampling | None = None,
        *,
        keys: Sequence[str] | None = None,
        guide: bool = False,
        samples: int = 1,
        scores: bool = False,
        columns: Sequence[str | None] | None = None,
        truths: Sequence[SceneGraph] | None = None,
        task: Task = "sgdet",
    ) -> list[Reading]:
        """Read several images together; one that the engine has no answer for has `completion.error`.

        Args:
            images: paths or PIL images of any mode.
            sampling: how tokens are chosen; greedy where None.
            keys: names that decide each image's random draws; its position where None.
            guide: hold the answers to a graph that is well-formed, inside the image and, where there is a vocabulary,
                of its names; implies `scores`.
            samples: answers for each image, merged into one graph (`r1sgg.inference.merge`).
            scores: give objects and relationships a confidence (`r1sgg.inference.confidence`).
            columns: each image's prompt in its data (`AnswerSettings.column`); None where there is none.
            truths: true graphs whose objects are given, for a task that gives some.
            task: "sgcls" gives their boxes, "predcls" boxes and names; a guided answer then has exactly these objects.

        Raises:
            ConfigError: several samples at temperature 0.
            ImageError: an image cannot be opened, or has no shape that the model takes.
            ModelError: the engine cannot go on.
        """
        sampling = sampling or Sampling()
        check_samples(samples, sampling)
        keys = [str(k) for k in range(len(images))] if keys is None else keys
        pictures = [_opened(image) for image in images]
        frames = [self.checkpoint.frame(picture.size) for picture in pictures]
        texts = [None] * len(pictures) if columns is None else columns
        given: list[Given | None] = [None] * len(pictures)
        if self.ask == "native" and task != "sgdet":
            raise ConfigError(
                f"task {task}: expected --ask paper, because native questions find the objects themselves"
            )
        if task != "sgdet":
            if truths is None:
                raise ConfigError(f"task {task}: expected the true graphs whose objects are given, found none")
            given = [Given.of(truth, frame, task) for truth, frame in zip(truths, frames, strict=True)]
        rows = zip(pictures, texts, given, strict=True)
        chats = [self.checkpoint.messages(picture.size, text, told) for picture, text, told in rows]
        seen = [self.checkpoint.view(picture) for picture in pictures]
        guides = None
        if guide:
            guides = [self.guide_spec(f, sampling, told) for f, told in zip(frames, given, strict=True)]
        scores = scores or guide or samples > 1
        names = [keys] if samples == 1 else [[f"{key}#{k}" for key in keys] for k in range(samples)]
        if self.ask == "native":
            how: dict[str, Any] = {"guide": guide, "guide_vocabulary": self.guide_vocabulary, "pieces": scores}
            drawn = [ask_natively(self.checkpoint, self.engine, pictures, sampling, each, **how) for each in names]
        else:
            drawn = [self.engine.generate(seen, chats, sampling, each, guides=guides, pieces=scores) for each in names]
        return [
            self._reading(picture, frame, answers, told)
            for picture, frame, told, *answers in zip(pictures, frames, given, *drawn, strict=True)
        ]

    def close(self) -> None:
        """Let go of what the engine holds: connections, processes."""
        if isinstance(self.engine, _Closing):
            self.engine.close()

    def stream(self, image: Picture, sampling: Sampling | None = None, *, guide: bool = False) -> Iterator[Reading]:
        """Readings of the answer while it is written, the whole one last; the options are those of `read_batch`.

        An unfinished answer is read as far as it goes. An engine that can't tell what it is writing gives the whole
        answer only. Whoever stops listening ends the answer.

        Raises:
            ImageError, ConfigError, ModelError: see `read`.
        """
        if self.ask == "native" or not isinstance(self.engine, WatchedEngine):
            yield self.read(image, sampling, guide=guide, scores=True)
            return
        sampling = sampling or Sampling()
        picture = _opened(image)
        frame, chat = self.checkpoint.frame(picture.size), self.checkpoint.messages(picture.size)
        spec = self.guide_spec(frame, sampling) if guide else None
        for answer in partial_answers(self.engine, picture, chat, sampling, spec):
            if isinstance(answer, Completion):
                yield self._reading(picture, frame, [answer])
            else:
                begun = Completion(answer, 0, "unfinished")
                yield Reading(picture, frame, begun, parse(answer, frame, repair=True))

    def guide_spec(self, frame: Frame, sampling: Sampling, given: Given | None = None) -> GuideSpec:
        """What a guided answer of this model is held to: with `given`, to exactly these objects.

        Raises:
            InputError: there is no such vocabulary.
        """
        spec = guide_spec(self.checkpoint.settings, frame, sampling.max_new_tokens, self.guide_vocabulary)
        if given is None:
            return spec
        rows: tuple[tuple[str | int, ...], ...] = tuple(
            (label, *box) for label, box in zip(given.told, given.boxes, strict=True)
        )
        names = tuple(dict.fromkeys(given.labels)) if given.task == "predcls" else spec.objects
        return dataclasses.replace(spec, objects=names, given=rows)

    def _reading(
        self, picture: Image.Image, frame: Frame, answers: Sequence[Completion], told: Given | None = None
    ) -> Reading:
        given = [answer for answer in answers if answer.error is None]
        parsed = [_parsed(answer, frame, told) for answer in given]
        if len(answers) == 1 or not given:
            first = parsed[0] if parsed else Parsed(EMPTY)
            if self.checkpoint.calibration is not None:
                first = first.with_graph(self.checkpoint.calibration.apply(first.graph))
            return Reading(picture, frame, answers[0], first)
        faults = [answer.fault for answer in given if answer.fault is not None]
        if len(given) < len(answers):
            first_error = next(answer.error for answer in answers if answer.error is not None)
            faults = [f"{len(answers) - len(given)} of {len(answers)} samples got no answer: {first_error}"]
        graph = merge([p.graph for p in parsed])
        settings = self.checkpoint.settings
        text = render(graph, frame, minify=settings.minify, answer_format=settings.answer_format)
        completion = Completion(
            text=text if len(graph) else given[0].text,
            tokens=sum(answer.tokens for answer in given),
            finish_reason=next((a.finish_reason for a in given if a.finish_reason != "stop"), "stop"),
            seconds=sum(answer.seconds for answer in given),
            passes=sum(answer.passes or 0 for answer in given) or None,
            fault=next(iter(faults), None),
        )
        return Reading(picture, frame, completion, Parsed(graph) if len(graph) else parsed[0], tuple(given))


def _exchanges(completion: Completion) -> list[dict[str, Any]]:
    return [
        {
            "prompt": exchange.prompt,
            "reply": exchange.reply,
            "issues": [issue._asdict() for issue in exchange.issues],
            "dropped": exchange.dropped,
            "read": exchange.read,
        }
        for exchange in completion.exchanges
    ]


def _opened(image: Picture) -> Image.Image:
    """Upright RGB; a picture that is so already is not copied, which would cost as much as decoding it."""
    if not isinstance(image, Image.Image):
        return open_image(Path(image))
    return image if image.mode == "RGB" and image.getexif().get(_ORIENTATION, 1) == 1 else upright_rgb(image)


def _parsed(answer: Completion, frame: Frame, told: Given | None = None) -> Parsed:
    """An answer's graph and issues, with scores where the engine gave its tokens' probabilities.

    Issues of the questions that it was made of count, too: a graph that r1sgg wrote of them has few of its own.
    """
    parsed = parse(answer.text, frame, given=None if told is None else told.graph)
    kinds = {issue.kind for issue in parsed.issues}
    parsed.issues += tuple(i for exchange in answer.exchanges for i in exchange.issues if i.kind not in kinds)
    return parsed if answer.pieces is None else parsed.with_graph(scored(parsed, answer))


def check_samples(samples: int, sampling: Sampling) -> None:
    """See that several samples can differ.

    Raises:
        ConfigError: fewer than one, or several at temperature 0.
    """
    if samples < 1:
        raise ConfigError(f"samples: expected 1 or more, found {samples}")
    if samples > 1 and sampling.temperature == 0:
        raise ConfigError(f"samples: {samples} answers at temperature 0 are all the same; set a temperature such as 1")


def guide_spec(settings: AnswerSettings, frame: Frame, tokens: int, vocabulary: str | None = None) -> GuideSpec:
    """What a guided answer of a checkpoint is held to.

    Args:
        settings: the checkpoint's.
        frame: of the image.
        tokens: most of the answer, half of them thoughts.
        vocabulary: whose names may be written; the settings' where None.

    Raises:
        InputError: there is no such vocabulary.
    """
    names = load_vocabulary(vocabulary or settings.vocabulary)
    return GuideSpec(
        frame,
        names.written_objects,
        names.predicates,
        answer_format=settings.answer_format,
        minify=settings.minify,
        think=min(_THINK, tokens // 2) if settings.think else 0,
    )
