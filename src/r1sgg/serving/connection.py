"""The HTTP server around the app, with time limits for its connections and its shutdown.

uvicorn alone has no time limit for the head of a request and for a client that does not read; it answers a malformed
request with plain text, and after SIGTERM it waits until every client has disconnected.
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
        head_seconds: time to receive the head of a request; then 408.
        send_seconds: time for a client to read a response; then the connection is closed.
    """

    head_seconds = 10.0
    send_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

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
        for timer in (self._head, self._sending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client does not read."""
        super().pause_writing()
        self._watch_sending()

    def on_response_complete(self) -> None:
        """See H11Protocol: a part of the response may still be unsent."""
        super().on_response_complete()
        if self._idle() and self.conn.trailing_data[0]:  # a part of the next head came with this request
            self._unset_keepalive_if_required()  # which would close the connection without a word
            self._watch_head()
        if self.transport.get_write_buffer_size():
            self._watch_sending()

    def send_400_response(self, msg: str) -> None:
        """See H11Protocol, which sends plain text."""
        self._refuse(400, "expected an HTTP/1.1 request, found something else")

    def _idle(self) -> bool:
        """Whether the next message is the head of a request."""
        return self.cycle is None or self.cycle.response_complete

    def _watch_head(self) -> None:
        if self._head is not None and not self._idle():
            self._head.cancel()
            self._head = None
        elif self._head is None and self._idle():
            self._head = self.loop.call_later(self.head_seconds, self._no_head)

    def _no_head(self) -> None:
        self._head = None
        if self._idle() and not self.transport.is_closing():
            self._refuse(408, f"expected the head of a request within {self.head_seconds:g} s, found none or a part")

    def _watch_sending(self) -> None:
        if self._sending is None:
            self._sending = self.loop.call_later(self.send_seconds, self._not_sent)

    def _not_sent(self) -> None:
        self._sending = None
        if self.transport.get_write_buffer_size():
            _log.warning("a connection was closed: its client did not read within %g s", self.send_seconds)
            self.transport.abort()

    def _refuse(self, status: int, sentence: str) -> None:
        _log.warning("a connection was closed with %d: %s", status, sentence)
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # a response has begun
            return
        body = orjson.dumps({"detail": sentence})
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        head = h11.Response(status_code=status, headers=list(headers.items()), reason=STATUS_PHRASES[status])
        for part in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()


def server_of(app: FastAPI, *, host: str = "127.0.0.1", port: int = 0, grace_seconds: int = 8) -> uvicorn.Server:
    """Return the server of an app.

    Args:
        app: see `r1sgg.serving.app.build_app`.
        host: address to listen on; not used if `run` gets a socket.
        port: port to listen on; 0 for a free one.
        grace_seconds: time after SIGTERM for requests in progress; then they get 503.
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
    """Serve until SIGTERM or SIGINT; end at most `grace_seconds` + 2 seconds later.

    Args:
        app: see `r1sgg.serving.app.build_app`.
        listening: an open socket.
        grace_seconds: see `server_of`.
    """
    try:
        server_of(app, grace_seconds=grace_seconds).run(sockets=[listening])
    finally:
        if app.state.batcher.busy:  # the model cannot be stopped, and the interpreter would wait for its thread
            logging.shutdown()
            os._exit(130)
