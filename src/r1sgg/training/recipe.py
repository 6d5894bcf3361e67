"""Recipes: a YAML file and command-line options, read into our own options plus every option of a TRL trainer.

A recipe is a flat YAML mapping. `include: base.yaml` (a path or a list, relative to the file) reads another recipe
first, whose keys the file's own keys override. `--include more.yaml` on the command line reads further recipes after
the file, and options on the command line override all of them. Nothing is guessed: an unknown key or option, or a
value of the wrong type, is one sentence with the nearest known names.

This module does not train and does not load a model.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from r1sgg import __version__
from r1sgg.errors import ConfigError, nearest
from r1sgg.files import write_file

_log = logging.getLogger(__name__)

RECORDED = "recorded"
"""Key under which a run writes versions and data hashes into its config.yaml. Recipes may have it; it is not read."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read and checked.

    Attributes:
        options: one instance for each dataclass that was asked for, in that order.
        chosen: the keys that the recipe and the command line set, with their values.
    """

    options: tuple[Any, ...]
    chosen: dict[str, Any]

    def option(self, kind: type[_T]) -> _T:
        """Return the options of one of the dataclasses."""
        return next(options for options in self.options if isinstance(options, kind))

    def save(self, path: Path, recorded: Mapping[str, Any]) -> None:
        """Write a recipe that repeats this run, with measured facts about it under `recorded`."""
        rows = {key: value for key, value in self.chosen.items() if key not in ("resume", "requeue")}
        write_file(path, yaml.safe_dump({**rows, RECORDED: dict(recorded)}, sort_keys=False, allow_unicode=True))


def read_recipe(
    dataclasses: Sequence[type], config: Path | None, arguments: Sequence[str], defaults: Mapping[str, Any]
) -> Recipe:
    """Read options from defaults, YAML files and the command line; later ones win.

    Args:
        dataclasses: classes of options, such as (RunOptions, trl.SFTConfig).
        config: YAML recipe.
        arguments: options as on the command line, ["--max_steps", "10"]; `--include FILE...` reads more recipes.
        defaults: values that replace the dataclasses' own defaults.

    Raises:
        ConfigError: an unknown key or option, or a value of the wrong type.
    """
    parser = _parser(dataclasses)
    actions = _actions(parser)
    given = _parse(parser, arguments)
    chosen: dict[str, Any] = {}
    for path in ([config] if config else []) + given.pop("include"):
        found = _renamed(_load(path), actions)
        _check(actions, found, path)
        chosen.update(found)
    chosen.update(_renamed(given, actions))
    values = {**_renamed(defaults, actions), **chosen}
    if (wanted := chosen.get("global_batch_size")) is not None:
        each = values.get("per_device_train_batch_size") or actions["per_device_train_batch_size"].default
        values["gradient_accumulation_steps"] = _accumulation(wanted, each, chosen)
    parser.set_defaults_with_config(**values)
    try:
        parsed = parser.parse_args_into_dataclasses(args=[])
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{config or 'the command line'}: {error}") from error
    return Recipe(tuple(parsed[: len(dataclasses)]), chosen)


def check_needed(value: Callable[[str], Any], config: Path | None) -> None:
    """Refuse a run that has no folder to write to, or no data.

    Args:
        value: returns what an option is set to, or nothing.
        config: the recipe, for the message.

    Raises:
        ConfigError: one of them is missing.
    """
    for key, name, hint in (
        ("output_dir", "an output_dir", "--output_dir FOLDER"),
        ("data", "data", "--data GT.jsonl"),
    ):
        if not value(key):
            raise ConfigError(f"{config or 'the command line'}: expected {name}, found none; add {hint}")


def read_keys(config: Path, arguments: Sequence[str]) -> set[str]:
    """Return the options that a recipe, the recipes that it includes, and the command line set.

    Raises:
        ConfigError: a file cannot be read.
    """
    keys = {_key(argument.partition("=")[0]) for argument in arguments if argument.startswith("--")}
    for path in _recipes(config, arguments):
        keys |= _load(path).keys()
    return keys - {"include"}


def read_value(key: str, config: Path | None, arguments: Sequence[str]) -> Any:
    """Return what a recipe, the recipes that it includes, and the command line set an option to; None if none does.

    Later ones win, as in `read_recipe`. The value is not converted, so this needs neither TRL nor torch.

    Raises:
        ConfigError: a file cannot be read.
    """
    value = None
    for path in _recipes(config, arguments):
        value = _load(path).get(key, value)
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, given = argument.partition("=")
        if name.startswith("--") and _key(name) == key:
            value = given if equals else following
    return value


def _key(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _recipes(config: Path | None, arguments: Sequence[str]) -> list[Path]:
    """Return the recipe and those of `--include`, in the order in which they are read."""
    paths, including = ([config] if config else []), False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            including = name == "--include"
            paths += [Path(value)] if including and equals else []
        elif including:
            paths.append(Path(argument))
    return paths


def check_known(known: Mapping[str, str], config: Path | None, arguments: Sequence[str]) -> None:
    """Refuse names that no option has; it needs neither TRL nor torch.

    Args:
        known: every option and its kind; one of the kind "true|false" may be written with no_ before it.
        config: YAML recipe.
        arguments: options as on the command line.

    Raises:
        ConfigError: a file cannot be read, or a name is unknown; the sentence has the nearest names.
    """
    names = {*known, *_OLD_NAMES, *_RENAMED, *_RENAMED.values()}
    names |= {f"no_{name}" for name, kind in known.items() if kind == "true|false"}
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and name != "--include" and _key(name) not in names:
            shown = [f"--{one}" for one in (*names, "config", "include")]
            raise ConfigError(f"{name} is not an option that anything reads{_near(name, shown)}")
    for path in _recipes(config, arguments):
        for key in _load(path):
            if key not in names:
                raise ConfigError(f"{path}: {key!r} is not an option that anything reads{_near(key, names)}")


def versions() -> dict[str, str]:
    """Return the versions of everything that a result may depend on."""
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
"""Names of transformers before 5.23, which published recipes use, and after; ours use the later ones.

vLLM 0.33 needs transformers 5.20, so both have to work.
"""


_OLD_NAMES = {"samples": "logged_completions"}
"""Our own names that were others up to version 0.1."""


def _renamed(values: Mapping[str, Any], actions: Mapping[str, argparse.Action]) -> dict[str, Any]:
    """Use the names of the installed transformers. It may know both; then a default of the later name would win."""
    result = dict(values)
    for old, new in _OLD_NAMES.items():
        if old in result:
            _log.warning("%s is now called %s", old, new)
            result.setdefault(new, result.pop(old))
    for old, new in _RENAMED.items():
        name, other = (new, old) if new in actions else (old, new)
        if result.get(other) is not None and name not in result:
            result[name] = result.pop(other)
    return result


def _parser(dataclasses: Sequence[type]) -> Any:
    """Make TRL's parser for the classes, with `--include`, and errors as exceptions."""
    from trl import TrlParser

    class Parser(TrlParser):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:
            raise ConfigError(f"the command line: {message}")

    parser = Parser(dataclass_types=list(dataclasses), allow_abbrev=False)
    parser.add_argument("--include", nargs="+", action="extend", type=Path, default=[])
    actions = _actions(parser)
    for old, new in _OLD_NAMES.items():
        if new in actions:
            parser.add_argument(f"--{old}", type=actions[new].type)
    for old, new in _RENAMED.items():
        if old in actions and new not in actions:
            parser.add_argument(f"--{new}", dest=old, type=actions[old].type)
    return parser


def _load(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the keys of a recipe and of the recipes that it includes; `above` are those that include it."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: includes itself by way of {' -> '.join(p.name for p in above)}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a YAML recipe, found {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from error
    document = {} if document is None else document
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


def _accumulation(wanted: int, each: int, chosen: Mapping[str, Any]) -> int:
    """Compute gradient_accumulation_steps from `wanted` sequences per step, `each` per process and pass."""
    if chosen.get("gradient_accumulation_steps") is not None:
        raise ConfigError("global_batch_size: gradient_accumulation_steps follows from it; leave one of them out")
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate
    if wanted < 1 or wanted % (each * processes):
        raise ConfigError(
            "global_batch_size: expected a multiple of per_device_train_batch_size x processes = "
            f"{each} x {processes}, found {wanted}; change one of them"
        )
    return wanted // (each * processes)


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Map option names to the parser's actions; for a flag and its `--no_` twin, the one that takes a value."""
    return {a.dest: a for a in reversed(parser._actions) if a.nargs != 0 and a.dest not in ("include", *_OLD_NAMES)}


def _check(actions: Mapping[str, argparse.Action], values: dict[str, Any], path: Path) -> None:
    """Check a recipe's keys and convert its values in place (YAML reads 1e-5 as a string)."""
    for key, value in values.items():
        if (action := actions.get(key)) is None:
            raise ConfigError(f"{path}: {key!r} is not an option that anything reads{_near(key, actions)}")
        where, many = f"{path}: {key}", action.nargs in ("+", "*")
        if value is None or isinstance(value, dict):
            continue
        if isinstance(value, list) and not many:
            raise ConfigError(f"{where}: expected one value, found a list of {len(value)}")
        found = [_convert(action, one, where) for one in (value if isinstance(value, list) else [value])]
        values[key] = found if many else found[0]


def _convert(action: argparse.Action, value: Any, where: str) -> Any:
    """Convert a value from YAML as the parser would convert it from the command line."""
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
    """Return the values that the command line sets, and `include`, a list of paths."""
    # argparse fills in defaults only for names that the namespace lacks: so all names get a marker first
    unset = {action.dest: argparse.SUPPRESS for action in parser._actions}
    space = argparse.Namespace(**{**unset, "include": []})
    values, rest = parser.parse_known_args(list(arguments), namespace=space)
    if rest:
        name = rest[0].split("=")[0]
        if not name.startswith("--"):
            raise ConfigError(f"the command line: expected an option, found {name!r}")
        known = {option for action in parser._actions for option in action.option_strings}
        written = {option for option in known if "-" not in option.removeprefix("--")}  # each has a twin with hyphens
        raise ConfigError(f"{name} is not an option that anything reads{_near(name, written)}")
    return {key: value for key, value in vars(values).items() if value is not argparse.SUPPRESS}


def _near(name: str, known: Iterable[str]) -> str:
    if near := nearest(name, known):
        return f"; did you mean {' or '.join(near)}?"
    return "; the options are those of r1sgg.training.options and of TRL"
