"""The files of docs/adapters.md, run as they stand there, with stand-ins for the trainers' own modules."""

import asyncio
import json
import re
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest
from PIL import Image

from r1sgg.data.base import Example, write_ground_truth
from r1sgg.rewards.rubric import Rubric

from .test_adapters import ANSWERS, EXAMPLES, FRAME, LABELS, PROMPT, graph_of

DOCS = Path(__file__).parents[2] / "docs" / "adapters.md"


def document_file(name: str) -> str:
    """The Python file of that name in the document."""
    files = re.findall(rf"```python\n# ({re.escape(name)}.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(files) == 1, name
    return f"# {files[0]}"


def run_file(name: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "user_file"}
    exec(compile(document_file(name), name, "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(8):
        Image.new("RGB", (640, 480), (k, k, k)).save(folder / f"{k}.png")
    placed = [Example(e.image_id, e.width, e.height, e.graph, folder / f"{e.image_id}.png") for e in EXAMPLES]
    write_ground_truth(folder / "gt.jsonl", placed)
    return folder / "gt.jsonl"


@pytest.fixture(scope="module")
def paper() -> list[float]:
    graphs = [graph_of(text) for text in LABELS]
    return [s.total for s in Rubric.of("paper-v4").score(ANSWERS, graphs, [FRAME] * 8)]


@pytest.mark.parametrize("trainer", ["ms-swift", "verl", "easyr1", "openrlhf"])
def test_the_documents_rows_and_reward_files_agree(
    trainer: str, photos: Path, paper: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "rows.py"
    script.write_text(document_file("rows.py"))
    out = tmp_path / "rows.jsonl"
    subprocess.run([sys.executable, str(script), trainer, str(photos), str(out)], check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 8
    for (image,) in (row["images"] for row in rows):
        place = image["image"].removeprefix("file://") if trainer == "verl" else image
        assert Path(place).is_file()
    if trainer == "ms-swift":
        orms: dict[str, type] = {}
        monkeypatch.setitem(sys.modules, "swift", types.ModuleType("swift"))
        monkeypatch.setitem(sys.modules, "swift.rewards", types.ModuleType("swift.rewards"))
        monkeypatch.setattr(sys.modules["swift.rewards"], "orms", orms, raising=False)
        run_file("swift_plugin.py")
        truths = [row["ground_truth"] for row in rows]
        columns = [orms[name](args=None)(completions=ANSWERS, ground_truth=truths) for name in orms]
        marks = [[v for v in row if v is not None] for row in zip(*columns, strict=True)]
        found = [m[0] if len(m) == 1 else (m[0] + 5 * m[1]) / 6 for m in marks]
    elif trainer == "verl":
        score = run_file("verl_reward.py")["compute_score"]
        calls = [
            (row["data_source"], text, row["reward_model"]["ground_truth"])
            for row, text in zip(rows, ANSWERS, strict=True)
        ]
        found = [score(*call, extra_info=None)["score"] for call in calls]
    elif trainer == "easyr1":
        score = run_file("easyr1_reward.py")["compute_score"]
        answers = [{"response": t, "ground_truth": row["answer"]} for row, t in zip(rows, ANSWERS, strict=True)]
        found = [result["overall"] for result in score(answers)]
    else:
        score = run_file("openrlhf_reward.py")["reward_func"]
        queries = [PROMPT + text + "<|im_end|>" for text in ANSWERS]
        found = score(queries, [PROMPT] * 8, [row["label"] for row in rows])["rewards"].tolist()
    assert found == pytest.approx(paper, abs=1e-3)  # boxes were written to 1/100 of a pixel


def test_the_documents_trl_file(paper: list[float]) -> None:
    scope = run_file("trl_reward.py")
    columns = [function(completions=ANSWERS, ground_truth=LABELS) for function in scope["functions"]]
    marks = [
        [(w, v) for w, v in zip(scope["weights"], row, strict=True) if v is not None]
        for row in zip(*columns, strict=True)
    ]
    assert [sum(w * v for w, v in m) / sum(w for w, _ in m) for m in marks] == pytest.approx(paper)


D, T, C = TypeVar("D"), TypeVar("T"), TypeVar("C")


def test_the_documents_taskset(photos: Path, paper: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for what the file uses of verifiers.v1."""

    class Record:
        def __init__(self, **fields: Any) -> None:
            vars(self).update(fields)

    class Task(Generic[D]):
        def __init__(self, data: Any, config: Any) -> None:
            self.data, self.config = data, config

    class Taskset(Generic[T, C]):
        def __init__(self, config: Any) -> None:
            self.config = config

    vf = types.ModuleType("verifiers.v1")
    for name in (
        "TaskData",
        "TasksetConfig",
        "Trace",
        "ImageUrlSource",
        "ImageUrlContentPart",
        "TextContentPart",
        "UserMessage",
    ):
        setattr(vf, name, type(name, (Record,), {}))
    vars(vf).update(Task=Task, Taskset=Taskset, reward=lambda method: method)
    image = types.ModuleType("verifiers.v1.utils.image")
    vars(image).update(image_data_url=lambda picture: f"data:{picture.size}")
    parent = types.ModuleType("verifiers")
    vars(parent).update(v1=vf)
    modules = {
        "verifiers": parent,
        "verifiers.v1": vf,
        "verifiers.v1.utils": types.ModuleType("u"),
        image.__name__: image,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    scope = run_file("scene_graphs.py")
    taskset = scope["SceneGraphTaskset"](Record(path=str(photos), task=None))
    tasks = taskset.load()
    parts = tasks[0].data.prompt[0].content
    assert parts[0].image_url.url == "data:(640, 480)"
    traces = [SimpleNamespace(last_reply=text) for text in ANSWERS]
    found = [asyncio.run(task.reward(trace)) for task, trace in zip(tasks, traces, strict=True)]
    assert found == pytest.approx(paper, abs=1e-3)
    plugged = [asyncio.run(scope["scene_graph"](task.data, trace)) for task, trace in zip(tasks, traces, strict=True)]
    assert plugged == found
