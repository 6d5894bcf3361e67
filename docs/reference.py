"""Writes docs/cli.md from the commands themselves, and the tables of docs/families.md from the registry of families.

`pytest tests/test_docs.py` fails where a page is out of date.

python docs/reference.py > docs/cli.md
python docs/reference.py families       # the text below "## The table" of docs/families.md
"""

from __future__ import annotations

import sys

import click
import typer.main
from typer.cli import get_docs_for_click

from r1sgg.cli import app
from r1sgg.doctor.families import TABLES, reasons
from r1sgg.models.family import CAPABILITIES
from r1sgg.models.registry import FAMILIES


def page() -> str:
    """The page, from every command's own help."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=click.Context(command), name="r1sgg")
    lines = [line.rstrip() for line in text.replace("# `r1sgg`", "# Commands", 1).splitlines()]
    return "\n".join(lines).strip() + "\n"


def families() -> str:
    """The tables of `r1sgg doctor --families`, and the reasons below them."""
    parts = []
    for heads, cells in TABLES:
        rows = [cells(family) for family in FAMILIES]
        lines = [heads, ("---",) * len(heads), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    parts.append("".join(f"- {name}: {meaning}\n" for name, meaning in CAPABILITIES.items()))
    parts.append("".join(f"- {line}\n" for line in reasons()))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(families() if "families" in sys.argv[1:] else page())
