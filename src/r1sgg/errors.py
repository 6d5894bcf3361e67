"""All exceptions that r1sgg raises deliberately.

    R1SGGError
    ├── InputError                an invalid file, line or field
    │   └── ImageError            an image that cannot be opened or is too large
    ├── ConfigError               an unknown option or key of a recipe, or one with an invalid value
    ├── ModelError                a checkpoint that cannot be loaded or used
    ├── TrainingError             a run that cannot continue: NaN, missing images, no space for a checkpoint
    └── MissingDependencyError    an optional package is not installed

A message says where (file, line, field), what was expected, what was found and what to do. The command line prints
it as one sentence and exits with 2.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


class R1SGGError(Exception):
    """Base class of all exceptions that this package raises deliberately."""


class InputError(R1SGGError, ValueError):
    """An invalid file, line or field."""

    def __init__(self, where: str, *, expected: str, found: str, hint: str = "") -> None:
        self.where, self.expected, self.found, self.hint = where, expected, found, hint
        super().__init__(f"{where}: expected {expected}, found {found}" + (f"; {hint}" if hint else ""))


class ImageError(InputError):
    """An image that cannot be opened, decoded or is too large."""


class ConfigError(R1SGGError, ValueError):
    """An unknown option or key of a recipe, or one with an invalid value."""


class ModelError(R1SGGError):
    """A checkpoint that cannot be loaded, or does not support what is requested."""


class TrainingError(R1SGGError):
    """A run that cannot continue; its saved checkpoints are intact."""


class MissingDependencyError(R1SGGError, ImportError):
    """An optional package that is not installed."""


def short(value: Any) -> str:
    """Return a value as a message shows it: its repr, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: str, known: Iterable[str], most: int = 3, *, cutoff: float = 0.6) -> list[str]:
    """Return the known names that are spelt most like a wrong one, whatever the case; none if none is like it."""
    spelt = {one.lower(): one for one in known}
    return [spelt[one] for one in difflib.get_close_matches(name.lower(), spelt, most, cutoff)]


def choices(known: Iterable[str], wrong: str, most: int = 8) -> str:
    """Return the known names for a message about a wrong one; of many the nearest first, and how many more there are.

    Args:
        known: the names, the important ones first; one that is repeated counts once.
        wrong: what was found instead.
        most: so many are named.
    """
    names = list(dict.fromkeys(known))
    if len(names) <= most:
        return ", ".join(names)
    names = list(dict.fromkeys([*nearest(wrong, names), *names]))
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def first_difference(now: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return where two sets of settings first differ ("answer.prompt"), and both values there; None if they are equal.

    A key that only one of them has is None in the other.
    """
    for key in {**now, **before}:
        value, was = now.get(key), before.get(key)
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            if (inside := first_difference(value, was)) is not None:
                return f"{key}.{inside[0]}", *inside[1:]
        elif value != was:
            return key, value, was
    return None


@contextlib.contextmanager
def os_errors(where: str | Path, expected: str, hint: str = "") -> Iterator[None]:
    """Turn an error of the operating system into one sentence.

    Args:
        where: the file or folder.
        expected: such as "a readable JSON file".
        hint: what to do.

    Raises:
        InputError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(str(where), expected=expected, found=error.strerror or "an error", hint=hint) from error


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise an error that names the extra of r1sgg that installs it.

    Raises:
        MissingDependencyError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingDependencyError(
            f"this needs the package {error.name!r}, which is not installed: pip install 'r1sgg[{extra}]'"
        ) from error
