"""LoRA adapters: putting one into the weights of its base model, in memory.

What training with LoRA writes is a small folder (adapter_config.json, adapter_model.safetensors) that names the model
it changes. Merged, it is an ordinary model of the same size and speed as the base. `r1sgg publish` writes that to disk.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ModelError, require
from r1sgg.models.finding import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """The model with an adapter added to its weights; the model given in is changed.

    Args:
        model: the adapter's base, unquantised.
        folder: the adapter.

    Raises:
        ModelError: the adapter does not fit the model, has no weights, or would make some of them NaN.
        MissingDependencyError: peft is not installed.
    """
    peft: Any = require("peft", "train")
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 for it
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            adapted = peft.PeftModel.from_pretrained(model, folder, use_safetensors=True)
            merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder}: the adapter does not go into {model.config.name_or_path}: {first_line(error)}"
        ) from error
    return merged
