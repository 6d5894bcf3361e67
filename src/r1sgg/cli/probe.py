"""`r1sgg probe`: run the VQA probe on a model, or tabulate finished probes. The work is done by `r1sgg.probing`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.files import write_file

if TYPE_CHECKING:
    from r1sgg.inference.engines import Opening
    from r1sgg.probing.plan import Probe
    from r1sgg.probing.questions import QuestionSet
    from r1sgg.probing.report import ProbedModel
    from r1sgg.probing.run import Outcome

    Progress = Callable[[int, int], None]

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
    table: Annotated[bool, typer.Option("--table", help="Join finished probes into one table; runs no model.")] = False,
    model: Annotated[str, typer.Option(help="Checkpoint folder, Hub name (owner/name), or tiny.")] = "tiny",
    settings: Annotated[str, typer.Option(help="all, or a list such as 'original/*,masked-image/no-boxes'.")] = "all",
    answering: Annotated[str, typer.Option(help="generate, letters, or logprobs (over permutations).")] = "generate",
    distractors: Annotated[str, typer.Option(help="uniform, frequency, or hard (needs --train).")] = "uniform",
    train: Annotated[
        Path | None, typer.Option(help="Training ground truth, for frequency and hard distractors.")
    ] = None,
    vocabulary: Annotated[
        str, typer.Option(help="Predicates of the options: vg150, psg, a JSON file; open: those that occur.")
    ] = "open",
    boxes: Annotated[
        str, typer.Option(help="Coordinates in the question: family (the model family's) or pixels.")
    ] = "family",
    seed: Annotated[int, typer.Option(help="Random seed of distractors, option order and noise.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per batch.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum length of a generated answer.")] = 64,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for 95 % intervals; 0: no intervals.")] = 1000,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1024, help="Resize larger images to at most this many pixels.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Type of the weights; default: float32 on a CPU, else bfloat16; auto: as they are."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over if the folder holds answers.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Models, each in its own process; 0: one per GPU. Default: one.")
    ] = None,
) -> None:
    """Ask a model which predicate relates two objects, given the image, noise, or the image with the objects masked.

    Each question has four options; there are nine settings. The same command resumes a killed run. Questions about
    images that cannot be opened are not counted; the exit code is then 1.

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
        raise ConfigError(f"{folders[0]}: expected folders with --table only; the results of a probe go to --out")
    if ground_truth is None or out is None:
        raise ConfigError("expected --ground-truth and --out, or --table with folders of finished probes")

    from r1sgg.cli.loading import progress_bar
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.inference.engines import Opening
    from r1sgg.probing.plan import ANSWERING, Probe
    from r1sgg.probing.prompts import UNITS, parse_settings
    from r1sgg.probing.questions import SCHEMES

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
    questions = plan.questions(ground_truth)  # raises for a wrong file before the model is loaded
    opening = Opening(model, device=device, dtype=dtype, max_pixels=max_pixels)
    ask = _ask if workers is None else functools.partial(_ask_on_cards, workers, questions)
    with progress_bar("probe") as progress:
        outcome = ask(ground_truth, out, opening, plan, batch_size, overwrite, progress)
    from r1sgg.probing.report import read_probes

    _show(read_probes([out]))
    if outcome.asked:
        each = "" if workers is None else " and process"
        typer.echo(f"{outcome.asked} questions asked, {outcome.asked / outcome.seconds:.1f} per second{each}")
    for reason, count in outcome.summary["left_out"].items():
        typer.echo(f"{count} relations were left out: {reason.replace('_', ' ')}")
    typer.echo(f"wrote {out}")
    if outcome.failed:
        typer.echo(f"{outcome.failed} questions were not asked because their image cannot be opened", err=True)
        raise typer.Exit(PARTLY_FAILED)


def _ask(
    ground_truth: Path, out: Path, opening: Opening, plan: Probe, batch_size: int, overwrite: bool, progress: Progress
) -> Outcome:
    from r1sgg.cli.loading import open_quietly
    from r1sgg.probing.run import run

    reader = open_quietly(opening)
    return run(
        ground_truth, out, reader.checkpoint, reader.engine, plan,
        batch_size=batch_size, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def _ask_on_cards(
    workers: int,
    questions: QuestionSet,
    ground_truth: Path,
    out: Path,
    opening: Opening,
    plan: Probe,
    batch_size: int,
    overwrite: bool,
    progress: Progress,
) -> Outcome:
    from r1sgg.bulk.processes import cards_of_workers
    from r1sgg.errors import require
    from r1sgg.inference.hf import engine_name
    from r1sgg.models.families import default_device, default_dtype
    from r1sgg.probing.cards import CardAsker, ask_on_cards
    from r1sgg.probing.run import run_with

    require("torch", "train")
    require("transformers", "train")
    places = cards_of_workers(workers, device=opening.device)
    device = opening.device or default_device()
    asker = CardAsker(ground_truth, opening, plan, batch_size, questions.hash)
    return run_with(
        lambda starts: ask_on_cards(asker, starts, places, batch_size),
        questions, out, opening.checkpoint(), engine_name(device, opening.dtype or default_dtype(device)), plan,
        batch_size=batch_size, overwrite=overwrite, progress=progress,
    )  # fmt: skip


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
        write_file(out / "table.md", markdown(models))
        write_file(out / "table.html", html(models))
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
    for image, text, cells in table_rows(models):
        shown.add_row(image, text, *cells)
    console = Console()
    console.print(shown)
    for line in remarks(models):
        console.print(line, markup=False, highlight=False)
    for line in models[0].summary.get("conclusions", ()) if len(models) == 1 else ():
        console.print(line, markup=False, highlight=False)
