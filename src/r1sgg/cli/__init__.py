"""The command line. Each command is a function in a module beside this one; heavy imports stay inside them.

Exit codes: 0 done; 1 done, but some items failed (each is named in the output); 2 nothing could be done, and one
sentence on standard error says why.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated

import typer

from r1sgg import __version__
from r1sgg.errors import R1SGGError

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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    # read when torch is imported: threads that wait for others sleep, where spinning would take the others' cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(args=arguments)
    except R1SGGError as error:
        typer.echo(f"r1sgg: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        place, wanted = f"{error.filename}"[-200:], "a file or folder that can be used"
        if error.errno == errno.ENOSPC:
            place, wanted = "the disk", "room to write"
        logging.getLogger("r1sgg").info("where it happened", exc_info=error)
        typer.echo(f"r1sgg: {place}: expected {wanted}, found {error.strerror}", err=True)
        sys.exit(2)


# Commands register themselves with `app` and `data_app` when their modules are imported.
from r1sgg.cli import data as _data  # noqa: E402,F401
from r1sgg.cli import data_build as _data_build  # noqa: E402,F401
from r1sgg.cli import data_check as _data_check  # noqa: E402,F401
from r1sgg.cli import data_stats as _data_stats  # noqa: E402,F401
from r1sgg.cli import data_vg as _data_vg  # noqa: E402,F401
from r1sgg.cli import data_view as _data_view  # noqa: E402,F401
from r1sgg.cli import evaluate as _evaluate  # noqa: E402,F401
from r1sgg.cli import export as _export  # noqa: E402,F401
from r1sgg.cli import generate as _generate  # noqa: E402,F401
from r1sgg.cli import grpo as _grpo  # noqa: E402,F401
from r1sgg.cli import predict as _predict  # noqa: E402,F401
from r1sgg.cli import probe as _probe  # noqa: E402,F401
from r1sgg.cli import publish as _publish  # noqa: E402,F401
from r1sgg.cli import report as _report  # noqa: E402,F401
from r1sgg.cli import score as _score  # noqa: E402,F401
from r1sgg.cli import serve as _serve  # noqa: E402,F401
from r1sgg.cli import sft as _sft  # noqa: E402,F401
from r1sgg.cli import tiny as _tiny  # noqa: E402,F401
from r1sgg.cli import web as _web  # noqa: E402,F401
