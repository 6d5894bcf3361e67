"""Clients that hold on: half a head, half a body, an answer that is not taken; and a server that ends all the same."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import h11
import pytest
from PIL import Image

from r1sgg.serving.connection import Connection, _with_path

from .server import Running, png, received, serving, wait_until

HEAD = b"GET /docs/files/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(Connection, "head_seconds", 0.5)
    monkeypatch.setattr(Connection, "send_seconds", 0.5)
    with serving() as running:
        yield running


def _connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def test_half_a_head_is_told_and_closed(server: Running) -> None:
    with _connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHos")
        top, _, body = received(client).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 408")
    assert json.loads(body) == {"detail": "expected the head of a request within 0.5 s, found none or a part"}


def test_a_head_that_comes_drop_by_drop_is_closed_in_the_same_time(server: Running) -> None:
    with _connect(server) as client:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 100:
                client.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - begun < 8  # all of them would take 12 s


def test_a_second_request_that_stays_half_is_closed_too(server: Running) -> None:
    with _connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with http.client.HTTPResponse(client) as first:  # head and body are sent, and can arrive, one after the other
            first.begin()
            assert first.status == 200
            assert json.loads(first.read())["status"] == "ok"
        client.sendall(b"GET /hea")
        assert received(client).startswith(b"HTTP/1.1 408")


def test_half_a_head_that_comes_with_a_whole_request_is_told_too(server: Running) -> None:
    with _connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea")
        answers = received(client)
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1 408") == 1


def test_a_connection_without_a_word_is_closed(server: Running) -> None:
    with _connect(server) as client:
        assert received(client).startswith(b"HTTP/1.1 408")


def test_a_slow_head_holds_no_answer_up(server: Running) -> None:
    """The time for a head does not run while a request is answered."""
    server.reader.seconds = 1.2
    assert server.post(png()).status_code == 200


def test_three_hundred_half_requests_hold_up_nobody(server: Running) -> None:
    clients = [_connect(server) for _ in range(300)]
    try:
        for client in clients:
            client.sendall(b"POST /v1/graph HTTP/1.1\r\nHost: x\r\nX-A: ")
        assert server.post(png()).status_code == 200
        wait_until(lambda: len(server.server.server_state.connections) <= 1)
    finally:
        for client in clients:
            client.close()


def test_of_too_many_connections_the_oldest_idle_one_makes_room(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Connection, "most", 20)
    monkeypatch.setattr(Connection, "head_seconds", 30)
    clients = [_connect(server) for _ in range(60)]
    try:
        assert server.post(png()).status_code == 200
        for client in clients[:40]:
            top, _, body = received(client).partition(b"\r\n\r\n")
            assert top.startswith(b"HTTP/1.1 503")
            assert json.loads(body) == {"detail": "expected at most 20 connections, found more; come back later"}
        assert len(server.server.server_state.connections) == 20
        clients[-1].sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert received(clients[-1]).startswith(b"HTTP/1.1 200")
    finally:
        for client in clients:
            client.close()
    assert "Traceback" not in caplog.text


def test_requests_in_progress_make_no_room(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "most", 3)
    monkeypatch.setattr(Connection, "head_seconds", 30)
    server.reader.gate.clear()
    clients = [_connect(server) for _ in range(3)]
    try:
        for client in clients:
            client.sendall(_request(png()))
        wait_until(lambda: [one._idle() for one in server.server.server_state.connections] == [False] * 3)
        with _connect(server) as late:
            assert received(late).startswith(b"HTTP/1.1 503")
        server.reader.gate.set()
        for client in clients:
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
    finally:
        for client in clients:
            client.close()


def test_an_answer_that_nobody_takes_is_cut_off(server: Running) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(HEAD * 20)  # 28 MB
        wait_until(lambda: len(server.server.server_state.connections) == 1)
        wait_until(lambda: not server.server.server_state.connections)
    assert server.client.get("/docs/files/swagger-ui-bundle.js").status_code == 200


@pytest.mark.parametrize(("said", "final"), [(b"5000", b"HTTP/1.1 415"), (b"99999999", b"HTTP/1.1 413")])
def test_a_client_that_asks_first_is_refused_before_it_sends(server: Running, said: bytes, final: bytes) -> None:
    with _connect(server) as client:
        begun = time.monotonic()
        client.sendall(b"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: ")
        client.sendall(said + b"\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1 << 16).startswith(final)
        assert time.monotonic() - begun < 1.5  # the server does not wait for a body


def test_a_client_that_asks_first_is_told_to_send(server: Running) -> None:
    with _connect(server) as client:
        head, _, body = _request(png()).partition(b"\r\n\r\n")
        client.sendall(head + b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert client.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert received(client).startswith(b"HTTP/1.1 200")


def test_a_client_that_sends_no_more_gets_its_responses(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has closed its sending side alone (RFC 9112, section 9.6); here after two requests in one go."""
    monkeypatch.setattr(Connection, "look_seconds", 0.05)
    server.reader.seconds = 0.3
    with _connect(server) as client:
        client.sendall(_request(png()) + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answers = received(client)
    assert answers.count(b"HTTP/1.1 100 Continue") > 1
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"objects"') < answers.index(b'"status":"ok"')
    wait_until(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize("path", ["/health", "/v1/graph", "/v1/graph/stream"])
def test_one_request_and_no_more_gets_its_response(server: Running, path: str) -> None:
    request = _request(png()).replace(b"/v1/graph", path.encode())
    with _connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" if path == "/health" else request)
        client.shutdown(socket.SHUT_WR)
        with http.client.HTTPResponse(client) as answer:  # which skips interim responses
            answer.begin()
            body = answer.read()
    assert answer.status == 200
    assert (b"event: graph" if path.endswith("stream") else b"}") in body


@pytest.mark.parametrize("gone", [False, True])
def test_a_stream_goes_on_for_a_client_that_sends_no_more(
    server: Running, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """Between the events it gets comments, by which the server learns whether it is still there."""
    monkeypatch.setattr(Connection, "look_seconds", 0.05)
    server.reader.seconds = 2 if gone else 0.2
    with _connect(server) as client:
        client.sendall(_request(png()).replace(b"/v1/graph", b"/v1/graph/stream"))
        events = b""
        while b"event: start" not in events:
            events += client.recv(65536)
        if not gone:
            client.shutdown(socket.SHUT_WR)
            events += received(client)
            assert events.count(b"\r\n:\n\n\r\n") > 1
            assert events.index(b"event: graph") > events.rindex(b"\r\n:\n\n\r\n")
            assert events.endswith(b"\r\n0\r\n\r\n")
    left = time.monotonic()
    wait_until(lambda: not server.server.server_state.connections)
    assert time.monotonic() - left < 3, "the model takes 6 s"


@pytest.mark.parametrize("sent", [-100, 20], ids=["half a body", "half a head"])
def test_half_a_request_and_no_more_is_closed_at_once(
    server: Running, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    monkeypatch.setattr(Connection, "head_seconds", 30)
    with _connect(server) as client:
        client.sendall(_request(png())[:sent])
        client.shutdown(socket.SHUT_WR)
        assert received(client) == b""


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://x/health", 200),
        ("HTTP://other.example:8000/health?", 200),
        ("https://x/health", 200),
        ("http://x", 200),
        ("http://x?tresh=1", 200),
        ("http://x/gone", 404),
        ("ftp://x/health", 404),
        ("http:///health", 404),
    ],
)
def test_an_address_is_a_target_too(server: Running, target: str, status: int) -> None:
    """RFC 9112, section 3.2.2: a server must accept it, and its host counts before that of the header."""
    with _connect(server) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n".encode())
        assert received(client).startswith(f"HTTP/1.1 {status}".encode())


def test_the_host_of_an_address_counts() -> None:
    request = h11.Request(method="GET", target="http://one:8000/a?b=c", headers=[("Host", "two"), ("X", "y")])
    read = _with_path(request)
    assert (read.target, list(read.headers)) == (b"/a?b=c", [(b"host", b"one:8000"), (b"x", b"y")])


CHUNKED = b"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_bodies_of_very_many_chunks_are_refused_and_hold_up_nobody(server: Running) -> None:
    clients = [_connect(server) for _ in range(8)]
    try:
        for client in clients:
            client.sendall(CHUNKED)
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"1\r\nx\r\n" * 100_000)
        begun = time.monotonic()
        assert server.client.get("/health").status_code == 200
        assert time.monotonic() - begun < 2  # read on, they would take the loop for 8
        assert b"found chunks of less than 128 bytes" in received(clients[0])
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("size", [4, 256])
def test_bodies_of_small_chunks_are_read(server: Running, size: int) -> None:
    buffer = io.BytesIO()
    side = 30 if size == 4 else 400
    Image.effect_noise((side, side), 80).convert("RGB").save(buffer, "PNG")
    data = buffer.getvalue()
    parts = [data[k : k + size] for k in range(0, len(data), size)]
    assert (len(parts) > 1000) == (size == 256)
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    with _connect(server) as client:
        client.sendall(CHUNKED.replace(b"Host: x", b"Host: x\r\nConnection: close") + body)
        assert received(client).startswith(b"HTTP/1.1 200")


@contextlib.contextmanager
def _process(seconds: float, grace: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.serving.server", str(seconds), str(grace)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if b" 200 " in received(client):
                    break
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def _request(data: bytes) -> bytes:
    head = f"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


@pytest.mark.parametrize("signal_sent", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_in_time_whatever_its_clients_and_its_model_do(signal_sent: signal.Signals) -> None:
    with _process(seconds=25, grace=2) as (process, port), contextlib.ExitStack() as clients:

        def connect() -> socket.socket:
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            return client

        connect().sendall(HEAD * 20)  # does not read
        connect().sendall(b"GET /health HTTP/1.1\r\nHos")  # half a head
        connect().sendall(_request(png())[:-100])  # half a body
        connect()  # nothing
        reading = connect()
        reading.sendall(_request(png()))  # the model takes 25 s
        connect().sendall(_request(png()))  # and this one waits for it
        stream = connect()
        stream.sendall(_request(png()).replace(b"/v1/graph", b"/v1/graph/stream"))
        time.sleep(1)
        begun = time.monotonic()
        process.send_signal(signal_sent)
        process.wait(20)
        assert time.monotonic() - begun < 2 + 2 + 2  # grace, and two seconds; the machine may be busy
        assert process.returncode in (-signal_sent, 130)
        reading.settimeout(5)
        top, _, body = received(reading).partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 503")
        assert json.loads(body) == {"detail": "the server is shutting down"}


def test_a_request_in_progress_is_answered_before_the_server_ends() -> None:
    with _process(seconds=1.5, grace=10) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(_request(png()))
            time.sleep(0.7)
            process.send_signal(signal.SIGTERM)
            assert received(client).startswith(b"HTTP/1.1 200")
        process.wait(20)
        assert process.returncode == -signal.SIGTERM


def test_no_decoding_process_outlives_the_server() -> None:
    with _process(seconds=0, grace=2) as (process, _):
        children = _children(process.pid)
        assert len(children) == 2
        process.kill()  # it can't end them itself
        process.wait()
        wait_until(lambda: not any(os.path.exists(f"/proc/{child}") for child in children))


def _children(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
    return found


def test_a_body_that_is_not_wanted_does_not_hide_the_answer(server: Running) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((700, 700), 80).convert("RGB").save(buffer, "PNG")
    answer = server.client.post("/v1/graph", content=buffer.getvalue(), headers={"content-type": "text/plain"})
    assert answer.status_code == 415
