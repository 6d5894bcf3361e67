"""`r1sgg evaluate`: predictions and ground truth to a table and JSON. No model, no torch, no images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from r1sgg.cli import app


@app.command()
def evaluate(
    predictions: Annotated[
        list[Path], typer.Argument(metavar="PREDICTIONS.jsonl...", help="Files of the same images; each gets a column.")
    ],
    ground_truth: Annotated[Path, typer.Option(help="The true graphs, JSON Lines.")],
    vocabulary: Annotated[str, typer.Option(help="Names that count: vg150, psg, open, or a JSON file.")] = "open",
    protocol: Annotated[str, typer.Option(help="strict, or reference: the original code's conventions.")] = "strict",
    json: Annotated[Path | None, typer.Option(help="Write all figures here.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Both protocols side by side.")] = False,
    mapping: Annotated[str, typer.Option(help="Open names to the vocabulary: none, normal, full.")] = "normal",
    similarity: Annotated[str, typer.Option(help="Label similarity of --mapping full: glove, exact, spacy:MODEL.")] = (
        "glove"
    ),
    train: Annotated[
        Path | None,
        typer.Option(help="Training graphs: for zero-shot recall, head/body/tail, and the frequency baseline."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for 95 % intervals; 0: none.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Keep the whole items of broken or truncated answers.")] = (
        False
    ),
    task: Annotated[
        str, typer.Option(help="sgdet; sgcls, predcls where the model was told boxes or labels.")
    ] = "sgdet",
) -> None:
    """Measure predictions: failures, AP, recalls, precision.

    With several files the first is the one that the others are compared with, image by image.

    Example: `r1sgg evaluate predictions.jsonl --ground-truth gt.jsonl --vocabulary vg150 --json results.json`
    """
    from r1sgg.cli.evaluate_table import show
    from r1sgg.data.base import read_ground_truth
    from r1sgg.data.predictions import read_predictions
    from r1sgg.errors import ConfigError
    from r1sgg.graph.mapping import LEVELS
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.metrics.columns import Evaluator
    from r1sgg.metrics.frequency import collect
    from r1sgg.metrics.intervals import compare as compare_figures
    from r1sgg.metrics.protocol import PROTOCOLS
    from r1sgg.metrics.report import record, run, run_baseline
    from r1sgg.metrics.tasks import TASKS

    for option, value, known in (
        ("--protocol", protocol, tuple(PROTOCOLS)),
        ("--mapping", mapping, LEVELS),
        ("--task", task, TASKS),
    ):
        if value not in known:
            raise ConfigError(f"{option}: expected one of {', '.join(known)}, found {value!r}")
    settings: dict[str, Any] = {"mapping": mapping, "repair": repair, "task": task}
    if mapping == "full":
        from r1sgg.matching.labels import load_similarity

        settings["similarity"] = load_similarity(similarity)
    names = load_vocabulary(vocabulary)
    statistics = None if train is None else collect(read_ground_truth(train))

    def evaluator(name: str, **changes: Any) -> Evaluator:
        return Evaluator(names, PROTOCOLS[name], **{**settings, **changes}, statistics=statistics)

    first = None
    columns: list[tuple[str, dict[str, Any]]] = []
    result: dict[str, Any] = {}
    for path in predictions:
        done = run(read_ground_truth(ground_truth), read_predictions(path), evaluator(protocol), str(path))
        row = record(done, bootstrap=bootstrap, seed=seed)
        columns.append((path.stem, row))
        if first is None:
            first, result = done, {**row, "file": path.name}
        else:
            difference = compare_figures(first.figures, done.figures, bootstrap, seed)
            result.setdefault("against", []).append({"file": path.name, "differences": difference, "result": row})
        if compare:
            other = next(name for name in PROTOCOLS if name != protocol)
            again = run(read_ground_truth(ground_truth), read_predictions(path), evaluator(other), str(path))
            columns.append((f"{path.stem} ({other})", record(again)))
            result.setdefault("compare", []).append({"file": path.name, **columns[-1][1]})
    if statistics is not None:
        baseline = run_baseline(read_ground_truth(ground_truth), statistics, evaluator(protocol, task="sgdet"))
        columns.append(("frequency baseline", record(baseline)))
        result["frequency_baseline"] = columns[-1][1]
    show(columns, result.get("against", ()))
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
        typer.echo(f"wrote {json}")
