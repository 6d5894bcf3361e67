"""Error responses: a status and one sentence, always as {"detail": "..."}.

Sentences and log lines quote what clients send. Control characters in them are escaped here; otherwise a line break in
a path or in the name of a file would let a client write lines into the log.
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
from r1sgg.serving.decoding import DecoderError

_log = logging.getLogger(__name__)

_QUOTED = 200  # characters of a path or value
_FAULT = "the server failed on this request; its log has the error"


def printable(text: str) -> str:
    """Escape every character that is not printable."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def request_line(scope: Mapping[str, Any]) -> str:
    """Return method and path of a request for a log line, the path as it was sent (percent-encoded)."""
    path = scope.get("raw_path") or str(scope["path"]).encode()
    return printable(f"{scope['method'][:_QUOTED]} {path[:_QUOTED].decode('latin-1')}")


def problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error response."""
    return JSONResponse({"detail": printable(sentence)}, status, headers)


def status_of(error: R1SGGError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, Busy):
        return 429
    if isinstance(error, Closed | DecoderError):
        return 503
    return 400 if isinstance(error, ImageError | ConfigError) else 502


def add_handlers(app: FastAPI) -> None:
    """Register handlers so that the app answers every error in this form."""

    @app.exception_handler(R1SGGError)
    async def refused(request: Request, error: R1SGGError) -> JSONResponse:
        status = status_of(error)
        _log.warning("%s refused with %d: %s", request_line(request.scope), status, printable(str(error)))
        return problem(status, str(error), {"Retry-After": "1"} if status in (429, 503) else None)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        sentence = str(error.detail)
        if error.status_code == 404:
            sentence = f"expected a path of the API (/docs lists them), found {request.scope['path'][:_QUOTED]!r}"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            sentence = f"expected {allowed}, found {request.method[:_QUOTED]}"
        return problem(error.status_code, sentence, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return problem(499, "the client has disconnected")  # only counted

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(400, _first(error))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises the error again, so that it is logged; uvicorn then closes the connection
        return problem(500, _FAULT, {"Connection": "close"})


def _first(error: RequestValidationError) -> str:
    """Describe the first option that is wrong."""
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
