"""The web demo (`r1sgg web`): drop a photo, watch its graph appear, point at a triplet, download the graph.

It runs on loopback and loads nothing from elsewhere (no fonts, no analytics). It holds one model at a time; entering
another name loads that one. It is for one person; `r1sgg serve` is for many. Uploads are deleted after an hour, and
when the command ends.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import orjson
from PIL import Image

from r1sgg.data.images import open_image
from r1sgg.errors import ModelError, R1SGGError
from r1sgg.exports.files import FORMATS, write_export
from r1sgg.exports.record import GraphRecord
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.engine import Sampling
from r1sgg.inference.engines import Opening
from r1sgg.inference.reader import Reader, Reading
from r1sgg.models.families import Checkpoint
from r1sgg.models.known import RECOMMENDED
from r1sgg.pages.stage import stage

_log = logging.getLogger(__name__)

PROMPTS = ("as the model was trained", "open", "closed")
_EMPTY = "<p style='opacity:.7'>The graph appears here.</p>"
_DELETE_EVERY, _DELETE_AFTER = 60, 3600  # seconds; uploads and exports
_MOST_BYTES = 20_000_000
"""Of an upload."""


class Models:
    """The reader of the model that was used last."""

    def __init__(self, opening: Opening) -> None:
        self._opening, self._reader = opening, opening.open()
        self._lock = threading.Lock()

    @property
    def notice(self) -> str:
        """What everybody who uses the model should know."""
        return self._reader.checkpoint.notice or ""

    def reader(self, model: str, prompt: str, vocabulary: str | None) -> Reader:
        """Return a reader of the model with this prompt; another model is loaded first.

        Raises:
            ConfigError, InputError, ModelError: the model cannot be loaded, or there is no such vocabulary.
        """
        if vocabulary is not None:
            load_vocabulary(vocabulary)
        with self._lock:
            if model != self._opening.model:
                opening = replace(self._opening, model=model)
                try:
                    self._opening, self._reader = opening, opening.open()
                except R1SGGError as error:
                    # the page does not say which folders of this machine exist
                    _log.warning("the page asked for a model that does not load: %r", str(error))
                    expected = "tiny, photo, a checkpoint folder or a name on the Hub"
                    raise ModelError(
                        f"model: expected {expected}, found {model!r}, which does not load; the terminal says why"
                    ) from error
            reader = self._reader
        listed = {"open": "open", "closed": vocabulary or "vg150"}.get(prompt, reader.checkpoint.settings.vocabulary)
        settings = replace(reader.checkpoint.settings, vocabulary=listed)
        if prompt in ("open", "closed") and settings.prompt == "own":
            settings = replace(settings, prompt="paper", own="", system="")
        return replace(reader, checkpoint=replace(reader.checkpoint, settings=settings), guide_vocabulary=vocabulary)


Admit = Callable[[Image.Image, Checkpoint, bool], str | None]
"""Returns a remark about an image before a model reads it, or raises an ImageError: it must not; the flag says whether
the model's name was typed into the page."""


def build_demo(
    opening: Opening,
    max_new_tokens: int = 1024,
    examples: Sequence[Image.Image] = (),
    admit: Admit = lambda image, checkpoint, typed: None,
) -> Any:
    """Return the page as gradio Blocks.

    Args:
        opening: the model that is loaded at the start.
        max_new_tokens: longest completion.
        examples: images to try, offered on the page.
        admit: asked about every image.

    Raises:
        ConfigError, ModelError: the model cannot be loaded.
    """
    models = Models(opening)
    work = tempfile.TemporaryDirectory(prefix="r1sgg-web-")
    folder = Path(work.name)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")

    def read(
        image: str | None,
        model: str,
        prompt: str,
        names: str,
        guide: bool,
        temperature: float,
        threshold: float,
    ) -> Iterator[tuple[str, str, Reading | None, str]]:
        if image is None:
            raise gr.Error("Drop an image first, or pick an example.", print_exception=False)
        try:
            reader = models.reader(model.strip() or opening.model, prompt, _vocabulary(names, folder))
            reading: Reading | None = None
            sampling = Sampling(temperature, max_new_tokens=max_new_tokens, cut_loops=True)
            picture = open_image(Path(image), where="the image")
            remark = admit(picture, reader.checkpoint, model.strip() not in ("", opening.model))
            said = remark or reader.checkpoint.notice or ""
            for reading in reader.stream(picture, sampling, guide=guide):
                yield said, stage(reading.image, reading.graph, "writing ..."), None, reading.completion.text
            if reading is not None:
                yield said, show(reading, threshold), reading, reading.completion.text
        except R1SGGError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def export(reading: Reading | None, kind: str, threshold: float) -> str:
        if reading is None:
            raise gr.Error("There is no graph to export yet.", print_exception=False)
        record = GraphRecord(_above(reading, threshold), "image", reading.image.size)
        target = Path(tempfile.mkdtemp(dir=folder)) / f"graph{FORMATS[kind].ending}"
        try:
            (path,) = write_export([record], kind, target if FORMATS[kind].all else target.parent)
        except R1SGGError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return str(path)

    clearing = (_DELETE_EVERY, _DELETE_AFTER)
    with gr.Blocks(title="r1sgg", analytics_enabled=False, delete_cache=clearing) as demo:
        demo.work = work  # the folder is removed with the page
        demo.notice = models.notice
        reading = gr.State(None)
        gr.Markdown("# r1sgg\nAn image as a scene graph. Point at a triplet, or reach it with Tab, to light its boxes.")
        notice = gr.Markdown(models.notice, elem_id="notice")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                image = gr.Image(
                    # as a file, which gradio does not decode: `open_image` knows which formats may be
                    type="filepath",
                    image_mode=None,
                    label="Image",
                    sources=["upload", "clipboard"],
                    elem_id="image",
                    height=260,
                )
                if examples:
                    gr.Examples(_saved(examples, folder), image, label="Drawn scenes", elem_id="examples")
                go = gr.Button("Read the graph", variant="primary", elem_id="go")
                guide = gr.Checkbox(True, label="Guide: only valid graphs")
                threshold = gr.Slider(0, 1, 0, step=0.05, label="Threshold: leave out lower scores")
                with gr.Accordion("Model, prompt and names", open=False):
                    model = gr.Textbox(
                        opening.model,
                        label="Model: tiny, photo, a checkpoint folder, or owner/name on the Hub",
                        info=f"photo is {RECOMMENDED['photo']}, downloaded at its first use",
                    )
                    prompt = gr.Radio(PROMPTS, value=PROMPTS[0], label="Prompt (closed lists the names)")
                    names = gr.Textbox(
                        "",
                        label="Names: vg150, psg, or your own",
                        placeholder="man, horse, tree; riding, near",
                        info="Objects, then a semicolon, then predicates. Empty: any name.",
                    )
                    temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature")
            with gr.Column(scale=2, min_width=320):
                view = gr.HTML(_EMPTY, elem_id="graph")
                with gr.Row():
                    kind = gr.Dropdown(list(FORMATS), value="json", label="Export as", scale=1)
                    make = gr.Button("Make the file", elem_id="export", scale=1)
                file = gr.File(label="Exported graph", elem_id="file")
                with gr.Accordion("Completion", open=False):
                    raw = gr.Textbox("", lines=6, label="Raw text", elem_id="completion")
        options = [image, model, prompt, names, guide, temperature, threshold]
        go.click(read, options, [notice, view, reading, raw])
        threshold.release(
            lambda found, least: _EMPTY if found is None else show(found, least), [reading, threshold], view
        )
        make.click(export, [reading, kind, threshold], file)
    return demo


def _saved(images: Sequence[Image.Image], folder: Path) -> list[str]:
    paths = [folder / f"scene-{k}.png" for k in range(1, len(images) + 1)]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return list(map(str, paths))


def show(reading: Reading, threshold: float) -> str:
    """Return a finished reading as HTML."""
    graph = _above(reading, threshold)
    failed = f"no graph in the completion: {reading.parsed.failure}" if reading.parsed.failure else ""
    hidden = len(reading.graph) - len(graph)
    return stage(reading.image, graph, failed or (f"{hidden} objects below the threshold" if hidden else ""))


def _above(reading: Reading, threshold: float) -> SceneGraph:
    return (reading.above(threshold) if threshold > 0 else reading).graph


def _vocabulary(names: str, folder: Path) -> str | None:
    """Return the name of a vocabulary, or a file with the names that were typed; None for any name."""
    text = names.strip()
    if not text or text in ("vg150", "psg"):
        return text or None
    objects, _, predicates = text.partition(";")

    def listed(part: str) -> Sequence[str]:
        return [name.strip() for name in part.replace("\n", ",").split(",") if name.strip()]

    content = orjson.dumps({"objects": listed(objects), "predicates": listed(predicates)})
    path = folder / f"names-{hashlib.sha256(content).hexdigest()[:12]}.json"
    path.write_bytes(content)
    return str(path)


def launch(demo: Any, host: str, port: int | None, **options: Any) -> Any:
    """Serve the page, with fonts of the system so that nothing is fetched."""
    system = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(font=system, font_mono=["ui-monospace", "monospace"])
    return demo.queue().launch(
        server_name=host,
        server_port=port,
        share=False,
        theme=theme,
        quiet=True,
        footer_links=[],
        max_file_size=_MOST_BYTES,
        **options,
    )
