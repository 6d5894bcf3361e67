"""Reward terms by name: those of this package, and those of a file of yours.

    format                         a term of `r1sgg.rewards.terms`
    my_rewards.py:my_term          a function of a file: evidence on B completions -> B numbers, NaN: does not apply
    my_package.rewards:my_term     the same in an installed module

`weights_of` reads the values of `--rewards` and of a recipe's `rewards`. A fault in your file is one sentence that
names the file and the line; no error is caught that does not come from it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import orjson

from r1sgg.errors import ConfigError, choices
from r1sgg.files import user_path
from r1sgg.judging.boxes import Array
from r1sgg.rewards.evidence import CompletionEvidence
from r1sgg.rewards.terms import TERMS, Term

_LARGEST = 1e6
_HERE = Path(__file__).resolve()
_TAKEN = frozenset(("image_id", "total", "issues", "explain", "error", "line"))  # fields beside the terms


def weights_of(rewards: str | Mapping[str, Any]) -> dict[str, float]:
    """Terms and weights: a mapping, JSON text of one, or a single term of a file, with weight 1.

    Raises:
        ConfigError: it is none of these, or a weight is no number.
    """
    if isinstance(rewards, str) and rewards.lstrip().startswith("{"):
        try:
            rewards = orjson.loads(rewards)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f'rewards: expected terms and weights like {{"format": 1}}, found {rewards!r}') from error
    if isinstance(rewards, str):
        rewards = {rewards: 1.0}
    if not isinstance(rewards, Mapping) or not rewards:
        raise ConfigError(f"rewards: expected a reward set or terms and weights, found {rewards!r}")
    for term, weight in rewards.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"rewards: {term}: expected a number, found {weight!r}")
    return {str(term): float(weight) for term, weight in rewards.items()}


def is_custom(name: str) -> bool:
    """Whether a term is written as FILE:FUNCTION or MODULE:FUNCTION."""
    return ":" in name


def name_of(term: str) -> str:
    """What a term is called in logs and results: a function's name."""
    return term.rpartition(":")[2]


def load_term(name: str) -> Term:
    """The term of that name.

    Raises:
        ConfigError: there is no such term, file or function, or the file cannot be run.
    """
    if not is_custom(name):
        return TERMS[_known(name)]
    place, function = _parts_of(name)
    module = _module(place)
    found = getattr(module, function, None)
    if not callable(found):
        raise _no_function(place, function, (n for n, v in vars(module).items() if callable(v)))
    return _Checked(found, name, place)


def check_term(name: str) -> None:
    """Refuse what `load_term` would refuse by its name; a file is read and not run, because it may import much.

    Raises:
        ConfigError: there is no such term, file or function, or the file is no Python.
    """
    if not is_custom(name):
        _known(name)
        return
    place, function = _parts_of(name)
    if not place.endswith(".py"):
        top = place.partition(".")[0]
        if importlib.util.find_spec(top) is None:  # of a package itself: its parts are found by running it
            raise ConfigError(f"rewards: {place}: expected a Python file or module, found no module {top!r}")
        return
    path = _file(place)
    with _Blame(place):
        bound = set(_bound(ast.parse(path.read_bytes(), str(path)).body))
    if bound.isdisjoint((function, "*", "__getattr__")):
        raise _no_function(place, function, bound)


def _known(name: str) -> str:
    if name not in TERMS:
        raise ConfigError(f"rewards: expected a term among {choices(TERMS, name)}, or FILE.py:FUNCTION, found {name!r}")
    return name


def _parts_of(name: str) -> tuple[str, str]:
    """Return the file or module, and the function, of a term of a user's."""
    place, _, function = name.rpartition(":")
    if not place.strip(".") or not function:
        raise ConfigError(f"rewards: expected FILE.py:FUNCTION, found {name!r}")
    if function in TERMS or function in _TAKEN:
        raise ConfigError(
            f"rewards: {name}: expected a name of its own, found that of a term or of a field of the results"
        )
    return place, function


def _no_function(place: str, function: str, names: Iterable[str]) -> ConfigError:
    known = ", ".join(sorted(name for name in names if not name.startswith("_"))) or "none"
    return ConfigError(f"rewards: {place}: expected a function {function!r}, found {known}")


_BINDERS = frozenset(("exec", "globals", "setattr", "vars"))
"""Functions that can give a module a name which stands nowhere in it."""


def _bound(statements: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that a module may have once it was run, "*" where it may have any."""
    for statement in statements:
        defines = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in (statement,) if defines else ast.walk(statement):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Name) and node.id in _BINDERS:
                yield "*"


def _file(place: str) -> Path:
    path = user_path(place)
    if not path.is_file():
        raise ConfigError(f"rewards: expected a Python file, found none at {place}")
    return path


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        with _Blame(place):
            return importlib.import_module(place)
    path = _file(place)
    # its own name in sys.modules: dataclasses and pickling by reference look there
    spec = importlib.util.spec_from_file_location(f"r1sgg_rewards_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"rewards: expected a Python file, found {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _Blame(place):
        spec.loader.exec_module(module)
    return module


class _Checked:
    """A term of a user's file, whose result is looked at."""

    def __init__(self, function: Any, name: str, place: str) -> None:
        self.function, self.name, self.place = function, name, place
        self.__name__ = name_of(name)
        code = getattr(function, "__code__", None)
        self._place = f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name
        self.__doc__ = function.__doc__

    def __call__(self, evidence: CompletionEvidence) -> Array:
        with _Blame(self.place):
            values = self.function(evidence)
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"rewards: {self._place}: expected {len(evidence)} numbers, found {values!r}") from error
        if numbers.shape != (len(evidence),):
            raise ConfigError(
                f"rewards: {self._place}: expected {len(evidence)} numbers, one per completion, "
                f"found an array of shape {numbers.shape}"
            )
        if (np.abs(numbers) > _LARGEST).any():  # false for NaN
            raise ConfigError(
                f"rewards: {self._place}: expected numbers from -{_LARGEST:g} to {_LARGEST:g} (NaN: does not apply), "
                f"found {numbers[np.abs(numbers) > _LARGEST][0]}"
            )
        return numbers


class _Blame:
    """Turns an error that is raised inside a user's file into one sentence with file and line."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception | SystemExit):
            return
        where = self.place
        if isinstance(error, SyntaxError) and error.filename and error.lineno:
            where = f"{error.filename}:{error.lineno}"
        else:
            own = user_path(self.place).resolve()
            frames = [f for f in traceback.extract_tb(trace) if Path(f.filename).resolve() == own]
            where = " ".join(f"{f.filename}:{f.lineno}" for f in frames[-1:]) or self.place
            last = traceback.extract_tb(trace)[-1]
            if not last.filename.startswith("<") and Path(last.filename).resolve() not in (own, _HERE):
                where += f" (raised in {last.filename}:{last.lineno})"
        reason = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split()) or "no message"
        raise ConfigError(f"rewards: {where}: {type(error).__name__}: {reason}") from error
