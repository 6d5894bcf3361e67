"""The table of upstream internals is complete, true for the installed versions, and fails with a clear sentence."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trl
from packaging.requirements import Requirement
from transformers import Trainer
from trl.models import utils as trl_utils

import r1sgg
from r1sgg.errors import MissingDependencyError
from r1sgg.training import upstream
from r1sgg.training.internals import INTERNALS, Internal
from r1sgg.training.upstream import missing_internals, require_internals

SOURCE = Path(r1sgg.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
LISTED = {entry.name for entry in INTERNALS} | {name for entry in INTERNALS for name in entry.parameters}
STANDARD_LIBRARY = {"_actions"}
"""argparse has no other list of a parser's options."""


def ours() -> Iterator[type]:
    """The classes of r1sgg.training that extend a class of another package."""
    for module in pkgutil.iter_modules([str(SOURCE / "training")], "r1sgg.training."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and len(found.__mro__) > 2:
                yield found


def trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("training", "models", "probing"):
        for path in (SOURCE / folder).glob("*.py"):
            yield f"{folder}/{path.name}", ast.parse(path.read_text())


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_the_installed_packages_have_every_internal_that_is_used() -> None:
    assert missing_internals() == []


def test_every_private_name_that_our_classes_share_with_a_base_is_listed() -> None:
    overridden = set()
    for kind in ours():
        bases = [base for base in kind.__mro__[1:] if not base.__module__.startswith(("r1sgg.", "builtins", "typing"))]
        tree = ast.parse(inspect.getsource(kind))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for name in filter(private, vars(kind).keys() | used):
            if any(upstream._has(base, name) for base in bases):
                assert name in LISTED, f"{kind.__name__} uses {name} of a base class, which upstream.py does not list"
                if name in vars(kind):
                    overridden.add((kind.__name__, name))
    assert overridden == {(e.used_by.rpartition(".")[2], e.name) for e in INTERNALS if e.use == "overrides"}


def test_every_private_name_of_another_object_is_listed() -> None:
    """`x._name`, where x is not `self`, and `f(_name=...)`: ours never use each other's."""
    used = {}
    for place, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr):
                if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                    used[node.attr] = place
            elif isinstance(node, ast.keyword) and node.arg and private(node.arg):
                used[node.arg] = place
    supers = {"_save_checkpoint", "_run_epoch"}
    assert supers <= used.keys(), "super()._name(...) is seen too"
    assert {name: place for name, place in used.items() if name not in LISTED | STANDARD_LIBRARY} == {}


def test_every_import_from_inside_trl_is_listed() -> None:
    listed = {(entry.owner, entry.name) for entry in INTERNALS if entry.use == "imports"}
    found = {
        (node.module, alias.name)
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("trl.", "transformers.models."))
        for alias in node.names
    }
    assert found == listed


@pytest.mark.parametrize("entry", INTERNALS, ids=lambda entry: f"{entry.owner}.{entry.name}")
def test_the_user_of_an_internal_exists(entry: Internal) -> None:
    module, _, name = entry.used_by.rpartition(".")
    if not name[0].isupper():
        module = entry.used_by
    source = inspect.getsource(importlib.import_module(module))
    assert name in source.lower() or name in source
    assert entry.name in source
    assert all(parameter in source for parameter in entry.parameters if parameter.startswith("_"))


# ---------------------------------------------------------------- what a new version may change


def no_longer(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, value: Any = None) -> str:
    """The message of a run after `owner` has lost `name`, or has it replaced."""
    if value is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, value)
    with pytest.raises(MissingDependencyError) as stopped:
        require_internals()
    return str(stopped.value)


def test_a_method_that_is_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert no_longer(monkeypatch, trl.GRPOTrainer, "_generate_single_turn") == (
        f"trl {version('trl')} no longer has GRPOTrainer._generate_single_turn, which r1sgg.training.grpo.GraphTrainer "
        "overrides (the guides of a batch are in force during this call only, and vLLM is sent one placeholder per "
        "image); install the tested versions: pip install 'r1sgg[train]'"
    )


def test_a_parameter_that_is_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = no_longer(monkeypatch, Trainer, "_get_grad_norm", lambda self, model: None)
    assert said.startswith(
        f"transformers {version('transformers')} no longer has the parameter grad_norm of Trainer._get_grad_norm, which"
    )


def test_a_function_that_is_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = no_longer(monkeypatch, trl_utils, "unwrap_model_for_generation")
    assert "no longer has trl.models.utils.unwrap_model_for_generation, which r1sgg.training.validation" in said


def test_an_attribute_that_is_no_longer_set_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Any) -> None:
        self._other = 0

    monkeypatch.setattr(trl.GRPOTrainer, "training_step", lambda self: self._step)  # still read, but never set
    said = no_longer(monkeypatch, trl.GRPOTrainer, "__init__", start)
    assert "no longer has GRPOTrainer._" in said
    assert any("GRPOTrainer._step, which" in sentence for sentence in missing_internals())


def test_a_class_that_is_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "INTERNALS", (Internal("trl.NoTrainer", "x", "r1sgg", "reads", "a test"),))
    assert missing_internals() == [f"trl {version('trl')} no longer has NoTrainer.x, which r1sgg reads (a test)"]


@pytest.mark.parametrize("package", ["trl", "transformers"])
def test_the_versions_are_capped_at_a_minor_one(package: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["train"]
    (found,) = [r.specifier for r in map(Requirement, declared) if r.name == package]
    tested = {name: pinned(name, package) for name in ("constraints.txt", "constraints-vllm.txt")}
    assert all(found.contains(v) for v in tested.values() if v), f"{tested} are tested and not in {found}"
    major, minor, *_ = str(tested["constraints.txt"]).split(".")
    (upper,) = [s.version for s in found if s.operator == "<"]
    assert upper == f"{major}.{int(minor) + 1}", "cap at the minor version of constraints.txt, which is tested"


def pinned(file: str, package: str) -> str | None:
    lines = (ROOT / file).read_text().splitlines()
    return next((line.partition("==")[2] for line in lines if line.startswith(f"{package}==")), None)
