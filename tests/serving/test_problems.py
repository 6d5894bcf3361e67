"""Whatever a client sends, the answer has the right status and is one sentence: {"detail": "..."}."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from r1sgg.serving.problems import printable
from r1sgg.serving.settings import ServerSettings

from .server import ColourReader, Running, png, serving


@pytest.fixture(scope="module")
def server() -> object:
    with serving(ServerSettings(hosts=("images.example",), queue=4)) as running:
        yield running


def sentence(answer: object) -> str:
    """The one sentence of an answer."""
    record = answer.json()  # type: ignore[attr-defined]
    assert list(record) == ["detail"], record
    detail = record["detail"]
    assert isinstance(detail, str)
    assert detail
    assert detail.isprintable(), detail
    return detail


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": "2"}, "threshold: expected at most 1, found '2'"),
        ({"threshold": "nan"}, "threshold: expected at most 1, found 'nan'"),
        ({"samples": "0"}, "samples: expected at least 1, found '0'"),
        ({"samples": "two"}, "samples: expected a whole number, found 'two'"),
        ({"samples": "3"}, "samples: 3 answers at temperature 0 are all the same"),
        ({"guide": "perhaps"}, "guide: expected true or false, found 'perhaps'"),
        ({"temperature": "hot"}, "temperature: expected a number, found 'hot'"),
        ({"temperature": "1e-320"}, "temperature: expected 0, or 0.001 or more, found 1e-320"),
        ({"temperature": "inf"}, "temperature: expected at most 2"),
        ({"tresh": "0.3"}, "options guide, threshold, samples, temperature, found 'tresh'; did you mean threshold?"),
        ({"Threshold": "0.3"}, "found 'Threshold'; did you mean threshold?"),
        ({"samples": "1", "model\n": "tiny"}, r"found 'model\n'"),
        ({"threshold": ["0.3", "0.9"]}, "threshold: expected this option once in the address, found it 2 times"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/graph", "/v1/graphs", "/v1/graph/stream"])
def test_a_wrong_option_is_a_400(server: Running, path: str, options: dict[str, Any], says: str) -> None:
    field = "images" if path == "/v1/graphs" else "image"
    answer = server.client.post(path, params=options, files={field: ("a.png", png(), "image/png")})
    assert (answer.status_code, says in sentence(answer)) == (400, True), sentence(answer)


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v1/graph", 405, "expected POST, found GET"),
        ("DELETE", "/health", 405, "expected GET, found DELETE"),
        ("POST", "/v1/graph/", 404, "expected a path of the API (/docs lists them), found '/v1/graph/'"),
        ("GET", "/nothing", 404, "found '/nothing'"),
        ("GET", "/docs/files/nothing.js", 404, "found '/docs/files/nothing.js'"),
        ("GET", "/docs/files/%00", 404, "expected a path of the API"),
        ("GET", "/docs/files/" + "x" * 5000, 404, "expected a path of the API"),
        ("GET", "/docs/files/..%2f..%2f..%2fetc/passwd", 404, "expected a path of the API"),
        ("POST", "/docs/files/swagger-ui.css", 405, "found POST"),
    ],
)
def test_unknown_paths_and_methods(server: Running, method: str, path: str, status: int, says: str) -> None:
    answer = server.client.request(method, path)
    assert answer.status_code == status
    assert says in sentence(answer)


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "says"),
    [
        ("/v1/graph", "application/json", b"{", 400, "found broken JSON"),
        ("/v1/graph", "application/json", b"[" * 100_000, 400, "found broken JSON"),
        ("/v1/graph", "application/json", b"\xff\xfe", 400, "found broken JSON"),
        ("/v1/graph", "application/json", b"[1]", 400, "found other JSON"),
        ("/v1/graph", "application/json", b'"url"', 400, "found other JSON"),
        ("/v1/graph", "application/json", b'{"url": {}}', 400, "url: expected a string, found dict"),
        ("/v1/graph", "application/json", b'{"url": "http://[::1"}', 400, "url: expected a URL, found 'http://[::1'"),
        ("/v1/graph", "application/json", b'{"url": "http://[images.example]/"}', 400, "url: expected a URL"),
        ("/v1/graph", "application/json", b'{"url": "\\ud800"}', 400, "found broken JSON"),
        ("/v1/graph", "text/plain", b"x", 415, "found content type 'text/plain'"),
        ("/v1/graph", "", b"x", 415, "found content type 'none'; for an image send the header Content-Type: image/"),
        (
            "/v1/graphs",
            "image/png",
            png(),
            415,
            "expected a form (multipart/form-data), found content type 'image/png'",
        ),
        ("/v1/graphs", "application/x-www-form-urlencoded", b"images=1", 415, "expected a form"),
        ("/v1/graphs", "multipart/form-data; boundary=x", b"--x--", 400, "expected files in the form field 'images'"),
        ("/v1/graph", "multipart/form-data; boundary=x", b"--x\r\n\r\n", 400, ""),
        ("/v1/graph", "multipart/form-data", b"x", 400, "boundary"),
    ],
)
def test_bodies_of_another_kind(server: Running, path: str, kind: str, body: bytes, status: int, says: str) -> None:
    answer = server.client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert says in sentence(answer)


@pytest.mark.parametrize(
    ("head", "status", "says"),
    [
        (b"hello\r\n\r\n", 400, "expected an HTTP/1.1 request, found illegal request line"),
        (b"\x16\x03\x01\x02\x00\x01\x00" + b"\x01" * 300, 400, "found illegal request line"),  # TLS
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "found illegal request line"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "found bad Content-Length"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "found conflicting Content-Length headers",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "found Missing mandatory Host: header"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA\x1b[31m: b\r\n\r\n", 400, "found illegal header line: bytearray(b'A\\x1b"),
        (b"GET / HTTP/9.9.9\r\nHost: x\r\n\r\n", 400, "found illegal request line"),
        (b"GET /" + b"x" * 300_000, 431, "expected a head of at most 16,384 bytes, found more"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "found Only Transfer-Encoding: chunked"),
        (
            b"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n-\r\n",
            400,
            "found illegal chunk header",
        ),
    ],
)
def test_what_is_no_http_gets_a_sentence_too(server: Running, head: bytes, status: int, says: str) -> None:
    answer = server.raw(head)
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert says in json.loads(body)["detail"]
    assert b"content-type: application/json" in top.lower()
    assert server.post(png()).status_code == 200


def test_a_long_method_is_quoted_in_part(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = server.raw(b"A" * 10_000 + b" / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.endswith(b'{"detail":"expected GET, found ' + b"A" * 200 + b'"}')
    assert max(map(len, caplog.messages)) < 300


@pytest.mark.parametrize("wanted", [b"websocket", b"h2c"])
def test_a_request_for_another_protocol_is_answered_over_http(
    server: Running, caplog: pytest.LogCaptureFixture, wanted: bytes
) -> None:
    ends = b"Connection: Upgrade, close\r\nUpgrade: " + wanted + b"\r\n\r\n"
    assert server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n" + ends).startswith(b"HTTP/1.1 200")
    assert "pip install" not in caplog.text


@pytest.mark.parametrize("host", [b"[::1", b"x y", b"\xff", b"a" * 9000])
def test_a_malformed_host_is_no_fault_of_the_server(server: Running, host: bytes) -> None:
    for path in (b"/nothing", b"/v1/graph/", b"/docs", b"/health"):
        answer = server.raw(b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert int(answer.split(b" ")[1]) in (200, 400, 404), answer


def test_a_stream_of_several_samples_is_refused(server: Running) -> None:
    answer = server.post(png(), "/v1/graph/stream", params={"samples": 2, "temperature": 1})
    assert answer.status_code == 400
    assert sentence(answer) == "samples: expected 1 for a stream, found 2; /v1/graph merges several"


def test_more_images_than_the_queue_has_places_are_not_told_to_come_back(server: Running) -> None:
    files = [("images", (f"{k}.png", png(), "image/png")) for k in range(40)]
    answer = server.client.post("/v1/graphs", files=files)
    assert answer.status_code == 413
    assert "retry-after" not in answer.headers
    assert sentence(answer) == "expected at most 4 images, found more"
    assert server.client.post("/v1/graphs", files=files[:4]).status_code == 200


def test_a_form_with_two_images_for_one_graph(server: Running) -> None:
    files = [("image", (f"{k}.png", png(), "image/png")) for k in range(2)]
    answer = server.client.post("/v1/graph", files=files)
    assert answer.status_code == 413
    assert sentence(answer) == "expected at most 1 image, found more; /v1/graphs takes several"


class WithoutScores(ColourReader):
    """An engine that gives no log-probabilities."""

    def read_batch(self, *arguments: object, **options: object) -> list[object]:  # type: ignore[override]
        import dataclasses

        readings = super().read_batch(*arguments, **options)  # type: ignore[arg-type]
        for k, reading in enumerate(readings):
            graph = dataclasses.replace(reading.parsed.graph, object_scores=None, relationship_scores=None)
            readings[k] = dataclasses.replace(reading, parsed=reading.parsed.with_graph(graph))
        return readings  # type: ignore[return-value]


@pytest.mark.parametrize(("path", "field"), [("/v1/graph", "image"), ("/v1/graphs", "images")])
def test_a_name_that_no_text_can_hold(server: Running, path: str, field: str) -> None:
    """UTF-7 can spell half of a surrogate pair, which JSON cannot."""
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="+2AA-.png"'
    body = f"--B\r\n{disposition}\r\n\r\n".encode() + png() + b"\r\n--B--\r\n"
    kind = {"content-type": "multipart/form-data; charset=utf-7; boundary=B"}
    answer = server.client.post(path, content=body, headers=kind)
    assert answer.status_code == 200
    record = answer.json()
    assert record.get("image_id", record.get("graphs", [{}])[0].get("image_id")) == "\\ud800.png"


def test_a_threshold_without_scores_is_the_clients_to_change() -> None:
    with serving(reader=WithoutScores()) as server:
        answer = server.post(png(), params={"threshold": 0.5})
        assert answer.status_code == 400
        assert sentence(answer).startswith("threshold: a threshold needs scores")
        assert server.post(png()).status_code == 200


def test_a_fault_of_the_engine_is_a_500_with_a_sentence(server: Running) -> None:
    answer = server.post(png(0, 0, 255))
    assert answer.status_code == 500
    assert sentence(answer) == "the server failed on this request; its log has the error"


def test_no_client_can_write_lines_of_its_own_into_the_log(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    forged = "r1sgg:all-is-well"
    name = f"a\x1b[2K\x0b\u2028{forged}\x85.png"  # a form lets no \r\n through
    with caplog.at_level(logging.INFO):
        server.client.get(f"/x%0a{forged}%0d%0a{forged}")
        server.client.get("/x%1b[31m%E2%80%A8")
        head = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
        body = head.encode() + b"not an image\r\n--x--\r\n"
        answer = server.client.post(
            "/v1/graph", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
        )
        server.client.post("/v1/graph", content=b"x", headers={"content-type": f"a/{forged}"})
    assert answer.status_code == 400
    assert forged in sentence(answer)
    quoting = [record.getMessage() for record in caplog.records if forged in record.getMessage()]
    assert len(quoting) >= 3
    for message in quoting:
        assert message.isprintable(), message


def test_a_line_is_one_line() -> None:
    assert printable("a\nb\x1b\u2028é \ud800") == "a\\nb\\x1b\\u2028é \\ud800"


def test_the_api_page_promises_what_is_sent(server: Running) -> None:
    record = server.client.get("/openapi.json").json()
    for path in record["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"]
            for status, response in operation["responses"].items():
                if status != "200" and "content" in response:
                    assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
