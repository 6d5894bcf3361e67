"""The root of the command line: the applications that the command modules register their commands with."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from r1sgg import __version__
from r1sgg.errors import ConfigError, InputError
from r1sgg.files import STANDARD_OUTPUT, protected, refuse_inputs, standard_output, user_path

_Function = TypeVar("_Function", bound=Callable[..., Any])

OUTPUTS = frozenset(("out", "json", "figure", "fix", "log"))
"""Names of the options that name what a command writes."""
SOURCES = frozenset(
    (
        *("data", "images", "model", "checkpoint", "ground_truth", "vocabulary", "rewards", "predictions", "prompt"),
        "file",
        *("train", "groups", "ground", "leak"),
    )
)
"""Names of the options that are texts and may name files to read; every other path is an input too."""


class Command(TyperCommand):
    """A command that refuses, before it begins, to write over what it reads, or two outputs into one file."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command with its inputs protected.

        Raises:
            InputError: an output is an input, or another output.
            ConfigError: a number is too large for the files that hold it.
        """
        for name, value in ctx.params.items():
            if isinstance(value, int) and abs(value) >= _MOST:
                raise ConfigError(f"--{name.replace('_', '-')}: expected a number below 2^63, found {value}")
        outputs = [path for name in sorted(OUTPUTS & ctx.params.keys()) for path in _paths(ctx.params[name])]
        with contextlib.ExitStack() as stack:
            if ctx.params.get("json") == STANDARD_OUTPUT:  # nothing else is printed there then
                stack.enter_context(standard_output())
                outputs.remove(STANDARD_OUTPUT)
            stack.enter_context(protected(inputs_of(ctx.params)))
            refuse_inputs(outputs)
            if len({os.path.realpath(path) for path in outputs}) < len(outputs):
                raise InputError(str(outputs[-1]), expected="a file for each output", found="one name for two of them")
            return super().invoke(ctx)


def inputs_of(values: dict[str, Any]) -> Iterator[Path]:
    """The files and folders that a command's options may name, by the options' names; not all of them exist."""
    for name, value in values.items():
        if name not in OUTPUTS and name != "config":  # a recipe may be the record of the run that it continues
            yield from _paths(value)
        texts = value if isinstance(value, list | tuple) else [value]
        for text in (text for text in texts if name in SOURCES and isinstance(text, str)):
            yield from (user_path(found) for found in _named(name, text) if found)


def _paths(value: Any) -> list[Path]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, Path)]


def _named(option: str, text: str) -> Iterator[str]:
    """What may be a path in a text like val.jsonl, vg150:DIR,images=DIR, "shards/{00..99}.tar" or FILE.py:NAME."""
    from r1sgg.data.importers.registry import is_layout
    from r1sgg.data.spec import is_kind

    kind, _, rest = text.partition(":")
    packed = kind in ("parquet", "webdataset")
    if option == "images" and "{" in text:
        from r1sgg.bulk.archives import expand

        yield from expand(rest if packed else text)
    elif packed or is_kind(kind) or (option in ("predictions", "file") and is_layout(kind)):
        options = (part.partition("=") for part in rest.split(","))
        yield from (value if equals else key for key, equals, value in options if not equals or key in _PATHS)
    elif option == "leak":
        yield rest or text
    elif option == "rewards":
        yield from re.findall(r"[^\s\"{},:]+\.(?:py|jsonl)", text)
    elif text not in _OURS:
        yield text


_PATHS = frozenset(("images", "names", "panoptic", "splits"))  # options of data that name a file or folder
_OURS = frozenset(
    ("tiny", "tiny-sft", "tiny-base", "photo", "open", "closed", "vg150", "psg")
)  # models, vocabularies, prompts


_MOST = 2**63
"""Whole numbers in JSON files are smaller."""

PANELS = {
    "Data": ("data",),
    "Train": ("sft", "grpo", "doctor", "publish", "bench", "tiny"),
    "Ask a model": ("predict", "generate"),
    "Measure": ("evaluate", "score", "calibrate", "probe", "captions"),
    "Look": ("report", "draw", "web"),
    "Serve and share": ("serve", "export"),
}
"""The commands of `r1sgg --help` by what they are for, in the order of a first use."""


class Application(typer.Typer):
    """Typer, with `Command` for every command, each under its heading of `PANELS`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        """Register a function as a command; see `typer.Typer.command`."""

        def register(function: _Function) -> _Function:
            called = name or getattr(function, "__name__", "")
            whole = self.info.name == "r1sgg"  # `data captions` is not `captions`
            panel = next((panel for panel, names in PANELS.items() if whole and called in names), None)
            given = {"cls": Command, "rich_help_panel": panel, **options}
            return typer.Typer.command(self, name, **given)(function)

        return register


class Grouped(TyperGroup):
    """Commands in the order of `PANELS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        order = [name for names in PANELS.values() for name in names]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


app = Application(
    name="r1sgg",
    cls=Grouped,
    help="Train multimodal models to read images as scene graphs, evaluate them, and use the graphs.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = Application(no_args_is_help=True, help="Create, convert and inspect data sets.")
app.add_typer(data_app, name="data", rich_help_panel="Data")
captions_app = Application(no_args_is_help=True, help="Judge captions by scene graphs.")
app.add_typer(captions_app, name="captions", rich_help_panel="Measure")

PARTLY_FAILED = 1
"""Exit code of a command that finished although some items failed."""


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each step.")] = False,
) -> None:
    """Options common to all commands."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
