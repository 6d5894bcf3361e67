"""The sizes of a model that decide how much memory it takes, from its config.json: no weights are read.

The model is built on torch's "meta" device, where tensors have shapes and no values, so its weights are counted and not
guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from r1sgg.models.damage import Naming
from r1sgg.models.finding import is_local

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a vision-language model.

    Attributes:
        weights: how many numbers the model has; tied ones count once.
        tower: how many of them `freeze_vision` freezes.
        layered: how many are in the layers that FSDP2 and ZeRO-3 gather one by one; `largest` of them in one layer.
        linear: how many are in the linear layers of the language model, which QLoRA stores in 4 bits.
        adapted: inputs and outputs of all linear layers that LoRA adapts: of the tower, and of the rest.
        hidden, layers, inner, keys, vocabulary: of the language model; `keys` is key heads times their size.
        vision_hidden, vision_layers, vision_inner: of the vision tower.
        patches: of the vision tower, for each image token.
    """

    weights: int
    tower: int
    layered: int
    largest: int
    linear: int
    adapted: tuple[int, int]
    hidden: int
    layers: int
    inner: int
    keys: int
    vocabulary: int
    vision_hidden: int
    vision_layers: int
    vision_inner: int
    patches: int

    @property
    def outside(self) -> int:
        """Weights outside of the layers: embeddings, output, projection; every card gathers them for a whole pass."""
        return self.weights - self.layered

    @property
    def cache(self) -> int:
        """Bytes of keys and values for each token, in 16 bits."""
        return 2 * self.layers * self.keys * 2

    def trained(self, *, freeze_vision: bool, rank: int | None) -> int:
        """Count the weights that are trained: all, all but the tower, or those of an adapter of that rank."""
        if rank is not None:
            return rank * (self.adapted[1] + (0 if freeze_vision else self.adapted[0]))
        return self.weights - (self.tower if freeze_vision else 0)


def shape_of(checkpoint: Checkpoint) -> Shape:
    """Read the sizes of a checkpoint's model.

    Raises:
        ModelError: config.json is damaged.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    path = checkpoint.base or checkpoint.path
    with Naming(path, "the configuration of a model (config.json)"):
        config = AutoConfig.from_pretrained(path, local_files_only=is_local(path), trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
        model.tie_weights()
    tower = re.compile(checkpoint.family.vision)
    inside = [f".{name}." for name in _layers(model)]
    linear, adapted, keys = 0, [0, 0], 0
    output = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not output:
            seen = tower.fullmatch(f"{name}.weight") is not None
            adapted[not seen] += module.in_features + module.out_features
            linear += 0 if seen else module.weight.numel()
            if not seen and name.endswith(".k_proj"):  # layers may differ (Gemma 4): the largest
                keys = max(keys, module.out_features)
    text, vision = config.get_text_config(), getattr(config, "vision_config", config)
    sizes = _sizes_of_layers(model)
    hidden = _first(vision, "embed_dim", "hidden_size")
    ratio = getattr(vision, "mlp_ratio", None)
    side: int = getattr(vision, "spatial_merge_size", None) or getattr(config, "scale_factor", None) or 1
    weights = {name: p.numel() for name, p in model.named_parameters()}
    return Shape(
        weights=sum(weights.values()),
        tower=sum(n for name, n in weights.items() if tower.fullmatch(name)),
        layered=sum(n for name, n in weights.items() if any(part in f".{name}" for part in inside)),
        largest=max(sizes, default=0),
        linear=linear,
        adapted=(adapted[0], adapted[1]),
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        inner=text.intermediate_size,
        keys=keys,
        vocabulary=text.vocab_size,
        vision_hidden=hidden,
        vision_layers=_first(vision, "depth", "num_hidden_layers"),
        vision_inner=int(hidden * ratio) if ratio else _first(vision, "intermediate_size"),
        patches=side * side,
    )


def _layers(model: Any) -> list[str]:
    """The names of the modules that are sharded one by one, by the model's own list of their classes."""
    kinds = set(model._no_split_modules or ())
    return [name for name, module in model.named_modules() if type(module).__name__ in kinds]


def _sizes_of_layers(model: Any) -> list[int]:
    return [sum(p.numel() for p in model.get_submodule(name).parameters()) for name in _layers(model)]


def _first(config: Any, *names: str) -> int:
    return next(int(value) for name in names if (value := getattr(config, name, None)) is not None)
