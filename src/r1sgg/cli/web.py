"""`r1sgg web`: the demo page of `r1sgg.pages.web`."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated

import typer

from r1sgg.cli.loading import (
    AskOption,
    Device,
    Dtype,
    Engine,
    Family,
    MaxNewTokens,
    MaxPixels,
    Model,
    Think,
    Threads,
    announce_family,
    announce_native,
    ask_mode,
)
from r1sgg.cli.root import app

_EXAMPLES = 4  # drawn scenes on the page


@app.command()
def web(
    model: Model = "tiny",
    engine: Engine = "hf",
    family: Family = None,
    ask: AskOption = "paper",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in a browser.")] = False,
    max_new_tokens: MaxNewTokens = 1024,
    think: Think = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
) -> None:
    """Serve a web page that reads photos as scene graphs and shows each graph while it is generated.

    Example: `r1sgg web --model tiny --browser`
    """
    from r1sgg.errors import ConfigError, require

    require("gradio", "web")
    from r1sgg.inference.engines import Opening
    from r1sgg.miniature.scenes import SMALL, scene, split_seeds
    from r1sgg.pages.web import build_demo, launch

    examples = [scene(seed, SMALL).image for seed in split_seeds("test", 9, _EXAMPLES)]
    opening = Opening(
        model, engine, device, dtype, max_pixels, threads=threads, think=think, family=family, ask=ask_mode(ask)
    )
    if opening.spec.kind == "openai" or opening.ask == "native":
        checkpoint = opening.checkpoint()
        announce_family(checkpoint)
        announce_native(checkpoint, opening.ask)
    demo = build_demo(opening, max_new_tokens, examples)
    typer.echo(f"r1sgg shows {model} on http://{host}:{port}", err=True)
    signal.signal(signal.SIGTERM, _end)
    try:
        launch(demo, host, port, inbrowser=browser)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: expected a free address of this machine: {error}") from error
    finally:
        demo.work.cleanup()  # uploads


def _end(number: int, frame: FrameType | None) -> None:
    """Leave as after an error, so that what has to be cleaned up is."""
    raise SystemExit(128 + number)
