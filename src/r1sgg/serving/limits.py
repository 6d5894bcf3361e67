"""What a request may cost before it is read: bytes, seconds to send them, and a key. An ASGI layer around the app."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset(("/health", "/metrics", "/docs", "/openapi.json"))
"""Answered without a key (the files of the API page, too)."""

_log = logging.getLogger(__name__)


class TooLarge(Exception):
    """The body has more bytes than allowed."""


class TooSlow(Exception):
    """The body did not arrive in time."""


class Limits:
    """Refuses a wrong key (401), a body that is too large (413) or comes too slowly (408), before the app reads it."""

    def __init__(self, app: App, *, most_bytes: int, receive_seconds: float, key: str | None) -> None:
        self._app, self._most, self._seconds = app, most_bytes, receive_seconds
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._key is not None and not self._allowed(scope["path"], headers):
            await _refuse(
                scope, send, 401, "expected the API key as 'Authorization: Bearer KEY', found none or another"
            )
            return
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._most:
            await self._drain(receive)
            await _refuse(scope, send, 413, f"expected at most {self._most:,} bytes, found {int(declared):,}")
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        received, whole, started = 0, False, False

        async def limited() -> MutableMapping[str, Any]:
            nonlocal received, whole
            if whole:  # what still comes is only the news that the client has gone
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise TooSlow from error
            received += len(message.get("body", b""))
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            if received > self._most:
                raise TooLarge
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, limited, sending)
        except TooLarge:
            if not started:
                await self._drain(receive)
                await _refuse(scope, send, 413, f"expected at most {self._most:,} bytes, found more")
        except TooSlow:
            if not started:
                await _refuse(scope, send, 408, f"expected the whole request within {self._seconds:g} s, found a part")

    async def _drain(self, receive: Receive) -> None:
        """Read on for a while: a client that is cut off while it sends may never see the refusal."""
        left, more = self._most, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(2.0, self._seconds)):
                while more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    more = message["type"] == "http.request" and message.get("more_body", False)

    def _allowed(self, path: str, headers: MutableMapping[bytes, bytes]) -> bool:
        if path in OPEN_PATHS or path.startswith("/docs/"):
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._key or b"")


async def _refuse(scope: Scope, send: Send, status: int, sentence: str) -> None:
    _log.warning("%s %s refused with %d: %s", scope["method"], scope["path"], status, sentence)
    body = orjson.dumps({"detail": sentence})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # the rest of the body is not read, so the connection can't be used again
    headers.append((b"connection", b"close"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
