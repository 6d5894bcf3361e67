"""Captions to graphs with engines, in this process or on a Ray cluster; the steps are `r1sgg.data.captions`.

On a cluster each task makes one part of the records and writes it as a run in one process would (see
`r1sgg.data.captions.run`), so the file is the same, byte for byte, and finished parts survive. A task reads its lines
of the input itself: paths must be valid on all machines, and the source must be one that is read line by line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1sgg.data.captions.answers import KeptAnswers
from r1sgg.data.captions.asking import Answer, Asker, Question
from r1sgg.data.captions.engine_steps import EngineAligner, EngineExtractor, EngineGrounder
from r1sgg.data.captions.extracting import Extractor
from r1sgg.data.captions.plan import Plan
from r1sgg.data.captions.run import PART_SIZE, Parts, Result, Workshop, run
from r1sgg.data.captions.sources import BY_LINES, of_line
from r1sgg.data.images import open_image
from r1sgg.data.jsonl import read_lines
from r1sgg.errors import ConfigError, ImageError, ModelError, R1SGGError, require
from r1sgg.files import locked
from r1sgg.graph.text import Frame
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.engine import ChatEngine, Completion, Sampling
from r1sgg.inference.engines import Opening, parse_engine


class EngineAsker:
    """Asks an engine of `r1sgg.inference.engines`; an `Asker` of `r1sgg.data.captions.asking`."""

    def __init__(self, opening: Opening, max_new_tokens: int) -> None:
        """Open the engine.

        Raises:
            ModelError, ConfigError, MissingDependencyError: see `Opening.open`; or the engine answers no free chats.
        """
        self._reader = opening.open()
        engine = self._reader.engine
        if not isinstance(engine, ChatEngine):
            raise ModelError(f"{opening.engine}: expected an engine that answers chats (`chat`), found one without")
        self._engine = engine
        self._sampling = Sampling(max_new_tokens=max_new_tokens)
        self._batch = opening.spec.habits.batch_size
        self.name = f"{said_by(opening.engine)} {opening.model}, {max_new_tokens} tokens"

    def frame(self, size: tuple[int, int]) -> Frame:
        """See `Asker`."""
        return self._reader.checkpoint.frame(size)

    def close(self) -> None:
        """See `Asker`."""
        self._reader.close()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """See `Asker`."""
        answers: dict[int, Answer] = {}
        for shown in (False, True):
            rows = [k for k, question in enumerate(questions) if (question.image is not None) == shown]
            for start in range(0, len(rows), self._batch):
                answers |= self._batch_of(rows[start : start + self._batch], questions)
        return [answers[k] for k in range(len(questions))]

    def _batch_of(self, rows: Sequence[int], questions: Sequence[Question]) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        images, asked = [], []
        for k in rows:
            image = questions[k].image
            if image is not None:
                try:
                    images.append(self._reader.checkpoint.view(open_image(image)))
                except ImageError as error:
                    answers[k] = Answer(error=str(error))
                    continue
            asked.append(k)
        completions = self._engine.chat(
            [[{"role": "user", "content": questions[k].text}] for k in asked],
            self._sampling,
            images=images or None,
            schemas=[questions[k].schema for k in asked],
        )
        return answers | {k: _answer(c) for k, c in zip(asked, completions, strict=True)}


_HOW_IT_IS_ASKED = frozenset(
    ("concurrency", "requests_per_minute", "timeout", "retries", "back_off", "stop_after", "prices", "budget")
)
"""Options of a server that decide when it answers and at what cost, and not what."""


def said_by(engine: str) -> str:
    """Return an engine with those of its options that decide what it answers: kept answers and parts are of these."""
    spec = parse_engine(engine)
    kept = [f"{name}={value}" for name, value in sorted(spec.options.items()) if name not in _HOW_IT_IS_ASKED]
    rest = ",".join([*([spec.address] if spec.address else []), *kept])
    return f"{spec.kind}:{rest}" if rest else spec.kind


def _answer(completion: Completion) -> Answer:
    if completion.error is not None:
        return Answer(error=completion.error)
    if completion.finish_reason == "length":
        return Answer(error=f"the answer was cut off after {completion.tokens} tokens; raise --max-new-tokens")
    return Answer(completion.text)


@dataclass(frozen=True)
class Job:
    """A plan and its engines.

    Attributes:
        plan: the steps.
        model: the model of the engines.
        max_new_tokens: longest answer of an engine.
        answers: file that keeps the answers of engines.
    """

    plan: Plan
    model: str = "tiny"
    max_new_tokens: int = 1024
    answers: Path | None = None

    def __post_init__(self) -> None:
        """Check the engines' names.

        Raises:
            ConfigError: no such engine, or no such option.
        """
        plan = self.plan
        for engine in {plan.extract} if plan.extracts_by_engine else set():
            self._opening(engine)
        for name, engine, by_engine in (
            ("--align", plan.align, plan.aligns_by_engine),
            ("--ground", plan.ground, plan.grounds_by_engine),
        ):
            if by_engine:
                try:
                    self._opening(engine)
                except ConfigError as error:
                    ways = "rules, embedding" if name == "--align" else "given, whole, trace, a file that exists"
                    raise ConfigError(f"{name}: expected {ways}, or an engine ({error})") from error

    def _opening(self, engine: str) -> Opening:
        opening = Opening(self.model, engine)
        model = opening.spec.options.get("model")
        return opening if model is None else Opening(model, engine)

    @property
    def extractor_name(self) -> str:
        """What reads the triplets, with its version."""
        plan = self.plan
        if not plan.extracts_by_engine:
            return plan.extractor().name
        return f"{said_by(plan.extract)} {self.model}, {self.max_new_tokens} tokens, {plan.recipe}"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the content of the result."""
        engines = self.plan.aligns_by_engine or self.plan.grounds_by_engine
        found = self.plan.settings(self.extractor_name)
        found |= {"align": said_by(self.plan.align)} if self.plan.aligns_by_engine else {}
        found |= {"ground": said_by(self.plan.ground)} if self.plan.grounds_by_engine else {}
        return found | ({"model": self.model, "max_new_tokens": self.max_new_tokens} if engines else {})

    def open(self, part: str = "") -> Workshop:
        """Open parsers and engines; each engine once.

        Args:
            part: is added to the name of the file of answers, where several processes have one each.
        """
        plan = self.plan
        opened: dict[str, Asker] = {}

        def asker(engine: str) -> Asker:
            if engine not in opened:
                own = EngineAsker(self._opening(engine), self.max_new_tokens)
                path = None if self.answers is None else self.answers.with_name(self.answers.name + part)
                opened[engine] = own if path is None else KeptAnswers(own, path)
            return opened[engine]

        vocabulary = load_vocabulary(plan.vocabulary)
        closed = bool(vocabulary.objects or vocabulary.predicates)
        lookup = EngineGrounder(asker(plan.ground)) if plan.grounds_by_engine else None
        ask = EngineAligner(asker(plan.align), vocabulary) if plan.aligns_by_engine and closed else None
        maker = plan.maker(ask, lookup)
        if plan.extracts_by_engine:
            extractor: Extractor = EngineExtractor(asker(plan.extract), plan.recipe, maker.lookup)
        else:
            extractor = plan.extractor()
        return Workshop(extractor, maker, plan.policy(), [each.close for each in opened.values()])


def make(
    job: Job,
    out: Path,
    *,
    ray: str | None = None,
    workers: int | None = None,
    part_size: int = PART_SIZE,
    overwrite: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Result:
    """Make the graphs, here or on a Ray cluster.

    Args:
        job: what is made.
        out: the file to write.
        ray: address of a cluster ("local" starts one here); None makes everything in this process.
        workers: processes on the cluster; None: one per CPU.
        part_size: records per part.
        overwrite: start over.
        advance: called with the number of records that are done.

    Raises:
        ConfigError: no cluster at the address, or a source that is no file of lines.
        InputError, ModelError: see `r1sgg.data.captions.run.run`.
    """
    if ray is None:
        return run(
            job.plan.records(),
            out,
            job.open,
            job.settings,
            part_size=part_size,
            overwrite=overwrite,
            advance=advance,
        )
    if job.plan.source not in BY_LINES:
        raise ConfigError(
            f"--ray: expected a source of lines ({', '.join(sorted(BY_LINES))}), because each process reads its own, "
            f"found {job.plan.source}; write its captions as JSON Lines first"
        )
    with locked(out):
        plan = Parts(out, {**job.settings, "part_size": part_size}, overwrite)
        if (found := plan.finished()) is not None:
            return found
        next(iter(job.plan.records()), None)  # says what is wrong with the whole file before a cluster starts
        pieces, total = _pieces(job.plan.input, part_size)
        missing = [piece for piece in pieces if not plan.has(piece[0])]
        done = total - sum(count for _, count, _ in missing)
        advance(done)
        for count in _on_ray(_Task(job, plan, str(Path.cwd())), missing, ray, workers):
            done += count
            advance(done)
        return plan.finish(total)


Piece = tuple[int, int, int]
"""Number of the first record, how many, and the offset of the first line."""


def _pieces(path: Path, size: int) -> tuple[list[Piece], int]:
    pieces: list[Piece] = []
    total = 0
    for total, (_, offset, _) in enumerate(read_lines(path), 1):
        if (total - 1) % size == 0:
            pieces.append((total - 1, size, offset))
    if pieces:
        pieces[-1] = (pieces[-1][0], total - pieces[-1][0], pieces[-1][2])
    return pieces, total


@dataclass(frozen=True)
class _Task:
    """The arguments of every worker."""

    job: Job
    parts: Parts
    cwd: str

    def records(self, piece: Piece) -> Iterator[Any]:
        """Yield the records of a piece."""
        first, count, offset = piece
        plan = self.job.plan
        with plan.input.open("rb") as handle:
            handle.seek(offset)
            done = 0
            for line in handle:
                if done == count:
                    return
                if line.strip():
                    yield of_line(line, first + done + 1, plan.input, plan.source, plan.sizes)
                    done += 1


class _Worker:
    """Ray calls it with a batch of one piece."""

    def __init__(self, task: _Task) -> None:
        os.chdir(task.cwd)
        self._task = task
        self._workshop: Workshop | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Make a part; an error that stops the run is a sentence in `stopped`."""
        piece = tuple(int(batch[key][0]) for key in ("first", "count", "offset"))
        stopped = ""
        try:
            parts = self._task.parts
            self._workshop = self._workshop or self._task.job.open(f".{os.getpid()}")
            records = list(self._task.records((piece[0], piece[1], piece[2])))
            parts.write(piece[0], self._workshop.make(records, parts.out.parent))
        except R1SGGError as error:  # Ray could not unpickle it in the driver: InputError takes keywords
            stopped = str(error)
        return {"count": [piece[1]], "stopped": [stopped]}


def _on_ray(task: _Task, pieces: Sequence[Piece], address: str, workers: int | None) -> Iterator[int]:
    """Yield the number of records of each part as it is finished."""
    if not pieces:
        return
    from r1sgg.bulk.ray_data import SURROUNDINGS, Cluster, connect

    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    ray, data = require("ray", "ray"), require("ray.data", "ray")
    ours = not ray.is_initialized()
    if ours:
        connect(ray, Cluster(address, workers))
    try:
        most = int(ray.cluster_resources().get("CPU", 1))
        count = min(workers or most, len(pieces), most)
        data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"first": first, "count": size, "offset": offset} for first, size, offset in pieces]
        results = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(task,),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
        )
        for row in results.iter_rows():
            if row["stopped"]:
                raise ModelError(row["stopped"])
            yield row["count"]
    finally:
        if ours:
            ray.shutdown()
