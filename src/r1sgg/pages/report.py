"""The report: a page with the table of results, training curves and samples, and a browser of errors image by image.

The page needs nothing from a network: what is small is in it, what is large lies in a folder beside it
(`r1sgg.pages.shards`), and a content security policy enforces that. Numbers come from `r1sgg.metrics`; this file
arranges them. Markup, style and scripts are `report.html.j2`, `report.css`, `browser.css` and `browser/*.js`.

    r1sgg report predictions.jsonl --ground-truth gt.jsonl --runs runs/sft --out report.html
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import orjson

from r1sgg import __version__
from r1sgg.data.base import Example, read_ground_truth
from r1sgg.data.predictions import read_predictions
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.graph.mapping import Change, map_graph
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.judging.outcomes import Judgement
from r1sgg.judging.protocol import STRICT, Protocol
from r1sgg.metrics.columns import Evaluator, ImageResult
from r1sgg.metrics.intervals import compare
from r1sgg.metrics.report import Evaluation, finish, record
from r1sgg.metrics.streams import join
from r1sgg.pages import curves, reliability
from r1sgg.pages.evidence import Columns, run_detail, truth_detail
from r1sgg.pages.pictures import open_picture, thumbnail
from r1sgg.pages.samples import read_samples, read_warnings
from r1sgg.pages.shards import IMAGES, Shards, script_json, size_on_disk
from r1sgg.pages.tables import COLUMNS, TableRow, differences_table, failure_kinds, predicate_rows, results_table

_LOG = logging.getLogger(__name__)

BOOTSTRAP = 1000
"""Resamples for the table's intervals unless told otherwise."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One predictions file: a row of the table. `notes` stands small under the name."""

    name: str
    predictions: Path
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """What `build_report` made: the table (cells in the order of `COLUMNS`), results by run, and bytes on disk."""

    table: tuple[TableRow, ...]
    results: dict[str, dict[str, Any]]
    images: int
    size: int


def build_report(
    out: Path,
    truth: Path | None = None,
    runs: Sequence[RunRow] = (),
    training: Sequence[Path] = (),
    *,
    title: str = "Scene graphs",
    vocabulary: Vocabulary = OPEN,
    protocol: Protocol = STRICT,
    limit: int | None = None,
    bootstrap: int = BOOTSTRAP,
    embed: bool | None = None,
) -> Built:
    """Evaluate predictions files and write the report.

    Args:
        out: the HTML file; what is large goes into a folder beside it, named after it.
        truth: ground-truth file; the images that it names are shown (a missing one is said to be missing).
        runs: predictions files of the same images, in the order of the table.
        training: run folders with a `metrics.jsonl`, and `completions.jsonl` where there is one.
        title: its heading.
        vocabulary: names that count.
        protocol: how predictions are counted.
        limit: most images that can be opened, bad ones first; all where None.
        bootstrap: resamples for the 95 % intervals; 0: none.
        embed: everything in the page (True), in the folder (False), or as the size has it (None).

    Raises:
        ConfigError: there is nothing to report, or predictions without ground truth.
        InputError: a file that is not what it should be.
    """
    if not runs and not training:
        raise ConfigError("report: expected predictions or run folders, found neither; name a file, or use --runs")
    if runs and truth is None:
        raise ConfigError("report: expected the ground truth of the predictions, found none; use --ground-truth")
    series = curves.read_series(training)
    names = curves.distinct_names(training)
    samples, warnings = read_samples(training, names), read_warnings(training, names)
    columns = Columns([run.name for run in runs])
    evaluations: list[Evaluation] = []
    watched: list[_Watched] = []
    for place, run in enumerate(runs):
        assert truth is not None
        evaluator = Evaluator(vocabulary, protocol)
        watcher = _Watched(evaluator, columns, first=not place)
        pairs = join(read_ground_truth(truth), read_predictions(run.predictions), str(run.predictions))
        for number, result in evaluator.results(pairs):
            watcher.keep(number, result)
        evaluations.append(finish(evaluator))
        watched.append(watcher)
    results = [record(found, bootstrap=bootstrap) for found in evaluations]
    facts = []
    if truth is not None and results:
        facts = [f"ground truth {truth.name}", f"vocabulary {vocabulary.name}", f"{protocol.name} protocol"]
        if results[0].get("data_hash"):
            facts.append(f"data {results[0]['data_hash']}")
    table = results_table([(run.name, run.notes) for run in runs], results)
    compared = evaluations[1:] if bootstrap else []
    paired = [compare(evaluations[0].figures, other.figures, bootstrap) for other in compared]
    shards = Shards(out)
    try:
        shown = _write_details(shards, columns, watched, limit)
        folder, rows, images = shards.close(embed)
    finally:
        shards.drop()
    page = _environment().get_template("report.html.j2").render(
        title=title,
        facts=[*facts, f"r1sgg {__version__}"],
        columns=COLUMNS,
        rows=table,
        differences=differences_table([run.name for run in runs[1:]], paired) if paired else (),
        base=runs[0].name if runs else "",
        failures=[(run.name, kinds) for run, r in zip(runs, results, strict=True) if (kinds := failure_kinds(r))],
        bootstrap=bootstrap,
        diagrams=reliability.diagrams([run.name for run in runs], results),
        plots=reliability,
        charts=curves.charts(series),
        series=[s.name for s in series],
        curves=curves,
        warnings=warnings,
        samples=script_json(samples) if samples else "",
        data=script_json({**columns.document(), "perPredicate": predicate_rows(results), "folder": folder,
                          "perShard": IMAGES, "embedded": not folder}) if shown else "",
        shown=shown,
        shards=rows,
        images=images,
    )  # fmt: skip
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(str(out), expected="a place to write a page", found=error.strerror or "an error") from error
    by_name = {run.name: found for run, found in zip(runs, results, strict=True)}
    return Built(table, by_name, shown, size_on_disk(out))


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


class _Watched:
    """What the browser shows of each image of a run; of the first run the truth as well."""

    def __init__(self, evaluator: Evaluator, columns: Columns, *, first: bool) -> None:
        self.evaluator, self._columns, self._first = evaluator, columns, first
        self.examples: dict[int, Example] = {}
        self.truths: dict[int, bytes] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        self.details: dict[int, bytes] = {}

    def keep(self, number: int, result: ImageResult) -> None:
        """Add an image as it was counted."""
        prediction, vocabulary = result.prediction, self.evaluator.vocabulary
        judgement = Judgement.of_match(result.truth, result.graph, result.match, result.failure)
        changes: tuple[Change, ...] = ()
        if prediction is not None and not vocabulary.covers(raw := prediction.read().graph):
            changes = map_graph(raw, vocabulary, self.evaluator.mapping).changes
        if self._first:
            self.examples[number] = result.example
            self.truths[number] = orjson.dumps(truth_detail(judgement.truth))
        self.rows[number] = self._columns.row_of(judgement)
        self.details[number] = orjson.dumps(run_detail(judgement, prediction, changes))


def _write_details(shards: Shards, columns: Columns, watched: Sequence[_Watched], limit: int | None) -> int:
    """Write the details and pictures of the images that are shown, and fill the columns; returns how many."""
    if not watched:
        return 0
    first = watched[0]
    numbers = sorted(first.examples)
    if limit is not None and limit < len(numbers):
        numbers = choose(numbers, [w.rows for w in watched], limit)
    missing = 0
    for number in numbers:
        example = first.examples[number]
        try:
            image, problem = thumbnail(open_picture(example)), ""
        except ImageError as error:
            image, problem = None, f"no image: {error.found}"
            missing += 1
            if missing == 1:
                _LOG.warning("shown without its image: %s", error)
        columns.add_truth(example.image_id, (example.width, example.height), first.evaluator.restrict(example.graph))
        for place, watcher in enumerate(watched):
            columns.add_row(place, watcher.rows[number])
        detail = {
            "truth": orjson.Fragment(first.truths[number]),
            "runs": [orjson.Fragment(w.details[number]) for w in watched],
        }
        shards.add({**detail, "problem": problem} if problem else detail, image)
    if missing > 1:
        _LOG.warning("%d of %d images are shown without their picture", missing, len(numbers))
    return len(numbers)


def choose(numbers: Sequence[int], rows: Sequence[Mapping[int, Mapping[str, Any]]], limit: int) -> list[int]:
    """Which images to show: of each run its worst (three quarters) and its best, in turns, until there are `limit`.

    Args:
        numbers: the images.
        rows: for each run what the columns hold of each image.
        limit: how many.

    Returns:
        The chosen images, in the order of `numbers`.
    """
    queues = []
    for found in rows:
        order = sorted(numbers, key=lambda n: badness(found[n]))
        best = limit // 4
        queues.append([*order[: limit - best], *reversed(order[limit - best :])])
    chosen: dict[int, None] = {}
    for turn in zip(*queues, strict=True):
        for number in turn:
            if len(chosen) < limit:
                chosen.setdefault(number)
    return [n for n in numbers if n in chosen]


def badness(row: Mapping[str, Any]) -> tuple[bool, bool, float, float]:
    """Sorts images from bad to good: failures, low recall, low precision; last those without a relation to find."""
    return (
        row["recall"] is None,
        row["failure"] < 0,
        row["recall"] or 0.0,
        row["precision"] or 0.0,
    )
