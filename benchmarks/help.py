"""What `--help` of every command costs: CPU-seconds of a process of its own, user and system.

    git archive COMMIT src | tar -x -C before && python benchmarks/help.py --before before/src

The quickest of --rounds counts; the two sources take turns. "bytecode": the interpreter finds the compiled modules, as
after `pip install`; "source": it compiles every module again, as with PYTHONDONTWRITEBYTECODE=1 and an empty cache.
`python -c "import typer, numpy"` stands below, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from r1sgg.cli import app

HERE = Path(__file__).resolve().parents[1] / "src"
RUN = "from r1sgg.cli import main; main()"


def commands(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of a command and of all below it."""
    yield name
    for child, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, (*name, child))


def cpu_seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """CPU-seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the folder src of an older commit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sources = {"now": HERE} if options.before is None else {"before": options.before.resolve(), "now": HERE}
    names = list(commands(typer.main.get_command(app)))
    rows: dict[str, dict[str, float]] = {}
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as nothing:
        kinds = {
            "bytecode": {**plain, "PYTHONPYCACHEPREFIX": cache},
            "source": {**plain, "PYTHONPYCACHEPREFIX": nothing, "PYTHONDONTWRITEBYTECODE": "1"},
        }
        for _ in range(options.rounds + 1):  # the first fills the cache
            for kind, environment in kinds.items():
                for which, source in sources.items():
                    there = {**environment, "PYTHONPATH": str(source)}
                    for name in names:
                        row = rows.setdefault(" ".join(("r1sgg", *name)), {})
                        spent = cpu_seconds(["-c", RUN, *name, "--help"], there)
                        row[f"{kind}, {which}"] = min(spent, row.get(f"{kind}, {which}", spent))
                row = rows.setdefault("import typer, numpy", {})
                spent = cpu_seconds(["-c", "import typer, numpy"], environment)
                row[f"{kind}, now"] = min(spent, row.get(f"{kind}, now", spent))
    columns = [f"{kind}, {which}" for kind in kinds for which in sources]
    print(f"{'CPU-seconds':22s}" + "".join(f"{column:>18s}" for column in columns))
    for name, row in rows.items():
        print(f"{name:22s}" + "".join(f"{row[c]:18.2f}" if c in row else f"{'-':>18s}" for c in columns))
    ours = [row for name, row in rows.items() if name.startswith("r1sgg")]
    for column in columns:
        found = [row[column] for row in ours]
        print(f"{column}: {min(found):.2f} to {max(found):.2f} in {len(found)} commands")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "python": sys.version.split()[0]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
