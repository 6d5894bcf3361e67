"""Probe one model: questions, answers and results in a folder, written so that a killed run can be resumed.

    OUT/questions.jsonl           the questions (`r1sgg.probing.questions`)
    OUT/answers.jsonl             one line per question and setting, in the order of settings and then of questions
    OUT/answers.jsonl.run.json    the settings that a resumed run must share, and the seconds spent answering
    OUT/results.json              {setting: figures} (`r1sgg.probing.numbers`)
    OUT/summary.json              model, answering, hash of the questions, conclusions
    OUT/figure.svg                accuracy by setting

Windows and resuming are those of `r1sgg.bulk.run`: answers are written one window of batches at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from PIL import Image

from r1sgg.bulk.resume import RunLog, fingerprint
from r1sgg.bulk.run import WINDOW
from r1sgg.data.base import Example, data_hash, read_ground_truth
from r1sgg.data.images import open_image
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.files import locked, write_file, write_json
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.inference.engine import Engine, Sampling, batches_by_size, describe
from r1sgg.metrics.frequency import collect
from r1sgg.models.coordinates import Placement, placement
from r1sgg.models.families import Checkpoint
from r1sgg.probing.answers import read_choice
from r1sgg.probing.masking import shown_image
from r1sgg.probing.numbers import conclusions, results
from r1sgg.probing.prompts import SETTINGS, UNITS, Setting, Units
from r1sgg.probing.questions import LETTERS, Question, QuestionSet, Scheme, build_questions
from r1sgg.probing.report import figure
from r1sgg.probing.scoring import Asked, as_scorer, best, option_scores

Answering = Literal["generate", "letters", "logprobs"]
ANSWERING: tuple[Answering, ...] = get_args(Answering)
SEPARATOR = " "
"""Between a question's id and its setting in an answer's id."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a model is probed.

    Attributes:
        settings: image and text of the questions; see `r1sgg.probing.prompts`.
        answering: "generate" (free text, read by `read_choice`), "letters" or "logprobs" (see `r1sgg.probing.scoring`).
        scheme: how distractors are drawn.
        vocabulary: predicates to choose from.
        train: ground truth in which plausible distractors and frequencies are counted.
        boxes: coordinates of the boxes in the question.
        seed: of distractors, positions and noise.
        max_new_tokens: longest free answer.
        limit: use only this many images, the first.
        resamples: bootstrap resamples for intervals.
    """

    settings: tuple[Setting, ...] = SETTINGS
    answering: Answering = "generate"
    scheme: Scheme = "uniform"
    vocabulary: Vocabulary = OPEN
    train: Path | None = None
    boxes: Units = "family"
    seed: int = 0
    max_new_tokens: int = 64
    limit: int | None = None
    resamples: int = 1000

    def __post_init__(self) -> None:
        for name, value, known in (("answering", self.answering, ANSWERING), ("boxes", self.boxes, UNITS)):
            if value not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, found {value!r}")

    def questions(self, ground_truth: Path) -> QuestionSet:
        """Make the questions about a ground-truth file; they do not depend on the model.

        Raises:
            ConfigError, InputError: see `build_questions` and `read_ground_truth`.
        """
        return build_questions(
            read_ground_truth(ground_truth),
            vocabulary=self.vocabulary,
            scheme=self.scheme,
            statistics=None if self.train is None else collect(read_ground_truth(self.train)),
            seed=self.seed,
            limit=self.limit,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a probe.

    Attributes:
        results: see `r1sgg.probing.numbers.results`.
        summary: the content of summary.json.
        failed: questions that were not asked because their image cannot be opened.
        asked: answers of this run, without those of an earlier one.
        seconds: spent on them.
    """

    results: dict[str, dict[str, Any]]
    summary: dict[str, Any]
    failed: int
    asked: int
    seconds: float


def run(
    ground_truth: Path,
    out: Path,
    checkpoint: Checkpoint,
    engine: Engine,
    probe: Probe,
    *,
    batch_size: int = 8,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Probe a model and write the files that this module's docstring lists.

    Args:
        ground_truth: a ground-truth file with images.
        out: the folder to write; a killed run in it is resumed.
        checkpoint: of the model; it gives the coordinates of the boxes.
        engine: generates or scores the answers.
        probe: how the model is probed.
        batch_size: questions per batch.
        overwrite: start again if `out` has answers.
        progress: called with the number of answers so far and of all.

    Raises:
        InputError: the ground truth is wrong, or `out` has a run with other settings.
        ModelError: "letters" or "logprobs" was asked for, and the engine cannot score letters.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size: expected 1 or more, found {batch_size}")
    if out.exists() and not out.is_dir():
        raise InputError(str(out), expected="a folder to write to", found="a file")
    if probe.answering != "generate":
        as_scorer(engine)
    questions = probe.questions(ground_truth)
    with locked(out):
        return _run(questions, out, checkpoint, engine, probe, batch_size, overwrite, progress)


def _run(
    questions: QuestionSet,
    out: Path,
    checkpoint: Checkpoint,
    engine: Engine,
    probe: Probe,
    batch_size: int,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> Outcome:
    tasks = [(setting, question) for setting in probe.settings for question in questions.questions]
    names = [f"{question.id}{SEPARATOR}{setting}" for setting, question in tasks]
    settings = _shared_settings(checkpoint, engine, probe, questions, batch_size)
    answers = out / "answers.jsonl"
    log = RunLog(answers, settings, overwrite, key="id")
    resumed, _ = log.resume(names, len(names), WINDOW * batch_size)
    write_file(out / "questions.jsonl", b"".join(questions.lines()))
    progress(resumed, len(tasks))
    spent = 0.0
    for start in range(resumed, len(tasks), WINDOW * batch_size):
        window = tasks[start : start + WINDOW * batch_size]
        rows: list[dict[str, Any]] = [{}] * len(window)
        seconds = 0.0
        for batch in batches_by_size([(q.example.width, q.example.height) for _, q in window], batch_size):
            began = time.perf_counter()
            answered = _answer([window[k] for k in batch], checkpoint, engine, probe)
            seconds += time.perf_counter() - began
            for k, row in zip(batch, answered, strict=True):
                rows[k] = {"id": names[start + k], **row}
        log.append(rows)
        log.add(seconds)
        spent += seconds
        progress(start + len(window), len(tasks))
    return _finish(out, questions, probe, settings, (len(tasks) - resumed, spent))


def _shared_settings(
    checkpoint: Checkpoint, engine: Engine, probe: Probe, questions: QuestionSet, batch_size: int
) -> dict[str, Any]:
    """List the settings that a resumed run must have in common with its beginning."""
    free = {"sampling": describe(Sampling(max_new_tokens=probe.max_new_tokens))}
    return {
        "model": checkpoint.name,
        "weights": fingerprint(checkpoint.path),
        "questions": questions.hash,
        "settings": [str(setting) for setting in probe.settings],
        "answering": probe.answering,
        "boxes": probe.boxes,
        "seed": probe.seed,
        "image_pixels": checkpoint.image_pixels,
        "batch_size": batch_size,
        "engine": engine.name,
        **(free if probe.answering == "generate" else {}),
    }


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


def _finish(
    out: Path, questions: QuestionSet, probe: Probe, settings: dict[str, Any], pace: tuple[int, float]
) -> Outcome:
    """Compute and write the results, from all of the answers file: it has those of earlier runs too."""
    with (out / "answers.jsonl").open("rb") as handle:
        rows = [orjson.loads(line) for line in handle]
    figures = results(questions.questions, rows, probe.settings, probe.resamples)
    summary = {
        **settings,
        "distractors": probe.scheme,
        "vocabulary": probe.vocabulary.name,
        "train": None if probe.train is None else data_hash(read_ground_truth(probe.train)),
        "left_out": dict(questions.left_out),
        "conclusions": conclusions(figures),
    }
    for name, content in (("results", figures), ("summary", summary)):
        write_json(out / f"{name}.json", content)
    write_file(out / "figure.svg", figure([(str(settings["model"]), figures)]))
    return Outcome(figures, summary, sum("error" in row for row in rows), *pace)
