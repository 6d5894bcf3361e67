"""The command line. Each command is a function in a module beside this one; heavy imports stay inside them.

Exit codes: 0: done; 1: done, but some items failed, each of which is named in the output; 2: nothing was done, and one
sentence on standard error says why.
"""

from __future__ import annotations

import logging
import os
import sys

import typer

from r1sgg.cli import (  # each registers its commands when it is imported
    bench,  # noqa: F401
    calibrate,  # noqa: F401
    captions,  # noqa: F401
    data,  # noqa: F401
    data_build,  # noqa: F401
    data_captions,  # noqa: F401
    data_check,  # noqa: F401
    data_split,  # noqa: F401
    data_stats,  # noqa: F401
    data_vg,  # noqa: F401
    data_view,  # noqa: F401
    doctor,  # noqa: F401
    evaluate,  # noqa: F401
    export,  # noqa: F401
    generate,  # noqa: F401
    grpo,  # noqa: F401
    predict,  # noqa: F401
    probe,  # noqa: F401
    publish,  # noqa: F401
    report,  # noqa: F401
    score,  # noqa: F401
    serve,  # noqa: F401
    sft,  # noqa: F401
    tiny,  # noqa: F401
    web,  # noqa: F401
)
from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.errors import R1SGGError
from r1sgg.files import NO_ROOM

__all__ = ["PARTLY_FAILED", "app", "main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    # read when torch is imported: threads that wait for others sleep, where spinning would take the others' cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(args=arguments)
    except R1SGGError as error:
        typer.echo(f"r1sgg: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        place, wanted = f"{error.filename}"[-200:], "a usable file or folder"
        if error.errno in NO_ROOM:
            place, wanted = "the disk", "free space"
        logging.getLogger("r1sgg").info("traceback of the error", exc_info=error)
        typer.echo(f"r1sgg: {place}: expected {wanted}, found {error.strerror}", err=True)
        sys.exit(2)
