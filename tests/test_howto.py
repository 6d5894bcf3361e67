"""The how-to pages, run as they are written, each in a folder of its own.

A block of Python that begins with a file name in a comment becomes that file; another one is run. A pyproject.toml is
installed as far as its entry points go. Of a console block each command is run, and prints what the page says.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import r1sgg

PAGES = sorted((Path(__file__).parents[1] / "docs" / "howto").glob("*.md"))
COMMANDS = {"r1sgg": [sys.executable, "-c", "from r1sgg.cli import main; main()"], "python": [sys.executable]}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """Language, file name and text of each block."""
    found = []
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        name = re.match(r"# ([\w./-]+\.\w+)\n", text)
        found.append((language, name[1] if name else None, text))
    return found


def install(folder: Path, text: str) -> None:
    """Make the entry points of a pyproject.toml known to programs that have the folder on their path."""
    project = tomllib.loads(text)["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project.get("entry-points", {}).items()
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in points.items()) for group, points in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


def run(folder: Path, command: list[str]) -> str:
    path = os.pathsep.join([str(folder), str(Path(r1sgg.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def session(folder: Path, text: str) -> None:
    """Run the commands of a console block and compare what they print with what is written below them."""
    for command, expected in re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        program, *arguments = shlex.split(command.replace("\\\n", ""))
        printed = run(folder, [*COMMANDS[program], *arguments])
        if expected.strip():
            assert doctest.OutputChecker().check_output(expected, printed, FLAGS), f"$ {command}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_written(page: Path, tmp_path: Path) -> None:
    for language, name, text in blocks(page):
        if name is not None:
            (tmp_path / name).write_text(text)
        if name == "pyproject.toml":
            install(tmp_path, text)
        elif language == "python" and name is None:
            run(tmp_path, [sys.executable, "-c", text])
        elif language == "console":
            session(tmp_path, text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_change_touches_at_most_two_files_besides_its_test(page: Path) -> None:
    files = {name for _, name, _ in blocks(page) if name and not name.startswith("test_")}
    assert len(files) <= 2
