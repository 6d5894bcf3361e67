"""What a server meets: each is refused with one sentence, logged, and the server goes on."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from r1sgg.serving.settings import ServerSettings

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
        (b"hello", "image/png", 400, "expected an image (JPEG, PNG, WEBP, "),
        (b"", "image/png", 400, "expected an image"),
        (_truncated(), "image/jpeg", 400, "expected a whole image"),
        (_bomb(), "image/png", 400, "pixels"),
        (SVG, "image/svg+xml", 400, "found a file of another kind"),
        (b"x" * 2_000_001, "image/png", 413, "expected at most 2,000,000 bytes, found 2,000,001"),
        (png(), "text/html", 415, "found content type 'text/html'"),
        (b"{", "application/json", 400, "found broken JSON"),
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


def test_postscript_reaches_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "called"
    (tmp_path / "gs").write_text(f'#!/bin/sh\necho "$@" >> {called}\nexit 0\n')
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    body = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n0 0 20 20 rectfill\n"
    with serving() as server:
        for kind in ("image/png", "application/postscript", "image/x-eps", "application/octet-stream"):
            answer = server.client.post("/v1/graph", content=body, headers={"content-type": kind})
            assert answer.status_code in (400, 415)
        answer = server.client.post("/v1/graphs", files={"images": ("a.eps", body, "application/postscript")})
        assert "found a file of another kind" in answer.json()["graphs"][0]["detail"]
    assert not called.exists()
