"""The report: a page with the table of results, training curves and samples, and a browser of errors image by image.

The page needs nothing from a network: what is small is in it, what is large lies in a folder beside it
(`r1sgg.pages.shards`), and a content security policy enforces that. Numbers come from `r1sgg.metrics`; this file
arranges them. Markup, style and scripts are `report.html.j2`, `page.css`, `browser.css` and `browser/*.js`.

    r1sgg report predictions.jsonl --ground-truth gt.jsonl --runs runs/sft --out report.html
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.base import Example, read_ground_truth
from r1sgg.data.images import open_image
from r1sgg.data.importers.registry import open_predictions
from r1sgg.data.provenance import only_drawn, trained_on_of
from r1sgg.data.sources import open_data
from r1sgg.data.spec import parse_spec
from r1sgg.data.thumbnails import thumbnail
from r1sgg.errors import ConfigError, ImageError
from r1sgg.graph.dialects.registry import AUTO
from r1sgg.graph.mapping import Change, map_graph
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.judging.outcomes import Judgement
from r1sgg.judging.protocol import STRICT, Protocol
from r1sgg.metrics.columns import Evaluator, ImageResult
from r1sgg.metrics.intervals import compare
from r1sgg.metrics.report import Evaluation, finish, record
from r1sgg.metrics.streams import join
from r1sgg.metrics.table import asked_name
from r1sgg.metrics.tasks import Task
from r1sgg.pages.curves import charts, differ, distinct_names, read_series
from r1sgg.pages.evidence import Columns, graph_detail, run_detail
from r1sgg.pages.page import write_page
from r1sgg.pages.reliability import diagrams, threshold_charts
from r1sgg.pages.samples import read_samples, read_warnings
from r1sgg.pages.shards import IMAGES, Shards, script_json, size_on_disk
from r1sgg.pages.tables import COLUMNS, TableRow, differences_table, failure_kinds, predicate_rows, results_table

_LOG = logging.getLogger(__name__)

GIVEN = {"sgcls": "SGCLS: boxes were given", "predcls": "PREDCLS: boxes and names were given"}
"""What the page says about predictions of another task than SGDET."""

BOOTSTRAP = 1000
"""Resamples for the table's intervals unless told otherwise."""

_DRAWN_ONLY = "trained on drawn scenes alone, graphs of other images mean nothing"


@dataclass(frozen=True, slots=True)
class Built:
    """What `build_report` made: the table (cells in the order of `COLUMNS`), results by run, and bytes on disk."""

    table: tuple[TableRow, ...]
    results: dict[str, dict[str, Any]]
    images: int
    size: int


def build_report(
    out: Path,
    truth: str | Path | None = None,
    runs: Sequence[tuple[str, str | Path]] = (),
    training: Sequence[Path] = (),
    *,
    title: str = "Scene graphs",
    vocabulary: Vocabulary = OPEN,
    protocol: Protocol = STRICT,
    limit: int | None = None,
    bootstrap: int = BOOTSTRAP,
    embed: bool | None = None,
    dialect: str = AUTO,
    task: Task = "sgdet",
) -> Built:
    """Evaluate predictions files and write the report.

    Args:
        out: the HTML file; what is large goes into a folder beside it, named after it.
        truth: ground-truth file or any other data (see `r1sgg.data.sources.open_data`); the images that it names are
            shown, or a note that one is missing.
        runs: names and predictions (see `open_predictions`) of the same images, in the order of the table.
        training: run folders with a `metrics.jsonl`, and `completions.jsonl` where there is one.
        title: its heading.
        vocabulary: names that count.
        protocol: how predictions are counted.
        limit: how many images can be opened at most, bad ones first; None for all.
        bootstrap: resamples for the 95 % intervals; 0: none.
        dialect: how completions are written, see `r1sgg.data.predictions.read_predictions`.
        embed: everything in the page (True) or in the folder (False); None lets the size decide.
        task: what the prompts gave, see `r1sgg.metrics.tasks`.

    Raises:
        ConfigError: there is nothing to report, or predictions without ground truth.
        InputError: a file cannot be read, or is not what it should be.
    """
    if not runs and not training:
        raise ConfigError("report: expected predictions or run folders, found neither; name a file, or use --runs")
    run_names, names = [name for name, _ in runs], distinct_names(training)
    series = read_series(training, names)
    samples, warnings = read_samples(training, names), read_warnings(training, names)
    columns, images = Columns(), dict[int, tuple[Example, SceneGraph]]()
    watched: list[_Watched] = []
    evaluations: list[Evaluation] = []
    facts: list[str] = []
    drawn: list[str] = []
    if runs:
        if truth is None:
            raise ConfigError("report: expected the ground truth of the predictions, found none; use --ground-truth")
        examples, notes = _ground_truth(truth)
        for name, file in runs:
            evaluator = Evaluator(vocabulary, protocol, task=task)
            watched.append(_Watched(evaluator, columns, images))
            predictions = open_predictions(file, dialect)
            evaluator.ledger.dialect, evaluator.ledger.opened_as = predictions.choice, predictions.opened_as
            for number, result in evaluator.results(join(examples(), predictions, predictions.where)):
                watched[-1].keep(number, result)
            notes += [f"{name}: {note}" for note in predictions.notes]
            if only_drawn(trained_on_of(Path(predictions.where))):
                drawn.append(name)
            evaluations.append(finish(evaluator))
        facts = [f"ground truth {Path(truth).name}", f"vocabulary {vocabulary.name}", f"{protocol.name} protocol"]
        facts += [GIVEN[task]] if task in GIVEN else []
        facts += notes
        facts += [f"{', '.join(drawn)}: {_DRAWN_ONLY}"] if drawn else []
    results = [record(found, bootstrap=bootstrap) for found in evaluations]
    facts += [f"data {found['data_hash']}" for found in results[:1] if found.get("data_hash")]
    run_names = [asked_name(name, found) for name, found in zip(run_names, results, strict=True)]
    table = results_table(run_names, results)
    compared = evaluations[1:] if bootstrap else []
    paired = [compare(evaluations[0].figures, other.figures, bootstrap) for other in compared]
    shards = Shards(out)
    try:
        shown = _write_details(shards, columns, images, watched, limit)
        folder, rows, pictures = shards.close(embed)
    finally:
        shards.drop()
    write_page(
        out,
        "report.html.j2",
        title=title,
        facts=facts,
        columns=COLUMNS,
        rows=table,
        differences=differences_table(run_names[1:], paired) if paired else (),
        base=run_names[0] if runs else "",
        failures=[(name, kinds) for name, r in zip(run_names, results, strict=True) if (kinds := failure_kinds(r))],
        readings=[
            (name, finding["said"])
            for name, r in zip(run_names, results, strict=True)
            for finding in r["ledger"]["findings"]
        ],
        bootstrap=bootstrap,
        diagrams=diagrams(run_names, results),
        thresholds=threshold_charts(run_names, results),
        charts=charts(series),
        series=[s.name for s in series],
        lengths_differ=differ(series),
        warnings=warnings,
        samples=script_json(samples) if samples else "",
        data=script_json({**columns.document(run_names), "perPredicate": predicate_rows(results), "folder": folder,
                          "perShard": IMAGES, "embedded": not folder,
                          "key": results[0].get("data_hash") or title}) if shown else "",
        shown=shown,
        shards=rows,
        images=pictures,
    )  # fmt: skip
    return Built(table, dict(zip(run_names, results, strict=True)), shown, size_on_disk(out))


def _ground_truth(truth: str | Path) -> tuple[Callable[[], Iterable[Example]], list[str]]:
    """Return what reads the ground truth from its beginning, and what was left out when it was opened."""
    spec = parse_spec(str(truth))
    if spec.kind == "jsonl" and not spec.options:
        return lambda: read_ground_truth(spec.path), []  # as a stream
    data = open_data(str(truth))
    return lambda: data, [f"ground truth: {note.text}" for note in data.notes]


class _Watched:
    """What the browser shows about each image of a run; all runs share `images` and `columns`."""

    def __init__(self, evaluator: Evaluator, columns: Columns, images: dict[int, tuple[Example, SceneGraph]]) -> None:
        self.evaluator, self._columns, self._shown = evaluator, columns, images
        self.rows: dict[int, dict[str, Any]] = {}
        self.details: dict[int, orjson.Fragment] = {}

    def keep(self, number: int, result: ImageResult) -> None:
        """Add an image as it was counted."""
        vocabulary = self.evaluator.vocabulary
        judgement = Judgement.of_match(result.truth, result.graph, result.match, result.failure)
        changes: tuple[Change, ...] = ()
        said = result.prediction
        read = None if said is None or said.error is not None else self.evaluator.read(said, result.example)
        if read is not None and not vocabulary.covers(read.graph):
            changes = map_graph(read.graph, vocabulary, self.evaluator.mapping).changes
        self._shown.setdefault(number, (result.example, judgement.truth))
        self.rows[number] = self._columns.row_of(judgement)
        # As JSON, which is smaller than the objects: this is kept for every image until all runs have been read.
        self.details[number] = orjson.Fragment(orjson.dumps(run_detail(judgement, said, read, changes)))


def _write_details(
    shards: Shards,
    columns: Columns,
    images: Mapping[int, tuple[Example, SceneGraph]],
    watched: Sequence[_Watched],
    limit: int | None,
) -> int:
    """Write the details and pictures of the images that are shown, and fill the columns; returns how many."""
    numbers = sorted(images)
    if limit is not None and limit < len(numbers):
        numbers = choose(numbers, [w.rows for w in watched], limit)
    missing = 0
    for number in numbers:
        example, truth = images[number]
        columns.add(example.image_id, (example.width, example.height), truth, [w.rows[number] for w in watched])
        detail = {"truth": graph_detail(truth), "runs": [w.details[number] for w in watched]}
        picture = None
        try:
            if example.image is None:
                where = f"image {example.image_id!r}"
                raise ImageError(where, expected="a file", found="none named by the ground truth")
            picture = thumbnail(open_image(example.image))
        except ImageError as error:
            detail["problem"] = f"no image: {error.found}"
            missing += 1
            if missing == 1:
                _LOG.warning("shown without its image: %s", error)
        shards.add(detail, picture)
    if missing > 1:
        _LOG.warning("%d of %d images are shown without their picture", missing, len(numbers))
    return len(numbers)


def choose(numbers: Sequence[int], rows: Sequence[Mapping[int, Mapping[str, Any]]], limit: int) -> list[int]:
    """Choose images to show: of each run its worst (three quarters) and its best, in turns, until there are `limit`.

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
    """Return a key that sorts images: failures, low recall, low precision, and last those without a true relation."""
    return row["recall"] is None, row["failure"] < 0, row["recall"] or 0.0, row["precision"] or 0.0
