"""`r1sgg bench`: try an idea on the embedded model, and see what it is worth beside the recipe and its control."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli.root import app
from r1sgg.cli.training import OPEN, check_names, check_values
from r1sgg.errors import ConfigError, InputError, TrainingError, require
from r1sgg.files import locked, write_file, write_json

if TYPE_CHECKING:
    from r1sgg.data.base import Example
    from r1sgg.metrics.seeds import Runs

COMPARED = ("control", "recipe")
"""Entries that every other is compared with: SFT of equal compute, and the recipe of RL. The package has both."""

_SHORT = {"grpo": 15, "sft": 120}  # a quarter of the steps of runs/tiny.sh
_HOW = {"greedy": "0", "sampled": "1"}
_FIGURES = ("failures", "R@50 truth", "precision", "relations per image", "repeated")
_RESULTS = "results.json"


@app.command(context_settings=OPEN)
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the idea is called: a folder in --out, and a row of the table.")],
    config: Annotated[Path, typer.Option(help="Its recipe; configs/tiny-grpo.yaml is the one it is compared with.")],
    stage: Annotated[str, typer.Option(help="grpo or sft: what the recipe is for.")] = "grpo",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, each with a seed and data of its own.")] = 3,
    model: Annotated[str, typer.Option(help="Where each training begins.")] = "tiny-sft",
    short: Annotated[
        bool, typer.Option("--short", help="A quarter of the steps; compared with short entries.")
    ] = False,
    scenes: Annotated[int, typer.Option(min=1, help="Test scenes that each model answers.")] = 1000,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at the same time, one core each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder of all entries and of table.md.")] = Path("bench"),
) -> None:
    """Train the embedded model by a recipe of your own, and compare it, paired, with the recipe and its control.

    Options that are not listed are the recipe's (`--num_generations 4`). The same command resumes. What it is compared
    with are the entries `recipe` and `control` of the folder, else those of the package, which were made so:

        r1sgg bench recipe --config configs/tiny-grpo.yaml
        r1sgg bench control --config configs/tiny-sft.yaml --stage sft --learning_rate 3e-4 --max_steps 480

    Example: `r1sgg bench groups-of-4 --config configs/tiny-grpo.yaml --num_generations 4 --short --seeds 1`
    """
    if stage not in _SHORT:
        raise ConfigError(f"--stage: expected grpo or sft, found {stage!r}")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{name!r}: expected a name of letters, digits, - and _")
    require("trl", "train")
    check_names(stage, config, context.args)  # before anything is noted of an entry that cannot be trained
    check_values(stage, config, context.args)
    entry = out / (f"{name}-short" if short else name)
    settings = {"config": str(config), "stage": stage, "model": model, "scenes": scenes, "options": context.args}
    with locked(entry):
        _check(entry, settings)
        seconds = _train_and_answer(entry, settings, seeds, jobs, short=short)
        figures = _figures(entry, seeds, scenes, seconds, short=short)
        write_json(entry / _RESULTS, {**settings, **figures})
    rows = _entries(out)
    write_file(out / "table.md", _markdown(rows))
    _show(entry.name, figures)
    typer.echo(f"{entry}: {seeds} trained, {seconds:.0f} CPU-seconds; {out / 'table.md'}: {len(rows)} entries")


def _check(entry: Path, settings: Mapping[str, Any]) -> None:
    """See that a folder holds no entry of other settings, and note these.

    Raises:
        InputError: it does.
    """
    from r1sgg.data.jsonl import read_json

    record = entry / "settings.json"
    if record.is_file() and (found := read_json(record)) != settings:
        raise InputError(str(entry), expected=str(settings), found=str(found), hint="choose another name")
    write_json(record, settings)


def _train_and_answer(entry: Path, settings: Mapping[str, Any], seeds: int, jobs: int, *, short: bool) -> float:
    """Run what is missing of each seed; return the CPU-seconds of all trainings.

    Raises:
        TrainingError: a command failed; its last line says why.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(jobs) as pool:
        return sum(pool.map(lambda seed: _one(entry, settings, seed, short=short), range(seeds)))


def _one(entry: Path, settings: Mapping[str, Any], seed: int, *, short: bool) -> float:
    from r1sgg.data.jsonl import read_json

    run, spent, stage = entry / f"s{seed}", entry / f"s{seed}.json", settings["stage"]
    log, options = entry / f"s{seed}.log", list(settings["options"])
    seconds = float(read_json(spent)["cpu_seconds"]) if spent.is_file() else 0.0
    if not (run / "trainer_state.json").is_file():
        # as in runs/tiny.sh; the questions keep the model answering those
        scenes = (f"seed={10 + seed}", "") if stage == "grpo" else (f"seed={20 + seed}", ",questions=20")
        data = f"scenes:200000,{scenes[0]},annotation=vg{scenes[1]}"
        given = {"--model": settings["model"], "--seed": seed, "--data": data, "--output_dir": run, "--requeue": "true"}
        given |= {"--max_steps": _SHORT[stage]} if short else {}
        words = [str(word) for key, value in given.items() if key not in options for word in (key, value)]
        typer.echo(f"seed {seed}: trains; its output goes to {log}", err=True)
        seconds += _run([stage, "--config", settings["config"], *words, *options], log)
        write_json(spent, {"cpu_seconds": seconds})
    images = f"scenes:{settings['scenes']},seed=1,split=test"
    for how, temperature in _HOW.items():
        target = entry / f"s{seed}.{how}.jsonl"
        if not target.is_file():
            typer.echo(f"seed {seed}: answers {settings['scenes']:,} test scenes, {how}", err=True)
            words = ["--images", images, "--model", str(run), "--temperature", temperature, "--batch-size", "100"]
            _run(["generate", *words, "--max-new-tokens", "200", "--out", str(target)], log)
    return seconds


def _run(arguments: Sequence[str], log: Path) -> float:
    """Run a command of this package on one core, its output at the end of a log file; return its CPU-seconds."""
    script = f"from r1sgg.cli import main; main({list(arguments)!r})"
    with log.open("ab") as handle:
        started = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise TrainingError(f"r1sgg {arguments[0]} ended with {started.returncode}: {last} (all of it: {log})")
    return usage.ru_utime + usage.ru_stime


def _figures(entry: Path, seeds: int, scenes: int, seconds: float, *, short: bool) -> dict[str, Any]:
    """Compute an entry's figures, and its paired comparisons with the entries of `COMPARED` that are there."""
    from r1sgg.data.sources import open_data
    from r1sgg.metrics.seeds import against, summary

    truth, annotation = (
        list(open_data(f"scenes:{scenes},seed=1,split=test,annotation={how}")) for how in ("full", "vg")
    )
    found: dict[str, Any] = {"seeds": seeds, "cpu_seconds": seconds}
    for how in _HOW:
        runs = _runs(entry, how, truth, annotation)
        assert runs is not None, "they have just been written"
        found[how] = {figure: summary(runs, figure) for figure in _FIGURES}
        for other in COMPARED:
            name = f"{other}-short" if short else other
            if name == entry.name or (beside := _runs(_place(entry.parent, name), how, truth, annotation)) is None:
                continue
            found[how][f"R@50 / {other}"] = against(runs, beside, "R@50 truth", ratio=True)
            found[how][f"precision - {other}"] = against(runs, beside, "precision", ratio=False)
    return found


def _runs(entry: Path, how: str, truth: list[Example], annotation: list[Example]) -> Runs | None:
    """Score an entry's answers; None where it has none to these scenes."""
    from r1sgg.data.jsonl import read_json
    from r1sgg.metrics.seeds import runs_of

    files = sorted(entry.glob(f"s*.{how}.jsonl"))
    if not files or read_json(entry / "settings.json")["scenes"] != len(truth):
        return None
    return runs_of(files, truth, annotation)


def _place(out: Path, name: str) -> Path:
    """Where an entry to compare with lies: in the folder, else in the package."""
    from r1sgg.miniature.shipped import bench_entries

    return out / name if (out / name / _RESULTS).is_file() else bench_entries() / name


def _entries(out: Path) -> dict[str, dict[str, Any]]:
    """Read the results of all entries: those of the package, then those of the folder, which take their places."""
    from r1sgg.data.jsonl import read_json
    from r1sgg.miniature.shipped import bench_entries

    found = [*sorted(bench_entries().glob(f"*/{_RESULTS}")), *sorted(out.glob(f"*/{_RESULTS}"))]
    return dict(sorted({path.parent.name: read_json(path) for path in found}.items()))


def _cell(figure: str, value: Sequence[float] | None) -> str:
    if value is None:
        return ""
    if " / " in figure or figure == "relations per image":
        return "{:.2f} [{:.2f}, {:.2f}]".format(*value)
    form = "{:+.1f} [{:+.1f}, {:+.1f}]" if " - " in figure else "{:.1f} [{:.1f}, {:.1f}]"
    return form.format(*(100 * v for v in value))


def _markdown(entries: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [*_FIGURES, *(f"{c} {other}" for other in COMPARED for c in ("R@50 /", "precision -"))]
    lines = []
    for how in _HOW:
        lines += [f"| {how} | seeds x scenes | CPU-seconds | " + " | ".join(columns) + " |"]
        lines += ["|---" * (len(columns) + 3) + "|"]
        for name, row in entries.items():
            cells = [_cell(column, row[how].get(column)) for column in columns]
            seconds = row["cpu_seconds"]  # null: the package has answers whose training nobody timed
            head = f"{name} | {row['seeds']} x {row['scenes']} | {'-' if seconds is None else f'{seconds:.0f}'}"
            lines.append(f"| {head} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _show(name: str, figures: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=name, caption="percent [95 % interval]; relations: a mean")
    shown.add_column("", no_wrap=True)
    for how in _HOW:
        shown.add_column(how, justify="right", no_wrap=True)
    for figure in figures["greedy"]:
        shown.add_row(figure, *(_cell(figure, figures[how][figure]) for how in _HOW))
    Console().print(shown)
    if not any(" / " in figure for figure in figures["greedy"]):
        typer.echo("compared with nothing: there is no entry control or recipe of this length and these scenes")
