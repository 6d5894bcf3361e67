"""The web demo (`r1sgg web`): drop a photo, watch its graph appear, point at a triplet, download the graph.

It runs on loopback and loads nothing from elsewhere (no fonts, no analytics). It holds one model at a time; entering
another name loads that one. It is for one person; `r1sgg serve` is for many. Uploads are deleted after an hour, and
when the command ends.
"""

from __future__ import annotations

import hashlib
import html
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
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.engine import Sampling
from r1sgg.inference.engines import Opening
from r1sgg.inference.reader import Reader, Reading
from r1sgg.models.families import Checkpoint
from r1sgg.models.known import RECOMMENDED
from r1sgg.pages.saving import SAVED, save
from r1sgg.pages.stage import photo_uri, stage

_log = logging.getLogger(__name__)

PROMPTS = ("as the model was trained", "open", "closed")
_EMPTY = ""
_DELETE_EVERY, _DELETE_AFTER = 60, 3600  # seconds; uploads and exports
_MOST_BYTES = 20_000_000
"""Of an upload."""
_TO_START = "() => { setTimeout(() => document.querySelector('#image button')?.focus(), 500); }"
_COPY = """async () => {
  const rows = [...document.querySelectorAll("#graph li")].map((row) => row.innerText.replace(/\\s+/g, " ").trim());
  await navigator.clipboard.writeText(rows.join("\\n"));
  return "Copied";
}"""
_COPIED = "() => new Promise((done) => setTimeout(() => done('Copy the triplets'), 2000))"
_CSS = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
.gradio-container:has(#graph .r1) #start, .gradio-container:not(:has(#graph .r1)) #result { display: none !important; }
:is(#head, #reads, #graph) :is(.html-container, .prose) { padding: 0 !important; }
input[type=range]::-webkit-slider-thumb { border: 2px solid var(--color-accent) !important; }
input[type=range]::-moz-range-thumb { border: 2px solid var(--color-accent) !important; }
#head h1 { font-size: 1.6rem; margin: 0; } #head p, #reads p { margin: 0.2rem 0; } #reads summary { cursor: pointer; }
#save, #kind, #copy, #another { flex: 1 1 9rem; min-width: 9rem; }
#image .or, .min_value, .max_value, .prose { color: var(--body-text-color) !important; }
"""


class Models:
    """The reader of the model that was used last."""

    def __init__(self, opening: Opening) -> None:
        self._opening, self._reader = opening, opening.open()
        self._lock = threading.Lock()

    @property
    def first(self) -> Reader:
        """Return the reader as it was loaded."""
        return self._reader

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
        kind: str,
    ) -> Iterator[tuple[Any, ...]]:
        if image is None:
            raise gr.Error("Drop an image first, or pick an example.", print_exception=False)
        try:
            reader = models.reader(model.strip() or opening.model, prompt, _vocabulary(names, folder))
            reading: Reading | None = None
            sampling = Sampling(temperature, max_new_tokens=max_new_tokens, cut_loops=True)
            picture = open_image(Path(image), where="the image")
            remark = admit(picture, reader.checkpoint, model.strip() not in ("", opening.model))
            photo, can, waiting = photo_uri(picture), reads(reader, remark), gr.DownloadButton(interactive=False)
            yield stage(picture, EMPTY, "reading ...", photo), None, can, waiting, ""
            for reading in reader.stream(picture, sampling, guide=guide):
                text = reading.completion.text
                yield stage(reading.image, reading.graph, "writing ...", photo), None, can, waiting, text
            if reading is not None:
                file = saved(reading, kind, threshold)
                yield show(reading, threshold), reading, can, file, reading.completion.text
        except R1SGGError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def begin(image: str | None, *options: Any) -> Iterator[tuple[Any, ...]]:
        if image is None:  # it was taken away
            yield _EMPTY, None, gr.skip(), gr.DownloadButton(interactive=False), ""
        else:
            yield from read(image, *options)

    def saved(reading: Reading | None, kind: str, threshold: float) -> Any:
        """Return the button with the file that it saves."""
        if reading is None:
            return gr.DownloadButton(interactive=False)
        try:
            path = save(_above(reading, threshold), reading.image, kind, Path(tempfile.mkdtemp(dir=folder)))
        except R1SGGError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return gr.DownloadButton(value=path, interactive=True)

    def cut(reading: Reading | None, kind: str, threshold: float) -> tuple[Any, Any]:
        """Return the picture and the file without lower scores."""
        if reading is None:
            return gr.skip(), gr.skip()
        try:
            return show(reading, threshold), saved(reading, kind, threshold)
        except R1SGGError as error:
            raise gr.Error(str(error), print_exception=False) from error

    clearing = (_DELETE_EVERY, _DELETE_AFTER)
    with gr.Blocks(title="r1sgg", analytics_enabled=False, delete_cache=clearing) as demo:
        demo.work = work  # the folder is removed with the page
        demo.notice = models.first.checkpoint.notice
        reading = gr.State(None)
        gr.HTML("<h1>r1sgg</h1><p>An image in, its scene graph out.</p>", elem_id="head")
        can = gr.HTML(reads(models.first), elem_id="reads")
        with gr.Column(elem_id="start"):
            image = gr.Image(
                # as a file, which gradio does not decode: `open_image` knows which formats may be
                type="filepath",
                image_mode=None,
                label="Image",
                sources=["upload", "clipboard"],
                elem_id="image",
                height=300,
            )
            if examples:
                gr.Examples(_saved(examples, folder), image, label="Or try a drawn scene", elem_id="examples")
        view = gr.HTML(_EMPTY, elem_id="graph")
        with gr.Column(elem_id="result"):
            with gr.Row():
                save_button = gr.DownloadButton("Save", variant="primary", elem_id="save", interactive=False)
                kind = gr.Dropdown(list(SAVED), value="png", show_label=False, elem_id="kind", container=False)
                copy = gr.Button("Copy the triplets", elem_id="copy")
                another = gr.Button("Another image", elem_id="another")
            threshold = gr.Slider(0, 1, 0, step=0.05, label="Threshold: leave out lower scores")
            with gr.Accordion("Completion", open=False):
                raw = gr.Textbox("", lines=6, label="Raw text", elem_id="completion")
        with gr.Accordion("Model, prompt and names", open=False, elem_id="options"):
            guide = gr.Checkbox(True, label="Guide: only valid graphs")
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
                info="Objects, then a semicolon, then predicates. Empty: the names are left to the model.",
            )
            temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature")
            go = gr.Button("Read again", elem_id="go")
        options = [image, model, prompt, names, guide, temperature, threshold, kind]
        made = [view, reading, can, save_button, raw]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        running: list[Any] = [
            image.change(begin, options, made, trigger_mode="always_last", **quiet),
            go.click(read, options, made, show_progress="hidden"),
        ]
        threshold.change(
            cut,
            [reading, kind, threshold],
            [view, save_button],
            trigger_mode="always_last",
            **quiet,
        )
        kind.change(saved, [reading, kind, threshold], save_button, **quiet)
        another.click(lambda: None, None, image, cancels=running, js=_TO_START, **quiet)
        copy.click(None, None, copy, js=_COPY).then(None, None, copy, js=_COPIED)
    return demo


def reads(reader: Reader, remark: str | None = None) -> str:
    """Return what a model can read, as HTML: its name, the names that its graphs may have, and what to know of it.

    Args:
        reader: the model.
        remark: about the image that it reads; None: what everybody who uses the model should know.
    """
    settings, guided = reader.checkpoint.settings, reader.guide_vocabulary
    listed = load_vocabulary(guided or settings.vocabulary)
    sides = [("object classes", listed.objects), ("predicates", listed.predicates)]
    free = "of drawn scenes" if reader.checkpoint.drawn_scenes_only else "of any name"
    said = " and ".join(f"{len(names)} {what}" if names else f"{what} {free}" for what, names in sides)
    lists = "".join(f"<p><b>{what}:</b> {html.escape(', '.join(names))}</p>" for what, names in sides if names)
    model = f"<code>{html.escape(reader.checkpoint.name)}</code>"
    told = remark or reader.checkpoint.notice
    notice = "" if told is None else f"<p class='notice'><b>{html.escape(told)}</b></p>"
    if not lists:
        return f"<p>Model {model} writes object classes and predicates {free}.</p>{notice}"
    summary = f"Model {model} writes {said} ({html.escape(listed.name)})"
    return f"<details><summary>{summary}</summary>{lists}</details>{notice}"


def _saved(images: Sequence[Image.Image], folder: Path) -> list[str]:
    paths = [folder / f"scene-{k}.png" for k in range(1, len(images) + 1)]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return list(map(str, paths))


def show(reading: Reading, threshold: float) -> str:
    """Return a finished reading as HTML."""
    graph = _above(reading, threshold)
    failed = f"no graph in the completion: {reading.parsed.failure}" if reading.parsed.failure else reading.unread
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
    theme = gr.themes.Default(primary_hue="blue", font=system, font_mono=["ui-monospace", "monospace"]).set(
        button_primary_background_fill="*primary_700",  # white letters on it have the contrast that WCAG asks for
        button_primary_background_fill_hover="*primary_800",
        block_label_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
    return demo.queue().launch(
        server_name=host,
        server_port=port,
        share=False,
        theme=theme,
        css=_CSS,
        quiet=True,
        footer_links=[],
        max_file_size=_MOST_BYTES,
        **options,
    )
