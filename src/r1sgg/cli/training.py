"""What `r1sgg sft` and `r1sgg grpo` share: the list of their options, the check of names, and the page at the end."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main

from r1sgg.cli.recipe_options import OF_THE_RUN, USUAL, Listed, by_panel, our_options, trl_options
from r1sgg.cli.root import PARTLY_FAILED, Command
from r1sgg.files import locked

if TYPE_CHECKING:
    from r1sgg.training.run import Trained

OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Options that typer does not know go to the recipe reader, which accepts TRL's options and rejects all others."""

_MOST_USED = "TRL's, those that most runs set (all of them: --help trl)"


class TrainingCommand(Command):
    """A command whose help and completion also list what the recipe reader takes; `--help trl` lists TRL's options."""

    def get_params(self, ctx: Any) -> Any:
        """Return the command's own options and those that are only listed."""
        if ctx.meta.get(_ALL_OF_TRL):
            return [*super().get_params(ctx), *_as_options((option, _title(option)) for option in self._trl())]
        return [*super().get_params(ctx), *self._listed()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; `--help trl` is another page of help."""
        for flag, topic in itertools.pairwise(args):
            if flag in ctx.help_option_names and topic.lower() == "trl":
                if not self._trl():
                    typer.echo("r1sgg: expected TRL installed, found none; pip install 'r1sgg[train]'", err=True)
                    raise typer.Exit(2)
                ctx.meta[_ALL_OF_TRL] = True
        return super().parse_args(ctx, args)

    def _trl(self) -> tuple[Listed, ...]:
        return trl_options(str(self.name))

    def _listed(self) -> list[Any]:
        name = str(self.name)
        shown = [(option, panel) for panel, options in by_panel(name) for option in options]
        named = {option.name: option for option in trl_options(name)}
        usual = [
            named[key]._replace(default=OF_THE_RUN.get(key, named[key].default)) for key in USUAL[name] if key in named
        ]
        return _as_options([*shown, *((option, _MOST_USED) for option in usual)])


_ALL_OF_TRL = "r1sgg.all_of_trl"


def _title(option: Listed) -> str:
    return {"TrainingArguments": "transformers.TrainingArguments"}.get(option.owner, f"trl {option.owner.lstrip('_')}")


def _as_options(listed: Iterable[tuple[Listed, str]]) -> list[Any]:
    """Make options that help and completion show and the parser does not know: their values stay in `context.args`."""
    listed = list(listed)
    parameters = [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default or None, annotation=_annotation(*one)
        )
        for one in listed
        for option in one[:1]
    ]

    def shown(**_: Any) -> None: ...

    shown.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    shown.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    scratch = typer.Typer(add_completion=False)
    scratch.command()(shown)
    options = [option for option in typer.main.get_command(scratch).params if option.name in shown.__annotations__]
    for option in options:
        option.add_to_parser = lambda parser, ctx: None  # type: ignore[method-assign]
        option.handle_parse_result = lambda ctx, opts, args: (None, args)  # type: ignore[method-assign]
    return options


def _annotation(option: Listed, panel: str) -> Any:
    text = (
        _first_sentence(option.help)
        if panel == _MOST_USED or panel.startswith(("trl ", "transformers"))
        else option.help
    )
    made = typer.Option(f"--{option.name}", help=text, metavar=option.kind, rich_help_panel=panel)
    return Annotated[str | None, made]


def _first_sentence(text: str) -> str:
    """Return the beginning of a help text of TRL's, which may be a page long."""
    first, stop, _ = text.partition(". ")
    return first + stop.rstrip()


# ---------------------------------------------------------------- before and after


def check_names(command: str, config: Path | None, arguments: Sequence[str]) -> None:
    """Refuse an option or a recipe's key that nothing reads, before torch is imported.

    Values are checked when the recipe is read. Nothing is refused here if TRL's options cannot be listed.

    Raises:
        ConfigError: with the nearest names.
    """
    from r1sgg.training.recipe import check_known

    if not (listed := trl_options(command)):
        return
    named = {option.name: option.kind for option in (*our_options(command), *listed)}
    check_known(named, config, arguments)


def check_values(
    command: str, config: Path | None, arguments: Sequence[str], unread: frozenset[str] = frozenset()
) -> None:
    """Refuse a reward or similarity that does not exist, and data whose files are not there, before torch is imported.

    Args:
        command: sft or grpo.
        config: YAML recipe.
        arguments: options as on the command line.
        unread: of "data" and "validation", those that the caller replaces.

    Raises:
        ConfigError, InputError, MissingDependencyError: see `r1sgg.rewards.rubric.check_rewards`,
            `r1sgg.judging.labels.check_similarity`, `r1sgg.data.sources.check_place` and
            `r1sgg.graph.vocabulary.load_vocabulary`.
    """
    from r1sgg.data.sources import check_place
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.judging.labels import check_similarity
    from r1sgg.rewards.rubric import check_rewards
    from r1sgg.training.recipe import read_value

    if command == "grpo" and (rewards := read_value("rewards", config, arguments)) is not None:
        check_rewards(rewards)
    if command == "grpo" and isinstance(similarity := read_value("similarity", config, arguments), str):
        check_similarity(similarity)
    if isinstance(vocabulary := read_value("vocabulary", config, arguments), str):
        load_vocabulary(vocabulary)
    for key in (key for key in ("data", "validation") if key not in unread):
        if isinstance(data := read_value(key, config, arguments), str) and data:  # "" is none
            check_place(data)


def check_given(config: Path | None, arguments: Sequence[str]) -> None:
    """Refuse a run without a folder or data, before torch is imported.

    Raises:
        ConfigError: see `r1sgg.training.recipe.check_needed`.
    """
    from r1sgg.training.recipe import check_needed, read_value

    check_needed(lambda key: read_value(key, config, arguments), config)


def require_trl() -> None:
    """Refuse to train without TRL, before anything else is imported.

    Raises:
        MissingDependencyError: it is not installed.
    """
    from r1sgg.errors import require

    if importlib.util.find_spec("trl") is None:
        require("trl", "train")


def finish(trained: Trained) -> None:
    """Write the page of a run that has ended, and say what it left and which images it could not use."""
    from r1sgg.pages.report import build_report
    from r1sgg.training.run import REPORT

    if trained.first:
        page, names = trained.folder / REPORT, ["README.md", "completions.jsonl", "metrics.jsonl"]
        left = ["checkpoint", *(name for name in names if (trained.folder / name).is_file())]
        if "metrics.jsonl" in left:
            with locked(page):
                build_report(page, training=[trained.folder], title=f"Run {trained.folder.resolve().name}")
            left.append(REPORT)
        typer.echo(f"trained {trained.steps} steps; in {trained.folder}: {', '.join(left)}", err=True)
    if trained.left_out:
        typer.echo(f"{trained.left_out} images could not be used", err=True)
        raise typer.Exit(PARTLY_FAILED)
