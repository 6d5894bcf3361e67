"""`r1sgg web`: the demo page of `r1sgg.pages.web`."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from r1sgg.cli.choosing import DEFAULT_MODEL, AskOption, ModelOrDefault, ask_mode
from r1sgg.cli.loading import (
    Device,
    Dtype,
    Engine,
    Family,
    MaxNewTokens,
    MaxPixels,
    Think,
    Threads,
    announce,
    hide_progress_bars,
)
from r1sgg.cli.root import app

if TYPE_CHECKING:
    from PIL import Image

    from r1sgg.models.families import Checkpoint

_EXAMPLES = 4  # drawn scenes on the page


@app.command()
def web(
    model: ModelOrDefault = None,
    engine: Engine = "hf",
    family: Family = None,
    ask: AskOption = None,
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

    The model that is used without --model knows drawn scenes only, and refuses anything else.

    Example: `r1sgg web --model photo --browser`
    """
    from r1sgg.errors import ConfigError, require

    require("gradio", "web")
    from r1sgg.inference.engines import Opening
    from r1sgg.miniature.recognising import remark_on
    from r1sgg.miniature.scenes import SMALL, scene, split_seeds
    from r1sgg.pages.web import build_demo, launch

    examples = [scene(seed, SMALL).image for seed in split_seeds("test", 9, _EXAMPLES)]
    named = model is not None
    opening = Opening(
        model or DEFAULT_MODEL,
        engine,
        device,
        dtype,
        max_pixels,
        threads=threads,
        think=think,
        family=family,
        ask=ask_mode(ask, model, think),
    )
    if opening.spec.kind == "openai" or opening.ask == "native":
        announce(opening.checkpoint(), opening.ask)

    def admit(image: Image.Image, checkpoint: Checkpoint, typed: bool) -> str | None:
        advice = "use the model photo (`r1sgg web --model photo`)"
        return remark_on(image, checkpoint, named=named or typed, advice=advice)

    hide_progress_bars(opening)
    demo = build_demo(opening, max_new_tokens, examples, admit)
    if notice := demo.notice:
        typer.echo(notice, err=True)
    typer.echo(f"r1sgg shows {opening.model} on http://{host}:{port}", err=True)
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
