"""Recipes: a YAML file and command-line options, read into options of our own plus every option of a TRL trainer.

A recipe is a flat YAML mapping. `include: base.yaml` (a path, or a list, relative to the file) takes over another
recipe's keys, which the file's own keys override. `--include more.yaml` on the command line puts further recipes over
that, and options on the command line override all. Nothing is guessed: a key or an option that nothing reads, and a
value of the wrong type, is one sentence with the nearest known names.

It does not train and does not load a model.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from r1sgg import __version__
from r1sgg.errors import ConfigError
from r1sgg.training.options import RewardOptions, RunOptions, TargetOptions

__all__ = ["RECORDED", "Recipe", "RewardOptions", "RunOptions", "TargetOptions", "read_recipe", "versions"]

RECORDED = "recorded"
"""Key under which a run writes versions and data hashes into its config.yaml; recipes may hold it, it is not read."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read and checked.

    Attributes:
        options: one instance per dataclass that was asked for, in that order.
        chosen: the keys that the recipe and the command line set, with their values.
    """

    options: tuple[Any, ...]
    chosen: dict[str, Any]

    def option(self, kind: type[_T]) -> _T:
        """The options of one of the dataclasses."""
        return next(options for options in self.options if isinstance(options, kind))

    def save(self, path: Path, recorded: Mapping[str, Any]) -> None:
        """Write a recipe that gives this run again, with what was measured about it under `recorded`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {key: value for key, value in self.chosen.items() if key not in ("resume", "requeue")}
        path.write_text(yaml.safe_dump({**rows, RECORDED: dict(recorded)}, sort_keys=False, allow_unicode=True))


def read_recipe(
    dataclasses: Sequence[type], config: Path | None, arguments: Sequence[str], defaults: Mapping[str, Any]
) -> Recipe:
    """Read options from defaults, a YAML file and the command line, the later ones winning.

    Args:
        dataclasses: classes of options, such as (RunOptions, trl.SFTConfig).
        config: YAML recipe.
        arguments: options as on the command line, ["--max_steps", "10"]; `--include FILE...` reads more recipes.
        defaults: values in place of the dataclasses' own.

    Raises:
        ConfigError: an unknown key or option, or a value of the wrong type.
    """
    parser = _parser(dataclasses)
    arguments, more = _includes(arguments)
    written: dict[str, Any] = {}
    for path in ([config] if config else []) + more:
        found = _load(path)
        _check(parser, found, path)
        written.update(found)
    given = _parse(parser, arguments)
    chosen = {**written, **given}
    values = {**defaults, **chosen}
    for old, new in _RENAMED.items():
        if chosen.get(old) is not None and new not in chosen:  # else a default of the new name would win
            values[new] = values.pop(old)
    if (wanted := chosen.get("global_batch_size")) is not None:
        each = values.get("per_device_train_batch_size") or _actions(parser)["per_device_train_batch_size"].default
        values["gradient_accumulation_steps"] = _accumulation(wanted, each, chosen)
    parser.set_defaults_with_config(**values)
    try:
        parsed = parser.parse_args_into_dataclasses(args=[])
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{config or 'the command line'}: {error}") from error
    return Recipe(tuple(parsed), chosen)


def versions() -> dict[str, str]:
    """Versions of everything that a result may depend on."""
    found = {"r1sgg": __version__}
    for name in ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "numpy", "pillow"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


_RENAMED = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}
"""Names of transformers 4 that most published recipes use, and what transformers 5 calls them."""


def _parser(dataclasses: Sequence[type]) -> Any:
    """TRL's parser over the classes, which raises in place of leaving the process."""
    from trl import TrlParser

    class Parser(TrlParser):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:
            raise ConfigError(f"the command line: {message}")

    return Parser(dataclass_types=list(dataclasses), allow_abbrev=False)


def _load(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a recipe, with those of the recipes that it includes."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: includes itself by way of {' -> '.join(p.name for p in above)}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a YAML recipe, found {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError(f"{path}: expected a mapping of option names to values, found {type(document).__name__}")
    document.pop(RECORDED, None)
    included = document.pop("include", [])
    names = [included] if isinstance(included, str) else included
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}: include: expected a path or a list of paths, found {included!r}")
    merged: dict[str, Any] = {}
    for name in names:
        merged.update(_load(path.parent / name, (*above, path.resolve())))
    return {**merged, **document}


def _includes(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The arguments without `--include FILE...`, and the files."""
    rest: list[str] = []
    files: list[Path] = []
    reading = False
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            reading = name == "--include"
            if not reading:
                rest.append(argument)
            elif equals:
                files.append(Path(value))
        elif reading:
            files.append(Path(argument))
        else:
            rest.append(argument)
    return rest, files


def _accumulation(wanted: int, each: int, chosen: Mapping[str, Any]) -> int:
    """Backward passes a step that make `wanted` sequences of `each` a process."""
    if chosen.get("gradient_accumulation_steps") is not None:
        raise ConfigError("global_batch_size: gradient_accumulation_steps follows from it; leave one of them out")
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun and accelerate set it
    if wanted < 1 or wanted % (each * processes):
        raise ConfigError(
            "global_batch_size: expected a multiple of per_device_train_batch_size x processes = "
            f"{each} x {processes}, found {wanted}; change one of them"
        )
    return wanted // (each * processes)


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The parser's options by name; of a flag and its `--no_` twin the one that takes a value."""
    found: dict[str, argparse.Action] = {}
    for action in parser._actions:
        if action.dest != "help" and action.nargs != 0:
            found.setdefault(action.dest, action)
    return found


def _check(parser: argparse.ArgumentParser, values: dict[str, Any], path: Path | None) -> None:
    """Check a recipe's keys and convert its values in place (YAML reads 1e-5 as a text)."""
    actions = _actions(parser)
    for key, value in values.items():
        action = actions.get(key)
        if action is None:
            raise ConfigError(f"{path}: {key!r} is not an option that anything reads{_near(key, actions)}")
        values[key] = _convert(action, value, f"{path}: {key}")


def _convert(action: argparse.Action, value: Any, where: str) -> Any:
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, list):
        if action.nargs not in ("+", "*"):
            raise ConfigError(f"{where}: expected one value, found a list of {len(value)}")
        return [_convert_one(action, item, where) for item in value]
    one = _convert_one(action, value, where)
    return [one] if action.nargs in ("+", "*") else one


def _convert_one(action: argparse.Action, value: Any, where: str) -> Any:
    kind = action.type
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value  # an int stays one: TRL reads logging_steps 1 and 1.0 differently
    if not callable(kind):
        return value
    try:
        converted = kind(str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        name = {"string_to_bool": "true or false", "int": "a whole number", "float": "a number"}
        expected = name.get(getattr(kind, "__name__", ""), "a value of its type")
        raise ConfigError(f"{where}: expected {expected}, found {value!r}") from error
    if action.choices is not None and converted not in action.choices:
        raise ConfigError(f"{where}: expected one of {', '.join(map(str, action.choices))}, found {value!r}")
    return converted


def _parse(parser: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """The values that the command line sets, and no others."""
    space = argparse.Namespace(**{action.dest: argparse.SUPPRESS for action in parser._actions})
    values, rest = parser.parse_known_args(list(arguments), namespace=space)
    if rest:
        name = rest[0].split("=")[0]
        if not name.startswith("--"):
            raise ConfigError(f"the command line: expected an option, found {name!r}")
        known = {option for action in parser._actions for option in action.option_strings}
        written = {option for option in known if "-" not in option.removeprefix("--")}  # each has a twin with hyphens
        raise ConfigError(f"{name} is not an option that anything reads{_near(name, written)}")
    return {key: value for key, value in vars(values).items() if value is not argparse.SUPPRESS}


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return (
        f"; did you mean {' or '.join(near)}?"
        if near
        else "; the options are those of r1sgg.training.options and of TRL"
    )
