"""`r1sgg bench`: try an idea on the embedded model, and see what it is worth beside the recipe and its control."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli.recipe_options import our_options, trl_options
from r1sgg.cli.root import app
from r1sgg.cli.training import OPEN, check_names, check_values
from r1sgg.errors import ConfigError, InputError, TrainingError, first_difference, require
from r1sgg.errors import short as shortened
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
_SETTINGS = "settings.json"
_OURS = ("seed", "data", "output_dir", "resume", "requeue")
"""Options of a training that the bench chooses."""

_running: set[int] = set()
"""The processes of the commands that run now."""


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
    from r1sgg.models.finding import resolve
    from r1sgg.training.recipe import read_keys, read_value

    if stage not in _SHORT:
        raise ConfigError(f"--stage: expected grpo or sft, found {stage!r}")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{name!r}: expected a name of letters, digits, - and _")
    require("trl", "train")
    keys = read_keys(config, context.args)
    _check_stage(stage, config, keys)
    check_names(stage, config, context.args)
    check_values(stage, config, context.args)
    given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in context.args if word[:2] == "--"}
    if taken := [key for key in _OURS if key in given]:
        raise ConfigError(f"--{taken[0]}: expected none, because the bench chooses it, found one; leave it out")
    resolve(model)  # is there, or the name of one on the Hub
    recipe = {key: read_value(key, config, context.args) for key in sorted(keys - {*_OURS, "model"})}
    settings = {"stage": stage, "model": model, "scenes": scenes, "recipe": recipe, "files": _hashes(recipe)}
    own = {"model": model, "data": _data(stage, 0)}
    for key, value in own.items():
        if (unused := read_value(key, config, context.args)) is not None and _plain(unused) != _plain(value):
            typer.echo(f"{config}: its {key}, {unused}, is not used: the bench takes {value}", err=True)
    entry = out / (f"{name}-short" if short else name)
    _entries(out)  # what is there can be read
    with locked(entry):
        _check(entry, settings)
        seconds = _train_and_answer(entry, settings, [str(config), *context.args], seeds, jobs, short=short)
        figures = _figures(entry, seeds, scenes, seconds, short=short)
        write_json(entry / _RESULTS, {**settings, **figures})
    rows = _entries(out)
    write_file(out / "table.md", _markdown(rows))
    _show(entry.name, figures)
    typer.echo(f"{entry}: {seeds} trained, {seconds:.0f} CPU-seconds; {out / 'table.md'}: {len(rows)} entries")


# ---------------------------------------------------------------- before the trainings


def _check_stage(stage: str, config: Path, keys: set[str]) -> None:
    """Refuse a recipe of the other stage: the options of GRPO that SFT does not have tell the two apart.

    Raises:
        ConfigError: it has none of them and the stage is grpo, or some and the stage is sft.
    """
    names = {kind: {option.name for option in (*our_options(kind), *trl_options(kind))} for kind in _SHORT}
    found = sorted(keys & (names["grpo"] - names["sft"]))
    if stage == "sft" and found:
        raise ConfigError(f"{config}: {found[0]}: expected a recipe of SFT, found an option of GRPO; pass --stage grpo")
    if stage == "grpo" and not found:
        raise ConfigError(
            f"{config}: expected a recipe of GRPO, found none of its options (rewards, num_generations, ...); a recipe "
            "that changes ours begins with include: [configs/tiny-grpo.yaml], and one of SFT needs --stage sft"
        )


def _hashes(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of reward terms and their hashes, so that an edited file is another idea."""
    from r1sgg.rewards.rubric import files_of

    files = files_of(recipe["rewards"]) if recipe.get("rewards") is not None else []
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}


def _data(stage: str, seed: int) -> str:
    """Return the data of a training, as in runs/tiny.sh; the questions keep the model answering those."""
    return f"scenes:200000,seed={10 + seed if stage == 'grpo' else 20 + seed},annotation=vg" + (
        ",questions=20" if stage == "sft" else ""
    )


def _plain(data: str) -> set[str]:
    """What a data set consists of, but for its seed."""
    return {word for word in str(data).split(",") if not word.startswith("seed=")} - {"preset=small"}


def _check(entry: Path, settings: Mapping[str, Any]) -> None:
    """See that a folder holds no work of other settings, and note these.

    Raises:
        InputError: it does.
    """
    from r1sgg.data.jsonl import read_json

    record = entry / _SETTINGS
    begun = any(
        path for kept in ("/checkpoint-*", "/trainer_state.json", ".*.jsonl") for path in entry.glob(f"s*{kept}")
    )
    if begun and record.is_file():
        found = read_json(record)
        if differs := first_difference(settings, found if isinstance(found, dict) else {}):
            where, value, was = differs
            raise InputError(
                f"{entry}: {where}",
                expected=f"an entry with the same settings ({shortened(value)})",
                found=shortened(was),
                hint=f"choose another name, or remove {entry}",
            )
    if not begun:
        for path in entry.glob("s[0-9]*.json"):
            path.unlink()  # what failed trainings of perhaps another recipe cost
    write_json(record, settings)


# ---------------------------------------------------------------- trainings and answers


def _train_and_answer(
    entry: Path, settings: Mapping[str, Any], recipe: Sequence[str], seeds: int, jobs: int, *, short: bool
) -> float:
    """Run what is missing of each seed; return the CPU-seconds of all trainings.

    Raises:
        TrainingError: a command failed; its last line says why.
    """
    from concurrent.futures import ThreadPoolExecutor

    with _stopped_together(entry), ThreadPoolExecutor(jobs) as pool:
        try:
            return sum(pool.map(lambda seed: _one(entry, settings, recipe, seed, short=short), range(seeds)))
        except TrainingError:
            pool.shutdown(wait=False, cancel_futures=True)  # what runs goes on to its end, nothing new begins
            raise
        except (KeyboardInterrupt, SystemExit):
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(_running):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            raise


@contextlib.contextmanager
def _stopped_together(entry: Path) -> Iterator[None]:
    """Make SIGTERM end this command as Ctrl-C does, and say that it can be resumed."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        typer.echo(f"{entry}: stopped; the same command resumes it", err=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _one(entry: Path, settings: Mapping[str, Any], recipe: Sequence[str], seed: int, *, short: bool) -> float:
    from r1sgg.data.jsonl import read_json

    run, spent, log, stage = entry / f"s{seed}", entry / f"s{seed}.json", entry / f"s{seed}.log", settings["stage"]
    if not (run / "trainer_state.json").is_file():
        for answers in entry.glob(f"s{seed}.*.jsonl*"):
            answers.unlink()  # of a model that somebody has removed since
        given = {"--model": settings["model"], "--seed": seed, "--data": _data(stage, seed), "--output_dir": run}
        given |= {"--requeue": "true"} | ({"--max_steps": _SHORT[stage]} if short else {})
        typer.echo(f"seed {seed}: trains; its output goes to {log}", err=True)
        config, *options = recipe
        words = [str(word) for pair in given.items() for word in pair]
        _run([stage, "--config", config, *words, *options], log, spent)
    images = f"scenes:{settings['scenes']},seed=1,split=test"
    for how, temperature in _HOW.items():
        target = entry / f"s{seed}.{how}.jsonl"
        if not target.is_file() or target.read_bytes().count(b"\n") < settings["scenes"]:
            typer.echo(f"seed {seed}: answers {settings['scenes']:,} test scenes, {how}", err=True)
            words = ["--images", images, "--model", str(run), "--temperature", temperature, "--batch-size", "100"]
            _run(["generate", *words, "--max-new-tokens", "200", "--out", str(target)], log)
    return float(read_json(spent)["cpu_seconds"]) if spent.is_file() else 0.0


def _run(arguments: Sequence[str], log: Path, spent: Path | None = None) -> None:
    """Run a command of this package on one core, its output at the end of a log file.

    Args:
        arguments: the command.
        log: the log file.
        spent: JSON file to whose "cpu_seconds" the command's are added, also if it fails.

    Raises:
        TrainingError: it failed.
    """
    from r1sgg.data.jsonl import read_json

    script = f"from r1sgg.cli import main; main({list(arguments)!r})"
    with log.open("ab") as handle:
        started = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C reaches this command alone, which passes it on once
        )
        _running.add(started.pid)
        _, status, usage = os.wait4(started.pid, 0)
        _running.discard(started.pid)
        started.returncode = os.waitstatus_to_exitcode(status)
    if spent is not None:
        before = float(read_json(spent)["cpu_seconds"]) if spent.is_file() else 0.0
        write_json(spent, {"cpu_seconds": before + usage.ru_utime + usage.ru_stime})
    if started.returncode:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise TrainingError(f"r1sgg {arguments[0]} ended with {started.returncode}: {last} (all of it: {log})")


# ---------------------------------------------------------------- figures


def _figures(entry: Path, seeds: int, scenes: int, seconds: float, *, short: bool) -> dict[str, Any]:
    """Compute an entry's figures, and its paired comparisons with the entries of `COMPARED` that are there."""
    from r1sgg.data.sources import open_data
    from r1sgg.metrics.seeds import against, summary

    truth, annotation = (
        list(open_data(f"scenes:{scenes},seed=1,split=test,annotation={how}")) for how in ("full", "vg")
    )
    found: dict[str, Any] = {"seeds": seeds, "cpu_seconds": seconds}
    for how in _HOW:
        runs = _runs(entry, how, truth, annotation, seeds)
        assert runs is not None, "they have just been written"
        found[how] = {figure: summary(runs, figure) for figure in _FIGURES}
        for other in COMPARED:
            name = f"{other}-short" if short else other
            if name == entry.name or (beside := _runs(_place(entry.parent, name), how, truth, annotation)) is None:
                continue
            found[how][f"R@50 / {other}"] = against(runs, beside, "R@50 truth", ratio=True)
            found[how][f"precision - {other}"] = against(runs, beside, "precision", ratio=False)
    return found


def _runs(
    entry: Path, how: str, truth: list[Example], annotation: list[Example], seeds: int | None = None
) -> Runs | None:
    """Score the answers of an entry's first seeds, or of all; None where it has none to these scenes."""
    from r1sgg.data.jsonl import read_json
    from r1sgg.metrics.seeds import runs_of

    files = sorted(entry.glob(f"s*.{how}.jsonl"))
    if seeds is not None:
        files = [entry / f"s{seed}.{how}.jsonl" for seed in range(seeds)]
    if not files or read_json(entry / _SETTINGS)["scenes"] != len(truth):
        return None
    return runs_of(files, truth, annotation)


def _place(out: Path, name: str) -> Path:
    """Where an entry to compare with lies: in the folder, else in the package."""
    from r1sgg.miniature.shipped import bench_entries

    return out / name if (out / name / _RESULTS).is_file() else bench_entries() / name


def _entries(out: Path) -> dict[str, dict[str, Any]]:
    """Read the results of all entries: those of the package, then those of the folder, which take their places.

    Raises:
        InputError: a file has other JSON.
    """
    from r1sgg.data.jsonl import read_json
    from r1sgg.miniature.shipped import bench_entries

    found = [*sorted(bench_entries().glob(f"*/{_RESULTS}")), *sorted(out.glob(f"*/{_RESULTS}"))]
    rows: dict[str, dict[str, Any]] = {}
    for path in found:
        row = read_json(path)
        if not isinstance(row, dict) or not row.keys() >= {"seeds", "scenes", "cpu_seconds", *_HOW}:
            hint = "remove it, or choose another --out"
            raise InputError(str(path), expected="the results of an entry", found="other JSON", hint=hint)
        rows[path.parent.name] = row
    return dict(sorted(rows.items()))


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
