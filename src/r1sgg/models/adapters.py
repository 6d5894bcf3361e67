"""LoRA adapters: adding one to the weights of its base model, in memory.

Training with LoRA writes a small folder (adapter_config.json, adapter_model.safetensors) that names its base model.
Merged, it is an ordinary model of the base's size and speed. `r1sgg publish` writes that to disk.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from r1sgg.errors import require
from r1sgg.models.damage import Naming

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """Add an adapter to a model's weights, in place.

    Args:
        model: the adapter's base, unquantised.
        folder: the adapter.

    Returns:
        The model without peft's wrappers.

    Raises:
        ModelError: the adapter does not fit the model, has no weights, or gives weights that are NaN.
        MissingDependencyError: peft is not installed.
    """
    peft: Any = require("peft", "train")
    expected = f"an adapter for {model.config.name_or_path} (adapter_config.json and adapter_model.safetensors)"
    with Naming(folder, expected), warnings.catch_warnings():
        # peft 0.21 reads the deprecated attribute of transformers 5.23
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # and leaves what it does not find at its initial values
        warnings.filterwarnings("error", message="Found missing adapter keys")
        adapted = peft.PeftModel.from_pretrained(model, folder, use_safetensors=True)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
        return merged
