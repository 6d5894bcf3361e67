"""SGDET evaluation while a model trains: the curves of the paper's Fig. 2, by the functions that `r1sgg evaluate` uses.

Greedy answers to the first images of the validation set, before the first step, every so many steps, and at the end;
each process answers its share. It takes no part in training: random states stay as they are.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from accelerate.utils import gather_object
from PIL import Image
from transformers import TrainerCallback
from trl.distributed import DistributedBackend
from trl.models.utils import unwrap_model_for_generation

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet
from r1sgg.data.predictions import Prediction
from r1sgg.errors import ImageError
from r1sgg.graph.text import Frame
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.metrics.report import evaluate
from r1sgg.models.families import Checkpoint, LoadedModel
from r1sgg.training.logs import MetricsLog

_log = logging.getLogger(__name__)


SHOWN = ("failure_rate", "AP50", "R@20", "R@50", "mR@50", "precision", "relations_per_image")
"""Figures that go to the terminal and to TRL's `report_to`; metrics.jsonl gets all."""


class Answer(NamedTuple):
    """One image's answer; `clipped`: it was cut at the longest length."""

    row: int
    example: Example
    size: tuple[int, int]
    frame: Frame
    text: str
    clipped: bool


class Validation(TrainerCallback):  # type: ignore[misc]
    """Measures the model that is being trained and logs the result.

    Callbacks with a method `on_validation(args, state, control, numbers, answers)` are told, in each process.

    Attributes:
        trainer: the trainer that calls this; set it once it is made.
    """

    trainer: Any = None

    def __init__(
        self,
        source: DataSet,
        checkpoint: Checkpoint,
        log: MetricsLog,
        *,
        every: int,
        images: int,
        batch: int,
        tokens: int,
    ) -> None:
        self.source, self.checkpoint, self.log = source, checkpoint, log
        self.every, self.images, self.batch = every, images, batch
        self.sampling = Sampling(temperature=0.0, max_new_tokens=tokens)
        self._measured_at = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._run(args, state, control)
        elif rows := validations(self.log.earlier):
            self._measured_at = rows[-1]["step"]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.every and state.global_step % self.every == 0:
            self._run(args, state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step != self._measured_at:
            self._run(args, state, control)

    def _run(self, args: Any, state: Any, control: Any) -> None:
        self._measured_at = state.global_step
        answers = self.answers()
        numbers = self.measure(answers)
        if state.is_world_process_zero:
            self.log.write(state.global_step, numbers)
        shown = {f"eval_{key}": numbers[key] for key in SHOWN if key in numbers}
        for handler in self.trainer.callback_handler.callbacks:  # the terminal, tensorboard; `log` has it already
            if state.is_world_process_zero and handler is not self.log and hasattr(handler, "on_log"):
                handler.on_log(args, state, control, logs=dict(shown))
            if hasattr(handler, "on_validation"):
                handler.on_validation(args, state, control, numbers, answers)

    def measure(self, answers: list[Answer]) -> Mapping[str, float]:
        """The figures of `r1sgg evaluate`, and the share of answers that were cut off."""
        if not answers:
            return {}
        figures = evaluate(
            [answer.example for answer in answers],
            [Prediction(answer.example.image_id, answer.frame, answer.text) for answer in answers],
            load_vocabulary(self.checkpoint.settings.vocabulary),
        )
        numbers = {k: v for k, v in figures.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        return {**numbers, "clipped_ratio": sum(answer.clipped for answer in answers) / len(answers)}

    def answers(self) -> list[Answer]:
        """The answers of the model as it is now, in each process those of all."""
        accelerator = self.trainer.accelerator
        count = min(len(self.source), self.images)
        share = -(-count // accelerator.num_processes)
        # where weights are spread over the processes, each has to generate as often as the others
        rows = [k * accelerator.num_processes + accelerator.process_index for k in range(share)]
        training = self.trainer.model.training
        self.trainer.model.eval()
        found: list[Answer] = []
        with self._whole_model() as model:
            fields = {f.name: getattr(self.checkpoint, f.name) for f in dataclasses.fields(self.checkpoint)}
            engine = TransformersEngine(LoadedModel(**fields, model=model))
            for start in range(0, share, self.batch):
                found += self._batch(engine, rows[start : start + self.batch], count)
        self.trainer.model.train(training)
        return sorted(gather_object(found), key=lambda answer: answer.row)

    @contextmanager
    def _whole_model(self) -> Iterator[Any]:
        """The model as one that can generate, whatever it is wrapped in."""
        wrapped, accelerator = self.trainer.model_wrapped, self.trainer.accelerator
        backend = DistributedBackend(accelerator)
        if backend.is_zero3:
            with unwrap_model_for_generation(wrapped, accelerator) as model:
                yield model
        else:
            with backend.summon_full_params(wrapped, recurse=False):
                yield accelerator.unwrap_model(wrapped)

    def _batch(self, engine: TransformersEngine, rows: list[int], count: int) -> list[Answer]:
        """Answer some rows; those from `count` on, and unreadable ones, are answered on a blank image and left out."""
        drawn: list[tuple[Image.Image, Example | None]] = []
        for row in rows:
            try:
                drawn.append(self.source.draw(row) if row < count else (_BLANK, None))
            except ImageError as error:
                _log.warning("%s; left out of the evaluation", error)
                drawn.append((_BLANK, None))
        completions = engine.generate(
            [image for image, _ in drawn], [self.checkpoint.messages(image.size) for image, _ in drawn], self.sampling
        )
        return [
            Answer(
                row,
                example,
                image.size,
                self.checkpoint.frame(image.size),
                completion.text,
                completion.finish_reason == "length",
            )
            for row, (image, example), completion in zip(rows, drawn, completions, strict=True)
            if example is not None
        ]


_BLANK = Image.new("RGB", (56, 56))


def validations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that hold an evaluation."""
    return [row for row in rows if "failure_rate" in row]
