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
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from PIL import Image

from r1sgg import __version__
from r1sgg.errors import ConfigError, ImageError, ModelError, R1SGGError
from r1sgg.inference.reader import Reading
from r1sgg.models.families import Checkpoint
from r1sgg.serving.batching import Batcher, ReadsBatches
from r1sgg.serving.counters import Counted, Counters
from r1sgg.serving.decoding import Decoder, Upload
from r1sgg.serving.front import add_front
from r1sgg.serving.head import Head
from r1sgg.serving.limits import DEADLINE, Limits
from r1sgg.serving.openapi import IMAGES, ONE_IMAGE, add_page, named
from r1sgg.serving.problems import add_handlers, printable, request_line
from r1sgg.serving.schemas import Graph, Graphs, Health, Received, graph_of
from r1sgg.serving.settings import RequestOptions, ServerSettings, request_options
from r1sgg.serving.sizes import size_reducer
from r1sgg.serving.stream import Events, News, event, start_of
from r1sgg.serving.uploads import form_uploads, one_upload

_log = logging.getLogger(__name__)

_LAST_BATCH_SECONDS = 1.0  # how long the shutdown waits for it

Result = TypeVar("Result")


class Reads(ReadsBatches, Protocol):
    """The part of `r1sgg.inference.reader.Reader` that the server uses."""

    @property
    def checkpoint(self) -> Checkpoint: ...


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

    @app.post("/v1/graph", **named("read one image"), response_model=Graph, openapi_extra=ONE_IMAGE)
    async def graph(request: Request, asked: Annotated[RequestOptions, Depends(request_options)]) -> dict[str, Any]:
        """Return the scene graph of one image. The body is the image, a form with `image`, or JSON with `url`."""
        options = asked.options(given.max_new_tokens)
        async with contextlib.AsyncExitStack() as held:
            upload = await one_upload(request, held, given)

            async def work() -> dict[str, Any]:
                with batcher.reserve(1, options) as places:
                    image = await received(upload)
                    places.set_image(0, image.image)
                    await held.aclose()
                    return graph_of(finished(await places.reading(0), asked.threshold), image, model)

            return await _cancel_on_disconnect(request, work())

    @app.post("/v1/graphs", **named("read several images"), response_model=Graphs, openapi_extra=IMAGES)
    async def graphs(request: Request, asked: Annotated[RequestOptions, Depends(request_options)]) -> dict[str, Any]:
        """Return the scene graphs of several images (form field `images`, repeated), in order.

        An image that fails has `detail` instead of a graph.
        """
        options = asked.options(given.max_new_tokens)
        async with contextlib.AsyncExitStack() as held:
            uploads = await form_uploads(request, held, "images", most_images)

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
        **named("stream one image"),
        openapi_extra=ONE_IMAGE,
        response_class=StreamingResponse,
    )
    async def stream(request: Request, asked: Annotated[RequestOptions, Depends(request_options)]) -> StreamingResponse:
        """Stream the graph of one image as server-sent events: `start`, what is `new`, then `graph` or `error`."""
        options = asked.options(given.max_new_tokens, stream=True)
        async with contextlib.AsyncExitStack() as held:
            upload = await one_upload(request, held, given)
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

        return Events(events(), later)

    @app.get("/health", **named("health", "Server"), response_model=Health)
    async def health() -> dict[str, Any]:
        """Return whether the server works."""
        return {"status": "ok", "model": model, "waiting": len(batcher.waiting)}

    @app.get("/metrics", **named("metrics", "Server"), response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters in Prometheus' text format."""
        return Response(counters.text(len(batcher.waiting)), media_type=counters.content_type)

    add_page(app)
    add_front(app, model, reader.checkpoint.notice)
    return app


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
