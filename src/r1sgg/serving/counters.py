"""Counters of the server, in Prometheus' text format. Each server has its own registry."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from r1sgg.serving.limits import App, Receive, Scope, Send
from r1sgg.serving.problems import request_line

_log = logging.getLogger(__name__)


class Counters:
    """Count requests by route and status, their seconds, batch sizes, and images that wait."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter("r1sgg_requests", "Requests.", ("route", "status"), registry=registry)
        self._seconds = Histogram("r1sgg_request_seconds", "Seconds a request took.", ("route",), registry=registry)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self._sizes = Histogram("r1sgg_batch_images", "Images in a batch.", buckets=sizes, registry=registry)
        self._batches = Histogram("r1sgg_batch_seconds", "Seconds a batch took.", registry=registry)
        self._waiting = Gauge("r1sgg_waiting_images", "Images that wait now.", registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch of the model."""
        self._sizes.observe(images)
        self._batches.observe(seconds)

    def text(self, waiting: int) -> bytes:
        """Return all counters as text."""
        self._waiting.set(waiting)
        return generate_latest(self._registry)


class Counted:
    """An ASGI middleware that counts each request with its route and status, and logs the refused ones."""

    def __init__(self, app: App, *, counters: Counters) -> None:
        self._app, self._counters = app, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - begun
            self._counters.request(getattr(scope.get("route"), "path", "other"), status, seconds)
            if status >= 400:
                _log.warning("%s: %d after %.3f s", request_line(scope), status, seconds)
