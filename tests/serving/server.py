"""A reader without a model, and a real server on loopback around it.

python -m tests.serving.server SECONDS GRACE        a server of its own, whose model takes so long for a batch
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
from PIL import Image

from r1sgg.errors import ModelError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Parsed, render
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.reader import Reading
from r1sgg.serving.app import Admit, build_app
from r1sgg.serving.connection import run, server_of
from r1sgg.serving.settings import ServerSettings

FRAME = (1000.0, 1000.0)


class ColourReader:
    """Answers with one object whose box tells the image's colour, so that a crossed answer shows.

    Attributes:
        checkpoint: one whose processor brings images to 400 x 400, so that they are reduced to 1200 x 1200.
        gate: while it is not set, no batch ends.
        batches: the sizes of the batches so far.
        seconds: for a batch.
    """

    def __init__(self) -> None:
        images = SimpleNamespace(size={"height": 400, "width": 400})
        self.checkpoint = SimpleNamespace(
            image_pixels=None, processor=SimpleNamespace(image_processor=images), notice=None
        )
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.seconds = 0.0
        self.begun = threading.Event()

    def read_batch(self, images: list[Image.Image], sampling: Sampling | None = None, **options: Any) -> list[Reading]:
        self.batches.append(len(images))
        self.begun.set()
        assert self.gate.wait(30)
        time.sleep(self.seconds)
        readings = [colour_reading(image) for image in images]
        if any(reading.graph.labels == ("poison",) for reading in readings):
            raise ModelError("this image can't be answered")
        if any(reading.graph.labels == ("bug",) for reading in readings):
            raise RuntimeError("a fault of the engine")
        return readings

    def stream(self, image: Image.Image, sampling: Sampling | None = None, **options: Any) -> Iterator[Reading]:
        for _ in range(3):
            (reading,) = self.read_batch([image])
            yield reading


def colour_reading(image: Image.Image) -> Reading:
    """What `ColourReader` says: pure red is poison, pure blue a bug, anything else a thing."""
    red, green, blue = image.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    label = {(255, 0, 0): "poison", (0, 0, 255): "bug"}.get((red, green, blue), "thing")
    box = np.array([[0.0, 0.0, (red + 1) / 1000, (green + 1) / 1000]])
    graph = SceneGraph((f"{label}.1",), (label,), box, object_scores=np.array([0.4]), relationship_scores=np.zeros(0))
    return Reading(image, FRAME, Completion(render(graph, FRAME), 5, "stop"), Parsed(graph))


def png(red: int = 10, green: int = 20, blue: int = 30, size: tuple[int, int] = (1000, 1000)) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (red, green, blue)).save(buffer, "PNG")
    return buffer.getvalue()


def colour_of(graph: dict[str, Any]) -> tuple[int, int]:
    """Red and green of the image that a graph was made for."""
    _, _, x2, y2 = graph["objects"][0]["bbox"]
    return round(x2) - 1, round(y2) - 1


class Running:
    """A server in a thread."""

    def __init__(self, reader: Any, settings: ServerSettings, admit: Admit | None = None) -> None:
        self.reader = reader
        self.app = build_app(reader, settings, "fake", admit)
        self.server = server_of(self.app, grace_seconds=5)
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()), daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def post(self, data: bytes, path: str = "/v1/graph", **options: Any) -> httpx.Response:
        return self.client.post(path, content=data, headers={"content-type": "image/png"}, **options)

    def waiting(self) -> int:
        return int(self.client.get("/health").json()["waiting"])

    def ready(self) -> int:
        """Images that are decoded and wait for the model."""
        return sum(place.image is not None for place in list(self.app.state.batcher.waiting))

    def raw(self, data: bytes, *, seconds: float = 20, end: bool = False) -> bytes:
        """What the server says to these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as client:
            client.sendall(data)
            if end:
                client.shutdown(socket.SHUT_WR)
            return received(client)

    def stop(self) -> None:
        if hasattr(self.reader, "gate"):
            self.reader.gate.set()
        self.client.close()
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(
    settings: ServerSettings | None = None, reader: Any = None, admit: Admit | None = None
) -> Iterator[Running]:
    """A running server, stopped at the end."""
    running = Running(reader or ColourReader(), settings or ServerSettings(), admit)
    try:
        yield running
    finally:
        running.stop()


def received(client: socket.socket) -> bytes:
    """Everything until the connection is closed."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            found += part
    return found


def wait_until(true: Any, seconds: float = 10) -> None:
    """Poll a condition; fails when it does not come true."""
    for _ in range(int(seconds * 100)):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("the condition did not come true")


def main() -> None:
    """See the head of this file; prints the port once it listens."""
    reader = ColourReader()
    reader.seconds = float(sys.argv[1])
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    run(build_app(reader, ServerSettings(), "fake"), listening, int(sys.argv[2]))


if __name__ == "__main__":
    main()
