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
from r1sgg.cli.recipe_options import USUAL, by_panel
from r1sgg.cli.root import PANELS
from r1sgg.doctor.families import TABLES, reasons
from r1sgg.models.family import CAPABILITIES
from r1sgg.models.registry import FAMILIES

_BEGINNING = """\
# Commands

{help}

Options with a default say so; the others are off, or taken from the checkpoint. `r1sgg COMMAND --help` prints the
same. A misspelt option is refused with the nearest names.

**Completion.** `r1sgg --install-completion` adds completion of commands and options to bash, zsh or fish (it asks the
shell that runs it; start a new one afterwards). `r1sgg --show-completion` prints the lines instead of installing them,
for a dotfile of your own. The options of recipes and the usual ones of TRL are completed, too.

{groups}
"""


def page() -> str:
    """The page, from every command's own help."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=click.Context(command), name="r1sgg")
    groups = "\n".join(f"- {panel}: {', '.join(_link(name) for name in names)}" for panel, names in PANELS.items())
    _, _, rest = text.partition("**Usage**")
    begun = _BEGINNING.format(help=command.help, groups=groups)
    lines = [line.rstrip() for line in f"{begun}\n**Usage**{rest}".splitlines()]
    return "\n".join(_grouped(lines)).strip() + "\n"


def _link(name: str) -> str:
    return f"[`{name}`](#r1sgg-{name})"


def _grouped(lines: list[str]) -> list[str]:
    """Put the headings of groups into the options of `sft` and `grpo`."""
    headings: dict[tuple[str, str], str] = {}
    for command in USUAL:
        headings |= {(command, options[0].name): panel for panel, options in by_panel(command)}
        headings[command, USUAL[command][0]] = f"TRL's, those that most runs set (all: `r1sgg {command} --help trl`)"
    result: list[str] = []
    command = ""
    for line in lines:
        if line.startswith("## "):
            command = line.removeprefix("## `r1sgg ").rstrip("`")
        name = line.removeprefix("* `--").partition(" ")[0]
        if line.startswith("* `--") and (heading := headings.pop((command, name), None)):
            result += ["", f"{heading}:", ""]
        result.append(line)
    return result


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
