"""`r1sgg bench`: try an idea on the embedded model, and see what it is worth beside the recipe and its control."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli.bench_runs import HOW, data_of, is_complete, train_and_answer
from r1sgg.cli.recipe_options import our_options, trl_options
from r1sgg.cli.root import app
from r1sgg.cli.training import OPEN, check_names, check_values
from r1sgg.errors import ConfigError, InputError, first_difference, require
from r1sgg.errors import short as shortened
from r1sgg.files import locked, user_path, write_file, write_json

if TYPE_CHECKING:
    from r1sgg.data.base import Example
    from r1sgg.metrics.seeds import Runs

COMPARED = ("control", "recipe")
"""Entries that every other is compared with: SFT of equal compute, and the recipe of RL. The package has both."""

_SHORT = {"grpo": 15, "sft": 120}  # a quarter of the steps of runs/tiny.sh
_FIGURES = ("failures", "R@50 truth", "precision", "relations per image", "repeated")
_RESULTS, _SETTINGS, _RECIPE = "results.json", "settings.json", "recipe.yaml"
_OURS = ("seed", "data", "output_dir", "resume", "requeue")
"""Options of a training that the bench chooses."""


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
    import yaml

    from r1sgg.doctor.recipe import read_stage
    from r1sgg.training.recipe import read_keys

    if stage not in _SHORT:
        raise ConfigError(f"--stage: expected grpo or sft, found {stage!r}")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{name!r}: expected a name of letters, digits, - and _")
    require("trl", "train")
    _check_stage(stage, config, read_keys(config, context.args))
    check_names(stage, config, context.args)
    check_values(stage, config, context.args, unread=frozenset(("data",)))
    _check_chosen(context.args, short=short)
    entry = out / (f"{name}-short" if short else name)
    _entries(out)  # what is there can be read
    chosen = read_stage(config, context.args)[1].chosen
    for key, value in (("model", model), ("data", data_of(stage, 0))):
        if (unused := chosen.get(key)) is not None and _plain(unused) != _plain(value):
            typer.echo(f"{config}: its {key}, {unused}, is not used: the bench takes {value}", err=True)
    recipe = {key: value for key, value in chosen.items() if key not in (*_OURS, "model")}
    recipe |= {"max_steps": _SHORT[stage]} if short else {}
    settings = _settings(stage, model, scenes, recipe)
    with locked(entry):
        _check(entry, settings)
        write_file(entry / _RECIPE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        seconds = train_and_answer(
            entry,
            settings,
            entry / _RECIPE,
            seeds,
            jobs,
            lambda: _compare(entry, _settings(stage, model, scenes, recipe), settings),
        )
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


def _check_chosen(arguments: Sequence[str], *, short: bool) -> None:
    """Refuse options of the command line that the bench chooses.

    Raises:
        ConfigError: there is one.
    """
    words = [word.partition("=")[0].removeprefix("--").replace("-", "_") for word in arguments if word[:2] == "--"]
    given = {word.removeprefix("no_") for word in words}
    if taken := [key for key in _OURS if key in given]:
        raise ConfigError(f"--{taken[0]}: expected none, because the bench chooses it, found one; leave it out")
    if short and "max_steps" in given:
        raise ConfigError("--max_steps: expected none with --short, which trains a quarter of the steps, found one")


def _settings(stage: str, model: str, scenes: int, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry's trainings depend on, as JSON keeps it: values, weights, and hashes of the files read.

    Raises:
        ModelError: there is no such model.
    """
    from r1sgg.bulk.resume import fingerprint
    from r1sgg.models.finding import resolve
    from r1sgg.rewards.rubric import files_of

    files = files_of(recipe["rewards"]) if recipe.get("rewards") is not None else []
    files += [user_path(str(recipe[key])) for key in ("vocabulary", "prompt") if key in recipe]
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files if path.is_file()}
    weights = fingerprint(resolve(model))
    kept = {key: _kept(value) for key, value in recipe.items()}
    return {"stage": stage, "model": model, "weights": weights, "scenes": scenes, "recipe": kept, "files": hashes}


def _kept(value: Any) -> Any:
    """Return a value of a recipe as JSON gives it back; infinity and dates as text."""
    if isinstance(value, Mapping):
        return {str(key): _kept(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_kept(one) for one in value]
    plain = value is None or isinstance(value, str | bool) or (isinstance(value, int | float) and abs(value) < 2**63)
    return value if plain else str(value)


def _plain(data: str) -> set[str]:
    """What a data set consists of, but for its seed."""
    return {word for word in str(data).split(",") if not word.startswith("seed=")} - {"preset=small"}


def _check(entry: Path, settings: Mapping[str, Any]) -> None:
    """See that a folder holds no work of other settings, and note these.

    Raises:
        InputError: it does.
    """
    from r1sgg.data.jsonl import read_json

    record, again = entry / _SETTINGS, f"choose another name, or remove {entry}"
    works = ("/checkpoint-*", "/trainer_state.json", ".*.jsonl")
    if any(path for work in works for path in entry.glob(f"s[0-9]*{work}")):
        found = read_json(record) if record.is_file() else None
        if not isinstance(found, dict) or "recipe" not in found:
            was = "none" if found is None else "those of an earlier version"
            raise InputError(str(record), expected="the settings of the work in this folder", found=was, hint=again)
        _compare(entry, settings, found)
    write_json(record, settings)


def _compare(entry: Path, settings: Mapping[str, Any], begun: Mapping[str, Any]) -> None:
    """Refuse settings that are not those with which an entry was begun.

    Raises:
        InputError: they differ; the sentence names the first that does.
    """
    if (differs := first_difference(settings, begun)) is None:
        return
    (where, value, was), again = differs, f"choose another name, or remove {entry}"
    if where == "weights" or where.startswith("files."):
        what = settings["model"] if where == "weights" else where.removeprefix("files.")
        expected = f"{what} as it was when the entry was begun"
        raise InputError(str(entry), expected=expected, found="that it was changed since", hint=again)
    expected = f"an entry with the same settings ({shortened(value)})"
    raise InputError(f"{entry}: {where}", expected=expected, found=shortened(was), hint=again)


# ---------------------------------------------------------------- figures


def _figures(entry: Path, seeds: int, scenes: int, seconds: float, *, short: bool) -> dict[str, Any]:
    """Compute an entry's figures, and its paired comparisons with the entries of `COMPARED` that are there."""
    from r1sgg.data.sources import open_data
    from r1sgg.metrics.seeds import against, summary

    truth, annotation = (
        list(open_data(f"scenes:{scenes},seed=1,split=test,annotation={how}")) for how in ("full", "vg")
    )
    found: dict[str, Any] = {"seeds": seeds, "cpu_seconds": seconds}
    names = {other: f"{other}-short" if short else other for other in COMPARED}
    compared = {o: place for o, n in names.items() if n != entry.name and (place := _place(entry.parent, n, scenes))}
    for how in HOW:
        runs = _runs(entry, how, truth, annotation, seeds)
        found[how] = {figure: summary(runs, figure) for figure in _FIGURES}
        for other, (folder, number) in compared.items():
            beside = _runs(folder, how, truth, annotation, number)
            found[how][f"R@50 / {other}"] = against(runs, beside, "R@50 truth", ratio=True)
            found[how][f"precision - {other}"] = against(runs, beside, "precision", ratio=False)
    return found


def _runs(entry: Path, how: str, truth: list[Example], annotation: list[Example], seeds: int) -> Runs:
    """Score the answers of an entry's first seeds."""
    from r1sgg.metrics.seeds import runs_of

    return runs_of([entry / f"s{seed}.{how}.jsonl" for seed in range(seeds)], truth, annotation)


def _place(out: Path, name: str, scenes: int) -> tuple[Path, int] | None:
    """Return the finished entry of a name, and its number of seeds: that of the folder, else that of the package.

    None where neither has answers to so many scenes.
    """
    from r1sgg.data.jsonl import read_json
    from r1sgg.miniature.shipped import bench_entries

    for entry in (out / name, bench_entries() / name):
        row = read_json(entry / _RESULTS) if (entry / _RESULTS).is_file() else {"scenes": 0}
        if row["scenes"] == scenes:
            answers = [entry / f"s{seed}.{how}.jsonl" for how in HOW for seed in range(row["seeds"])]
            if all(is_complete(path, scenes) for path in answers):
                return entry, row["seeds"]
            typer.echo(f"{entry}: not compared with, because its answers are incomplete", err=True)
    return None


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
        fields = {"seeds": int, "scenes": int, "cpu_seconds": float | int | None, **dict.fromkeys(HOW, dict)}
        if not isinstance(row, dict) or not all(isinstance(row.get(key, ...), kind) for key, kind in fields.items()):
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
    for how in HOW:
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
    for how in HOW:
        shown.add_column(how, justify="right", no_wrap=True)
    for figure in figures["greedy"]:
        shown.add_row(figure, *(_cell(figure, figures[how][figure]) for how in HOW))
    Console().print(shown)
    if not any(" / " in figure for figure in figures["greedy"]):
        typer.echo("compared with nothing: there is no entry control or recipe of this length and these scenes")
