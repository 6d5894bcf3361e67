"""What `guards` measures on batches and completions: missing images, and boxes read in the wrong unit.

Pure functions and sums; `r1sgg.training.guards` decides what is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from r1sgg.graph.parsed import Parsed
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.claims import class_overlaps
from r1sgg.models.coordinates import resized_size


def missing_images(ids_BT: torch.Tensor, batch: Mapping[str, Any], image_token: int, merge: int | None) -> str | None:
    """Compare the images of a batch with its prompts; return what does not match, or None.

    The Qwen families concatenate the patches of all images, whatever their sizes. With merge 2:

        ids_BT          <img> x 16 ...   <img> x 6 ...     image tokens of prompt 1, of prompt 2
        image_grid_thw  [1, 8, 8]        [1, 4, 6]         time, rows and columns of patches
        pixel_values    64 rows          24 rows           = 4 x the image tokens

    Args:
        ids_BT: token ids.
        batch: has `pixel_values` and, for the Qwen families, `image_grid_thw` (images, 3).
        image_token: id of the token that represents a piece of an image.
        merge: patches along each side of such a piece; None if the family has no grid.
    """
    counts_B = (ids_BT == image_token).sum(1)
    tokens = int(counts_B.sum())
    if bool((counts_B == 0).any()):
        return f"{int((counts_B == 0).sum())} of {len(counts_B)} prompts have no image token"
    pixels, grid = batch.get("pixel_values"), batch.get("image_grid_thw")
    if pixels is None:
        return f"{tokens} image tokens and no pixel_values"
    if merge is None or grid is None:
        return None
    patches = int(grid.prod(1).sum())
    if tokens != patches // merge**2:
        return f"{tokens} image tokens, but image grids of {patches // merge**2}"
    if len(pixels) != patches:
        return f"pixel_values of {len(pixels)} patches, but image grids of {patches}"
    return None


class FrameCheck:
    """Sums the overlap of predicted and true boxes of equal class, for each unit that the boxes may be written in.

    Attributes:
        objects: true objects seen; named: those of which the answer names the class.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.clear()

    def clear(self) -> None:
        """Forget what was added."""
        self.objects = self.named = 0
        self._overlaps: dict[str, float] = {}

    def add(self, parsed: Parsed, truth: SceneGraph, size: tuple[int, int]) -> None:
        """Take one completion into account.

        Args:
            parsed: what was read, in the frame that its boxes are taken to be relative to.
            truth: the annotated graph.
            size: width and height of the image in pixels.
        """
        columns, graph = parsed.columns, parsed.graph
        written = np.array(columns.boxes, dtype=np.float64).reshape(-1, 4)
        frames = {"": columns.frame, "fractions (0..1)": (1.0, 1.0), "thousandths (0..1000)": (1000.0, 1000.0)}
        frames["pixels of the image"] = (float(size[0]), float(size[1]))
        if hasattr(self.processor.image_processor, "merge_size"):
            frames["pixels of the resized image"] = resized_size(size, self.processor)
        self.objects += len(truth)
        for unit, (width, height) in frames.items():
            best = class_overlaps(truth, replace(graph, boxes=written / (width, height, width, height)))
            self._overlaps[unit] = self._overlaps.get(unit, 0.0) + float(best.sum())
        self.named += len(best)

    @property
    def overlap(self) -> float:
        """Mean IoU of the named objects with the best box of their class."""
        return self._overlaps.get("", 0.0) / max(self.named, 1)

    @property
    def better(self) -> tuple[str, float]:
        """The other unit that gives the largest mean IoU, and that IoU."""
        others = {unit: total / max(self.named, 1) for unit, total in self._overlaps.items() if unit}
        unit = max(others, key=lambda name: others[name], default="")
        return unit, others.get(unit, 0.0)


def image_token_of(processor: Any) -> int | None:
    """Return the id of the token that represents a piece of an image; None if the family has none."""
    token = getattr(processor, "image_token", None)
    return None if token is None else int(processor.tokenizer.convert_tokens_to_ids(str(token)))
