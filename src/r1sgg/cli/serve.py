"""`r1sgg serve`: the HTTP API. The work is in `r1sgg.serving`."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from r1sgg.cli.loading import Device, Dtype, Engine, Format, MaxNewTokens, MaxPixels, Model, Prompt, Vocabulary
from r1sgg.cli.root import app


@app.command()
def serve(
    model: Model = "tiny",
    engine: Engine = "hf",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    batch_size: Annotated[int, typer.Option(min=1, help="Most images answered together.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Most images that wait; then 429.")] = 64,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest request.")] = 20_000_000,
    max_image_pixels: Annotated[int, typer.Option(min=1, help="Largest image that is decoded.")] = 40_000_000,
    image_memory: Annotated[
        int, typer.Option(min=1, help="Most bytes that all images need while they are decoded.")
    ] = 160_000_000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the whole request; then 504.")] = 60.0,
    grace: Annotated[int, typer.Option(min=1, help="Seconds for requests in progress after SIGTERM.")] = 8,
    max_new_tokens: MaxNewTokens = 1024,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Host that images may be fetched from; .DOMAIN for all of one.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Name of the environment variable that holds the API key.", metavar="VARIABLE")
    ] = None,
    prompt: Prompt = None,
    vocabulary: Vocabulary = None,
    answer_format: Format = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Serve scene graphs over HTTP: POST an image to /v1/graph; the API page is at /docs.

    Images that arrive while the model is busy are answered as one batch. Without --api-key anybody who reaches the
    address may ask, so by default only this machine can.

    Example: `r1sgg serve --model tiny --port 8000`
    """
    from r1sgg.errors import ConfigError, require

    require("fastapi", "web")
    require("uvicorn", "web")
    key = None
    if api_key is not None:
        key = os.environ.get(api_key, "").strip()
        if not key:
            raise ConfigError(f"--api-key {api_key}: expected the key in this environment variable, found nothing")
    from r1sgg.cli.loading import asking, open_quietly
    from r1sgg.inference.engines import Opening
    from r1sgg.serving.app import ServerSettings, build_app
    from r1sgg.serving.connection import run

    settings = ServerSettings(
        most_images=batch_size,
        queue=queue,
        most_bytes=max_bytes,
        most_pixels=max_image_pixels,
        image_memory=image_memory,
        answer_seconds=timeout,
        key=key,
        hosts=tuple(allow_host or ()),
        max_new_tokens=max_new_tokens,
    )
    asked = asking(prompt, vocabulary, answer_format, guide=True)
    reader = open_quietly(Opening(model, engine, device, dtype, max_pixels, **asked))
    application = build_app(reader, settings, model)
    listening = _listen(host, port)
    typer.echo(f"r1sgg serves {model} on http://{host}:{listening.getsockname()[1]}/docs", err=True)
    run(application, listening, grace)


def _listen(host: str, port: int) -> socket.socket:
    """An open socket, before anything is said to be served.

    Raises:
        ConfigError: the address can't be used.
    """
    from r1sgg.errors import ConfigError

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: expected a free address of this machine: {error}") from error
