"""HEAD requests: answered as GET, without the body. FastAPI answers them with 405; proxies and monitors send them."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from r1sgg.serving.limits import App, Receive, Scope, Send


class Head:
    """An ASGI middleware, the outermost one: the app behind it sees GET."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: MutableMapping[str, Any]) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)
