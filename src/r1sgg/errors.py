"""Every error that r1sgg raises on purpose, as one tree.

    R1SGGError
    ├── InputError                a file, line or field that is not what it should be
    │   └── ImageError            an image that cannot be opened or is too large
    ├── ConfigError               a recipe or option that nothing reads, or with a wrong value
    ├── ModelError                a checkpoint that cannot be loaded or used
    ├── TrainingError             a run that cannot go on: not a number, images missing, no room for a checkpoint
    └── MissingDependencyError    an optional package is not installed

A message says where (file, line, field), what was expected, what was found and what to do. The command line prints
it as one sentence and exits with 2.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


class R1SGGError(Exception):
    """Root of the tree; catching it catches everything this package raises on purpose."""


class InputError(R1SGGError, ValueError):
    """A file, line or field that is not what it should be."""

    def __init__(self, where: str, *, expected: str, found: str, hint: str = "") -> None:
        self.where, self.expected, self.found, self.hint = where, expected, found, hint
        super().__init__(f"{where}: expected {expected}, found {found}" + (f"; {hint}" if hint else ""))


class ImageError(InputError):
    """An image that cannot be opened, decoded or is too large."""


class ConfigError(R1SGGError, ValueError):
    """A recipe or option that nothing reads, or that holds a wrong value."""


class ModelError(R1SGGError):
    """A checkpoint that cannot be loaded, or cannot do what is asked of it."""


class TrainingError(R1SGGError):
    """A run that cannot go on; what it has saved so far is whole."""


class MissingDependencyError(R1SGGError, ImportError):
    """An optional package is needed and not installed."""


def short(value: Any) -> str:
    """Return a value as a message shows it: its repr, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


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
    """Import `module`, or say in one sentence which extra of r1sgg installs it.

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
