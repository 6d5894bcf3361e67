"""What a server meets: each is refused with one sentence, logged, and the server goes on."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from r1sgg.errors import ImageError
from r1sgg.serving import fetching
from r1sgg.serving.app import ServerSettings
from r1sgg.serving.fetching import fetch

from .server import ColourReader, Running, png, serving, wait_until

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def _bomb(side: int = 30_000) -> bytes:
    """A PNG of a few hundred bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def _truncated() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 80).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.fixture(scope="module")
def server() -> object:
    with serving(ServerSettings(most_bytes=2_000_000, receive_seconds=1.0, hosts=("images.example",))) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b"hello", "image/png", 400, "expected an image (JPEG, PNG, ...), found a file of another kind"),
        (b"", "image/png", 400, "expected an image"),
        (_truncated(), "image/jpeg", 400, "expected a whole image"),
        (_bomb(), "image/png", 400, "pixels"),
        (SVG, "image/svg+xml", 400, "found a file of another kind"),
        (b"x" * 2_000_001, "image/png", 413, "expected at most 2,000,000 bytes, found 2,000,001"),
        (png(), "text/html", 415, "found content type 'text/html'"),
        (b"{", "application/json", 400, "found other JSON"),
        (b'{"url": 7}', "application/json", 400, "expected a string"),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400, "expected"),
        (b"no boundary", "multipart/form-data", 400, "Missing boundary in multipart"),
    ],
)
def test_bad_bodies(server: Running, body: bytes, kind: str, status: int, says: str) -> None:
    answer = server.client.post("/v1/graph", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert server.post(png()).status_code == 200


def test_a_hundred_megabytes_without_saying_so_are_cut_off(server: Running) -> None:
    head = b"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"
    answer, sent = b"", 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may close before all is sent
            for _ in range(100):
                client.sendall(chunk)
                sent += 1
        with contextlib.suppress(ConnectionResetError):
            answer = client.recv(1000)
    assert b" 413 " in answer or sent < 100
    assert server.post(png()).status_code == 200


def test_a_slow_client_is_told_and_holds_nobody_up(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(
            b"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc"
        )
        assert server.post(png()).status_code == 200
        with caplog.at_level(logging.WARNING):
            assert b" 408 " in slow.recv(1000)
    assert "expected the whole request within 1 s" in caplog.text


def test_a_client_that_goes_away_costs_no_model_pass() -> None:
    reader = ColourReader()
    with serving(reader=reader) as server, ThreadPoolExecutor(4) as pool:
        reader.gate.clear()
        first = pool.submit(server.post, png())
        assert reader.begun.wait(10)
        body = png(9, 9)
        head = f"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(head.encode() + body)
            wait_until(lambda: server.waiting() == 1)
        wait_until(lambda: all(w.answer.done() for w in server.app.state.batcher.waiting))
        reader.gate.set()
        assert first.result().status_code == 200
        assert server.post(png()).status_code == 200
    assert reader.batches == [1, 1]


def test_the_key_is_asked_for_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving(ServerSettings(key="open sesame")) as server, caplog.at_level(logging.DEBUG):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open sesame"}):
            answer = server.client.post("/v1/graph", content=png(), headers={"content-type": "image/png", **headers})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        right = {"content-type": "image/png", "Authorization": "Bearer open sesame"}
        assert server.client.post("/v1/graph", content=png(), headers=right).status_code == 200
        assert server.client.get("/health").status_code == 200
    assert "refused with 401" in caplog.text
    assert "sesame" not in caplog.text


def test_markup_in_a_name_stays_data(server: Running) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    answer = server.client.post("/v1/graph", files={"image": (name, png(), "image/png")})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["image_id"] == name


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "172.16.5.5", "169.254.169.254", "fe80::1", "fd00::1",
     "0.0.0.0", "::ffff:127.0.0.1", "100.64.0.1", "224.0.0.1"],
)  # fmt: skip
def test_a_url_into_a_private_network_is_refused_unasked(
    server: Running, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *a, **k: [(family, 1, 6, "", (address, 80))])
    monkeypatch.setattr(fetching, "_connection", lambda *a: pytest.fail("something was contacted"))
    answer = server.client.post("/v1/graph", json={"url": "http://images.example/a.png"})
    assert answer.status_code == 400
    assert f"expected a public address, found images.example at {address}" in answer.json()["detail"]


@pytest.mark.parametrize(
    "url",
    ["http://other.example/a.png", "file:///etc/passwd", "ftp://images.example/a", "http://user:pw@images.example/",
     "http://images.example:22/", "http://images.example:99999/", "http:///a", "images.example/a", "http://[::1]/a",
     "http://images.example.evil.example/"],
)  # fmt: skip
def test_urls_that_are_not_allowed_are_not_even_resolved(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *a, **k: pytest.fail("a name was resolved"))
    with pytest.raises(ImageError):
        fetch(url, ("images.example",), most_bytes=1000, seconds=1)


def test_without_allowed_hosts_every_url_is_refused() -> None:
    with serving() as server:
        answer = server.client.post("/v1/graph", json={"url": "http://images.example/a.png"})
    assert answer.status_code == 400
    assert "expected a host that this server allows" in answer.json()["detail"]


class _Site:
    """One loopback web server that answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (b"200 OK", b"x" * 500, None),
        (b"302 Found\r\nLocation: http://127.0.0.1/secret", b"", "redirects are not followed"),
        (b"200 OK", b"x" * 5000, "at most 1,000 bytes"),
    ],
)
def test_what_an_allowed_host_may_answer(
    monkeypatch: pytest.MonkeyPatch, status: bytes, body: bytes, says: str | None
) -> None:
    head = b"HTTP/1.1 " + status + f"\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    site = _Site(head + body)
    monkeypatch.setattr(fetching, "_public_address", lambda host, port: "127.0.0.1")
    connection = fetching.http.client.HTTPConnection
    monkeypatch.setattr(fetching, "_connection", lambda *a: connection("127.0.0.1", site.port, timeout=5))
    try:
        if says is None:
            assert fetch("http://images.example/a?b=c", (".example",), most_bytes=1000, seconds=5) == body
        else:
            with pytest.raises(ImageError, match=says):
                fetch("http://images.example/a", ("images.example",), most_bytes=1000, seconds=5)
    finally:
        site.close()
        time.sleep(0)
