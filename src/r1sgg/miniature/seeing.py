"""Pre-training of the tiny model's image encoder on drawn scenes, before any language.

Real families begin with an encoder that was trained on images. Here each image token learns to say, through a linear
layer that is thrown away, which classes have their centre in its part of the image, and their boxes:

    image 112 x 112 -> 4 x 4 tokens -> per token and class: a logit, and a box as fractions of the image

A language model then finds places in the tokens instead of having to discover them through its answers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from r1sgg.miniature.scenes import SMALL, Scene, scene, split_seeds

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

BATCH, LEARNING_RATE = 32, 2e-3
_WARMUP, _DECAY, _LEAST = 50, 0.4, 0.02  # steps; share of the steps in which the rate falls; its end, as a share
_BOX = 5.0  # weight of the boxes' mean L1 distance beside the classes' cross entropy
_LOG_STEPS = 100

Loss = tuple["torch.Tensor", "torch.Tensor"]
"""The classes' binary cross entropy (sum of an image) and the boxes' L1 distance (sum of four fractions)."""


def pretrain_encoder(encoder: Any, image_processor: Any, steps: int, seed: int = 0) -> torch.nn.Linear:
    """Train the encoder in place on scenes of the default preset, in bfloat16 with float32 weights.

    Args:
        encoder: `model.model.visual` of a Qwen2-VL, merger included.
        image_processor: that of the checkpoint; it must leave a scene its 4 x 4 tokens.
        steps: of 32 scenes each.
        seed: of the scenes and of the linear layer.

    Returns:
        The linear layer, which reads the tokens (see `losses`).
    """
    import torch

    seeds = split_seeds("train", seed, steps * BATCH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = torch.nn.Linear(encoder.config.hidden_size, len(SMALL.classes) * 5)
    weights = [*encoder.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1.0, (k + 1) / _WARMUP) * max(_LEAST, min(1.0, (steps - k) / (_DECAY * steps)))
    )
    for step in range(steps):
        scenes = [scene(s, SMALL) for s in seeds[step * BATCH : (step + 1) * BATCH]]
        classes, boxes = losses(encoder, reader, image_processor, scenes)
        optimizer.zero_grad()
        (classes + _BOX * boxes).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rate.step()
        if (step + 1) % _LOG_STEPS == 0:
            _log.warning(
                "image encoder, step %d of %d: classes %.3g, boxes off by %.3g of a side",
                *(step + 1, steps, classes.item(), boxes.item() / 4),
            )
    return reader


def losses(encoder: Any, reader: torch.nn.Linear, image_processor: Any, scenes: Sequence[Scene]) -> Loss:
    """Return what the reader says of the scenes compared with the truth."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, layer_norm

    images = image_processor(images=[s.image for s in scenes], return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        tokens = encoder(images["pixel_values"], grid_thw=images["image_grid_thw"]).pooler_output
    rows, columns = (images["image_grid_thw"][0, 1:] // encoder.spatial_merge_size).tolist()
    tokens = layer_norm(tokens.float(), tokens.shape[-1:])
    said = reader(tokens).view(len(scenes), rows * columns, len(SMALL.classes), 5)
    present, boxes = truth(scenes, rows, columns)
    classes = binary_cross_entropy_with_logits(said[..., 0], present, reduction="sum") / len(scenes)
    away = (said[..., 1:] - boxes).abs().sum(-1)
    return classes, (away * present).sum() / present.sum()


def truth(scenes: Sequence[Scene], rows: int, columns: int) -> Loss:
    """Return which classes have their centre at each token, (scenes, tokens, classes), and their boxes, (..., 4).

    Of two objects of a class at one token the last counts.
    """
    import torch

    shape = (len(scenes), rows * columns, len(SMALL.classes))
    present, boxes = torch.zeros(shape), torch.zeros(*shape, 4)
    for k, drawn in enumerate(scenes):
        graph = drawn.example.graph
        for label, box in zip(graph.labels, graph.boxes, strict=True):
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            token = min(rows - 1, int(y * rows)) * columns + min(columns - 1, int(x * columns))
            place = (k, token, SMALL.classes.index(label))
            present[place] = 1.0
            boxes[place] = torch.from_numpy(box)
    return present, boxes
