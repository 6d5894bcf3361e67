"""The HTTP API over a real socket: answers, batches, limits, streaming, counters, the page."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from r1sgg.errors import ConfigError
from r1sgg.graph.text import parse
from r1sgg.inference.engine import Completion
from r1sgg.inference.engines import load
from r1sgg.inference.reader import Reading
from r1sgg.serving.settings import ServerSettings

from .server import FRAME, ColourReader, Running, colour_of, png, serving, wait_until


@pytest.fixture(scope="module")
def server() -> object:
    with serving() as running:
        yield running


def test_an_image_gives_its_graph(server: Running) -> None:
    answer = server.post(png(7, 9))
    assert answer.status_code == 200
    graph = answer.json()
    assert (graph["width"], graph["height"], graph["model"], graph["failure"]) == (1000, 1000, "fake", None)
    assert graph["objects"] == [{"id": "thing.1", "bbox": [0, 0, 8, 10], "score": 0.4}]
    assert json.loads(graph["completion"])["objects"][0]["id"] == "thing.1"


def test_an_image_as_a_form_keeps_its_name(server: Running) -> None:
    answer = server.client.post("/v1/graph", files={"image": ("../../etc/passwd", png(), "image/png")})
    assert answer.status_code == 200
    assert answer.json()["image_id"] == "../../etc/passwd"  # a label, never a path


def test_several_images_come_back_in_order_and_a_bad_one_spoils_no_other(server: Running) -> None:
    files = [("images", (f"{k}.png", png(k, 2 * k), "image/png")) for k in range(5)]
    files[2] = ("images", ("bad.png", b"not an image", "image/png"))
    answer = server.client.post("/v1/graphs", files=files)
    assert answer.status_code == 200
    graphs = answer.json()["graphs"]
    assert [graph.get("image_id") for graph in graphs] == ["0.png", "1.png", None, "3.png", "4.png"]
    assert [colour_of(graphs[k]) for k in (0, 1, 3, 4)] == [(0, 0), (1, 2), (3, 6), (4, 8)]
    assert "bad.png: expected an image" in graphs[2]["detail"]


def test_a_threshold_drops_what_is_scored_lower(server: Running) -> None:
    assert len(server.post(png(), params={"threshold": 0.3}).json()["objects"]) == 1
    assert server.post(png(), params={"threshold": 0.5}).json()["objects"] == []


def test_a_model_that_repeats_itself_gives_each_triplet_once() -> None:
    row = '{"subject": "man.1", "predicate": "on", "object": "dog.1"}'
    text = (
        '{"objects": [{"id": "man.1", "bbox": [1, 2, 300, 400]}, {"id": "dog.1", "bbox": [5, 5, 90, 90]}], '
        f'"relationships": [{row}, {row}, {row}]}}'
    )

    class Repeating(ColourReader):
        def read_batch(self, images: list[Image.Image], *given: Any, **options: Any) -> list[Reading]:
            return [Reading(image, FRAME, Completion(text, 5, "stop"), parse(text, FRAME)) for image in images]

    with serving(ServerSettings(), Repeating()) as server:
        graph = server.post(png(), params={"guide": "false"}).json()
    assert graph["relationships"] == [{**json.loads(row), "score": None}]
    repeats = [issue["detail"] for issue in graph["issues"] if issue["kind"] == "repeated_triplet"]
    assert repeats == ["relationships[1]", "relationships[2]"]


def test_sixty_clients_at_once_get_each_their_own_answer(server: Running) -> None:
    colours = [(k % 200, (7 * k) % 200) for k in range(60)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda colour: server.post(png(*colour, size=(64, 64))).json(), colours))
    small = [tuple(round(v * 1000 / 64) - 1 for v in a["objects"][0]["bbox"][2:]) for a in answers]
    assert small == colours


def test_what_waits_is_answered_as_one_batch() -> None:
    reader = ColourReader()
    with serving(ServerSettings(most_images=8), reader) as server, ThreadPoolExecutor(8) as pool:
        reader.gate.clear()
        first = pool.submit(server.post, png(1, 1))
        assert reader.begun.wait(10)
        rest = [pool.submit(server.post, png(k, k)) for k in range(2, 8)]
        wait_until(lambda: server.ready() == 6)
        reader.gate.set()
        assert [colour_of(f.result().json()) for f in (first, *rest)] == [(k, k) for k in range(1, 8)]
    assert reader.batches == [1, 6]


def test_different_options_share_no_batch() -> None:
    reader = ColourReader()
    with serving(reader=reader) as server, ThreadPoolExecutor(8) as pool:
        reader.gate.clear()
        first = pool.submit(server.post, png(1, 1))
        assert reader.begun.wait(10)
        rest = [pool.submit(server.post, png(k, k), params={"temperature": k % 2}) for k in range(2, 6)]
        wait_until(lambda: server.ready() == 4)
        reader.gate.set()
        assert all(f.result().status_code == 200 for f in (first, *rest))
    assert reader.batches == [1, 2, 2]


def test_a_full_queue_refuses_and_goes_on() -> None:
    reader = ColourReader()
    with serving(ServerSettings(queue=2), reader) as server, ThreadPoolExecutor(8) as pool:
        reader.gate.clear()
        first = pool.submit(server.post, png())
        assert reader.begun.wait(10)
        rest = [pool.submit(server.post, png()) for _ in range(2)]
        wait_until(lambda: server.waiting() == 2)
        refused = server.post(png())
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "2 is the limit" in refused.json()["detail"]
        reader.gate.set()
        assert [f.result().status_code for f in (first, *rest)] == [200, 200, 200]


def test_an_image_that_fails_spoils_no_other_of_its_batch() -> None:
    reader = ColourReader()
    with serving(reader=reader) as server, ThreadPoolExecutor(8) as pool:
        reader.gate.clear()
        first = pool.submit(server.post, png())
        assert reader.begun.wait(10)
        good, bad = pool.submit(server.post, png(5, 5)), pool.submit(server.post, png(255, 0, 0))
        wait_until(lambda: server.ready() == 2)
        reader.gate.set()
        assert first.result().status_code == 200
        assert colour_of(good.result().json()) == (5, 5)
        assert (bad.result().status_code, bad.result().json()["detail"]) == (502, "this image can't be answered")


def test_a_fault_of_the_engine_is_a_500_and_the_server_goes_on(server: Running) -> None:
    assert server.post(png(0, 0, 255)).status_code == 500
    assert server.post(png()).status_code == 200


def test_an_answer_that_takes_too_long_is_a_504() -> None:
    reader = ColourReader()
    with serving(ServerSettings(answer_seconds=0.2), reader) as server:
        reader.gate.clear()
        answer = server.post(png())
        assert (answer.status_code, answer.json()["detail"]) == (504, "expected an answer within 0.2 s, found none")
        reader.gate.set()
        assert server.post(png()).status_code == 200


def test_a_graph_is_streamed_while_it_is_written(server: Running) -> None:
    with server.client.stream(
        "POST", "/v1/graph/stream", content=png(3, 4), headers={"content-type": "image/png"}
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = "".join(answer.iter_text()).strip().split("\n\n")
    kinds = [event.split("\n")[0] for event in events]
    assert kinds[-1] == "event: graph"
    assert kinds == ["event: start", "event: new", "event: graph"]
    assert colour_of(json.loads(events[-1].split("data: ")[1])) == (3, 4)


def test_a_stream_that_fails_says_so(server: Running) -> None:
    answer = server.post(png(255, 0, 0), "/v1/graph/stream")
    assert "\n\nevent: error\ndata: " in answer.text
    assert server.post(b"junk", "/v1/graph/stream").status_code == 400


def test_metrics_count_requests_and_batches() -> None:
    with serving() as server:
        assert server.post(png()).status_code == 200
        assert server.post(b"junk").status_code == 400
        assert server.client.get("/no/such").status_code == 404
        text = server.client.get("/metrics").text
    assert 'r1sgg_requests_total{route="/v1/graph",status="200"} 1.0' in text
    assert 'r1sgg_requests_total{route="/v1/graph",status="400"} 1.0' in text
    assert 'r1sgg_requests_total{route="other",status="404"} 1.0' in text
    assert "r1sgg_batch_images_sum 1.0" in text


def test_the_api_page_needs_no_network(server: Running) -> None:
    page = server.client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace(server.url, "")
    for file in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/docs/files/{file}" in page.text
        assert server.client.get(f"/docs/files/{file}").status_code == 200
    paths = server.client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/graph", "/v1/graphs", "/v1/graph/stream", "/health", "/metrics"}
    assert "429" in paths["/v1/graph"]["post"]["responses"]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="queue: expected more than 0, found 0"):
        ServerSettings(queue=0)
    with pytest.raises(ConfigError, match="key: expected an API key, found an empty one"):
        ServerSettings(key=" ")


def test_the_embedded_model_answers_the_same_as_without_a_server(tmp_path: Path) -> None:
    from r1sgg.miniature.scenes import SMALL, scene

    reader = load("tiny", device="cpu")
    image: Image.Image = scene(5, SMALL).image
    image.save(tmp_path / "scene.png")
    alone = reader.read(image, guide=True)
    with serving(ServerSettings(max_new_tokens=200), reader) as server:
        graph = server.post((tmp_path / "scene.png").read_bytes()).json()
        with httpx.stream(
            "POST", f"{server.url}/v1/graph/stream", content=(tmp_path / "scene.png").read_bytes(),
            headers={"content-type": "image/png"}, timeout=60, trust_env=False,
        ) as answer:  # fmt: skip
            events = "".join(answer.iter_text()).strip().split("\n\n")
    assert graph["completion"] == alone.completion.text
    assert graph["objects"]
    assert len(events) >= 2
    assert json.loads(events[-1].split("data: ")[1])["objects"] == graph["objects"]
