"""What the server says of itself at `/`, the events of a stream, and images that its model must not read."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from r1sgg import __version__
from r1sgg.errors import ImageError
from r1sgg.graph.scene import SceneGraph
from r1sgg.miniature.scenes import SMALL, scene
from r1sgg.serving.front import _wants_html
from r1sgg.serving.settings import ServerSettings
from r1sgg.serving.stream import News

from .server import Running, png, serving

ROOT = Path(__file__).resolve().parents[2]


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The kinds and the data of server-sent events."""
    parts = [part.split("\n") for part in text.strip().split("\n\n")]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in parts]


def test_form_fields_that_would_be_ignored_are_refused() -> None:
    image = ("a.png", png(3, 4))
    with serving() as server:
        for path, field in (("/v1/graph", "image"), ("/v1/graphs", "images"), ("/v1/graph/stream", "image")):
            option = server.client.post(path, files={field: image}, data={"threshold": "0.3"})
            other = server.client.post(path, files={field: image, "photo": image})
            for answer, name in ((option, "threshold"), (other, "photo")):
                if answer.status_code == 413:  # a second file where one is taken
                    continue
                assert answer.status_code == 400
                found = f"expected the form field '{field}' alone, found '{name}' too; options are part of the address"
                assert answer.json()["detail"].startswith(found)
            assert option.status_code == 400
        assert server.waiting() == 0
        assert server.post(png(3, 4)).status_code == 200


def test_the_front_says_what_the_server_is_to_programs_and_people() -> None:
    with serving(ServerSettings(key="secret")) as server:
        described = server.client.get("/").json()
        page = server.client.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert server.client.post("/v1/graph").status_code == 401
    assert (described["name"], described["version"], described["model"]) == ("r1sgg", __version__, "fake")
    assert described["notice"] is None
    routes = {(row["method"], row["path"]) for row in described["routes"]}
    assert routes == {
        *(("POST", path) for path in ("/v1/graph", "/v1/graphs", "/v1/graph/stream")),
        *(("GET", path) for path in ("/health", "/metrics", "/docs")),
    }
    assert all(row["what"] for row in described["routes"])
    assert page.headers["content-type"].startswith("text/html")
    assert "<b>fake</b>" in page.text
    assert 'href="/docs"' in page.text
    assert not re.search(r'(src|href)="http', page.text), "nothing is loaded from elsewhere"


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/docs", "/openapi.json", "/docs/files/swagger-ui.css"])
def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    with serving() as server:
        asked = server.client.get(path)
        head = server.client.head(path)
        again = server.client.head(path)  # on the same connection, which no body has confused
    assert (head.status_code, head.content, again.status_code) == (200, b"", 200)
    for name in ("content-type", "content-length"):
        if path != "/metrics" or name == "content-type":  # its numbers grow
            assert head.headers[name] == asked.headers[name]


def test_head_of_a_route_that_takes_images_is_refused_as_get_is() -> None:
    with serving(ServerSettings(key="secret")) as server:
        allowed = {"authorization": "Bearer secret"}
        head = server.client.head("/v1/graph", headers=allowed)
        assert (head.status_code, head.content) == (405, b"")
        assert head.headers["allow"] == server.client.get("/v1/graph", headers=allowed).headers["allow"] == "POST"
        assert server.client.head("/v1/graph").status_code == 401
        assert server.client.head("/nothing", headers=allowed).status_code == 404


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        ("text/html", True),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0.9, application/json;q=0.1", True),
        ("TEXT/HTML ; Q=1", True),
        ("text/html;q=nonsense", False),
        ("text/html, application/json", False),
    ],
)
def test_the_form_follows_the_accept_header(accept: str, html: bool) -> None:
    assert _wants_html(accept) is html


def grown(*labels: str, pairs: tuple[tuple[int, int], ...] = (), shift: float = 0.0) -> SceneGraph:
    boxes = np.array([[0.1 * k + shift, 0.1, 0.1 * k + 0.2, 0.5] for k in range(len(labels))]).reshape(-1, 4)
    ids = tuple(f"{label}.1" for label in labels)
    return SceneGraph(ids, labels, boxes, pairs, ("on",) * len(pairs))


def test_each_item_is_news_once() -> None:
    news = News((100, 50))
    first = news.of(grown("man"))
    assert first == {"objects": [{"id": "man.1", "bbox": [0, 5, 20, 25]}], "relationships": []}
    assert news.of(grown("man")) is None
    assert news.of(grown("man", "hat")) == {"objects": [{"id": "hat.1", "bbox": [10, 5, 30, 25]}], "relationships": []}
    both = grown("man", "hat", pairs=((1, 0),))
    relation = {"subject": "hat.1", "predicate": "on", "object": "man.1"}
    assert news.of(both) == {"objects": [], "relationships": [relation]}
    assert news.of(both) is None
    moved = news.of(grown("man", shift=0.01))
    assert moved is not None, "another box is news"
    assert [row["id"] for row in moved["objects"]] == ["man.1"]
    assert news.of(grown()) is None


class Doubtful:
    """Refuses images that are not square, and has a remark about small ones."""

    def __call__(self, image: Image.Image) -> str | None:
        if image.width != image.height:
            raise ImageError("the image", expected="a square", found="none")
        return "small" if image.width < 100 else None


@pytest.fixture
def doubtful() -> Iterator[Running]:
    with serving(admit=Doubtful()) as server:
        yield server


def test_images_are_admitted_refused_or_remarked_on_every_route(doubtful: Running) -> None:
    square, small, wide = png(3, 4), png(5, 6, size=(50, 50)), png(size=(200, 100))
    assert doubtful.post(square).json()["notice"] is None
    answer = doubtful.post(small).json()
    assert answer["notice"] == "small"
    refused = doubtful.post(wide)
    assert (refused.status_code, refused.json()["detail"]) == (400, "the image: expected a square, found none")
    files = [("images", (f"{k}.png", data)) for k, data in enumerate((square, small, wide))]
    first, second, third = doubtful.client.post("/v1/graphs", files=files).json()["graphs"]
    assert (first["notice"], second["notice"]) == (None, "small")
    assert third == {"detail": "the image: expected a square, found none"}
    assert doubtful.post(wide, "/v1/graph/stream").status_code == 400
    (kind, start), *_, (last, graph) = events_of(doubtful.post(small, "/v1/graph/stream").text)
    assert (kind, start["notice"], last, graph["notice"]) == ("start", "small", "graph", "small")
    assert doubtful.waiting() == 0, "a refused image leaves the queue"


def image_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("named", [False, True])
def test_serve_with_its_default_model_refuses_photos_and_with_a_named_one_remarks(named: bool, tmp_path: Path) -> None:
    model = ["--model", "tiny"] if named else []
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-c", "from r1sgg.cli import main; main()", "serve", "--port", "0", *model],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=log,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline() + process.stderr.readline()
        assert said.startswith("tiny knows drawn scenes only")
        url = str(re.findall(r"http://[\d.:]+", said)[0])
        noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            for _ in range(600):
                try:
                    described = client.get("/").json()
                    break
                except httpx.TransportError:
                    pass
            assert described["notice"].startswith("tiny knows drawn scenes only")
            page = client.get("/", headers={"accept": "text/html"}).text
            assert '<p class="notice">tiny knows drawn scenes only' in page
            drawn = client.post("/v1/graph", files={"image": ("a.png", image_bytes(scene(5, SMALL).image))})
            assert drawn.status_code == 200
            assert drawn.json()["notice"] is None
            photo = client.post("/v1/graph", files={"image": ("b.jpg", image_bytes(Image.fromarray(noise), "JPEG"))})
        if named:
            assert photo.json()["notice"].startswith("not a drawn scene, and tiny knows nothing else")
            assert "whoever runs this server" in photo.json()["notice"]
        else:
            assert photo.status_code == 400
            said = photo.json()["detail"]
            assert said.endswith("has to start it with another model (`r1sgg serve --model photo`)")
            assert "--model tiny" not in said  # no option of a client's
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        log.close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The client of docs/deploying.md, as a user copies it."""
    text = (ROOT / "docs" / "deploying.md").read_text()
    (code,) = re.findall(r"```python\n(\"\"\"A client.*?)```", text, flags=re.DOTALL)
    (tmp_path / "r1sgg_client.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("r1sgg_client")
    del sys.modules["r1sgg_client"]


GRAPH = {"width": 4, "height": 4, "objects": [], "relationships": [], "notice": None}
PAGE = "<html><title>502 Bad Gateway</title></html>"


def behind_a_proxy(module: Any, *answers: httpx.Response, timeout: float = 90.0) -> Any:
    """A client whose requests get these answers in turn."""
    client, left = module.Client("http://proxy.test", timeout=timeout), iter(answers)
    client._http = httpx.Client(base_url="http://proxy.test", transport=httpx.MockTransport(lambda _: next(left)))
    return client


@pytest.mark.parametrize("status", [200, 302, 429, 502])
@pytest.mark.parametrize("stream", [False, True])
def test_the_client_in_the_docs_says_that_a_proxy_answered(
    module: Any, tmp_path: Path, status: int, stream: bool
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    client = behind_a_proxy(module, httpx.Response(status, html=PAGE))
    with pytest.raises(module.ServerError, match=rf"{status}: expected .*, found text/html: '<html><title>502 Bad"):
        list(client.stream(tmp_path / "a.png")) if stream else client.graph(tmp_path / "a.png", tries=1)


@pytest.mark.parametrize(
    ("after", "waits"),
    [("2", 2), (None, 1), ("soon", 1), (-60, 0), (30, 30), ("3600", None), (3600, None)],
)
def test_the_client_in_the_docs_waits_as_long_as_a_server_or_a_proxy_says(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str | int | None, waits: float | None
) -> None:
    """Whole numbers here are dates so many seconds from now."""
    slept: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=slept.append, time=lambda: 1_800_000_000.0))
    said = formatdate(1_800_000_000 + after, usegmt=True) if isinstance(after, int) else after
    headers = {} if said is None else {"Retry-After": said}
    busy = httpx.Response(429, json={"detail": "64 images are waiting"}, headers=headers)
    (tmp_path / "a.png").write_bytes(png())
    client = behind_a_proxy(module, busy, httpx.Response(200, json=GRAPH))
    if waits is None:  # an hour is not soon
        with pytest.raises(module.ServerError, match="429: 64 images are waiting"):
            client.graph(tmp_path / "a.png")
    else:
        assert client.graph(tmp_path / "a.png").objects == []
    assert slept == ([] if waits is None else [waits])


@pytest.mark.parametrize("sent", ["", "event: start\ndata: {}\n\n", "event: start\ndata: {}\n\nevent: graph\n"])
def test_the_client_in_the_docs_says_that_a_stream_ended_without_its_graph(
    module: Any, tmp_path: Path, sent: str
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    cut = httpx.Response(200, text=sent, headers={"content-type": "text/event-stream; charset=utf-8"})
    with pytest.raises(module.ServerError, match="expected a stream up to its graph, found that it ended before"):
        list(behind_a_proxy(module, cut).stream(tmp_path / "a.png"))


def test_the_client_in_the_docs_reads_an_image_a_stream_and_an_error(module: Any, tmp_path: Path) -> None:
    """docs/deploying.md has it as a file; here it talks to a real server."""
    with serving(ServerSettings(key="secret")) as server:
        client = module.Client(server.url, key="secret")
        (tmp_path / "a.png").write_bytes(png(3, 4))
        graph = client.graph(tmp_path / "a.png")
        assert [thing.id for thing in graph.objects] == ["thing.1"]
        assert graph.objects[0].bbox == (0, 0, 4, 5)
        assert graph.triplets == []
        events = list(client.stream(tmp_path / "a.png"))
        assert [kind for kind, _ in events] == ["start", "new", "graph"]
        (tmp_path / "bad.png").write_bytes(b"junk")
        with pytest.raises(module.ServerError, match=r"400: .*expected an image"):
            client.graph(tmp_path / "bad.png")
        with pytest.raises(module.ServerError, match="401: expected the API key"):
            module.Client(server.url).graph(tmp_path / "a.png")
        client.close()
