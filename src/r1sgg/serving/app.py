"""The HTTP API: an image goes in, its scene graph comes out. Run by `r1sgg serve`.

    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8000/v1/graph?threshold=0.3'
    curl -F images=@a.jpg -F images=@b.jpg http://127.0.0.1:8000/v1/graphs

A request reserves its places in the queue. Then its images are decoded, reduced to the size that the model sees, and
wait for the model. Images are not stored, and names of files are labels, never paths. There is no TLS and no limit per
client: put the server behind a proxy that has both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

import orjson
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteError
from starlette.types import Receive, Scope, Send

from r1sgg import __version__
from r1sgg.errors import ConfigError, ImageError, ModelError, R1SGGError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reading, check_samples
from r1sgg.models.coordinates import check_aspect, resized_size
from r1sgg.models.families import Checkpoint
from r1sgg.serving.batching import Batcher, Options, ReadsBatches
from r1sgg.serving.bodies import Body
from r1sgg.serving.counters import Counted, Counters
from r1sgg.serving.decoding import Decoder, Upload
from r1sgg.serving.fetching import fetch
from r1sgg.serving.front import add_front
from r1sgg.serving.head import Head
from r1sgg.serving.limits import BODY, DEADLINE, Limits
from r1sgg.serving.problems import add_handlers, printable, request_line
from r1sgg.serving.schemas import Graph, Graphs, Health, ImageByUrl, Problem, Received, graph_of
from r1sgg.serving.stream import News, start_of

_log = logging.getLogger(__name__)

_MOST_SEEN = 2048
"""Longest edge, in pixels, of the images that the known processors with one fixed size make."""
_LAST_BATCH_SECONDS = 1.0  # how long the shutdown waits for it
_PART = 1 << 18  # bytes of an uploaded file that are read at a time
_FIELDS = 16  # most fields of a form besides its files

Result = TypeVar("Result")


class Reads(ReadsBatches, Protocol):
    """The part of `r1sgg.inference.reader.Reader` that the server uses."""

    @property
    def checkpoint(self) -> Checkpoint: ...


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits and options of the server.

    Attributes:
        most_images: most images in a batch of the model, and in a request.
        queue: most images that wait; further ones are refused with 429.
        most_bytes: longest body of a request; also the limit of all bodies, see `r1sgg.serving.bodies.BodyBudget`.
        most_pixels: largest image.
        image_memory: most bytes that all images together need while they are decoded.
        receive_seconds: time for a client to send the body.
        answer_seconds: time for the whole request; then 504.
        key: the API key, or None if none is needed.
        hosts: hosts from which images may be fetched.
        max_new_tokens: longest completion.
    """

    most_images: int = 16
    queue: int = 64
    most_bytes: int = 20_000_000
    most_pixels: int = 40_000_000
    image_memory: int = 160_000_000
    receive_seconds: float = 15.0
    answer_seconds: float = 60.0
    key: str | None = None
    hosts: tuple[str, ...] = ()
    max_new_tokens: int = 1024

    def __post_init__(self) -> None:
        positive = ("most_images", "queue", "most_bytes", "most_pixels", "image_memory")
        for name in (*positive, "receive_seconds", "answer_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"server, {name}: expected more than 0, found {getattr(self, name)}")
        if self.key is not None and not self.key.strip():
            raise ConfigError("server, key: expected an API key, found an empty one")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The options of a request."""

    guide: Annotated[bool, Query(description="Constrain the completion to a valid graph.")] = True
    threshold: Annotated[float, Query(ge=0, le=1, description="Leave out lower scores.")] = 0.0
    samples: Annotated[int, Query(ge=1, le=16, description="Completions to merge into one graph.")] = 1
    temperature: Annotated[float, Query(ge=0, le=2, description="0 is greedy; several samples need more.")] = 0.0

    def options(self, most_tokens: int, *, stream: bool = False) -> Options:
        """Return the options of the batch.

        Raises:
            ConfigError: the options contradict each other.
        """
        sampling = Sampling(self.temperature, max_new_tokens=most_tokens, cut_loops=True)
        check_samples(self.samples, sampling)
        if stream and self.samples > 1:
            raise ConfigError(f"samples: expected 1 for a stream, found {self.samples}; /v1/graph merges several")
        return Options(sampling, self.guide, self.samples, scores=self.threshold > 0)


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


def _named(name: str, tag: str = "Graphs") -> dict[str, Any]:
    """Return what a route is called on the API page, in the OpenAPI document and in clients made from it."""
    return {
        "name": name,
        "summary": name.capitalize(),
        "operation_id": name.replace(" ", "_"),
        "tags": [tag],
        **({"responses": _REFUSALS} if tag == "Graphs" else {}),
    }


Admit = Callable[[Image.Image], str | None]
"""Returns a remark about an image before the model reads it (None: nothing), or raises an ImageError: it must not."""


def build_app(
    reader: Reads, settings: ServerSettings | None = None, model: str = "", admit: Admit | None = None
) -> FastAPI:
    """Return the ASGI application.

    Args:
        reader: a loaded model.
        settings: limits and options; the defaults if None.
        model: the model's name in responses.
        admit: asked about every image, in a thread; None admits all.
    """
    given = settings or ServerSettings()
    counters = Counters()
    batcher = Batcher(reader, most=given.most_images, queue=given.queue, on_batch=counters.batch)
    decoder = Decoder(size_reducer(reader.checkpoint), max_pixels=given.most_pixels, budget=given.image_memory)
    most_images = min(given.most_images, given.queue)

    @contextlib.asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        await decoder.start()
        await batcher.start()
        yield
        await batcher.stop(_LAST_BATCH_SECONDS)
        await decoder.stop()

    app = FastAPI(
        title="r1sgg",
        version=__version__,
        description="Images to scene graphs.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=running,
    )
    app.openapi_version = "3.0.2"  # what the bundled Swagger UI reads
    app.state.batcher, app.state.decoder = batcher, decoder
    add_handlers(app)
    app.add_middleware(
        Limits,
        most_bytes=given.most_bytes,
        receive_seconds=given.receive_seconds,
        answer_seconds=given.answer_seconds,
        key=given.key,
    )
    app.add_middleware(Counted, counters=counters)
    app.add_middleware(Head)  # the last one added is the outermost

    async def received(upload: Upload) -> Received:
        """Decode an image, and ask whether the model may read it."""
        decoded = await decoder.decode(upload)
        notice = None if admit is None else await asyncio.to_thread(admit, decoded.image)
        return Received(decoded.image, decoded.size, upload.name, notice)

    @app.post("/v1/graph", **_named("read one image"), response_model=Graph, openapi_extra=_ONE_IMAGE)
    async def graph(request: Request, asked: Annotated[RequestOptions, Depends()]) -> dict[str, Any]:
        """Return the scene graph of one image. The body is the image, a form with `image`, or JSON with `url`."""
        options = asked.options(given.max_new_tokens)
        async with contextlib.AsyncExitStack() as held:
            upload = await _one_upload(request, held, given)

            async def work() -> dict[str, Any]:
                with batcher.reserve(1, options) as places:
                    image = await received(upload)
                    places.set_image(0, image.image)
                    await held.aclose()
                    return graph_of(finished(await places.reading(0), asked.threshold), image, model)

            return await _cancel_on_disconnect(request, work())

    @app.post("/v1/graphs", **_named("read several images"), response_model=Graphs, openapi_extra=_IMAGES)
    async def graphs(request: Request, asked: Annotated[RequestOptions, Depends()]) -> dict[str, Any]:
        """Return the scene graphs of several images (form field `images`, repeated), in order.

        An image that fails has `detail` instead of a graph.
        """
        options = asked.options(given.max_new_tokens)
        async with contextlib.AsyncExitStack() as held:
            uploads = await _form_uploads(request, held, "images", most_images)

            async def work() -> list[dict[str, Any]]:
                results: list[dict[str, Any]] = [{} for _ in uploads]
                images: dict[int, Received] = {}
                with batcher.reserve(len(uploads), options) as places:
                    for place, upload in enumerate(uploads):
                        try:
                            images[place] = await received(upload)
                            places.set_image(place, images[place].image)
                        except ImageError as error:
                            places.release(place)
                            results[place] = {"detail": printable(str(error))}
                    await held.aclose()
                    for place, image in images.items():
                        try:
                            reading = finished(await places.reading(place), asked.threshold)
                            results[place] = graph_of(reading, image, model)
                        except (ImageError, ModelError) as error:
                            results[place] = {"detail": printable(str(error))}
                return results

            return {"graphs": await _cancel_on_disconnect(request, work())}

    @app.post(
        "/v1/graph/stream",
        **_named("stream one image"),
        openapi_extra=_ONE_IMAGE,
        response_class=StreamingResponse,
    )
    async def stream(request: Request, asked: Annotated[RequestOptions, Depends()]) -> StreamingResponse:
        """Stream the graph of one image as server-sent events: `start`, what is `new`, then `graph` or `error`."""
        options = asked.options(given.max_new_tokens, stream=True)
        async with contextlib.AsyncExitStack() as held:
            upload = await _one_upload(request, held, given)
            with contextlib.ExitStack() as taken:
                places = taken.enter_context(batcher.reserve(1, options))
                image = await _cancel_on_disconnect(request, received(upload))
                later = taken.pop_all()

        async def events() -> AsyncIterator[bytes]:
            last: Reading | None = None
            news = News(image.size)
            yield event("start", start_of(image, model))
            try:
                async with asyncio.timeout_at(request.scope[DEADLINE]):
                    async for reading in places.stream(image.image):
                        if last is not None and (new := news.of(last.graph)):
                            yield event("new", new)
                        last = reading
                if last is not None:
                    yield event("graph", graph_of(finished(last, asked.threshold), image, model))
            except R1SGGError as error:
                yield event("error", {"detail": printable(str(error))})
            except TimeoutError:
                yield event("error", {"detail": f"expected an answer within {given.answer_seconds:g} s, found none"})

        return _Events(events(), later)

    @app.get("/health", **_named("health", "Server"), response_model=Health)
    async def health() -> dict[str, Any]:
        """Return whether the server works."""
        return {"status": "ok", "model": model, "waiting": len(batcher.waiting)}

    @app.get("/metrics", **_named("metrics", "Server"), response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters in Prometheus' text format."""
        return Response(counters.text(len(batcher.waiting)), media_type=counters.content_type)

    _add_page(app)
    add_front(app, model, reader.checkpoint.notice)
    return app


class _Events(StreamingResponse):
    """Server-sent events that release a reservation at the end, also if the client disconnects before the first."""

    def __init__(self, events: AsyncIterator[bytes], held: contextlib.ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def size_reducer(checkpoint: Checkpoint) -> Callable[[tuple[int, int]], tuple[int, int]]:
    """Return a function that maps width and height of an image to the largest size that the model sees of it.

    If the model's processor resizes images by their pixels, this is the size that the processor would give it.
    """
    limits = checkpoint.image_pixels
    if limits is None:
        edges = [edge for edge in dict(checkpoint.processor.image_processor.size or {}).values() if edge]
        # three times the edge, because a processor can cut an image into tiles, or squeeze a long one
        most = min(3 * max(edges, default=_MOST_SEEN), _MOST_SEEN) ** 2
    else:
        most = limits[1]

    def fit(size: tuple[int, int]) -> tuple[int, int]:
        check_aspect(size)
        pixels = size[0] * size[1]
        if pixels <= most:
            return size
        if limits is not None:
            width, height = resized_size(size, checkpoint.processor, checkpoint.family.frames)
            return int(width), int(height)
        scale = math.sqrt(most / pixels)
        return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))

    return fit


def finished(reading: Reading, threshold: float) -> Reading:
    """Return a reading without the lower scores.

    Raises:
        ModelError: the engine gave no completion.
        ConfigError: there is a threshold, and the engine gives no scores.
    """
    if reading.completion.error is not None:
        raise ModelError(reading.completion.error)
    try:
        return reading.above(threshold) if threshold > 0 else reading
    except ModelError as error:
        raise ConfigError(f"threshold: {error}") from error


def event(kind: str, data: dict[str, Any]) -> bytes:
    """Encode a server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _one_upload(request: Request, held: contextlib.AsyncExitStack, settings: ServerSettings) -> Upload:
    """Receive or fetch the one image of a request; closing `held` releases its bytes."""
    kind = _kind(request)
    if kind == "multipart/form-data":
        (upload,) = await _form_uploads(request, held, "image", 1)
        return upload
    body: Body = request.scope[BODY]
    parts: deque[bytes] = deque()
    if kind == "application/json":
        url = _url(await request.body())

        async def keep(part: bytes) -> None:
            await body.wait_for_room()
            body.add(len(part))
            parts.append(part)

        await fetch(url, settings.hosts, most_bytes=settings.most_bytes, seconds=settings.receive_seconds, keep=keep)
        body.complete()
    elif kind.startswith("image/") or kind == "application/octet-stream":
        async for part in request.stream():
            parts.append(part)
    else:
        raise HTTPException(415, f"expected an image, a form or JSON with a url, found content type {kind or 'none'!r}")
    held.callback(body.release)
    held.callback(parts.clear)

    async def taken() -> AsyncIterator[bytes]:
        while parts:
            yield parts.popleft()

    return Upload("image", sum(map(len, parts)), taken())


def _url(body: bytes) -> str:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f'expected {{"url": "https://..."}}, found broken JSON ({error.msg})') from error
    if not isinstance(record, dict) or set(record) != {"url"}:
        raise HTTPException(400, 'expected {"url": "https://..."}, found other JSON')
    if not isinstance(url := record["url"], str):
        raise HTTPException(400, f"url: expected a string, found {type(url).__name__}")
    return url


async def _form_uploads(request: Request, held: contextlib.AsyncExitStack, field: str, most: int) -> list[Upload]:
    """Receive the files of a form field; closing `held` releases them."""
    if (kind := _kind(request)) != "multipart/form-data":
        raise HTTPException(415, f"expected a form (multipart/form-data), found content type {kind or 'none'!r}")
    hint = "; /v1/graphs takes several" if most == 1 else ""
    expected = f"expected at most {most} image{'s' * (most > 1)}"
    try:
        form = await held.enter_async_context(request.form(max_files=most, max_fields=_FIELDS))
    except StarletteError as error:
        if "Too many files" in error.detail:  # a broken form stays a 400
            raise HTTPException(413, f"{expected}, found more{hint}") from error
        raise
    held.callback(request.scope[BODY].release)
    files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, f"expected files in the form field {field!r}, found none")
    return [Upload(_name(file) or f"{field}-{k}", file.size or 0, _parts(file)) for k, file in enumerate(files, 1)]


def _name(file: UploadFile) -> str:
    """Return the name of a file as text that JSON can hold: a form's charset, such as UTF-7, can yield surrogates."""
    return (file.filename or "").encode("utf-8", "backslashreplace").decode()


async def _parts(file: UploadFile) -> AsyncIterator[bytes]:
    while part := await file.read(_PART):
        yield part


async def _cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`; cancel it as soon as the client disconnects."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watcher = asyncio.ensure_future(work), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait([working, watcher], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            _log.info("%s: the client has disconnected", request_line(request.scope))
            raise HTTPException(499, "the client has disconnected")
        return working.result()
    finally:
        watcher.cancel()
        working.cancel()
        await asyncio.wait([working])


def _add_page(app: FastAPI) -> None:
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
