"""The HTTP API: an image goes in, its scene graph comes out. Run by `r1sgg serve`.

    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8000/v1/graph?threshold=0.3'
    curl -F images=@a.jpg -F images=@b.jpg http://127.0.0.1:8000/v1/graphs

It keeps nothing: images are decoded in memory and forgotten, names of files are labels and never paths. It does not
terminate TLS and does not count requests per client: put it behind a proxy that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import UploadFile

from r1sgg import __version__
from r1sgg.data.images import open_image
from r1sgg.errors import ConfigError, ImageError, ModelError, R1SGGError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reader, Reading
from r1sgg.serving.batching import Batcher, Busy, Closed, Options
from r1sgg.serving.counters import Counted, Counters
from r1sgg.serving.fetching import fetch
from r1sgg.serving.limits import Limits
from r1sgg.serving.schemas import Graph, Graphs, Health, ImageByUrl, Problem, graph_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the server allows.

    Attributes:
        most_images: most images in a batch of the model, and in a request.
        queue: most images that wait; further ones are refused with 429.
        most_bytes: of a request's body.
        most_pixels: of an image.
        receive_seconds: for the whole body to arrive.
        answer_seconds: for the answer, waiting included; then 504.
        key: the API key, or None to ask for none.
        hosts: hosts that an image may be fetched from; none by default.
        max_new_tokens: longest answer.
    """

    most_images: int = 16
    queue: int = 64
    most_bytes: int = 20_000_000
    most_pixels: int = 40_000_000
    receive_seconds: float = 15.0
    answer_seconds: float = 60.0
    key: str | None = None
    hosts: tuple[str, ...] = ()
    max_new_tokens: int = 1024

    def __post_init__(self) -> None:
        for name in ("most_images", "queue", "most_bytes", "most_pixels", "receive_seconds", "answer_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"server, {name}: expected more than 0, found {getattr(self, name)}")
        if self.key is not None and not self.key.strip():
            raise ConfigError("server, key: expected an API key, found an empty one")


@dataclass(frozen=True, slots=True)
class How:
    """The options of a request."""

    guide: Annotated[bool, Query(description="Hold the answer to a valid graph.")] = True
    threshold: Annotated[float, Query(ge=0, le=1, description="Drop what is scored lower.")] = 0.0
    samples: Annotated[int, Query(ge=1, le=16, description="Answers that are merged into one graph.")] = 1
    temperature: Annotated[float, Query(ge=0, le=2, description="0 is greedy; several samples need more.")] = 0.0

    def options(self, most_tokens: int) -> Options:
        return Options(Sampling(self.temperature, max_new_tokens=most_tokens, cut_loops=True), self.guide, self.samples)


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "The image or an option is not what it should be"),
        (401, "No API key, or another"),
        (408, "The request came too slowly"),
        (413, "Too many bytes"),
        (415, "A body of another kind"),
        (429, "The queue is full"),
        (502, "The model gave no answer"),
        (503, "Shutting down"),
        (504, "No answer in time"),
    )
}
_ONE_IMAGE = {
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
_IMAGES = {
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


def build_app(reader: Reader, settings: ServerSettings | None = None, model: str = "") -> FastAPI:
    """The ASGI application.

    Args:
        reader: a loaded model.
        settings: what is allowed.
        model: the name that answers carry.
    """
    given = settings or ServerSettings()
    counters = Counters()
    batcher = Batcher(reader, most=given.most_images, queue=given.queue, on_batch=counters.batch)

    @contextlib.asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        await batcher.start()
        yield
        await batcher.stop()

    app = FastAPI(
        title="r1sgg",
        version=__version__,
        description="Images to scene graphs.",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.openapi_version = "3.0.2"  # what the bundled Swagger UI reads
    app.state.batcher = batcher
    app.add_middleware(Limits, most_bytes=given.most_bytes, receive_seconds=given.receive_seconds, key=given.key)
    app.add_middleware(Counted, counters=counters)  # the last one added is the outermost

    @app.exception_handler(R1SGGError)
    async def refused(request: Request, error: R1SGGError) -> JSONResponse:
        status = status_of(error)
        _log.warning("%s %s refused with %d: %s", request.method, request.url.path, status, error)
        headers = {"Retry-After": "1"} if status in (429, 503) else None
        return JSONResponse({"detail": str(error)}, status, headers)

    async def answered(work: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(given.answer_seconds):
                return await work
        except TimeoutError as error:
            raise HTTPException(504, f"expected an answer within {given.answer_seconds:g} s, found none") from error

    @app.post("/v1/graph", response_model=Graph, responses=_REFUSALS, openapi_extra=_ONE_IMAGE)
    async def graph(request: Request, how: Annotated[How, Depends()]) -> dict[str, Any]:
        """The scene graph of one image: the body is the image, a form with `image`, or JSON with `url`."""
        name, data = await _one_upload(request, given)
        image = await asyncio.to_thread(open_image, data, where=name, max_pixels=given.most_pixels)
        work = batcher.submit(image, how.options(given.max_new_tokens))
        reading = await _unless_gone(request, asyncio.ensure_future(answered(work)))
        return graph_of(finished(reading, how.threshold), name, model)

    @app.post("/v1/graphs", response_model=Graphs, responses=_REFUSALS, openapi_extra=_IMAGES)
    async def graphs(request: Request, how: Annotated[How, Depends()]) -> dict[str, Any]:
        """The scene graphs of several images (form field `images`, repeated), in order; a bad one spoils no other."""
        uploads = await _uploads(request, "images")
        if len(uploads) > given.most_images:
            raise HTTPException(413, f"expected at most {given.most_images} images, found {len(uploads)}")
        results: list[dict[str, Any]] = [{} for _ in uploads]
        places, images = [], []
        for place, (name, data) in enumerate(uploads):
            try:
                images.append(await asyncio.to_thread(open_image, data, where=name, max_pixels=given.most_pixels))
            except ImageError as error:
                results[place] = {"detail": str(error)}
            else:
                places.append(place)
        work = batcher.submit_all(images, how.options(given.max_new_tokens))
        readings = await _unless_gone(request, asyncio.ensure_future(answered(work)))
        for place, reading in zip(places, readings, strict=True):
            try:
                results[place] = graph_of(finished(reading, how.threshold), uploads[place][0], model)
            except ModelError as error:
                results[place] = {"detail": str(error)}
        return {"graphs": results}

    @app.post("/v1/graph/stream", responses=_REFUSALS, openapi_extra=_ONE_IMAGE, response_class=StreamingResponse)
    async def stream(request: Request, how: Annotated[How, Depends()]) -> StreamingResponse:
        """The same as server-sent events while it is written: `partial` graphs, then `graph`, or `error`."""
        name, data = await _one_upload(request, given)
        image = await asyncio.to_thread(open_image, data, where=name, max_pixels=given.most_pixels)
        if len(batcher.waiting) >= given.queue:
            raise Busy(f"{len(batcher.waiting)} images are waiting and {given.queue} is the limit: come back later")
        options = how.options(given.max_new_tokens)

        async def events() -> AsyncIterator[bytes]:
            last: Reading | None = None
            try:
                async with asyncio.timeout(given.answer_seconds):
                    async for reading in batcher.stream(image, options):
                        if last is not None and len(last.graph):
                            yield event("partial", graph_of(last, name, model))
                        last = reading
                if last is not None:
                    yield event("graph", graph_of(finished(last, how.threshold), name, model))
            except R1SGGError as error:
                yield event("error", {"detail": str(error)})
            except TimeoutError:
                yield event("error", {"detail": f"expected an answer within {given.answer_seconds:g} s, found none"})

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/health", response_model=Health)
    async def health() -> dict[str, Any]:
        """Whether it answers."""
        return {"status": "ok", "model": model, "waiting": len(batcher.waiting)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(counters.text(len(batcher.waiting)), media_type=counters.content_type)

    _add_page(app)
    return app


def status_of(error: R1SGGError) -> int:
    """The HTTP status that says what kind of error this is."""
    if isinstance(error, Busy):
        return 429
    if isinstance(error, Closed):
        return 503
    return 400 if isinstance(error, ImageError | ConfigError) else 502


def finished(reading: Reading, threshold: float) -> Reading:
    """A reading as it is sent.

    Raises:
        ModelError: the engine had no answer, or a threshold was asked for and there are no scores.
    """
    if reading.completion.error is not None:
        raise ModelError(reading.completion.error)
    return reading.above(threshold) if threshold > 0 else reading


def event(kind: str, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


async def _one_upload(request: Request, settings: ServerSettings) -> tuple[str, bytes]:
    """Name and bytes of the one image that a request holds."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _uploads(request, "image")
        if len(uploads) != 1:
            raise HTTPException(400, f"expected one image, found {len(uploads)}; /v1/graphs takes several")
        return uploads[0]
    if kind == "application/json":
        try:
            url = orjson.loads(await request.body())["url"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise HTTPException(400, 'expected {"url": "https://..."}, found other JSON') from error
        if not isinstance(url, str):
            raise HTTPException(400, f"url: expected a string, found {type(url).__name__}")
        data = await asyncio.to_thread(
            fetch, url, settings.hosts, most_bytes=settings.most_bytes, seconds=settings.receive_seconds
        )
        return "image", data
    if kind.startswith("image/") or kind == "application/octet-stream":
        return "image", await request.body()
    raise HTTPException(415, f"expected an image, a form or JSON with a url, found content type {kind or 'none'!r}")


async def _uploads(request: Request, field: str) -> list[tuple[str, bytes]]:
    """Name and bytes of each file of a form field."""
    async with request.form(max_files=64, max_fields=64) as form:  # a broken one is a 400 of Starlette's
        files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
        found = [(file.filename or f"{field}-{k}", await file.read()) for k, file in enumerate(files, 1)]
    if not found:
        raise HTTPException(400, f"expected files in the form field {field!r}, found none")
    return found


async def _unless_gone(request: Request, work: asyncio.Future[Any]) -> Any:
    """The result of `work`, which is cancelled as soon as the client has gone."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watcher = asyncio.ensure_future(gone())
    try:
        await asyncio.wait([work, watcher], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            _log.info("%s: the client has gone", request.url.path)
            raise HTTPException(499, "the client has gone")
        return work.result()
    finally:
        watcher.cancel()
        work.cancel()


def _add_page(app: FastAPI) -> None:
    """The API page, from files of this installation: it loads nothing from elsewhere."""
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
