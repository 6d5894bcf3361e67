"""`r1sgg probe`: the VQA probe of one model, or the table of several. The work is in `r1sgg.probing`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from r1sgg.cli.root import PARTLY_FAILED, app

if TYPE_CHECKING:
    from r1sgg.probing.report import ProbedModel

_T = TypeVar("_T", bound=str)


@app.command()
def probe(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR...]", help="With --table: folders of finished probes.")
    ] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="Ground truth (JSON Lines) with images.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; with --table for table.md and table.html.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Join finished probes into one table; no model runs.")] = False,
    model: Annotated[str, typer.Option(help="Checkpoint folder, name on the Hub (owner/name), or tiny.")] = "tiny",
    settings: Annotated[str, typer.Option(help="all, or some: 'original/*,masked-image/no-boxes'.")] = "all",
    answering: Annotated[str, typer.Option(help="generate, letters, or logprobs (over permutations).")] = "generate",
    distractors: Annotated[str, typer.Option(help="uniform, frequency, or hard (needs --train).")] = "uniform",
    train: Annotated[Path | None, typer.Option(help="Training graphs, for frequency and hard distractors.")] = None,
    vocabulary: Annotated[
        str, typer.Option(help="Predicates to choose from: vg150, psg, a JSON file; open: those that occur.")
    ] = "open",
    boxes: Annotated[str, typer.Option(help="Coordinates in the question: the family's, or pixels.")] = "family",
    seed: Annotated[int, typer.Option(help="Of distractors, positions and noise.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest free answer.")] = 64,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for 95 % intervals; 0: none.")] = 1000,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1024, help="Reduce images to at most so many pixels.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU where there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 on a CPU, else the checkpoint's own.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew where the folder holds answers.")] = False,
) -> None:
    """Ask a model which predicate holds between two objects, with the image, with noise, and with the objects hidden.

    Four options a question, nine settings; a killed run is continued by the same command. If images cannot be opened,
    their questions are not counted and the exit code is 1.

    Example: `r1sgg probe --ground-truth val/gt.jsonl --model tiny --answering letters --out probes/tiny`

    Example: `r1sgg probe --table probes/tiny probes/sft --out probes`
    """
    from r1sgg.errors import ConfigError

    if table:
        if not folders or ground_truth is not None:
            raise ConfigError("--table: expected folders of finished probes and no --ground-truth")
        _join(folders, out)
        return
    if folders:
        raise ConfigError(f"{folders[0]}: folders belong to --table; the results of a probe go to --out")
    if ground_truth is None or out is None:
        raise ConfigError("expected --ground-truth and --out, or --table with folders of finished probes")

    from r1sgg.cli.loading import open_quietly, progress_bar
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.inference.engines import Opening
    from r1sgg.probing.prompts import UNITS, parse_settings
    from r1sgg.probing.questions import SCHEMES
    from r1sgg.probing.run import ANSWERING, Probe, run

    plan = Probe(
        settings=parse_settings(settings),
        answering=_one_of("--answering", answering, ANSWERING),
        scheme=_one_of("--distractors", distractors, SCHEMES),
        vocabulary=load_vocabulary(vocabulary),
        train=train,
        boxes=_one_of("--boxes", boxes, UNITS),
        seed=seed,
        max_new_tokens=max_new_tokens,
        limit=limit,
        resamples=bootstrap,
    )
    plan.questions(ground_truth)  # a wrong file is refused before a model is loaded
    reader = open_quietly(Opening(model, device=device, dtype=dtype, max_pixels=max_pixels))
    with progress_bar("probe") as progress:
        outcome = run(
            ground_truth,
            out,
            reader.checkpoint,
            reader.engine,
            plan,
            batch_size=batch_size,
            overwrite=overwrite,
            progress=progress,
        )
    from r1sgg.probing.report import read_probes

    _show(read_probes([out]))
    if outcome.asked:
        typer.echo(f"{outcome.asked} questions asked, {outcome.asked / outcome.seconds:.1f} a second")
    for reason, count in outcome.summary["left_out"].items():
        typer.echo(f"{count} relations gave no question: {reason.replace('_', ' ')}")
    typer.echo(f"wrote {out}")
    if outcome.failed:
        typer.echo(f"{outcome.failed} questions were not asked: their image cannot be opened", err=True)
        raise typer.Exit(PARTLY_FAILED)


def _one_of(option: str, value: str, known: Sequence[_T]) -> _T:
    from r1sgg.errors import ConfigError

    for name in known:
        if name == value:
            return name
    raise ConfigError(f"{option}: expected one of {', '.join(known)}, found {value!r}")


def _join(folders: Sequence[Path], out: Path | None) -> None:
    from r1sgg.probing.report import html, markdown, read_probes

    models = read_probes(folders)
    _show(models)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(markdown(models), encoding="utf-8")
        (out / "table.html").write_text(html(models), encoding="utf-8")
        typer.echo(f"wrote {out / 'table.md'} and {out / 'table.html'}")


def _show(models: Sequence[ProbedModel]) -> None:
    from rich.console import Console
    from rich.table import Table

    from r1sgg.probing.report import COLUMNS, remarks, table_rows

    shown = Table(title="VQA probe", caption="percent; in brackets 95 % intervals")
    for head in ("image", "text"):
        shown.add_column(head, no_wrap=True)
    for found in models:
        for column in COLUMNS:
            shown.add_column(column if len(models) == 1 else f"{found.name}\n{column}", justify="right")
    for image, told, cells in table_rows(models):
        shown.add_row(image, told, *cells)
    console = Console()
    console.print(shown)
    for line in remarks(models):
        console.print(line, markup=False, highlight=False)
    for line in models[0].summary.get("conclusions", ()) if len(models) == 1 else ():
        console.print(line, markup=False, highlight=False)
