"""What the server says when there is no graph: the right status, and one sentence as {"detail": "..."}; always.

Sentences and log lines quote what clients sent, so they are made one line here: a line break in a path or in a file's
name would otherwise let a client write lines of its own into the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from r1sgg.errors import ConfigError, ImageError, R1SGGError
from r1sgg.serving.batching import Busy, Closed

_log = logging.getLogger(__name__)

_QUOTED = 200  # characters of a path or value
_FAULT = "the server failed on this request; its log says where"


def one_line(text: str) -> str:
    """The text with every character that is not printable written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def target_of(scope: Mapping[str, Any]) -> str:
    """Method and path of a request, for a log line: as they were sent, so still with percent signs."""
    path = scope.get("raw_path") or str(scope["path"]).encode()
    return one_line(f"{scope['method']} {path[:_QUOTED].decode('latin-1')}")


def problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that says it."""
    return JSONResponse({"detail": one_line(sentence)}, status, headers)


def status_of(error: R1SGGError) -> int:
    """The HTTP status that says what kind of error this is."""
    if isinstance(error, Busy):
        return 429
    if isinstance(error, Closed):
        return 503
    return 400 if isinstance(error, ImageError | ConfigError) else 502


def add_handlers(app: FastAPI) -> None:
    """Have the app answer every error in this form."""

    @app.exception_handler(R1SGGError)
    async def refused(request: Request, error: R1SGGError) -> JSONResponse:
        status = status_of(error)
        _log.warning("%s refused with %d: %s", target_of(request.scope), status, one_line(str(error)))
        return problem(status, str(error), {"Retry-After": "1"} if status in (429, 503) else None)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        sentence = str(error.detail)
        if error.status_code == 404:
            sentence = f"expected a path of the API (/docs lists them), found {request.scope['path'][:_QUOTED]!r}"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            sentence = f"expected {allowed}, found {request.method}"
        return problem(error.status_code, sentence, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return problem(499, "the client has gone")  # which nobody reads, but the counters do

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(400, _first(error))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises it again, so that it is logged, and uvicorn then closes the connection
        return problem(500, _FAULT, {"Connection": "close"})


def _first(error: RequestValidationError) -> str:
    """What is wrong with the first option that is wrong."""
    found = error.errors()[0]
    name, bounds = found["loc"][-1], found.get("ctx", {})
    kinds = {
        "greater_than_equal": f"at least {bounds.get('ge', 0):g}",
        "less_than_equal": f"at most {bounds.get('le', 0):g}",
        "bool_parsing": "true or false",
        "int_parsing": "a whole number",
        "float_parsing": "a number",
    }
    expected = kinds.get(found["type"], str(found["msg"]))
    return f"{name}: expected {expected}, found {str(found.get('input'))[:_QUOTED]!r}"
