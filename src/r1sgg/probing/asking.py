"""Ask one model the questions of a probe, window by window: `Asker`. It writes nothing.

Every question is asked in every setting. Tasks, (setting, question), are numbered in the order of settings and then of
questions; a window is `WINDOW` batches of consecutive tasks, and a window's batches always hold the same tasks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from PIL import Image

from r1sgg.bulk.run import WINDOW
from r1sgg.data.base import Example
from r1sgg.data.images import open_image
from r1sgg.errors import ImageError
from r1sgg.inference.engine import Engine, Sampling, batches_by_size
from r1sgg.models.coordinates import Placement, placement
from r1sgg.models.families import Checkpoint
from r1sgg.probing.answers import read_choice
from r1sgg.probing.masking import shown_image
from r1sgg.probing.plan import SEPARATOR, Probe
from r1sgg.probing.prompts import Setting, Units
from r1sgg.probing.questions import LETTERS, Question, QuestionSet
from r1sgg.probing.scoring import Asked, as_scorer, best, option_scores

Task = tuple[Setting, Question]


def tasks_of(probe: Probe, questions: QuestionSet) -> list[Task]:
    """List what is asked, in order."""
    return [(setting, question) for setting in probe.settings for question in questions.questions]


def name_of(task: Task) -> str:
    """Return the id of a task's answer."""
    return f"{task[1].id}{SEPARATOR}{task[0]}"


class Asker:
    """A model and the questions it is asked.

    Args:
        checkpoint: of the model; it gives the coordinates of the boxes.
        engine: generates or scores the answers.
        probe: how the model is probed.
        questions: what it is asked.
        batch_size: questions per batch.

    Raises:
        ModelError: "letters" or "logprobs" was asked for, and the engine cannot score letters.
    """

    def __init__(
        self, checkpoint: Checkpoint, engine: Engine, probe: Probe, questions: QuestionSet, batch_size: int
    ) -> None:
        if probe.answering != "generate":
            as_scorer(engine)
        self._checkpoint, self._engine, self._probe, self._batch_size = checkpoint, engine, probe, batch_size
        self._tasks = tasks_of(probe, questions)

    def window(self, start: int) -> tuple[list[dict[str, Any]], float]:
        """Return the answers' lines of the window that begins with a task, and the seconds that answering took."""
        window = self._tasks[start : start + WINDOW * self._batch_size]
        rows: list[dict[str, Any]] = [{}] * len(window)
        seconds = 0.0
        sizes = [(question.example.width, question.example.height) for _, question in window]
        for batch in batches_by_size(sizes, self._batch_size):
            began = time.perf_counter()
            answered = _answer([window[k] for k in batch], self._checkpoint, self._engine, self._probe)
            seconds += time.perf_counter() - began
            for k, row in zip(batch, answered, strict=True):
                rows[k] = {"id": name_of(window[k]), **row}
        return rows, seconds


def _answer(
    tasks: Sequence[tuple[Setting, Question]], checkpoint: Checkpoint, engine: Engine, probe: Probe
) -> list[dict[str, Any]]:
    """Answer one batch; return its lines without their ids."""
    rows: list[dict[str, Any]] = [{"setting": str(setting), "image_id": q.example.image_id} for setting, q in tasks]
    pictures: dict[str, tuple[Image.Image, Placement] | str] = {}
    batch: list[Asked] = []
    kept: list[dict[str, Any]] = []
    for (setting, question), row in zip(tasks, rows, strict=True):
        example = question.example
        if example.image_id not in pictures:
            pictures[example.image_id] = _open(example, checkpoint, probe.boxes)
        picture = pictures[example.image_id]
        if isinstance(picture, str):
            row["error"] = picture
            continue
        image, place = picture
        shown = shown_image(image, setting.shown, question, probe.seed)
        shown = checkpoint.family.view(shown, checkpoint.processor, taught=True)
        batch.append(Asked(shown, question, setting.told, place))
        kept.append(row)
    if not batch:
        return rows
    if probe.answering == "generate":
        _generate(batch, kept, engine, probe)
        return rows
    scores = option_scores(as_scorer(engine), batch, debias=probe.answering == "logprobs")
    for row, values in zip(kept, scores, strict=True):
        row |= {"choice": LETTERS[best(values)], "kind": "scored", "scores": values}
    return rows


def _generate(batch: Sequence[Asked], rows: Sequence[dict[str, Any]], engine: Engine, probe: Probe) -> None:
    """Generate free answers and add what they choose to the lines."""
    completions = engine.generate(
        [asked.image for asked in batch],
        [asked.messages() for asked in batch],
        Sampling(max_new_tokens=probe.max_new_tokens),
        [f"{asked.question.id}{SEPARATOR}{row['setting']}" for asked, row in zip(batch, rows, strict=True)],
    )
    for asked, row, completion in zip(batch, rows, completions, strict=True):
        option, kind = read_choice(completion.text, asked.question.options)
        row["choice"] = None if option is None else LETTERS[option]
        row |= {"kind": kind, "completion": completion.text, "finish_reason": completion.finish_reason}


def _open(example: Example, checkpoint: Checkpoint, boxes: Units) -> tuple[Image.Image, Placement] | str:
    """Open the image and place it in the coordinates of the boxes; or return the error as text."""
    try:
        if example.image is None:
            raise ImageError(example.image_id, expected='"image", the path of a file', found="none in its line")
        image = open_image(example.image)
        if boxes == "pixels":
            return image, placement("image_pixels", image.size, checkpoint.processor)
        return image, checkpoint.family.placement(image.size, checkpoint.processor)
    except ImageError as error:
        return str(error)
