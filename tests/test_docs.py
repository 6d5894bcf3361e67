"""The documentation: the page of commands is up to date, every page can be reached, and the Python blocks run.

The blocks of a page run in order in one namespace, in a folder with the files that the pages name. A `print` with a
comment behind it must print that comment. The pages of docs/howto have a test of their own (`test_howto.py`).
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from r1sgg import Rubric, SceneGraph, read_ground_truth, render
from r1sgg.cli import app
from r1sgg.graph.scene import SceneObject

ROOT = Path(__file__).parent.parent
FRAME = (1000.0, 1000.0)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {
    "adapters.md": "needs the trainers; tests/rewards/test_adapters_docs.py runs the files with stand-ins",
    "deploying.md": "tests/serving/test_front.py runs its client against a real server",
    "endpoint.md": "asks a paid service over the network",
    "own_data.md": "its scripts and its commands are one sequence; tests/test_own_data.py runs it",
    "vllm.md": "vLLM has an environment of its own, in which `make test-vllm` runs",
}
"""Pages whose blocks this test does not run, and why."""


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


WITH_PYTHON = [page for page in PAGES if python_blocks(page)]


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference().page(), "run: make docs"


def test_the_table_of_families_is_up_to_date() -> None:
    below = (ROOT / "docs" / "families.md").read_text().partition("## The table\n\n")[2].partition("\n## ")[0]
    assert below == reference().families(), "run: python docs/reference.py families"


def test_every_page_can_be_reached() -> None:
    def pages(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        parts = entry.values() if isinstance(entry, dict) else entry
        return {page for part in parts for page in pages(part)}  # type: ignore[attr-defined]

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name: images, ground truth, predictions, a prepared set."""
    folder = tmp_path_factory.mktemp("documentation")
    scenes = folder / "scenes"
    for arguments in (
        ["data", "scenes", "--count", "4", "--split", "test", "--seed", "1", "--out", str(scenes)],
        ["data", "build", "--data", "scenes:4,preset=small", "--out", str(folder / "prepared/vg150-train")],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    truths = list(read_ground_truth(scenes / "gt.jsonl"))
    (folder / "gt.jsonl").write_bytes((scenes / "gt.jsonl").read_bytes())
    lines = [{"image_id": t.image_id, "frame": FRAME, "completion": render(t.graph, FRAME)} for t in truths]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    image = next((scenes / "images").iterdir()).read_bytes()
    for name in ("photo.jpg", "scene.png"):  # the reader goes by the content, not by the name
        (folder / name).write_bytes(image)
    return folder


@pytest.mark.parametrize("page", [p for p in WITH_PYTHON if p.name not in NOT_RUN], ids=lambda page: page.stem)
def test_the_python_blocks_of_a_page_run(
    page: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    scope: dict[str, object] = {"__name__": "documentation"}
    blocks = python_blocks(page)
    for block in blocks:
        exec(compile(block, str(page), "exec"), scope)
    printed = capsys.readouterr().out
    for comment in re.findall(r"^print\(.*\)  # (.+)$", "".join(blocks), re.MULTILINE):
        assert comment in printed


def test_every_page_that_does_not_run_has_python_and_a_reason() -> None:
    assert NOT_RUN.keys() <= {page.name for page in WITH_PYTHON}


def test_the_reward_of_the_documentation_scores_the_ground_truth_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = (text for text in python_blocks(ROOT / "docs/rewards.md") if text.startswith("# my_rewards.py"))
    (tmp_path / "my_rewards.py").write_text(block)
    small = SceneGraph.build([SceneObject("bird.1", "bird", (0.1, 0.1, 0.15, 0.15))])
    large = SceneGraph.build([SceneObject("bird.1", "bird", (0.1, 0.1, 0.9, 0.9))])
    texts = [render(small, FRAME), render(large, FRAME), render(large, FRAME)]
    scores = Rubric.of("my_rewards.py:small_objects").score(texts, [small, small, large], [FRAME] * 3)
    assert [score.terms["small_objects"] for score in scores] == [1, 0, None]
