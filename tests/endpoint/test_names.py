"""A server's model name on the command line: the family that it says is printed, and one that says none is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from r1sgg import load
from r1sgg.cli import app
from r1sgg.errors import ConfigError

from .fake_server import FakeServer, says

GRAPH = '{"objects": [{"id": "cup.1", "bbox": [10, 10, 50, 60]}], "relationships": []}'


def predict(server: FakeServer, folder: Path, *options: str) -> Result:
    Image.new("RGB", (200, 100), (90, 90, 90)).save(folder / "a.png")
    engine = ["--engine", f"openai:{server.url},retries=0,timeout=5"]
    out = ["--out", str(folder / "out")]
    return CliRunner().invoke(app, ["predict", str(folder / "a.png"), *engine, *out, *options])


def test_a_guessed_family_is_printed_in_one_line_and_decides_the_frame(tmp_path: Path) -> None:
    with FakeServer(lambda asked: says(GRAPH)) as server:
        result = predict(server, tmp_path, "--model", "qwen2.5vl:7b")
    assert result.exit_code == 0, result.output
    said = "qwen2.5vl:7b: taken for Qwen2.5-VL (boxes in pixels of the resized image) by its name; "
    assert result.stderr.splitlines() == [f"{said}if it is another: --family NAME"]
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["frame"] == [196.0, 112.0], "multiples of 28, not thousandths"


@pytest.mark.parametrize(
    ("model", "found"), [("my-model", "none"), ("Qwen2-VL-from-Qwen3-VL", "Qwen2-VL and Qwen3-VL")]
)
def test_a_name_that_says_no_family_is_refused_with_the_lines_that_work(tmp_path: Path, model: str, found: str) -> None:
    with FakeServer(lambda asked: says(GRAPH)) as server:
        result = predict(server, tmp_path, "--model", model)
        assert result.exit_code != 0
        sentence = str(result.exception)
        assert sentence.startswith(f"--model {model}: expected a name that says one family")
        assert f"found {found};" in sentence
        assert "--family NAME (Qwen2-VL, Qwen2.5-VL," in sentence
        assert f"r1sgg doctor --frame --model {model} --engine openai:URL" in sentence
        assert not server.asked, "nothing is sent before the family is known"
        passed = predict(server, tmp_path, "--model", model, "--family", "qwen2.5vl")
    assert passed.exit_code == 0, passed.output
    assert passed.stderr == "", "a family that was passed is not a guess"
    assert json.loads((tmp_path / "out" / "a.json").read_text())["frame"] == [196.0, 112.0]


def test_a_family_is_for_a_server_only(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    options = ["--out", str(tmp_path / "out"), "--family", "Qwen2-VL"]
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "a.png"), *options])
    assert "--family Qwen2-VL: this option is for --engine openai, not hf" in str(result.exception)


@pytest.mark.parametrize("name", ["my-model", "photo", "Qwen2-VL-from-Qwen3-VL"])
def test_load_refuses_a_name_that_says_no_family_before_it_asks_anything(name: str) -> None:
    with FakeServer(lambda asked: says(GRAPH)) as server:
        with pytest.raises(ConfigError, match=r"expected a name that says one family.*family=NAME"):
            load(name, engine=f"openai:{server.url}")
        assert not server.asked
        reader = load(name, engine=f"openai:{server.url},family=0-1000")
        assert reader(Image.new("RGB", (200, 100))).labels == ("cup",)
        reader.close()


def test_load_logs_a_guessed_family_once(caplog: pytest.LogCaptureFixture) -> None:
    load("qwen2.5vl:7b", engine="openai:http://127.0.0.1:9/v1").close()
    assert [r.getMessage().partition(" (")[0] for r in caplog.records] == ["qwen2.5vl:7b: taken for Qwen2.5-VL"]
