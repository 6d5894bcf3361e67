"""What the repository says of itself: the README's tree, the order of imports, and the files for contributors."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "r1sgg"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SECTION = (ROOT / "README.md").read_text().partition("## How it is built")[2]


def tree() -> dict[str, str]:
    """The README's tree: paths from the root, and what is said of each."""
    entries: dict[str, str] = {}
    folder = last = ""
    for line in SECTION.split("```")[1].strip().splitlines():
        words = line.split()
        indent = len(line) - len(line.lstrip())
        if indent > 2:
            entries[last] += f" {' '.join(words)}"
        elif indent == 2 or words[0].endswith("/"):
            folder = folder if indent else ""
            last = folder + words[0]
            entries[last] = " ".join(words[1:])
            folder = folder if indent else words[0]
        else:
            entries |= dict.fromkeys(words, "")
    return entries


def test_what_the_readme_s_tree_names_exists() -> None:
    entries = tree()
    assert len(entries) > 30
    for path, said in entries.items():
        place = ROOT / path
        assert place.is_dir() if path.endswith("/") else place.is_file(), path
        inside = re.findall(r"[\w-]+\.(?:py|sh)\b|\b\w+/(?=[ ,]|$)", said)
        assert [name for name in inside if not (place / name).exists()] == [], f"in {path}"


def test_the_readme_s_tree_has_every_package() -> None:
    packages = {f"src/r1sgg/{init.parent.name}/" for init in PACKAGE.glob("*/__init__.py")}
    assert packages == {path for path in tree() if path.startswith("src/r1sgg/") and path.count("/") == 3}


def test_the_readme_gives_the_imports_order_of_the_contract() -> None:
    (layers,) = (c["layers"] for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    said = re.search(r"(errors <- .* <- cli)\.", " ".join(SECTION.split()))
    assert said is not None
    steps = [sorted(re.findall(r"\w+", step)) for step in said[1].split(" <- ")]
    assert steps == [sorted(layer.split(" | ")) for layer in reversed(layers)]


def test_a_commit_is_checked_as_make_lint_checks() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == ["make lint"]


def test_the_workflow_runs_what_a_merge_must_pass() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["checks"]["steps"]]
    assert jobs["checks"]["timeout-minutes"] == 60


def test_the_version_is_the_same_everywhere() -> None:
    version = PYPROJECT["project"]["version"]
    assert f'__version__ = "{version}"\n' in (PACKAGE / "__init__.py").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", headings[1])


def test_the_source_distribution_holds_what_the_readme_names() -> None:
    include = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in include if not (ROOT / name).exists()] == []
    assert {path.split("/")[0] for path in tree()} <= {*include, "pyproject.toml"}
