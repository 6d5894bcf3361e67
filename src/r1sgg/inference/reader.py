"""`load("tiny")(image) -> SceneGraph`: a model as a function, for any photo.

Predictions for a whole ground-truth file, with resume, are `r1sgg.inference.run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from r1sgg.data.base import Example
from r1sgg.data.images import open_image, upright_rgb
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Frame, Parsed, parse
from r1sgg.inference.engine import Completion, Engine, Sampling
from r1sgg.models.families import Checkpoint


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model said about one image, and what was read from it."""

    image: Image.Image
    frame: Frame
    completion: Completion
    parsed: Parsed

    @property
    def graph(self) -> SceneGraph:
        """The graph, boxes clipped to the image; empty where nothing could be read."""
        graph = self.parsed.graph
        return SceneGraph(graph.ids, graph.labels, np.clip(graph.boxes, 0, 1), graph.pairs, graph.predicates)

    def to_record(self, image_id: str, image: Path, model: str) -> dict[str, Any]:
        """A ground-truth-like record, boxes in pixels of the upright image, with the raw answer and its issues."""
        return {
            **Example(image_id, *self.image.size, self.graph, image).to_record(),
            "model": model,
            "completion": self.completion.text,
            "frame": list(self.frame),
            "finish_reason": self.completion.finish_reason,
            "failure": self.parsed.failure,
            "issues": [issue._asdict() for issue in self.parsed.issues],
        }


@dataclass(frozen=True, slots=True)
class Reader:
    """A model that reads images as scene graphs."""

    checkpoint: Checkpoint
    engine: Engine

    def __call__(self, image: Image.Image | Path | str, sampling: Sampling | None = None) -> SceneGraph:
        """The scene graph of an image; empty where the answer could not be read.

        Args:
            image: a path or a PIL image of any mode.
            sampling: how tokens are chosen; greedy where None.

        Raises:
            ImageError: the image cannot be opened.
        """
        return self.read(image, sampling).graph

    def read(self, image: Image.Image | Path | str, sampling: Sampling | None = None) -> Reading:
        """The same with the raw answer and its issues."""
        picture = upright_rgb(image) if isinstance(image, Image.Image) else open_image(Path(image))
        frame = self.checkpoint.frame(picture.size)
        chat = self.checkpoint.messages(picture.size)
        (completion,) = self.engine.generate([picture], [chat], sampling or Sampling())
        return Reading(picture, frame, completion, parse(completion.text, frame))


def load(
    model: str | Path = "tiny", *, device: str | None = None, dtype: str | None = None, max_pixels: int | None = None
) -> Reader:
    """Load a checkpoint as a function from images to scene graphs.

    Args:
        model: a checkpoint folder, a name on the Hub (owner/name), or "tiny".
        device: "cpu", "cuda", ...; None takes the GPU where there is one.
        dtype: see `r1sgg.models.families.load_model`.
        max_pixels: see `r1sgg.models.families.load_processor`.

    Raises:
        ModelError: see `r1sgg.models.families.load_model`.
    """
    from r1sgg.inference.hf import TransformersEngine
    from r1sgg.models.families import load_model

    loaded = load_model(model, device=device, dtype=dtype, max_pixels=max_pixels)
    return Reader(loaded, TransformersEngine(loaded))
