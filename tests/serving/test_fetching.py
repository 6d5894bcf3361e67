"""Images by URL: which addresses are public, what an allowed host may answer, and when it has answered long enough."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from r1sgg.errors import ImageError
from r1sgg.serving import fetching
from r1sgg.serving.fetching import fetch, is_public
from r1sgg.serving.settings import ServerSettings

from .server import Running, png, serving

PRIVATE = (
    "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.5.5",
    "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.9", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1",
    "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::10.0.0.1", "::8.8.8.8",  # unspecified, loopback, IPv4-compatible
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:10.0.0.1",  # IPv4-mapped, IPv4-translated
    "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1",  # NAT64
    "100::1", "2001::1", "2001:0:a00:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",  # Teredo, ...
    "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1",  # 6to4
    "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "feff::1", "ff02::1", "ff0e::1",
    "4000::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.15.0.1", "192.0.3.1", "2606:4700::1111", "2a00:1450::1"])
def test_an_address_that_is_public(address: str) -> None:
    assert is_public(address)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Give a name its addresses; every connection that is made is noted, and none is made."""

    def resolving(*addresses: str) -> list[str]:
        made: list[str] = []

        async def found(loop: object, host: str, port: int, **options: object) -> list[object]:
            return [(socket.AF_INET6 if ":" in a else socket.AF_INET, 1, 6, "", (a, port)) for a in addresses]

        async def connect(host: str, address: str, secure: bool) -> object:
            made.append(address)
            raise ConnectionRefusedError("not in a test")

        monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", found)
        monkeypatch.setattr(fetching, "_connect", connect)
        return made

    return resolving


async def _got(url: str, hosts: tuple[str, ...] = (".example",), seconds: float = 5) -> bytes:
    parts: list[bytes] = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    await fetch(url, hosts, most_bytes=1000, seconds=seconds, keep=keep)
    return b"".join(parts)


@pytest.mark.parametrize("address", ["169.254.169.254", "64:ff9b::a00:1", "fec0::1"])
def test_a_name_with_one_private_address_is_refused_and_nothing_is_contacted(
    resolved: Callable[..., list[str]], address: str
) -> None:
    made = resolved("8.8.8.8", address)
    with pytest.raises(ImageError, match=f"expected a public address, found images.example at {address}"):
        asyncio.run(_got("http://images.example/a.png"))
    assert made == []


def test_the_connection_goes_to_the_address_that_was_checked(resolved: Callable[..., list[str]]) -> None:
    made = resolved("8.8.8.8")
    with pytest.raises(ImageError, match=r"expected an answer of images\.example, found ConnectionRefusedError"):
        asyncio.run(_got("http://images.example/a.png"))
    assert made == ["8.8.8.8"]


@pytest.mark.parametrize(
    "url",
    ["http://other.test/a.png", "file:///etc/passwd", "ftp://images.example/a", "http://user:pw@images.example/",
     "http://images.example:22/", "http://images.example:99999/", "http:///a", "images.example/a", "http://[::1]/a",
     "http://images.example.evil.test/", "http://[::1", "http://[images.example]/", "http://images.example:x/", "",
     "http://images.example@evil.test/", "http://evil.test#.example"],
)  # fmt: skip
def test_urls_that_are_not_allowed_are_not_even_resolved(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    async def found(*a: object, **k: object) -> None:
        pytest.fail("a name was resolved")

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", found)
    with pytest.raises(ImageError):
        asyncio.run(_got(url))


def test_without_allowed_hosts_every_url_is_refused() -> None:
    with serving() as server:
        answer = server.client.post("/v1/graph", json={"url": "http://images.example/a.png"})
    assert answer.status_code == 400
    assert "expected a host that this server allows" in answer.json()["detail"]


@contextlib.contextmanager
def _site(monkeypatch: pytest.MonkeyPatch, *parts: bytes, pause: float = 0.0) -> Iterator[list[bytes]]:
    """A loopback web server that answers one request with these parts; every allowed name leads to it."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(10_000))
                for part in parts:
                    connection.sendall(part)
                    if over.wait(pause):
                        return

    async def address(host: str, port: int) -> str:
        return "127.0.0.1"

    async def connect(host: str, address: str, secure: bool) -> object:
        return await asyncio.open_connection(address, listening.getsockname()[1])

    monkeypatch.setattr(fetching, "_public_address", address)
    monkeypatch.setattr(fetching, "_connect", connect)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield asked
    over.set()
    listening.close()
    thread.join(10)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"


def test_an_allowed_host_gives_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    with _site(monkeypatch, OK + b"x" * 200, b"y" * 300) as asked:
        assert asyncio.run(_got("http://images.example/a b?c=é%20")) == b"x" * 200 + b"y" * 300
    assert asked[0].startswith(b"GET /a%20b?c=%C3%A9%20 HTTP/1.1\r\nHost: images.example\r\n")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/secret\r\n\r\n",
            r"redirects are not followed\), found 302",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, "at most 1,000 bytes"),
        (OK + b"x" * 499, "RemoteProtocolError"),
        (b"\x00" * 100, "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "RemoteProtocolError"),
    ],
)
def test_what_an_allowed_host_may_not_answer(monkeypatch: pytest.MonkeyPatch, answer: bytes, says: str) -> None:
    with _site(monkeypatch, answer), pytest.raises(ImageError, match=says):
        asyncio.run(_got("http://images.example/a"))


@pytest.mark.parametrize("head", [OK, b""])
def test_a_host_that_answers_drop_by_drop_is_left_in_time(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    drops = [head, *([b"x"] * 500 if head else [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n" * 30])]
    with _site(monkeypatch, *drops, pause=0.05):
        begun = time.monotonic()
        with pytest.raises(ImageError, match=r"answer of images\.example within 0\.5 s, found none or a part"):
            asyncio.run(_got("http://images.example/a", seconds=0.5))
        assert time.monotonic() - begun < 5


def test_hosts_that_answer_slowly_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty fetches that hang take no thread: an image that is sent is answered beside them."""

    async def hang(host: str, port: int) -> str:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(fetching, "_public_address", hang)
    settings = ServerSettings(hosts=("images.example",), receive_seconds=3.0)
    with serving(settings) as server:
        answers: list[tuple[int, str]] = []

        def ask() -> None:
            answer = server.client.post("/v1/graph", json={"url": "http://images.example/a.png"})
            answers.append((answer.status_code, answer.json()["detail"]))

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        assert server.post(png()).status_code == 200
        for thread in threads:
            thread.join(20)
    expected = (400, "url: expected an answer of images.example within 3 s, found none or a part")
    assert answers == [expected] * 40


def test_an_image_that_is_fetched_gives_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(7, 9)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with _site(monkeypatch, head + data), serving(ServerSettings(hosts=("images.example",))) as server:
        _check(server)


def _check(server: Running) -> None:
    answer = server.client.post("/v1/graph", json={"url": "http://images.example/a.png"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["objects"][0]["bbox"] == [0, 0, 8, 10]
