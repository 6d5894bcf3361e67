"""SGDET evaluation while a model trains (the curves of the paper's Fig. 2), by the functions of `r1sgg evaluate`.

Greedy completions for the first images of the validation set, before the first step, every `validate_steps` steps and
at the end; each process generates its share. It takes no part in the training: random states stay as they are.
"""

from __future__ import annotations

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
from r1sgg.models.families import Checkpoint
from r1sgg.training.logs import MetricsLog
from r1sgg.training.options import RunOptions
from r1sgg.training.rows import prompt_of

_log = logging.getLogger(__name__)


SHOWN = ("failure_rate", "AP50", "R@20", "R@50", "mR@50", "precision", "relations_per_image")
"""Figures that go to the terminal and to `report_to`; metrics.jsonl gets all."""


class Answer(NamedTuple):
    """The completion for one image; `clipped`: it was cut at `validate_tokens`."""

    row: int
    example: Example
    size: tuple[int, int]
    frame: Frame
    text: str
    clipped: bool


class Validation(TrainerCallback):  # type: ignore[misc]
    """Evaluates the model that is being trained and logs the figures.

    Callbacks with a method `on_validation(args, state, control, numbers, answers)` are called with them, in each
    process; those with a method `on_answers(state, answers, source)` before the figures are written.

    Attributes:
        trainer: the trainer that calls this; to be set once it is made.
        images: at most so many are evaluated.
    """

    trainer: Any = None

    def __init__(self, source: DataSet, checkpoint: Checkpoint, log: MetricsLog, options: RunOptions) -> None:
        self.source, self.checkpoint, self.log, self.options = source, checkpoint, log, options
        self.images = options.validate_images
        self.sampling = Sampling(temperature=0.0, max_new_tokens=options.validate_tokens)
        self._evaluated_at = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._run(args, state, control)
        elif rows := validations(self.log.earlier):
            self._evaluated_at = rows[-1]["step"]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.options.validate_steps and state.global_step % self.options.validate_steps == 0:
            self._run(args, state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step != self._evaluated_at:
            self._run(args, state, control)

    def _run(self, args: Any, state: Any, control: Any) -> None:
        self._evaluated_at = state.global_step
        answers = self.answers()
        self._show(state, answers)
        numbers = self.measure(answers)
        if state.is_world_process_zero:
            self.log.write(state.global_step, numbers)
        shown = {f"eval_{key}": numbers[key] for key in SHOWN if key in numbers}
        # Not through `trainer.log`, which would flush TRL's own numbers before their time.
        for handler in self.trainer.callback_handler.callbacks:
            if state.is_world_process_zero and handler is not self.log and hasattr(handler, "on_log"):
                handler.on_log(args, state, control, logs=dict(shown))
            if hasattr(handler, "on_validation"):
                handler.on_validation(args, state, control, numbers, answers)

    def _show(self, state: Any, answers: list[Answer]) -> None:
        for handler in self.trainer.callback_handler.callbacks:
            if hasattr(handler, "on_answers"):
                handler.on_answers(state, answers, self.source)

    def measure(self, answers: list[Answer]) -> Mapping[str, float]:
        """Compute the figures of `r1sgg evaluate`, and the share of completions that were cut."""
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
        """Generate with the model as it is now; returns the completions of all processes, in each process."""
        accelerator = self.trainer.accelerator
        count = min(len(self.source), self.images)
        # Process r of n takes rows r, r + n, r + 2n, ... All take equally many, beyond `count` if need be: if weights
        # are spread over processes, each forward pass needs all of them, and one that stopped would block the others.
        share = -(-count // accelerator.num_processes)
        rows = [k * accelerator.num_processes + accelerator.process_index for k in range(share)]
        training = self.trainer.model.training
        self.trainer.model.eval()
        found: list[Answer] = []
        with self._whole_model() as model:
            engine = TransformersEngine(self.checkpoint.with_model(model))
            for start in range(0, share, self.options.validate_batch_size):
                found += self._batch(engine, rows[start : start + self.options.validate_batch_size], count)
        self.trainer.model.train(training)
        return sorted(gather_object(found), key=lambda answer: answer.row)

    @contextmanager
    def _whole_model(self) -> Iterator[Any]:
        """Yield the model as one that can generate, whatever it is wrapped in.

        FSDP1 and ZeRO-3 gather the weights for the time of the block, FSDP2 during each forward pass.
        """
        wrapped, accelerator = self.trainer.model_wrapped, self.trainer.accelerator
        backend = DistributedBackend(accelerator)
        if backend.is_zero3:
            with unwrap_model_for_generation(wrapped, accelerator) as model:
                yield model
        else:
            with backend.summon_full_params(wrapped, recurse=False):
                yield accelerator.unwrap_model(wrapped)

    def _batch(self, engine: TransformersEngine, rows: list[int], count: int) -> list[Answer]:
        """Generate for some rows. Rows from `count` on and unreadable images get a blank image and no answer."""
        drawn: list[tuple[Image.Image, Example | None]] = []
        for row in rows:
            try:
                drawn.append(self.source.draw(row) if row < count else (_BLANK, None))
            except ImageError as error:
                _log.warning("%s; left out of the evaluation", error)
                drawn.append((_BLANK, None))
        sizes = [image.size for image, _ in drawn]
        chats = [
            self.checkpoint.messages(size, None if example is None else prompt_of(self.checkpoint, example))
            for size, (_, example) in zip(sizes, drawn, strict=True)
        ]
        completions = engine.generate([image for image, _ in drawn], chats, self.sampling)
        return [
            Answer(row, example, size, self.checkpoint.frame(size), done.text, done.finish_reason == "length")
            for row, (_, example), size, done in zip(rows, drawn, sizes, completions, strict=True)
            if example is not None
        ]


class TrainingSamples(Validation):
    """Completions for a few training images at the end of a run that has no validation set; they are not measured."""

    def __init__(self, source: DataSet, checkpoint: Checkpoint, log: MetricsLog, options: RunOptions) -> None:
        super().__init__(source, checkpoint, log, options)
        self.images = options.logged_completions

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Sample nothing yet."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Sample nothing yet."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._show(state, self.answers())


_BLANK = Image.new("RGB", (56, 56))


def validations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Select the lines of metrics.jsonl that hold an evaluation."""
    return [row for row in rows if "failure_rate" in row]
