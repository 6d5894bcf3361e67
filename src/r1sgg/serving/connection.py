"""The server around the app, whose connections no client can hold open.

uvicorn alone waits for ever for the rest of a request's head and for a client to take its answer, says "Invalid HTTP
request received." as plain text, and on SIGTERM ends only when every client has let go. Each of these has a limit here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any

import h11
import orjson
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

_log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """One client's connection.

    Attributes:
        head_seconds: for the head of a request, from its first byte or from the connection; then 408.
        take_seconds: for a client to take what it was sent; then the connection is cut.
    """

    head_seconds = 10.0
    take_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for timer in (self._head, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client does not take what it is sent."""
        super().pause_writing()
        self._watch_taking()

    def on_response_complete(self) -> None:
        """See H11Protocol: what is left of an answer must be taken, too."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_taking()

    def send_400_response(self, msg: str) -> None:
        """See H11Protocol, which says it as plain text."""
        self._refuse(400, "expected an HTTP/1.1 request, found something else")

    def _waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _watch_head(self) -> None:
        if self._head is not None and not self._waits():
            self._head.cancel()
            self._head = None
        elif self._head is None and self._waits():
            self._head = self.loop.call_later(self.head_seconds, self._no_head)

    def _no_head(self) -> None:
        self._head = None
        if self._waits() and not self.transport.is_closing():
            self._refuse(408, f"expected the head of a request within {self.head_seconds:g} s, found none or a part")

    def _watch_taking(self) -> None:
        if self._taking is None:
            self._taking = self.loop.call_later(self.take_seconds, self._not_taken)

    def _not_taken(self) -> None:
        self._taking = None
        if self.transport.get_write_buffer_size():
            _log.warning("a connection was cut: its client did not take the answer within %g s", self.take_seconds)
            self.transport.abort()

    def _refuse(self, status: int, sentence: str) -> None:
        _log.warning("a connection was closed with %d: %s", status, sentence)
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # in the middle of an answer
            return
        body = orjson.dumps({"detail": sentence})
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        head = h11.Response(status_code=status, headers=list(headers.items()), reason=STATUS_PHRASES[status])
        for part in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()


def server_of(app: FastAPI, *, host: str = "127.0.0.1", port: int = 0, grace_seconds: int = 8) -> uvicorn.Server:
    """The server around an app.

    Args:
        app: see `r1sgg.serving.app.build_app`.
        host: address to listen on, where no sockets are given to it.
        port: and port.
        grace_seconds: when the server is to end, for requests that are being answered; others are cut off then.
    """
    config = uvicorn.Config(
        app,
        host,
        port,
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=grace_seconds,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, listening: socket.socket, grace_seconds: int) -> None:
    """Serve until SIGTERM or SIGINT, then at most `grace_seconds` + 2, whatever clients and the model do.

    Args:
        app: see `r1sgg.serving.app.build_app`.
        listening: an open socket.
        grace_seconds: see `server_of`.
    """
    try:
        server_of(app, grace_seconds=grace_seconds).run(sockets=[listening])
    finally:
        if app.state.batcher.busy:  # a model's pass can't be stopped, and the interpreter would wait for its thread
            logging.shutdown()
            os._exit(130)
