"""LoRA adapters: adding one to the weights of its base model, in memory.

Training with LoRA writes a small folder (adapter_config.json, adapter_model.safetensors) that names its base model.
Merged, it is an ordinary model of the base's size and speed. `r1sgg publish` writes that to disk.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ModelError, require
from r1sgg.models.finding import first_line

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
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads the deprecated attribute of transformers 5.23
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            adapted = peft.PeftModel.from_pretrained(model, folder, use_safetensors=True)
            merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder}: expected an adapter for {model.config.name_or_path}, found one that does not fit: "
            f"{first_line(error)}"
        ) from error
    return merged
