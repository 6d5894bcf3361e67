"""What a resumed run may change, what it may not, and the record of its parts.

Each checkpoint has a `recipe.json`: the hashes of recipe and data, the value of every option, and the parts of the run:

    {"recipe": "6d1c...", "data": "77c1...", "chosen": ["data", "learning_rate", ...], "options": {...},
     "parts": [{"steps": [1, 40], "recipe": "0f3a...", "data": "77c1...", "changed": {}},
               {"steps": [41, null], "recipe": "6d1c...", "data": "77c1...",
                "changed": {"learning_rate": [0.001, 0.0001]}}]}

`steps` are the first and the last step of a part; null: to the end. A part begins where a resumed run changed
something. What may change is in `FREE`; everything else is refused, because the steps before and after would not be one
run. Data are compared by their hashes, so a file that has moved is the same data, and one that was edited is not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.jsonl import read_json
from r1sgg.errors import ConfigError, InputError, short
from r1sgg.training.recipe import Recipe

_log = logging.getLogger(__name__)

RECORD = "recipe.json"

FREE = frozenset(
    (*("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "max_steps"),
     *("num_train_epochs", "max_grad_norm", "bf16", "fp16", "tf32", "use_cpu", "early_stop", "report_to"),
     *("samples", "logged_completions"),
     *("validate_steps", "validate_batch_size", "per_device_eval_batch_size", "disable_tqdm", "push_to_hub"),
     *("parity", "log_completions", "num_completions_to_print", "torch_compile", "include_tokens_per_second"),
     *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor"),
     *("dataloader_persistent_workers", "vllm_gpu_memory_utilization", "vllm_enable_sleep_mode"))
)  # fmt: skip
_FREE_BEGINNINGS = ("logging_", "save_", "eval_", "hub_", "ddp_", "vllm_server_", "activation_checkpointing")
"""Options that may change: rate and schedule, length, numerics of the machine, evaluation, logging and saving."""

_NO_OPTION = frozenset(("output_dir", "resume", "requeue", "data", "validation", "run_name", "logging_dir"))
"""Where and whether, not what; the two sets of data are compared by their hashes."""

_SIZE_OF_STEP = ("per_device_train_batch_size", "gradient_accumulation_steps")

_REASONS = {
    "model": "the optimizer's state belongs to the weights of the first",
    "data": "the place in the data would be another",
    "validation": "the evaluations could not be compared",
    "seed": "the order of the data and all draws follow from it",
    "optim": "the saved state is of the other optimizer",
    "rewards": "the rewards before and after could not be compared",
    "reward_weights": "the rewards before and after could not be compared",
    "num_generations": "the rollouts that are saved have the other group size",
    **dict.fromkeys(
        ("prompt", "wording", "vocabulary", "think", "minify", "answer_format", "image_size"),
        "the model learns the other prompt",
    ),
    **dict.fromkeys(
        ("use_peft", "lora_r", "lora_alpha", "lora_target_modules", "freeze_vision", "load_in_4bit"),
        "the optimizer's state belongs to the other weights",
    ),
    **dict.fromkeys((*_SIZE_OF_STEP, "global_batch_size"), "the place in the data is counted in such steps"),
}
_OTHER = "the steps before and after would not be one run"
_OWN_PACE = frozenset(("reduce_lr_on_plateau", "greedy"))
"""Schedules whose rate follows from the losses so far and not from the step."""


def record_of(recipe: Recipe, data: Mapping[str, Any], validation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the record of a run that starts.

    Args:
        recipe: of the run.
        data: its described training data (`r1sgg.data.splits.describe`).
        validation: its described validation data, if any.
    """
    options: dict[str, Any] = {}
    for group in recipe.options:
        options |= group.to_dict() if hasattr(group, "to_dict") else dataclasses.asdict(group)
    options = orjson.loads(orjson.dumps(options, default=str, option=orjson.OPT_NON_STR_KEYS))
    for name in ("model", "vocabulary"):  # a path means the same from wherever it is written
        if isinstance(options.get(name), str) and os.path.exists(options[name]):
            options[name] = os.path.realpath(options[name])
    if isinstance(prompt := options.get("prompt"), str) and os.path.isfile(prompt):  # its text counts, not its name
        options["prompt"] = hashlib.sha256(Path(prompt).read_bytes()).hexdigest()[:16]
    chosen = sorted(recipe.chosen.keys() - _NO_OPTION)
    named = orjson.dumps({name: options.get(name) for name in chosen}, option=orjson.OPT_SORT_KEYS)
    recipe_hash = hashlib.sha256(named).hexdigest()[:16]
    data_hash = _hash_of(data)
    return {
        "recipe": recipe_hash,
        "data": data_hash,
        "validation": None if validation is None else _hash_of(validation),
        "chosen": chosen,
        "options": options,
        "parts": [{"steps": [1, None], "recipe": recipe_hash, "data": data_hash, "changed": {}}],
    }


def resumed_record(record: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Return the record of a run that resumes, with the parts before; the changes are logged.

    Args:
        record: of the recipe as it is now (`record_of`).
        checkpoint: to resume from.

    Raises:
        ConfigError: the recipe or the data changed in a way that is not allowed.
        InputError: the checkpoint's record is damaged.
    """
    step = int(checkpoint.name.rpartition("-")[2])
    path = checkpoint / RECORD
    if not path.is_file():
        _log.warning("%s has no %s: what has changed since cannot be checked", checkpoint, RECORD)
        before: list[dict[str, Any]] = [{"steps": [1, step], "recipe": None, "data": None, "changed": {}}]
        return {**record, "parts": [*before, {**record["parts"][0], "steps": [step + 1, None]}]}
    earlier = read_json(path)
    if not isinstance(earlier, dict) or not {"options", "chosen", "parts", "data"} <= earlier.keys():
        raise InputError(str(path), expected="the record of a recipe", found="something else", hint="start without it")
    changed = _changes(earlier, record)
    if refused := [name for name in changed if not _may_change(name, changed, earlier, record)]:
        said = "; ".join(f"{name} {_arrow(changed[name])} ({_REASONS.get(name, _OTHER)})" for name in refused)
        raise ConfigError(
            f"--resume: expected the recipe and data of {checkpoint}, found {said}; change them back, or start a new "
            f"run with --model {checkpoint} and another output_dir"
        )
    parts = earlier["parts"]
    if changed:
        _log.warning(
            "resumes after step %d with changes: %s", step, "; ".join(f"{n} {_arrow(c)}" for n, c in changed.items())
        )
        last = {**parts[-1], "steps": [parts[-1]["steps"][0], step]}
        parts = [*parts[:-1], last, {**record["parts"][0], "steps": [step + 1, None], "changed": changed}]
    return {**record, "parts": parts}


def _changes(earlier: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Options, and sets of data, that differ: [old, new] by name."""
    old, new = earlier["options"], record["options"]
    names = dict.fromkeys((*earlier["chosen"], *record["chosen"]))
    if new.get("global_batch_size") is not None and new["global_batch_size"] == old.get("global_batch_size"):
        names = {name: None for name in names if name not in _SIZE_OF_STEP}  # other processes, the same steps
    changed = {n: [old[n], new[n]] for n in names if n in old and n in new and old[n] != new[n]}
    for name in ("data", "validation"):
        if earlier.get(name) != record[name] or (record[name] is None and old.get(name) != new.get(name)):
            changed[name] = [f"{o['options'].get(name)} ({o.get(name)})" for o in (earlier, record)]
    return changed


def _may_change(name: str, changed: Mapping[str, Any], earlier: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    kinds = {str(r["options"].get("lr_scheduler_type")) for r in (earlier, record)}
    if name in ("learning_rate", "lr_scheduler_type") and kinds & _OWN_PACE:
        return False
    return name in FREE or name.startswith(_FREE_BEGINNINGS)


def _arrow(change: list[Any]) -> str:
    old, new = (value if isinstance(value, str) else short(value) for value in change)
    return f"{old} -> {new}"


def _hash_of(described: Mapping[str, Any]) -> str | None:
    """Name described data by its images and annotations; None if it cannot be known without reading all of it."""
    hashes = described.get("hashes") or {}
    if not any(hashes.values()):
        return None
    return hashlib.sha256(orjson.dumps(hashes, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
