"""`r1sgg evaluate`: compute metrics of predictions, as a table and JSON. Needs no model, torch or images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from r1sgg.cli.loading import say_left_out
from r1sgg.cli.root import app
from r1sgg.files import STANDARD_OUTPUT, write_file, write_json

if TYPE_CHECKING:
    from r1sgg.data.base import Example
    from r1sgg.judging.protocol import Claims


@app.command()
def evaluate(
    predictions: Annotated[
        list[str],
        typer.Argument(
            metavar="PREDICTIONS...",
            help="Predictions for the same images, one row per file: JSON Lines, or another tool's (swift:FILE, ...).",
        ),
    ],
    ground_truth: Annotated[
        str, typer.Option(metavar="DATA", help="Ground truth: JSON Lines, or any data set (vg150:DIR,split=test, ...).")
    ],
    vocabulary: Annotated[str, typer.Option(help="Vocabulary: vg150, psg, open, or a JSON file.")] = "open",
    protocol: Annotated[str, typer.Option(help="strict, or reference: the original code's conventions.")] = "strict",
    claims: Annotated[
        str | None,
        typer.Option(
            help="For which predictions at most one predicted object counts as a given true object: completions "
            "(strict), all, none (reference)."
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="File for all figures as JSON; - is standard output.")] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.md|.tex|.csv", help="File for the paper's table, one row per model; may be repeated."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Print every figure, and write them to the files of --out.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also show the other protocol, and this one with claims switched.")
    ] = False,
    mapping: Annotated[
        str, typer.Option(help="How open names are mapped to the vocabulary: none, normal, full.")
    ] = "normal",
    similarity: Annotated[str, typer.Option(help="Label similarity of --mapping full: glove, exact, spacy:MODEL.")] = (
        "glove"
    ),
    train: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Training data, for zero-shot recall and the frequency baselines."),
    ] = None,
    zero_shot: Annotated[
        Path | None,
        typer.Option(help="Published list of unseen triplets, JSON; without it those that --train lacks."),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Groups of predicates: bgnn (VG150's default), thirds (by --train), or a JSON file."),
    ] = None,
    open_vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="MODE", help="Add OvSGTR's columns: ovd, ovr or ovd+r, from predictions for the whole set."
        ),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for 95 % intervals; 0: no intervals.")] = 0,
    seed: Annotated[int, typer.Option(help="Random seed of the resamples.")] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep the complete items of broken or truncated completions.")
    ] = (False),
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Leave out predicted objects and relationships with lower scores."),
    ] = None,
    dialect: Annotated[
        str,
        typer.Option(
            help="How completions are written: auto (decided from the whole file), or a name (docs/dialects.md)."
        ),
    ] = "auto",
    task: Annotated[
        str, typer.Option(help="sgdet; sgcls (boxes were given); predcls (boxes and classes were given).")
    ] = "sgdet",
) -> None:
    """Evaluate predictions: failures, AP, recalls, precision.

    With several files, the others are compared with the first, image by image. Inconsistencies with the data that the
    model was trained on are reported on standard error and under `remarks` in the JSON.

    Example: `r1sgg evaluate predictions.jsonl --ground-truth gt.jsonl --vocabulary vg150 --json results.json`
    """
    from r1sgg.cli.evaluate_table import show
    from r1sgg.data.importers.registry import open_predictions, predictions_spec
    from r1sgg.data.provenance import at_source, remarks, trained_on_of
    from r1sgg.errors import ConfigError
    from r1sgg.graph.mapping import LEVELS
    from r1sgg.graph.open_vocabulary import mode_of
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.judging.protocol import CLAIMS, PROTOCOLS, Protocol
    from r1sgg.metrics.baselines import FrequencyBaseline
    from r1sgg.metrics.columns import Evaluator
    from r1sgg.metrics.frequency import collect
    from r1sgg.metrics.groups import named_groups
    from r1sgg.metrics.intervals import compare as compare_figures
    from r1sgg.metrics.open_vocabulary import check_vocabulary, open_record
    from r1sgg.metrics.report import baseline_record, record, run, run_baseline
    from r1sgg.metrics.table import EVERY, FORMATS, PAPER, asked_name, distinct_names
    from r1sgg.metrics.tasks import TASKS
    from r1sgg.metrics.zero_shot import read_zero_shot

    for option, value, known in (
        ("--protocol", protocol, tuple(PROTOCOLS)),
        ("--mapping", mapping, LEVELS),
        ("--task", task, TASKS),
        ("--claims", claims, (None, *CLAIMS)),
    ):
        if value not in known:
            raise ConfigError(f"{option}: expected one of {', '.join(filter(None, known))}, found {value!r}")
    mode = None if open_vocabulary is None else mode_of(open_vocabulary, "--open-vocabulary")
    for path in out or ():
        if path.suffix.lower() not in FORMATS:
            raise ConfigError(f"--out: expected a file that ends in {', '.join(FORMATS)}, found {str(path)!r}")
    chosen = PROTOCOLS[protocol] if claims is None else replace(PROTOCOLS[protocol], claims=cast("Claims", claims))
    settings: dict[str, Any] = {"mapping": mapping, "repair": repair, "task": task, "threshold": threshold}
    settings |= {"groups": groups, "zero_shot": None if zero_shot is None else read_zero_shot(zero_shot)}
    if mapping == "full":
        from r1sgg.judging.labels import load_similarity

        settings["similarity"] = load_similarity(similarity)
    names = load_vocabulary(vocabulary)
    if mode is not None:
        check_vocabulary(names)
    statistics = None if train is None else collect(GroundTruth(train))
    named_groups(groups, names, statistics)
    baselines = []
    if statistics is not None:
        baselines = [FrequencyBaseline(statistics, names.predicates, overlap=overlap) for overlap in (False, True)]

    def evaluator(conventions: Protocol, **changes: Any) -> Evaluator:
        return Evaluator(names, conventions, **{**settings, **changes}, statistics=statistics)

    truth = GroundTruth(ground_truth)
    first = None
    columns: list[tuple[str, dict[str, Any]]] = []
    again: dict[str, str] = {}
    result: dict[str, Any] = {}
    paths = [predictions_spec(text).path for text in predictions]
    for source, path, name in zip(predictions, paths, distinct_names(predictions, paths), strict=True):
        opened = open_predictions(source, dialect)
        try:
            done = run(truth, opened, evaluator(chosen), opened.where)
        finally:  # what was assumed may be why it failed
            for note in opened.notes:
                typer.echo(f"{path}: {note}", err=True)
        row = record(done, bootstrap=bootstrap, seed=seed)
        stages, described = trained_on_of(path), at_source(truth.described(row))
        said = [finding["said"] for finding in row["ledger"]["findings"]]
        row |= {"trained_on": stages, "remarks": [*said, *remarks(stages, described, names.name)]}
        row["source"] = {"layout": opened.layout, "notes": [*opened.notes]}
        row["ground_truth"] = {"name": described["name"], "split": described["split"]}
        for remark in row["remarks"]:
            typer.echo(f"{path}: {remark}", err=True)
        if row["zero_shot"]:
            row["zero_shot"]["triplets"] = f"absent from {train}" if zero_shot is None else f"listed in {zero_shot}"
        row["open_vocabulary"] = None if mode is None else open_record(done, mode, bootstrap=bootstrap, seed=seed)
        name = asked_name(name, row)
        columns.append((name, row))
        if first is None:
            first, result = done, {**row, "file": path.name}
        else:
            difference = compare_figures(first.figures, done.figures, bootstrap, seed)
            result.setdefault("against", []).append(
                {"file": path.name, "name": name, "differences": difference, "result": row}
            )
        if compare:
            switched = replace(chosen, claims="completions" if chosen.claims == "none" else "none")
            other = next(p for name, p in PROTOCOLS.items() if name != protocol)
            for label, conventions in ((f"claims {switched.claims}", switched), (other.name, other)):
                read_again = run(truth, opened, evaluator(conventions), opened.where)
                columns.append((f"{name} ({label})", record(read_again)))
                again[f"{name} ({label})"] = name
                result.setdefault("compare", []).append({"file": path.name, **columns[-1][1]})
        for baseline in baselines if task != "predcls" else ():
            own = run(truth, opened, evaluator(chosen, rewrite=baseline), opened.where)
            columns.append((f"{baseline.name}, objects of {name}", baseline_record(own)))
            result.setdefault("baselines", []).append(
                {"name": baseline.name, "objects": path.name, "result": columns[-1][1]}
            )
    for baseline in baselines if task == "predcls" else ():
        told = run_baseline(truth, baseline, evaluator(chosen, task="sgdet"))
        columns.append((f"{baseline.name}, true objects", baseline_record(told)))
        result.setdefault("baselines", []).append({"name": baseline.name, "objects": "true", "result": columns[-1][1]})
    if "baselines" in result:
        result["frequency_baseline"] = result["baselines"][0]["result"]  # its name up to version 0.1
    show(columns, result.get("against", ()), every=every, again=again)
    names_shown, results = [name for name, _ in columns], [row for _, row in columns]
    for path in out or ():
        write_file(path, FORMATS[path.suffix.lower()](names_shown, results, EVERY if every else PAPER))
        typer.echo(f"wrote {path}")
    if json is not None:
        write_json(json, result)
        if json != STANDARD_OUTPUT:
            typer.echo(f"wrote {json}")


class GroundTruth:
    """The ground truth of a name; it can be read several times, and its split is known after the first."""

    def __init__(self, name: str) -> None:
        from r1sgg.data.sources import check_place, open_data
        from r1sgg.data.spec import parse_spec

        self.name = name
        spec = parse_spec(name)
        self._file = spec.path if spec.kind == "jsonl" and not spec.options else None  # read as a stream
        check_place(name)
        self._data = open_data(name) if self._file is None else None
        self._splits: set[str | None] = set()
        if self._data is not None:
            say_left_out(self._data.notes)

    @property
    def empty_ids(self) -> frozenset[str]:
        """Images that it leaves out because they have no relations."""
        return frozenset() if self._data is None else self._data.empty_ids

    def __iter__(self) -> Iterator[Example]:
        from r1sgg.data.base import read_ground_truth

        if self._data is not None:
            yield from self._data
        elif self._file is not None:
            for example in read_ground_truth(self._file):
                self._splits.add(example.split)
                yield example

    def described(self, results: dict[str, Any]) -> dict[str, Any]:
        """Describe it as `r1sgg.data.splits.describe` does, with the hashes of the results."""
        split = self._data.split if self._data is not None else None
        if len(self._splits) == 1:
            (split,) = self._splits
        hashes = {"images": results["image_hash"], "annotations": results["data_hash"]}
        return {"name": self.name, "split": split, "images": results["images"], "hashes": hashes}
