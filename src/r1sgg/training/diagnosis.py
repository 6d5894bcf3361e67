"""What `guards` measures on batches: images that are missing, and the units that boxes may be written in.

Completions are diagnosed by `r1sgg.judging.diagnosis`, as everywhere; `r1sgg.training.guards` decides what is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from r1sgg.graph.frames import Frame
from r1sgg.models import finding
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


def resized_units(size: tuple[int, int], processor: Any, frames: int = 1) -> dict[str, Frame]:
    """Return the units, besides the usual ones, in which a checkpoint of this family may write boxes, by name."""
    if not hasattr(processor.image_processor, "merge_size"):
        return {}
    return {"pixels of the resized image": resized_size(size, processor, frames)}


def image_token_of(processor: Any) -> int | None:
    """Return the id of the token that represents a piece of an image; None if the family has none."""
    if getattr(processor, "image_token", None) is None:
        return None
    return int(processor.tokenizer.convert_tokens_to_ids(finding.image_token_of(processor)))
