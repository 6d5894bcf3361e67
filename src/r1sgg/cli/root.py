"""The root of the command line: the applications that the command modules register their commands with."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from r1sgg import __version__

app = typer.Typer(
    name="r1sgg",
    help="Teach multimodal models to read images as scene graphs, measure them, and use the result.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(no_args_is_help=True, help="Make and convert data sets.")
app.add_typer(data_app, name="data")

PARTLY_FAILED = 1
"""Exit code of a command that went to its end though some items failed."""


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
