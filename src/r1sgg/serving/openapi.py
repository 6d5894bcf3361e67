"""What the OpenAPI document says of the routes beside their types, and the API page that shows it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from r1sgg.serving.schemas import ImageByUrl, Problem

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "Wrong image or option"),
        (401, "Wrong or missing API key"),
        (408, "The body was not received in time"),
        (413, "Too many bytes or images"),
        (415, "Wrong content type"),
        (429, "The queue is full; try again later"),
        (502, "The model failed"),
        (503, "The server is shutting down"),
        (504, "The time for the request is over"),
        ("default", "Any other problem"),
    )
}
ONE_IMAGE = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
            },
            "application/json": {"schema": ImageByUrl.model_json_schema()},
        },
    }
}
IMAGES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}


def named(name: str, tag: str = "Graphs") -> dict[str, Any]:
    """Return what a route is called on the API page, in the OpenAPI document and in clients made from it."""
    return {
        "name": name,
        "summary": name.capitalize(),
        "operation_id": name.replace(" ", "_"),
        "tags": [tag],
        **({"responses": _REFUSALS} if tag == "Graphs" else {}),
    }


def add_page(app: FastAPI) -> None:
    """Add the API page, whose files are all in this installation."""
    from swagger_ui_bundle import swagger_ui_path

    app.mount("/docs/files", StaticFiles(directory=str(swagger_ui_path)), name="docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="r1sgg API",
            swagger_js_url="/docs/files/swagger-ui-bundle.js",
            swagger_css_url="/docs/files/swagger-ui.css",
            swagger_favicon_url="/docs/files/favicon-32x32.png",
        )
