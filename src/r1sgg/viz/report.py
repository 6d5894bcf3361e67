"""The report: one HTML file with the table of results, the training curves and a gallery of images, worst first.

The file needs nothing beside it: images are embedded, nothing is fetched, and a content security policy in it says so.
Numbers come from `r1sgg.metrics`; this file arranges them. The markup, style and script are `report.html.j2`,
`report.css` and `report.js`.

    r1sgg report predictions.jsonl --ground-truth gt.jsonl --runs runs/sft --out report.html
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from r1sgg import __version__
from r1sgg.data.base import Example, read_ground_truth
from r1sgg.data.predictions import read_predictions
from r1sgg.graph.mapping import Change, map_graph
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.metrics.columns import Evaluator, ImageResult
from r1sgg.metrics.protocol import STRICT, Protocol
from r1sgg.metrics.report import record
from r1sgg.metrics.report import run as evaluate
from r1sgg.metrics.streams import join
from r1sgg.viz import curves
from r1sgg.viz.gallery import Card, Picture, card, choose, picture_of
from r1sgg.viz.judge import Judgement, Rank, rank

_LOG = logging.getLogger(__name__)

GALLERY = 24
"""Images that are shown of each run unless told otherwise."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One predictions file: a row of the table and a gallery. `notes` stands small under the name."""

    name: str
    predictions: Path
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; `better` is +1 where higher is better, -1 where lower is, 0 where neither."""

    key: str
    title: str
    meaning: str
    better: int
    style: str = "percent"


COLUMNS = (
    Column("failure_rate", "Failures", "Share of answers without a usable graph", -1),
    Column("AP50", "AP50", "Average precision of the objects at IoU 0.5", 1),
    Column("R@50", "R@50", "Recall of true triplets, one predicate per pair, mean over images", 1),
    Column("mR@50", "mR@50", "Recall averaged over predicates", 1),
    Column("ngR@50", "ngR@50", "Recall with any number of predicates per pair", 1),
    Column("precision", "Precision", "Share of predicted triplets that match a true one", 1),
    Column("f1", "F1", "Harmonic mean of precision and recall", 1),
    Column("duplicate_rate", "Duplicates", "Share of predicted triplets that repeat another", -1),
    Column("relations_per_image", "Rel./image", "Predicted relations per image", 0, "decimal"),
    Column("images", "Images", "Images evaluated", 0, "count"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of the table as it is shown."""

    text: str
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """A run's cells, in the order of `COLUMNS`."""

    name: str
    notes: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A run's images from bad to good; between `worst` and `best` some may be left out, as `between` says."""

    name: str
    worst: tuple[Card, ...]
    best: tuple[Card, ...]
    between: str


def build_report(
    truth: Path,
    runs: Sequence[RunRow],
    training: Sequence[Path],
    out: Path,
    title: str = "Scene graphs",
    vocabulary: Vocabulary = OPEN,
    *,
    protocol: Protocol = STRICT,
    limit: int = GALLERY,
) -> tuple[tuple[TableRow, ...], dict[str, dict[str, Any]]]:
    """Evaluate predictions files and write the report.

    Args:
        truth: ground-truth file; the images that it names are embedded (a missing one is said to be missing).
        runs: predictions files of the same images, in the order of the table.
        training: run folders with a `metrics.jsonl`.
        out: the HTML file.
        title: its heading.
        vocabulary: names that count.
        protocol: how predictions are counted.
        limit: images shown of each run.

    Returns:
        The table's rows (cells in the order of `COLUMNS`), and each run's results by its name.

    Raises:
        InputError: a file that is not what it should be.
    """
    series = curves.read_series(training)
    results: list[dict[str, Any]] = []
    galleries: list[Gallery] = []
    pictures: dict[str, Picture] = {}
    for run in runs:
        ranking = _Ranking(vocabulary, protocol)
        where = str(run.predictions)
        results.append(record(evaluate(read_ground_truth(truth), read_predictions(run.predictions), ranking, where)))
        if limit > 0:
            galleries.append(_gallery(run, truth, ranking, limit, pictures))
    facts = [f"ground truth {truth.name}", f"vocabulary {vocabulary.name}", f"{protocol.name} protocol"]
    if results and results[0].get("data_hash"):
        facts.append(f"data {results[0]['data_hash']}")
    rows = tuple(_table(runs, results))
    render_report(
        out,
        title=title,
        facts=[*facts, f"r1sgg {__version__}"],
        rows=rows,
        failures=[(run.name, kinds) for run, r in zip(runs, results, strict=True) if (kinds := _failure_kinds(r))],
        series=series,
        galleries=galleries,
        pictures=list(pictures.values()),
    )
    _LOG.info("%s: %d runs, %d images, %.1f MB", out, len(runs), len(pictures), out.stat().st_size / 1e6)
    return rows, {run.name: found for run, found in zip(runs, results, strict=True)}


def render_report(
    out: Path,
    *,
    title: str,
    facts: Sequence[str] = (),
    rows: Sequence[TableRow] = (),
    failures: Sequence[tuple[str, str]] = (),
    series: Sequence[curves.Series] = (),
    galleries: Sequence[Gallery] = (),
    pictures: Sequence[Picture] = (),
) -> None:
    """Write the page from parts that are ready; a part without content is left out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        facts=facts,
        columns=COLUMNS,
        rows=rows,
        failures=failures,
        series=[s.name for s in series],
        charts=curves.charts(series),
        chart_size=(curves.WIDTH, curves.HEIGHT),
        chart_left=curves.LEFT,
        chart_right=curves.WIDTH - curves.RIGHT,
        chart_bottom=curves.HEIGHT - curves.BOTTOM,
        galleries=galleries,
        pictures=pictures,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")


def _table(runs: Sequence[RunRow], results: Sequence[Mapping[str, Any]]) -> list[TableRow]:
    best: dict[str, str] = {}
    for column in COLUMNS:
        values = [float(r[column.key]) for r in results if r.get(column.key) is not None]
        if column.better and len(values) > 1 and min(values) < max(values):
            best[column.key] = _shown(max(values) if column.better > 0 else min(values), column)
    table = []
    for run, result in zip(runs, results, strict=True):
        texts = [_shown(result.get(column.key), column) for column in COLUMNS]
        cells = [Cell(text, best.get(c.key) == text) for text, c in zip(texts, COLUMNS, strict=True)]
        table.append(TableRow(run.name, run.notes, tuple(cells)))
    return table


def _shown(value: float | None, column: Column) -> str:
    if value is None:
        return "–"
    if column.style == "percent":
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if column.style == "count" else f"{value:.1f}"


def _failure_kinds(result: Mapping[str, Any]) -> str:
    """Names and numbers of the failures, the most frequent first."""
    kinds = {str(kind): int(n) for kind, n in (result.get("failures") or {}).items() if n}
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in ordered)


class _Ranking(Evaluator):
    """An evaluator that remembers how well each image went."""

    def __init__(self, vocabulary: Vocabulary, protocol: Protocol) -> None:
        super().__init__(vocabulary, protocol)
        self.ranks: list[Rank] = []

    def add_graph(self, number: int, example: Example, graph: SceneGraph, failure: str | None = None) -> ImageResult:
        """See `Evaluator.add_graph`."""
        result = super().add_graph(number, example, graph, failure)
        self.ranks.append(rank(result))
        return result


def _gallery(run: RunRow, truth: Path, ranking: _Ranking, limit: int, pictures: dict[str, Picture]) -> Gallery:
    """Read the images again that are shown; only they are held."""
    ranks = ranking.ranks
    worst, best = choose(ranks, limit)
    wanted = {ranks[k][-1] for k in (*worst, *best)}
    evaluator = Evaluator(ranking.vocabulary, ranking.protocol)
    cards: dict[str, Card] = {}
    for number, example, prediction in join(read_ground_truth(truth), read_predictions(run.predictions)):
        if (name := example.image_id) not in wanted:
            continue
        if name not in pictures:
            pictures[name] = picture_of(example, f"image-{number}")
        judgement = Judgement.of(evaluator.add(number, example, prediction))
        changes: tuple[Change, ...] = ()
        if prediction is not None:
            changes = map_graph(prediction.read().graph, evaluator.vocabulary, evaluator.mapping).changes
        cards[name] = card(example, prediction, judgement, pictures[name], changes)
    left_out = len(ranks) - len(wanted)
    return Gallery(
        name=run.name,
        worst=tuple(cards[ranks[k][-1]] for k in worst),
        best=tuple(cards[ranks[k][-1]] for k in best),
        between=f"{left_out:,} image{'' if left_out == 1 else 's'} left out; the best of all follow",
    )
