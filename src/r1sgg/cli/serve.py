"""`r1sgg serve`: the HTTP API of `r1sgg.serving`."""

from __future__ import annotations

import functools
import os
import socket
from typing import Annotated

import typer

from r1sgg.cli.choosing import DEFAULT_MODEL, AskOption, ModelOrDefault, ask_mode
from r1sgg.cli.loading import (
    Device,
    Dtype,
    Engine,
    Family,
    Format,
    MaxNewTokens,
    MaxPixels,
    Prompt,
    Think,
    Threads,
    Vocabulary,
)
from r1sgg.cli.root import app


@app.command()
def serve(
    model: ModelOrDefault = None,
    engine: Engine = "hf",
    family: Family = None,
    ask: AskOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all addresses.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 8000,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of images per batch.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Maximum number of waiting images; more get status 429.")] = 64,
    max_bytes: Annotated[int, typer.Option(min=1, help="Maximum size of a request.")] = 20_000_000,
    max_image_pixels: Annotated[int, typer.Option(min=1, help="Maximum number of pixels of an image.")] = 40_000_000,
    image_memory: Annotated[
        int, typer.Option(min=1, help="Maximum number of bytes that all images take while they are decoded.")
    ] = 160_000_000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds per request, all of it; then status 504.")] = 60.0,
    grace: Annotated[int, typer.Option(min=1, help="Seconds that running requests get after SIGTERM.")] = 8,
    max_new_tokens: MaxNewTokens = 1024,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host that images may be fetched from, .DOMAIN for all hosts of a domain; may be repeated."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Name of the environment variable that holds the API key.", metavar="VARIABLE")
    ] = None,
    prompt: Prompt = None,
    think: Think = None,
    vocabulary: Vocabulary = None,
    answer_format: Format = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
) -> None:
    """Serve scene graphs over HTTP: POST an image to /v1/graph; the API page is at /docs.

    Requests that arrive while the model is busy form the next batch. Without --api-key anyone who can reach the address
    may use the API; the default address is reachable from this machine only. The model that is used without --model
    knows drawn scenes only, and refuses anything else with status 400.

    Example: `r1sgg serve --model tiny --port 8000`
    """
    from r1sgg.errors import ConfigError, require

    require("fastapi", "web")
    require("uvicorn", "web")
    key = None
    if api_key is not None:
        key = os.environ.get(api_key, "").strip()
        if not key:
            raise ConfigError(f"--api-key {api_key}: expected the API key in this environment variable, found nothing")
    from r1sgg.cli.loading import open_quietly, prompt_options
    from r1sgg.inference.engines import Opening
    from r1sgg.miniature.recognising import remark_on
    from r1sgg.serving.app import build_app
    from r1sgg.serving.connection import run
    from r1sgg.serving.settings import ServerSettings

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
    options = prompt_options(prompt, vocabulary, answer_format, think, guide=True)
    opening = Opening(
        model or DEFAULT_MODEL,
        engine,
        device,
        dtype,
        max_pixels,
        threads=threads,
        family=family,
        ask=ask_mode(ask, model, prompt, think, answer_format),
        **options,
    )
    reader = open_quietly(opening)
    advice = "for photos, whoever runs this server has to start it with another model (`r1sgg serve --model photo`)"
    admit = functools.partial(remark_on, checkpoint=reader.checkpoint, named=model is not None, advice=advice)
    application = build_app(reader, settings, reader.checkpoint.name, admit if reader.checkpoint.notice else None)
    listening = _listen(host, port)
    typer.echo(f"r1sgg serves {opening.model} on http://{host}:{listening.getsockname()[1]}/docs", err=True)
    run(application, listening, grace)


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket, so that an address in use is an error before the server announces itself.

    Raises:
        ConfigError: the address can't be used.
    """
    from r1sgg.errors import ConfigError

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: expected a free address of this machine: {error}") from error
