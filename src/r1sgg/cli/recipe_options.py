"""The options that a recipe may hold, read from the source of their dataclasses: nothing of it is imported.

`--help`, shell completion and the check of misspelt names need names, types, defaults and help of some 250 options.
Importing their classes would import torch, which takes many seconds; the source is read in a fraction of one. A class
that is written in another way than a dataclass with `field(...)` gives fewer texts, never wrong ones.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple

OURS = {
    "sft": ("RunOptions", "TargetOptions", "PartOptions"),
    "grpo": ("RunOptions", "RewardOptions", "RolloutOptions", "PartOptions"),
}
"""The classes that `train_sft` and `train_grpo` read beside TRL's."""

_MODULES = {"PartOptions": "r1sgg.training.parts", "RolloutOptions": "r1sgg.training.rollouts"}
_TRL = {"sft": ("trl.trainer.sft_config", "SFTConfig"), "grpo": ("trl.trainer.grpo_config", "GRPOConfig")}

PANELS = {
    "Model and data": ("model", "data", "max_pixels", "global_batch_size"),
    "Prompt and layout of completions": (
        *("prompt", "wording", "vocabulary", "think", "minify", "answer_format", "image_size"),
    ),
    "Evaluation during training": (
        *("validation", "validate_steps", "validate_images", "validate_batch_size", "validate_tokens"),
    ),
    "Checkpoints and logs": ("resume", "requeue", "keep_best", "early_stop", "logged_completions"),
}
"""The options of `RunOptions` by subject."""

CLASS_PANELS = {
    "TargetOptions": "What is taught",
    "RewardOptions": "Rewards",
    "RolloutOptions": "Sampling of completions",
    "PartOptions": "Which weights are trained",
}

USUAL = {
    "sft": (
        *("output_dir", "max_steps", "num_train_epochs", "learning_rate", "per_device_train_batch_size"),
        *("logging_steps", "save_steps", "save_total_limit", "report_to", "seed"),
    ),
    "grpo": (
        *("output_dir", "max_steps", "learning_rate", "per_device_train_batch_size", "num_generations"),
        *("max_completion_length", "temperature", "beta", "loss_type", "use_vllm", "vllm_mode"),
        *("logging_steps", "save_steps", "save_total_limit", "report_to", "seed"),
    ),
}
"""The options of TRL that most runs set."""

OF_THE_RUN = {
    "output_dir": "",
    "logging_steps": "10, or a tenth of a shorter run",
    "report_to": "tensorboard if installed",
}
"""Where this package replaces TRL's default by one that is no plain value."""


class Listed(NamedTuple):
    """An option: `kind` is its type or its choices, `default` what is shown ("": none), `owner` its class."""

    name: str
    kind: str
    default: str
    help: str
    owner: str


@functools.cache
def our_options(command: str) -> tuple[Listed, ...]:
    """Return this package's options of `sft` or `grpo`."""
    found: list[Listed] = []
    for owner in OURS[command]:
        found += _fields(_MODULES.get(owner, "r1sgg.training.options"), owner).values()
    return tuple(found)


@functools.cache
def trl_options(command: str) -> tuple[Listed, ...]:
    """Return the options of the installed TRL and transformers; none if they are not installed or written otherwise."""
    return tuple(_fields(*_TRL[command]).values())


def panel_of(option: Listed) -> str:
    """Return the heading under which one of our options is listed."""
    named = (panel for panel, names in PANELS.items() if option.name in names)
    return CLASS_PANELS.get(option.owner) or next(named)


def by_panel(command: str) -> list[tuple[str, list[Listed]]]:
    """Return our options of a command under their headings, in the order of the help."""
    groups: dict[str, list[Listed]] = {panel: [] for panel in (*PANELS, *CLASS_PANELS.values())}
    for option in our_options(command):
        groups[panel_of(option)].append(option)
    return [(panel, options) for panel, options in groups.items() if options]


# ---------------------------------------------------------------- reading source


def _fields(module: str, owner: str) -> dict[str, Listed]:
    """Read the fields of a dataclass and of its bases, those of the bases first."""
    tree = _tree(module)
    named = (node for node in (tree.body if tree else ()) if isinstance(node, ast.ClassDef) and node.name == owner)
    if (found := next(named, None)) is None:
        return {}
    fields: dict[str, Listed] = {}
    for base in found.bases:
        if isinstance(base, ast.Name):
            fields |= _fields(*_origin(module, base.id))
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_field(node):
            name, call = node.target.id, node.value
            kind = _kind(module, node.annotation)
            fields.pop(name, None)
            fields[name] = Listed(name, kind, _default(module, call), _help(call), owner)
    return fields


def _is_field(node: ast.AnnAssign) -> bool:
    """Whether an annotated name is an option: a constant of the class is none, nor a field that callers do not set."""
    if "ClassVar" in ast.unparse(node.annotation):
        return False
    return not (isinstance(node.value, ast.Call) and any(k.arg == "init" for k in node.value.keywords))


@functools.cache
def _tree(module: str) -> ast.Module | None:
    """Parse a module's source, without importing it; None if it is not installed."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return None
    for place in map(Path, spec.submodule_search_locations):
        for path in (place.joinpath(*rest).with_suffix(".py"), place.joinpath(*rest, "__init__.py")):
            if path.is_file():
                return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _origin(module: str, name: str) -> tuple[str, str]:
    """Find where a module's name is defined: in itself, or where it imports it from (one step)."""
    tree = _tree(module)
    package = module.split(".")
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            above = ".".join(package[: len(package) - node.level]) if node.level else ""
            source = ".".join(part for part in (above, node.module or "") if part)
            if source == "transformers" and name == "TrainingArguments":  # it is imported lazily there
                source = "transformers.training_args"
            return source, name
    return module, name


def _assigned(module: str, name: str) -> ast.expr | None:
    """Return what a module's name is assigned, where it is written or imported."""
    where, name = _origin(module, name)
    tree = _tree(where)
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return node.value
    return None


def _kind(module: str, annotation: ast.expr) -> str:
    """Return a type as help shows it: its choices, or a plain name."""
    if isinstance(annotation, ast.Name) and (value := _assigned(module, annotation.id)) is not None:
        annotation = value
    text = ast.unparse(annotation).strip("'\"")
    if text.startswith("Literal["):
        return "|".join(str(ast.literal_eval(e)) for e in _elements(annotation))
    parts = [part.strip() for part in text.split("|") if part.strip() != "None"]
    first = parts[0].removeprefix("Optional[").rstrip("]") if len(parts) == 1 else parts[0]
    return {"bool": "true|false", "str": "text", "int": "number", "float": "number"}.get(first, _many(parts))


def _many(parts: list[str]) -> str:
    if any(part.startswith("list") for part in parts):
        return "text..."
    return "JSON" if any(part.startswith("dict") for part in parts) else "text"


def _elements(literal: ast.expr) -> list[ast.expr]:
    inner = literal.slice if isinstance(literal, ast.Subscript) else literal
    return list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]


def _default(module: str, value: ast.expr | None) -> str:
    """Return a default as help shows it; "" for none, or for one that is computed."""
    if isinstance(value, ast.Call):
        value = next((k.value for k in value.keywords if k.arg == "default"), None)
    if isinstance(value, ast.Name) and (found := _assigned(module, value.id)) is not None:
        value = found
    if value is None:
        return ""
    try:
        found_value = ast.literal_eval(value)
    except ValueError:
        return ""
    if isinstance(found_value, bool):
        return str(found_value).lower()
    return "" if found_value is None else str(found_value)


def _help(value: ast.expr | None) -> str:
    """Return the help of a `field(metadata={"help": ...})`; "" if it is none or is computed."""
    if not isinstance(value, ast.Call):
        return ""
    metadata = next((k.value for k in value.keywords if k.arg == "metadata"), None)
    if not isinstance(metadata, ast.Dict):
        return ""
    for key, text in zip(metadata.keys, metadata.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "help":
            return " ".join(_text(text).replace("%%", "%").split())
    return ""


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return _text(node.elts[0]) if isinstance(node, ast.Tuple) and node.elts else ""
