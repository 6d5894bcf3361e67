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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from r1sgg.bulk.resume import RunLog, fingerprint
from r1sgg.bulk.run import WINDOW
from r1sgg.data.base import data_hash, read_ground_truth
from r1sgg.errors import ConfigError, InputError
from r1sgg.files import locked, write_file, write_json
from r1sgg.inference.engine import Engine, Sampling, describe
from r1sgg.models.families import Checkpoint
from r1sgg.probing.asking import Asker, name_of, tasks_of
from r1sgg.probing.numbers import conclusions, results
from r1sgg.probing.plan import Probe
from r1sgg.probing.questions import QuestionSet
from r1sgg.probing.report import figure

Lines = Iterator[tuple[list[dict[str, Any]], float]]
"""The lines of each window of answers, in order, and the seconds that answering took."""


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
    questions = probe.questions(ground_truth)
    asker = Asker(checkpoint, engine, probe, questions, batch_size)

    def answer(starts: Sequence[int]) -> Lines:
        yield from map(asker.window, starts)

    return run_with(
        answer, questions, out, checkpoint, engine.name, probe,
        batch_size=batch_size, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def run_with(
    answer: Callable[[Sequence[int]], Lines],
    questions: QuestionSet,
    out: Path,
    checkpoint: Checkpoint,
    engine: str,
    probe: Probe,
    *,
    batch_size: int = 8,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Probe a model that is asked elsewhere; see `run` for what is not said here.

    Args:
        answer: asks the windows that begin with these tasks (`r1sgg.probing.asking`).
        questions: of the probe.
        out: see `run`.
        checkpoint: see `run`.
        engine: its name, one of the settings that a resumed run must share.
        probe: see `run`.
        batch_size: see `run`.
        overwrite: see `run`.
        progress: see `run`.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size: expected 1 or more, found {batch_size}")
    if out.exists() and not out.is_dir():
        raise InputError(str(out), expected="a folder to write to", found="a file")
    with locked(out):
        names = [name_of(task) for task in tasks_of(probe, questions)]
        settings = _shared_settings(checkpoint, engine, probe, questions, batch_size)
        window = WINDOW * batch_size
        log = RunLog(out / "answers.jsonl", settings, overwrite, key="id")
        resumed, _ = log.resume(names, len(names), window)
        progress(resumed, len(names))
        spent, done = 0.0, resumed
        for rows, seconds in answer(range(resumed, len(names), window)):
            if done == resumed:  # not before the model is known to work: a start that fails leaves no files
                write_file(out / "questions.jsonl", b"".join(questions.lines()))
            log.append(rows)
            log.add(seconds)
            spent, done = spent + seconds, done + len(rows)
            progress(done, len(names))
        return _finish(out, questions, probe, settings, (len(names) - resumed, spent))


def _shared_settings(
    checkpoint: Checkpoint, engine: str, probe: Probe, questions: QuestionSet, batch_size: int
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
        "engine": engine,
        **(free if probe.answering == "generate" else {}),
    }


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
