"""Scene graphs inside lmms-eval and VLMEvalKit: the folders of configs/ and `r1sgg.metrics.harness`.

lmms-eval is run for real where it is installed. VLMEvalKit is on no package index: its classes are called in the shapes
that its sources give (`pretend_vlmeval`), nothing more.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import read_ground_truth
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.text import render
from r1sgg.metrics.harness import answer_of, figures_of, frame_of_size

from . import pretend_vlmeval

ROOT = Path(__file__).parents[2]
LMMS_EVAL, VLMEVALKIT = ROOT / "configs" / "lmms_eval", ROOT / "configs" / "vlmevalkit"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set as `r1sgg data build` writes it."""
    out = tmp_path_factory.mktemp("set") / "prepared"
    arguments = ["data", "build", "--data", "scenes:4,preset=small,split=test", "--out", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    return out


def row_of(line: dict[str, Any]) -> dict[str, Any]:
    """A ground-truth line as a row of a set, whose objects and relationships are JSON texts."""
    return {**line, **{key: json.dumps(line[key]) for key in ("objects", "relationships")}}


def test_the_figures_are_those_of_the_command(prepared: Path, tmp_path: Path) -> None:
    truths = list(read_ground_truth(prepared / "gt.jsonl"))
    texts = ["nothing", *(render(example.graph, (1000, 1000)) for example in truths[1:])]
    lines = [json.loads(line) for line in (prepared / "gt.jsonl").read_text().splitlines()]
    answers = [answer_of(row_of(line), text, (1000, 1000)) for line, text in zip(lines, texts, strict=True)]
    assert json.loads(json.dumps(answers)) == answers  # the harness keeps them
    found = figures_of(reversed(answers), "vg150")
    rows = [{key: a[key] for key in ("image_id", "completion", "frame")} for a in answers]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["evaluate", str(tmp_path / "p.jsonl"), "--ground-truth", str(prepared / "gt.jsonl")]
    arguments += ["--vocabulary", "vg150", "--json", str(tmp_path / "o.json")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    want = json.loads((tmp_path / "o.json").read_text())
    same = ("failure_rate", "failures", "AP50", "R@50", "mR@50", "precision", "version", "image_hash", "counts")
    assert {key: found[key] for key in same} == {key: pytest.approx(want[key]) for key in same}
    assert found["failures"] == {"no_json": 1}
    with pytest.raises(InputError, match="ids that differ"):
        figures_of([answers[1], answers[1]])


def test_frames_of_a_model() -> None:
    assert frame_of_size("thousandths", (640, 480), (1, 2)) == (1000, 1000)
    assert frame_of_size("pixels", (640, 480), (1, 2)) == (640, 480)
    assert frame_of_size("resized", (640, 480), (3136, 12845056)) == (644, 476)
    with pytest.raises(ConfigError, match="thousandths, pixels, resized"):
        frame_of_size("bins", (640, 480), (1, 2))  # type: ignore[arg-type]


# ---------------------------------------------------------------- lmms-eval


def loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config(name: str) -> dict[str, Any]:
    """A task's YAML with what it includes; `!function module.name` is the function."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: Any, node: Any) -> Any:
        module, _, wanted = loader.construct_scalar(node).rpartition(".")
        return getattr(loaded(LMMS_EVAL / f"{module}.py"), wanted)

    Loader.add_constructor("!function", function)
    own = yaml.load((LMMS_EVAL / name).read_text(), Loader)
    return (config(own.pop("include")) if "include" in own else {}) | own


TASKS = {"r1sgg_vg150": "thousandths", "r1sgg_vg150_pixels": "pixels", "r1sgg_vg150_resized": "resized"}


@pytest.mark.parametrize(("task", "frame"), TASKS.items())
def test_the_tasks_of_lmms_eval_in_its_call_shapes(task: str, frame: str, prepared: Path) -> None:
    from PIL import Image

    found = config(f"{task}.yaml")
    assert found["task"] == task
    answers: dict[str, list[Any]] = {}
    for k, line in enumerate((prepared / "gt.jsonl").read_text().splitlines()):
        doc = row_of(json.loads(line))
        size = doc["width"], doc["height"]
        doc["image"] = Image.fromarray(np.zeros((size[1], size[0], 4), np.uint8), "RGBA")
        if k == 1:
            del doc["width"], doc["height"]  # the authors' sets have none
        (image,) = found["doc_to_visual"](doc)
        assert (image.mode, image.size) == ("RGB", size)
        text = found["doc_to_text"](doc, lmms_eval_specific_kwargs=found["lmms_eval_specific_kwargs"]["default"])
        (example,) = [e for e in read_ground_truth(prepared / "gt.jsonl") if e.image_id == doc["image_id"]]
        side = frame_of_size(frame, size, (256 * 784, 1605632))  # type: ignore[arg-type]
        assert f"x runs from 0 to {side[0]:.0f}, y from 0 to {side[1]:.0f}" in text
        assert "Use only these predicates: above, " in text
        result = found["process_results"](doc, [render(example.graph, side)])
        for name, answer in result.items():
            answers.setdefault(name, []).append(answer)
    values = {m["metric"]: m["aggregation"](answers[m["metric"]]) for m in found["metric_list"]}
    assert set(values) == set(answers)
    assert (values["failure_rate"], values["R50"]) == (0, 100)
    assert values["AP50"] == pytest.approx(100)


@pytest.mark.skipif(importlib.util.find_spec("lmms_eval") is None, reason="lmms-eval is not installed")
def test_lmms_eval_runs_the_tasks(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    shutil.copytree(LMMS_EVAL, folder)
    common = folder / "_r1sgg_vg150"
    text = common.read_text().replace("JosephZ/vg150_val_sgg_prompt", str(prepared))
    common.write_text(text.replace("test_split: train", "test_split: test"))
    pairs = [f"{task} {'thousandths' if frame == 'resized' else frame}" for task, frame in TASKS.items()]
    command = [sys.executable, str(Path(__file__).with_name("lmms_eval_run.py")), str(folder), *pairs]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULTS ")]
    found = json.loads(line.removeprefix("RESULTS "))
    for pair in pairs[:2]:
        results = {key.partition(",")[0]: value for key, value in found[pair]["results"].items()}
        assert (results["failure_rate"], results["R50"]) == (25, 75), pair
        assert "Write a structured scene graph" in found[pair]["prompt"]
    resized = {key.partition(",")[0]: value for key, value in found[pairs[2]]["results"].items()}
    assert resized["R50"] == 0  # thousandths are not pixels of the resized image
    assert len(found[pairs[0]]["samples"]) == 4


# ---------------------------------------------------------------- VLMEvalKit


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of configs/vlmevalkit, with the stand-in for vlmeval."""
    for name, module in pretend_vlmeval.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("LMUData", str(tmp_path / "LMUData"))
    return loaded(VLMEVALKIT / "scene_graph.py")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ground-truth file with images."""
    out = tmp_path_factory.mktemp("scenes")
    arguments = ["data", "scenes", "--count", "3", "--preset", "small", "--out", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    return out / "gt.jsonl"


@pytest.mark.parametrize("ending", ["", "_pixels", "_resized"])
def test_the_data_set_of_vlmevalkit_in_its_call_shapes(
    ending: str, kit: Any, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.main(["data", str(scenes), "r1sgg_vg150"])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'LMUData' / 'r1sgg_vg150.tsv'}\n"
    run = tmp_path / "run.py"
    run.write_text("import sys, vlmeval.dataset as d\nassert sys.argv[1:] == ['--data', 'x'], sys.argv\nd.ran = True\n")
    kit.main(["run", str(run), "--data", "x"])
    assert sys.modules["vlmeval.dataset"].ran
    found = pretend_vlmeval.build_dataset(f"r1sgg_vg150{ending}")
    assert (found.TYPE, len(found.data)) == ("SceneGraph", 3)

    predictions = []
    for k, example in enumerate(read_ground_truth(scenes)):
        image, text = found.build_prompt(k if k else found.data.iloc[k])
        assert image["type"] == "image"
        assert example.image is not None
        assert Path(image["value"]).read_bytes() == example.image.read_bytes()
        size = example.width, example.height
        side = frame_of_size(kit.FRAMES[ending], size, kit.PIXELS)
        assert f"x runs from 0 to {side[0]:.0f}" in text["value"]
        predictions.append(render(example.graph, side) if k else None)  # an empty cell
    table = found.data.drop(columns="image").assign(prediction=predictions)
    table.to_json(tmp_path / "out.json", orient="records")
    figures = found.evaluate(str(tmp_path / "out.json"), model="exact_matching")
    assert figures["failure_rate"] == pytest.approx(100 / 3)
    assert figures["R@50"] == pytest.approx(200 / 3)


def test_a_data_set_that_was_not_written_is_one_sentence(kit: Any) -> None:
    with pytest.raises(
        InputError, match=r"r1sgg_psg\.tsv: expected the questions, found no such file; write it: python"
    ):
        kit.SceneGraphDataset("r1sgg_psg_pixels")
    with pytest.raises(ConfigError, match="expected one of r1sgg_vg150, r1sgg_vg150_pixels"):
        kit.main(["data", "gt.jsonl", "r1sgg_coco"])
    with pytest.raises(SystemExit, match="expected: data"):
        kit.main([])
