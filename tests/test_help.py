"""`--help` of every command imports the command line and no library that computes; its CPU time: benchmarks/help.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from r1sgg.cli import app

from .test_exported_names import HEAVY

LIBRARIES = {
    *HEAVY,
    "numpy",
    "PIL",
    "pyarrow",
    "pandas",
    "ray",
    "fastapi",
    "uvicorn",
    "accelerate",
    "peft",
    "tokenizers",
}
OURS = {"r1sgg", "r1sgg.errors", "r1sgg.files"}
SCRIPT = """
import contextlib, io, json, sys
sys.argv[0] = "r1sgg"
from r1sgg.cli import main
texts = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    texts.append(said.getvalue())
print(json.dumps({"texts": texts, "modules": sorted(sys.modules)}))
"""


def commands(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield name
    for child, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*name, child))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The help of every command, written by one process, and all modules that it has imported then."""
    names = list(commands(typer.main.get_command(app)))
    done = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(names)], check=True, capture_output=True, text=True)
    return {"names": names, **json.loads(done.stdout)}


def test_every_command_has_a_help_of_its_own(found: dict[str, Any]) -> None:
    assert len(found["names"]) > 20
    for name, text in zip(found["names"], found["texts"], strict=True):
        assert f" Usage: {' '.join(('r1sgg', *name))} " in text


def test_help_imports_the_command_line_alone(found: dict[str, Any]) -> None:
    loaded = set(found["modules"])
    assert {"r1sgg.cli.grpo", "rich"} <= loaded
    assert loaded.isdisjoint(LIBRARIES)
    assert {name for name in loaded if name.split(".")[0] == "r1sgg" and not name.startswith("r1sgg.cli")} == OURS


def test_the_headings_of_the_first_page_are_for_its_own_commands(found: dict[str, Any]) -> None:
    texts = dict(zip(map(tuple, found["names"]), found["texts"], strict=True))
    assert "Measure" in texts[()]
    assert "Measure" not in texts["data",]  # `data captions` makes data; `captions` measures
