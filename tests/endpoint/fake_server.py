"""A chat-completions server on loopback that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from PIL import Image

from r1sgg.endpoint.engine import Endpoint, EndpointEngine
from r1sgg.inference.engine import Completion, Sampling

KEY = "sk-very-secret-0123456789"


@dataclass(frozen=True)
class Asked:
    """One request: `number` counts from 0 in the order of arrival."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def image(self) -> Image.Image:
        """The decoded image of the first user message."""
        url = next(m for m in self.body["messages"] if m["role"] == "user")["content"][0]["image_url"]["url"]
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))

    @property
    def schema(self) -> dict[str, Any] | None:
        """The properties that the answer's schema asks for."""
        asked = self.body.get("response_format")
        return asked and asked["json_schema"]["schema"]["properties"]


@dataclass(frozen=True)
class Said:
    """One response; `length` is the length it claims; `hangs` sends nothing, `drips` a byte every so many seconds."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    hangs: bool = False
    drips: float = 0.0


def says(
    text: str | None, *, status: int = 200, finish: str = "stop", tokens: tuple[int, int] | None = (7, 3), **more: Any
) -> Said:
    """A good answer; `more` goes into the choice."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    document: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish, **more}]}
    if tokens is not None:
        document["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return Said(json.dumps(document).encode(), status)


def fails(status: int, message: str = "no", **more: Any) -> Said:
    """An error as OpenAI writes it."""
    headers = more.pop("headers", {})
    return Said(json.dumps({"error": {"message": message, "type": "error", **more}}).encode(), status, headers)


class FakeServer:
    """`with FakeServer(answer) as server:` and then `server.url`; `answer` is called in the request's own thread."""

    def __init__(self, answer: Callable[[Asked], Said]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10.0

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                with fake.lock:
                    asked = Asked(len(fake.asked), self.path, dict(self.headers), json.loads(data))
                    fake.asked.append(asked)
                try:
                    self.respond(fake.answer(asked))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client has given up

            def respond(self, said: Said) -> None:
                if said.hangs:
                    fake.closing.wait(30)
                    self.close_connection = True
                    return
                self.send_response_only(said.status)  # no Date of its own
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body) if said.length is None else said.length))
                self.end_headers()
                if said.drips:
                    for k in range(len(said.body)):
                        self.wfile.write(said.body[k : k + 1])
                        if fake.closing.wait(said.drips):
                            break
                else:
                    self.wfile.write(said.body)
                self.close_connection = said.length is not None or bool(said.drips)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.slept.append(seconds)
            self.now += seconds


class Site:
    """A server and the engines that ask it."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Said] = lambda asked: says("hello")
        self.server = FakeServer(lambda asked: self.answer(asked))
        self.engines: list[EndpointEngine] = []
        self.time = Time()

    def engine(self, **settings: Any) -> EndpointEngine:
        settings = {"model": "m", "base_url": self.server.url, "timeout": 20.0, **settings}
        engine = EndpointEngine(Endpoint(**settings), clock=self.time, sleep=self.time.sleep, jitter=lambda: 0.5)
        self.engines.append(engine)
        return engine

    def in_turn(self, *answers: Said) -> None:
        """Answer so; the last one for good."""
        self.answer = lambda asked: answers[min(asked.number, len(answers) - 1)]


def ask(engine: EndpointEngine, count: int = 1, sampling: Sampling | None = None, **more: Any) -> list[Completion]:
    images = [Image.new("RGB", (8 + k, 8), (k, 0, 0)) for k in range(count)]
    chats = [
        [{"role": "system", "content": "be exact"}, {"role": "user", "content": f"what is in {k}?"}]
        for k in range(count)
    ]
    return engine.generate(images, chats, sampling or Sampling(), **more)
