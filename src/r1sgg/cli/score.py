"""`r1sgg score`: rewards of completions in a file, by `r1sgg.rewards`. Needs no model and no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.files import writing

_BATCH = 256
_SAID = 20  # most lines that cannot be read whose errors are printed


@app.command()
def score(
    cases: Annotated[
        Path,
        typer.Argument(help="JSON Lines: ground truth with `completion` and `frame`, or a run's completions.jsonl."),
    ],
    out: Annotated[Path, typer.Option(help="File for the scores, one line per case.")],
    similarity: Annotated[str, typer.Option(help="Label similarity: glove, exact or spacy:MODEL.")] = "glove",
    rewards: Annotated[
        str,
        typer.Option(
            help='A reward set, FILE.py:FUNCTION, or weights by term: {"format": 1, "my_rewards.py:my_term": 2}.'
        ),
    ] = "paper-v1",
    task: Annotated[
        str, typer.Option(help="sgdet, det (objects only) or cls (relationships between given objects).")
    ] = "sgdet",
    unclamped: Annotated[
        bool, typer.Option("--unclamped", help="Count negative cosines as they are, not as 0.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep the complete items of broken or truncated completions.")
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Print what is wrong in each completion, and write every object and triplet with its reason.",
        ),
    ] = False,
) -> None:
    """Score completions with every reward term.

    A case is a ground-truth line plus `completion` (raw text) and `frame` ([width, height] that the completion's boxes
    are relative to). Each output line has image_id, the terms (format, node, edge, hard_recall, hard_recall_relax; null
    if one does not apply), their weighted total and the issues of the completion. A case that cannot be read gets a
    line with `error`; the exit code is then 1. The completions.jsonl of a training run can be scored by another reward.

    Example: `r1sgg score cases.jsonl --out scores.jsonl --rewards balanced --explain`
    """
    import orjson
    from rich.console import Console

    from r1sgg.cli.score_table import print_explanation, print_summary
    from r1sgg.graph.ledger import Ledger
    from r1sgg.judging.diagnosis import findings
    from r1sgg.judging.frames import FrameEvidence
    from r1sgg.judging.labels import load_similarity
    from r1sgg.rewards.explain import explain_completion
    from r1sgg.rewards.rubric import Rubric, Score

    if task == "sgg":
        typer.echo("--task sgg is now called sgdet", err=True)
    options: dict[str, Any] = {"task": "sgg" if task == "sgdet" else task, "repair": repair} | (
        {"clamp": False} if unclamped else {}
    )
    rubric = Rubric.of(rewards, load_similarity(similarity), **options)
    console = Console()
    done: list[Score] = []
    failed = 0
    ledger, evidence = Ledger(), FrameEvidence()
    with writing(out) as handle:
        for batch in _batches(cases):
            good = [item for item in batch if "error" not in item]
            texts, frames = [i["completion"] for i in good], [i["frame"] for i in good]
            truths = [i["example"].graph for i in good]
            parsed = rubric.read(texts, truths, frames)
            scores = rubric.score_parsed(texts, parsed, truths, frames)
            done += scores
            for item, read in zip(good, parsed, strict=True):
                example = item["example"]
                ledger.add(read, example.image_id)
                ledger.add_truth(example.graph, (example.width, example.height))
                evidence.add(read, example.graph, (example.width, example.height))
            ready = iter(zip(good, scores, strict=True))
            for item in batch:
                if "error" in item:
                    failed += 1
                    if failed <= _SAID:
                        typer.echo(f"r1sgg: {item['error']}", err=True)
                    line = item
                else:
                    case, result = next(ready)
                    line = {
                        "image_id": case["example"].image_id,
                        **result.terms,
                        "total": result.total,
                        "issues": [issue._asdict() for issue in result.issues],
                    }
                    if explain:
                        line["explain"] = explain_completion(
                            rubric, case["completion"], case["example"].graph, case["frame"]
                        )
                        print_explanation(console, line, rubric.weights, case["place"])
                handle.write(orjson.dumps(line) + b"\n")
    if failed > _SAID:
        typer.echo(f"r1sgg: {failed - _SAID:,} more lines cannot be read; {out} says why", err=True)
    print_summary(console, done, rubric, failed)
    for finding in findings(ledger, evidence):
        typer.echo(f"{cases}: {finding}", err=True)
    if failed:
        raise typer.Exit(PARTLY_FAILED)


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of cases: {"example", "completion", "frame", "place"}, or {"image_id", "line", "error"}.

    The second are those that cannot be read. `place` tells cases apart: images repeat in the completions of a run.
    """
    from r1sgg.data.jsonl import read_lines
    from r1sgg.errors import InputError

    batch: list[dict[str, Any]] = []
    number = 0
    for number, _, text in read_lines(path):
        batch.append(_case(number, text, path))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if not number:
        raise InputError(str(path), expected="at least one line", found="an empty file")
    if batch:
        yield batch


def _case(number: int, text: bytes, path: Path) -> dict[str, Any]:
    from r1sgg.data.base import example_of_record, frame_of
    from r1sgg.data.jsonl import record_of_line
    from r1sgg.errors import InputError

    where = f"{path}:{number}"
    image_id, place = None, f"line {number}"
    try:
        row = record_of_line(text, where, first=number == 1)
        if isinstance(row.get("truth"), dict):  # completions.jsonl of a training run
            place += f", step {row['step']}" if isinstance(row.get("step"), int) else ""
            row = {**row["truth"], "completion": row.get("completion"), "frame": row.get("frame")}
        image_id = row.get("image_id")
        if not isinstance(row.get("completion"), str):
            found = type(row["completion"]).__name__ if "completion" in row else "nothing"
            raise InputError(f"{where}: completion", expected="a string", found=found)
        if row.keys().isdisjoint(("width", "height")):
            expected = "completion, frame, width, height, objects and relationships in one line"
            found, hint = "a prediction without its ground truth", "two files are for `r1sgg evaluate`"
            raise InputError(where, expected=expected, found=found, hint=hint)
        example = example_of_record(row, where, path.parent, also=frozenset(("completion", "frame")))
        frame = frame_of(row.get("frame"), f"{where}: frame")
    except InputError as error:
        return {"image_id": None if image_id is None else str(image_id), "line": number, "error": str(error)}
    return {"example": example, "completion": row["completion"], "frame": frame, "place": place}
