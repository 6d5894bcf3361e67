"""SGDET evaluation while a model trains: the curves of the paper's Fig. 2, by the functions that `r1sgg evaluate` uses.

Greedy answers to the first images of the validation set, before the first step, every so many steps, and at the end. It
takes no part in training: random states stay as they are.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from r1sgg.data.base import Example, Prediction
from r1sgg.data.dataset import DataSet
from r1sgg.errors import ImageError
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.metrics.report import evaluate
from r1sgg.models.families import Checkpoint, LoadedModel
from r1sgg.training.logs import MetricsLog

_log = logging.getLogger(__name__)


SHOWN = ("failure_rate", "AP50", "R@20", "R@50", "mR@50", "precision", "relations_per_image")
"""Figures that go to the terminal and to TRL's `report_to`; metrics.jsonl gets all."""


class Validation(TrainerCallback):  # type: ignore[misc]
    """Measures the model that is being trained and logs the result.

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
        else:
            self._measured_at = state.global_step  # before the checkpoint was written

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.every and state.global_step % self.every == 0:
            self._run(args, state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step != self._measured_at:
            self._run(args, state, control)

    def _run(self, args: Any, state: Any, control: Any) -> None:
        self._measured_at = state.global_step
        if not state.is_world_process_zero:
            return
        numbers = {k: v for k, v in self.measure().items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.log.write(state.global_step, numbers)
        shown = {f"eval_{key}": numbers[key] for key in SHOWN if key in numbers}
        for handler in self.trainer.callback_handler.callbacks:  # the terminal, tensorboard; `log` has it already
            if handler is not self.log and hasattr(handler, "on_log"):
                handler.on_log(args, state, control, logs=dict(shown))

    def measure(self) -> Mapping[str, Any]:
        """Evaluate the model as it is now; the keys are those of `r1sgg evaluate`."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        training = model.training
        model.eval()
        loaded = LoadedModel(
            **{field.name: getattr(self.checkpoint, field.name) for field in dataclasses.fields(self.checkpoint)},
            model=model,
        )
        engine = TransformersEngine(loaded)
        examples: list[Example] = []
        predictions: list[Prediction] = []
        count = min(len(self.source), self.images)
        for start in range(0, count, self.batch):
            drawn = []
            for row in range(start, min(start + self.batch, count)):
                try:
                    drawn.append(self.source.draw(row))
                except ImageError as error:
                    _log.warning("%s; left out of the evaluation", error)
            images = [image for image, _ in drawn]
            frames = [self.checkpoint.frame(image.size) for image in images]
            completions = engine.generate(
                images, [self.checkpoint.messages(image.size) for image in images], self.sampling
            )
            for (_, example), frame, completion in zip(drawn, frames, completions, strict=True):
                examples.append(example)
                predictions.append(Prediction(example.image_id, frame, completion.text))
        model.train(training)
        return evaluate(examples, predictions, load_vocabulary(self.checkpoint.settings.vocabulary))
