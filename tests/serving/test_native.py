"""`--ask native` behind `r1sgg serve` and `r1sgg web`: the graph of `r1sgg predict`, and what is missing is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio_client import Client
from PIL import Image
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.endpoint.remote import remote
from r1sgg.graph.text import parse
from r1sgg.inference.engine import Completion
from r1sgg.inference.native import RELATIONSHIPS
from r1sgg.inference.reader import Reader
from r1sgg.pages.web import show

from ..models.tiny_families import build_qwen2_5_vl
from .server import png, serving
from .test_front import events_of
from .test_web import Web, read_all

NATIVE = ("--ask", "native", "--device", "cpu", "--threads", "1", "--max-new-tokens", "200")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, an image, and the record that `r1sgg predict` makes of it."""
    folder = tmp_path_factory.mktemp("native")
    build_qwen2_5_vl(folder / "model")
    run = ["predict", str(folder / "a.png"), "--out", str(folder / "out"), "--model", str(folder / "model"), "--guide"]
    for shade in range(0, 250, 25):  # until the answer has two objects, so that both questions are asked
        Image.new("RGB", (120, 90), (shade, 120, 40)).save(folder / "a.png")
        result = CliRunner().invoke(app, [*run, *NATIVE, "--overwrite"])
        assert result.exit_code == 0, result.output
        if len(json.loads((folder / "out/a.json").read_text())["exchanges"]) == 2:
            return folder
    pytest.fail("no image of which random weights name two objects")


@pytest.fixture
def record(made: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((made / "out/a.json").read_text())
    assert (record["ask"], record["failure"]) == ("native", None)
    assert len(record["exchanges"]) == 2, "two objects at least, so that both questions are asked"
    return record


@pytest.fixture
def client(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """What `r1sgg serve --ask native` serves."""
    served: list[FastAPI] = []

    def run(application: FastAPI, listening: Any, grace: int) -> None:
        listening.close()
        served.append(application)

    monkeypatch.setattr("r1sgg.serving.connection.run", run)
    result = CliRunner().invoke(app, ["serve", "--model", str(made / "model"), "--port", "0", *NATIVE])
    assert result.exit_code == 0, result.output
    with TestClient(served[0]) as client:
        yield client


def test_the_server_answers_what_predict_does(client: TestClient, made: Path, record: dict[str, Any]) -> None:
    image = {"content": (made / "a.png").read_bytes(), "headers": {"content-type": "image/png"}}
    answer = client.post("/v1/graph", **image).json()
    for key in ("completion", "objects", "relationships", "frame", "failure", "issues", "finish_reason"):
        assert answer[key] == record[key], key
    assert answer["fault"] is None
    kinds = [(kind, data) for kind, data in events_of(client.post("/v1/graph/stream", **image).text)]
    assert [kind for kind, _ in kinds] in (["start", "graph"], ["start", "new", "graph"]), "all of the graph at once"
    assert kinds[-1][1]["completion"] == record["completion"]
    both = client.post("/v1/graphs", files=[("images", ("a.png", image["content"]))] * 2).json()["graphs"]
    assert [graph["completion"] for graph in both] == [record["completion"]] * 2
    free = client.post("/v1/graph?guide=false", **image).json()
    assert free["failure"] is not None, "random weights write noise, which is a failure and no error"
    assert free["failure"] in {issue["kind"] for issue in free["issues"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_shows_what_predict_does(made: Path, record: dict[str, Any], tmp_path: Path) -> None:
    options = [option for option in NATIVE if option not in ("--max-new-tokens", "200")]
    web = Web(tmp_path, "--model", str(made / "model"), *options, tokens=200)
    try:
        view, *_, completion = read_all(Client(web.url, verbose=False), made / "a.png", str(made / "model"))
    finally:
        web.close()
    assert completion == record["completion"]
    for thing in record["objects"]:
        assert thing["id"].rpartition(".")[0][:10] in view  # long names are cut off there


class Half:
    """An engine that names a man and a horse, and has no relationships: an answer of no use, or an error."""

    name = "half"

    def __init__(self, then: Completion) -> None:
        self.then = then

    def generate(self, images: Any, messages: Any, *arguments: Any, **options: Any) -> list[Completion]:
        objects = '[{"bbox_2d": [0, 0, 500, 900], "label": "man"}, {"bbox_2d": [200, 300, 900, 900], "label": "horse"}]'
        asked = [chat[-1]["content"].startswith(RELATIONSHIPS[:20]) for chat in messages]
        return [self.then if relations else Completion(objects, 9, "stop") for relations in asked]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (Completion("I can't help with that.", 5, "stop"), "the answer about relationships could not be read: no_json"),
        (
            Completion("", 0, "error", error="the card is full"),
            "the question for relationships got no answer, only that for objects did: the card is full",
        ),
    ],
)
def test_the_server_and_the_page_say_that_there_are_objects_alone(then: Completion, said: str) -> None:
    reader = Reader(remote("m", "Qwen3-VL"), Half(then), ask="native")
    reading = reader.read(Image.new("RGB", (100, 100)))
    assert reading.unread == said
    assert said in show(reading, 0.0)
    with serving(reader=reader) as server:
        answer = server.post(png(size=(100, 100))).json()
    assert [thing["id"] for thing in answer["objects"]] == ["man.1", "horse.1"]
    assert answer["fault"] == (None if then.error is None else said)
    assert [issue["kind"] for issue in answer["issues"]] == ([] if then.error else ["no_json"])
    assert parse(answer["completion"], tuple(answer["frame"])).graph.labels == ("man", "horse")
