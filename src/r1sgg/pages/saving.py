"""What the web demo saves: the picture of a graph, a page with picture and list, or one of the exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from r1sgg.drawing.draw import draw
from r1sgg.exports.files import FORMATS, write_export
from r1sgg.exports.record import GraphRecord
from r1sgg.graph.scene import SceneGraph
from r1sgg.pages.stage import write_stage

SAVED: Mapping[str, str] = {
    **{kind: f".{kind}" for kind in ("png", "svg", "html")},
    **{name: found.ending for name, found in FORMATS.items()},
}
"""What a graph can be saved as, and the ending of the file."""


def save(graph: SceneGraph, image: Image.Image, kind: str, folder: Path) -> Path:
    """Write a graph to a file in the folder; `kind` is one of `SAVED`.

    Raises:
        InputError: the graph cannot be written so.
    """
    path = folder / f"graph{SAVED[kind]}"
    if kind in ("png", "svg"):
        draw(image, graph).save(path)
    elif kind == "html":
        write_stage(path, image, graph, "Scene graph")
    else:
        write_export([GraphRecord(graph, "image", image.size)], kind, path if FORMATS[kind].all else folder)
        (path,) = folder.iterdir()  # of a format with a file for each image
    return path
