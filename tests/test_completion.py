"""Shell completion, typed into a real bash: commands, options of commands, and options of recipes."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROMPT = "ready> "


class Bash:
    """An interactive bash in a terminal of its own, with `r1sgg` on the path and its completion loaded."""

    def __init__(self, folder: Path) -> None:
        command = folder / "r1sgg"
        command.write_text(
            f'#!{sys.executable}\nimport sys\nsys.argv[0] = "r1sgg"\nfrom r1sgg.cli import main\nmain()\n'
        )
        command.chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "COLUMNS": "200"}
        script = subprocess.run(
            ["r1sgg"], env={**environment, "_R1SGG_COMPLETE": "source_bash"}, check=True, capture_output=True, text=True
        ).stdout
        (folder / "rc").write_text(f"PS1='{PROMPT}'\nbind 'set enable-bracketed-paste off'\n{script}\n")
        self.process, self.terminal = self._start(folder, environment)
        self.read_until(PROMPT)

    @staticmethod
    def _start(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["bash", "--noprofile", "--rcfile", str(folder / "rc"), "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        return process, ours

    def read_until(self, pattern: str) -> str:
        """What the terminal shows until a pattern is seen."""
        seen, deadline = "", time.monotonic() + 60
        while not re.search(pattern, seen):
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"expected {pattern!r}, found {seen!r}"
            seen += os.read(self.terminal, 65536).decode()
        return seen

    def completed(self, typed: str, becomes: str) -> str:
        """Type a text and a tab; what the line becomes."""
        os.write(self.terminal, f"{typed}\t".encode())
        seen = self.read_until(becomes)
        os.write(self.terminal, b"\x15")  # empties the line
        return seen

    def close(self) -> None:
        os.close(self.terminal)
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bash]:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    shell = Bash(tmp_path_factory.mktemp("shell"))
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("r1sgg evalu", "r1sgg evaluate "),
        ("r1sgg data sta", "r1sgg data stats "),
        ("r1sgg evaluate --ground", "r1sgg evaluate --ground-truth "),
        ("r1sgg grpo --logged", "r1sgg grpo --logged_completions "),
        ("r1sgg sft --config x.yaml --num_train", "--num_train_epochs "),
    ],
)
def test_a_tab_completes(bash: Bash, typed: str, becomes: str) -> None:
    assert becomes in bash.completed(typed, becomes)


def test_completion_loads_no_library_that_computes() -> None:
    """A tab must not wait for torch."""
    code = (
        "import os, sys\n"
        "sys.argv = ['r1sgg']\n"
        "os.environ |= {'_R1SGG_COMPLETE': 'complete_bash', 'COMP_WORDS': 'r1sgg grpo --rew', 'COMP_CWORD': '2'}\n"
        "from r1sgg.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('LOADED', [m for m in ('torch', 'numpy', 'transformers', 'trl') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "--rewards" in done.stdout
    assert done.stdout.rstrip().endswith("LOADED []")
