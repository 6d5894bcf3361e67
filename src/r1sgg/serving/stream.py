"""The events of a stream: each item of the graph once, when the model has written it, and the whole graph at the end.

    event: start   {"image_id": "image", "width": 640, "height": 480, "model": "runs/grpo"}
    event: new     {"objects": [{"id": "man.1", "bbox": [12, 30, 80, 110]}], "relationships": []}
    event: new     {"objects": [], "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}]}
    event: graph   what /v1/graph returns      (or  event: error   {"detail": "..."})

`graph` alone is the answer: it has scores, leaves out what is below the threshold, and may lack an item that was new
before (one that the rest of the completion made wrong).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi.responses import StreamingResponse

from r1sgg.graph.records import graph_to_rows
from r1sgg.graph.scene import SceneGraph
from r1sgg.serving.limits import Receive, Scope, Send
from r1sgg.serving.schemas import Received


class News:
    """What was sent of a graph so far."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Begin with nothing.

        Args:
            size: width and height that boxes are relative to.
        """
        self._size = size
        self._sent: set[tuple[Any, ...]] = set()

    def of(self, graph: SceneGraph) -> dict[str, Any] | None:
        """Return the objects and relationships that were not sent yet; None if there are none.

        An object that was sent and has another box now is new again.
        """
        rows = graph_to_rows(graph, self._size, scores=False)
        new = {kind: [row for row in items if self._is_new(kind, row)] for kind, items in rows.items()}
        return new if any(new.values()) else None

    def _is_new(self, kind: str, row: dict[str, Any]) -> bool:
        values = (kind, *(tuple(value) if isinstance(value, list) else value for value in row.values()))
        if values in self._sent:
            return False
        self._sent.add(values)
        return True


def start_of(image: Received, model: str) -> dict[str, Any]:
    """Return the first event's data: what is known before the model writes."""
    known = {"image_id": image.name, "width": image.size[0], "height": image.size[1], "model": model}
    return known if image.notice is None else known | {"notice": image.notice}


def event(kind: str, data: dict[str, Any]) -> bytes:
    """Encode a server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


COMMENT = "r1sgg.comment"
"""Key of a request's state: bytes that mean nothing, which may be sent between two parts of its response."""


class Events(StreamingResponse):
    """Server-sent events that release a reservation at the end, also if the client disconnects before the first."""

    def __init__(self, events: AsyncIterator[bytes], held: contextlib.ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][COMMENT] = b":\n\n"
        with self._held:
            await super().__call__(scope, receive, send)
