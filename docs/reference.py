"""Writes docs/cli.md from the commands themselves; `pytest tests/test_docs.py` fails where the page is out of date.

python docs/reference.py > docs/cli.md
"""

from __future__ import annotations

import sys

import click
import typer.main
from typer.cli import get_docs_for_click

from r1sgg.cli import app


def page() -> str:
    """The page, from every command's own help."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=click.Context(command), name="r1sgg")
    lines = [line.rstrip() for line in text.replace("# `r1sgg`", "# Commands", 1).splitlines()]
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
