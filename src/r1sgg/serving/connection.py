"""The HTTP server around the app, with time limits for its connections and its shutdown.

uvicorn alone has no time limit for the head of a request and for a client that does not read, and no limit on the
number of connections and of chunks of a body; it answers a malformed request with plain text, and after SIGTERM it
waits until every client has disconnected. It takes the end of a client's data for the end of the client, which may have
closed its sending side alone (RFC 9112, section 9.6), and an address as the target of a request for a path.

WebSockets and HTTP/2 are not offered: a request for them is answered over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
from typing import Any

import h11
import orjson
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from r1sgg.serving.problems import printable
from r1sgg.serving.stream import COMMENT

_log = logging.getLogger(__name__)

_MOST_HEAD = 1 << 14
"""Most bytes of a head, and of the line before a chunk, that are kept until it is whole."""
_FREE_CHUNKS, _CHUNK_BYTES = 1000, 128
"""Chunks that a body may have, and bytes that must come with each further one."""
_BACKLOG = 128  # connections that asyncio accepts at a time, before it tells the protocol of the first
_QUOTED = 100  # characters of what h11 says, which quotes the client


_ADDRESS = re.compile(rb"https?://([^/?#@]+)([^#]*)", re.IGNORECASE)


class _Parser(h11.Connection):
    """h11's parser, which also reads addresses as targets and refuses bodies of very many chunks.

    Each chunk takes the event loop as long as a large one.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _MOST_HEAD)
        self._chunks = 0.0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """See h11.Connection."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
            event = _with_path(event)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start - len(event.data) / _CHUNK_BYTES
            if self._chunks > _FREE_CHUNKS:
                raise h11.RemoteProtocolError(f"chunks of less than {_CHUNK_BYTES} bytes")
        return event


def _with_path(request: h11.Request) -> h11.Request:
    """Return a request whose target is a path: of an address (RFC 9112, section 3.2.2), whose host then counts."""
    address = _ADDRESS.fullmatch(request.target)
    if address is None:
        return request
    host, path = address.groups()
    headers = [(b"host", host), *((name, value) for name, value in request.headers if name != b"host")]
    target = path if path.startswith(b"/") else b"/" + path
    return h11.Request(method=request.method, target=target, headers=headers, http_version=request.http_version)


def _most_connections() -> int:
    """Return 512, or half of the files that this process may have open, if that is less."""
    if sys.platform == "win32":
        return 512
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 512 if files == resource.RLIM_INFINITY else min(512, files // 2)


class Connection(H11Protocol):
    """One client's connection.

    Attributes:
        head_seconds: time to receive the head of a request; then 408.
        send_seconds: time for a client to read a response; then the connection is closed.
        look_seconds: time between two looks whether a client that sends no more is still there.
        most: connections that are held. A further one takes the place of that which has been idle for the longest time.
    """

    head_seconds = 10.0
    send_seconds = 30.0
    look_seconds = 0.5
    most = _most_connections()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _Parser()
        self._idle_since = self.loop.time()
        self._head: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None  # once the client has sent all that it will

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._make_room()
        self._watch_head()

    def _make_room(self) -> None:
        """Close the connection that has been idle for the longest time, or this one if all others are busy."""
        held = [c for c in self.connections if isinstance(c, Connection) and not c.transport.is_closing()]
        if len(held) > self.most:
            oldest = min((c for c in held if c._idle() and c is not self), key=lambda c: c._idle_since, default=self)
            oldest._refuse(503, f"expected at most {self.most} connections, found more; come back later")

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch_head()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """See asyncio.Protocol: the client sends no more. It has gone, or waits for the response to a whole request.

        Returns:
            True to keep the connection until the response is sent.
        """
        if self._idle() or self.cycle.more_body:
            return None
        if self.cycle.response_started and COMMENT not in self.cycle.scope["state"]:
            return None
        if self.cycle.scope["http_version"] < "1.1":  # an interim response, by which we look, is of HTTP/1.1
            return None
        self._look()
        return True

    def _look(self) -> None:
        """Send an interim response, or a comment between two events of a stream.

        The system of a client that has gone refuses it, so that the next write fails.
        """
        if not self._idle() and not self.transport.is_closing():
            if not self.cycle.response_started:
                going_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                self.transport.write(self.conn.send(going_on) or b"")
            elif comment := self.cycle.scope["state"].get(COMMENT):
                self.transport.write(self.conn.send(h11.Data(data=comment)) or b"")
        self._looking = self.loop.call_later(self.look_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for timer in (self._head, self._sending, self._looking):
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
        self._idle_since = self.loop.time()
        if self._looking is not None and (self._idle() or self.cycle.more_body):  # nothing more will come
            self.transport.close()
        elif self._idle() and self.conn.trailing_data[0]:  # a part of the next head came with this request
            self._unset_keepalive_if_required()  # which would close the connection without a word
            self._watch_head()
        if self.transport.get_write_buffer_size():
            self._watch_sending()

    def send_400_response(self, msg: str) -> None:
        """See H11Protocol, which sends plain text and calls this while it handles the error of the parser."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.ProtocolError) else 400
        if status == 431:
            self._refuse(status, f"expected a head of at most {_MOST_HEAD:,} bytes, found more")
        else:
            self._refuse(status, f"expected an HTTP/1.1 request, found {printable(str(error)[:_QUOTED])}")

    def _get_upgrade(self) -> None:
        """See H11Protocol, which would advise to install packages that this server does not use."""

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
        backlog=_BACKLOG,
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
