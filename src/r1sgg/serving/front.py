"""`GET /`: what this server is, as JSON, or as a page for a browser."""

from __future__ import annotations

import html
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute

from r1sgg import __version__

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>r1sgg</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}
td{{padding:.2rem 1rem .2rem 0;vertical-align:top}}.notice{{border-left:4px solid #b45309;padding-left:.7rem}}</style>
</head><body><h1>r1sgg {version}</h1><p>Images to scene graphs. Model: <b>{model}</b></p>{notice}
<table>{routes}</table><p><a href="/docs">Try the routes</a></p></body></html>"""


def add_front(app: FastAPI, model: str, notice: str | None) -> None:
    """Add the route; call it after all others, which it lists.

    Args:
        app: the application.
        model: the model's name.
        notice: what everybody who uses the model should know.
    """
    listed = [
        {"method": method, "path": route.path, "what": (route.description or "").partition("\n")[0]}
        for route in app.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in sorted(route.methods or ())
    ]
    described: dict[str, Any] = {"name": "r1sgg", "version": __version__, "model": model, "notice": notice}
    described |= {"routes": [*listed, {"method": "GET", "path": "/docs", "what": "The page to try them."}]}
    cells = "".join(
        f"<tr><td><code>{row['method']} {html.escape(row['path'])}</code></td><td>{html.escape(row['what'])}</td></tr>"
        for row in listed
    )
    warned = "" if notice is None else f'<p class="notice">{html.escape(notice)}</p>'
    page = _PAGE.format(version=__version__, model=html.escape(model), notice=warned, routes=cells)

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        return HTMLResponse(page) if _wants_html(request.headers.get("accept", "")) else JSONResponse(described)


def _wants_html(accept: str) -> bool:
    """Return whether HTML is liked better than JSON, by their quality values; JSON if both or neither are."""
    qualities = {"text/html": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p.partition("=")[2] for p in parameters if p.startswith("q=")), "1")
        if kind in qualities:
            qualities[kind] = float(quality) if quality.replace(".", "", 1).isdigit() else 0.0
    return qualities["text/html"] > qualities["application/json"]
