"""Limits of a request: an API key, bytes, seconds to send them, seconds in all. An ASGI middleware around the app."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from r1sgg.serving.bodies import Body, BodyBudget
from r1sgg.serving.problems import printable, problem, request_line

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset(("/", "/health", "/metrics", "/docs", "/openapi.json"))
"""Answered without a key (the files of the API page, too)."""

BODY, DEADLINE = "r1sgg.body", "r1sgg.deadline"
"""Keys of the ASGI scope: the request's `Body`; the time of the event loop at which it must have been answered."""

_SEND_SECONDS = 5.0
"""Seconds after its deadline in which a client can receive an answer that has begun."""

_log = logging.getLogger(__name__)


class TooLarge(Exception):
    """The body has more bytes than allowed."""


class TooSlow(Exception):
    """The body did not arrive in time."""


class Limits:
    """Refuse a wrong key (401), a body too large (413) or too slow (408), and a request that takes too long (504).

    Args:
        app: the application.
        most_bytes: of a body; also the limit of all bodies, see `BodyBudget`.
        receive_seconds: for the client to send its body. The time in which the server does not read it, because it
            holds too many others, is not counted.
        answer_seconds: for the whole request.
        key: the API key, or None.
    """

    def __init__(
        self, app: App, *, most_bytes: int, receive_seconds: float, answer_seconds: float, key: str | None
    ) -> None:
        self._app, self._most = app, most_bytes
        self._receive_seconds, self._answer_seconds = receive_seconds, answer_seconds
        self._key = None if key is None else key.encode()
        self._budget = BodyBudget(most_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._key is not None and not self._allowed(scope["path"], headers):
            sentence = "expected the API key as 'Authorization: Bearer KEY', found none or another"
            await _refuse(scope, receive, send, 401, sentence, {"WWW-Authenticate": "Bearer"})
            return
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._most:
            if b"expect" not in headers:  # a client that waits for 100 Continue need not send anything
                await self._drain(receive)
            sentence = f"expected at most {self._most:,} bytes, found {int(declared):,}"
            await _refuse(scope, receive, send, 413, sentence)
            return
        body = Body(self._budget)
        try:
            await self._answered(scope, receive, send, body)
        finally:
            body.release()

    async def _answered(self, scope: Scope, receive: Receive, send: Send, body: Body) -> None:
        """Run the app; if it is stopped by a limit, send the reason."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_seconds
        scope[BODY], scope[DEADLINE] = body, deadline
        left, received, whole, started = self._receive_seconds, 0, False, False

        async def limited() -> MutableMapping[str, Any]:
            nonlocal left, received, whole
            if whole:  # the only further message is that the client has disconnected
                return await receive()
            await body.wait_for_room()
            begun = loop.time()
            try:
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError as error:
                raise TooSlow from error
            left -= loop.time() - begun
            size = len(message.get("body", b""))
            received += size
            body.add(size)
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            if whole:
                body.complete()
            if received > self._most:
                raise TooLarge
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if not started and not timer.expired():
                timer.reschedule(deadline + _SEND_SECONDS)
            started = True
            await send(message)

        status, sentence = 0, ""
        try:
            async with asyncio.timeout_at(deadline) as timer:
                await self._app(scope, limited, sending)
        except TooLarge:
            status, sentence = 413, f"expected at most {self._most:,} bytes, found more"
        except TooSlow:
            status, sentence = 408, f"expected the whole request within {self._receive_seconds:g} s, found a part"
        except TimeoutError:
            if not timer.expired():
                raise
            status, sentence = 504, f"expected an answer within {self._answer_seconds:g} s, found none"
        except asyncio.CancelledError:  # uvicorn cancels requests when its time to shut down is over
            status, sentence = 503, "the server is shutting down"
        if status and not started:
            if status == 413:
                await self._drain(receive)
            await _refuse(scope, receive, send, status, sentence)
        elif status:
            _log.warning("%s was cut off during the answer: %s", request_line(scope), sentence)

    async def _drain(self, receive: Receive) -> None:
        """Read on for a while: a client whose connection is closed while it sends may not see the answer."""
        left, more = self._most, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(2.0, self._receive_seconds)):
                while more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    more = message["type"] == "http.request" and message.get("more_body", False)

    def _allowed(self, path: str, headers: MutableMapping[bytes, bytes]) -> bool:
        if path in OPEN_PATHS or path.startswith("/docs/"):
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._key or b"")


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, headers: dict[str, str] | None = None
) -> None:
    _log.warning("%s refused with %d: %s", request_line(scope), status, printable(sentence))
    # the rest of the body is not read, so the connection cannot be used again
    await problem(status, sentence, {"Connection": "close", **(headers or {})})(scope, receive, send)
