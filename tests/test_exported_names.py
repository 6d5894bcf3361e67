"""The public names of r1sgg: each can be imported and says what it is, and there are no others."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import r1sgg
from r1sgg import exports

NAMES = (
    *("SceneGraph", "parse", "render", "Rubric", "evaluate", "load", "read_ground_truth", "read_predictions"),
    *("load_vocabulary", "draw", "GraphRecord", "from_coco", "from_csv", "from_dot", "from_graphml", "from_json"),
    *("from_jsonld", "from_networkx", "to_coco", "to_csv", "to_dot", "to_graphml", "to_json", "to_jsonld"),
    "to_networkx",
)
HEAVY = ("torch", "transformers", "trl", "datasets", "scipy", "matplotlib", "networkx", "gradio", "vllm", "spacy")


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(r1sgg, name)
    assert inspect.isclass(value) or inspect.isfunction(value)
    assert inspect.getdoc(value)
    assert name in dir(r1sgg)
    namespace: dict[str, object] = {}
    exec(f"from r1sgg import {name}", namespace)
    assert namespace[name] is value


def test_there_are_no_other_public_names() -> None:
    assert [name for name in dir(r1sgg) if not name.startswith("_")] == sorted(NAMES)
    assert set(exports.__all__) <= set(NAMES)
    with pytest.raises(AttributeError, match="module 'r1sgg' has no attribute 'match'"):
        _ = r1sgg.match


def test_type_checkers_see_the_same_names_in_the_same_places() -> None:
    """They read the imports under TYPE_CHECKING, a program that runs reads the table."""
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(r1sgg)).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    assert seen == r1sgg._PUBLIC


@pytest.mark.parametrize("code", ["import r1sgg", "from r1sgg import parse, evaluate, Rubric"])
def test_what_needs_no_model_imports_no_torch(code: str) -> None:
    script = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "r1sgg" in loaded
    assert loaded.isdisjoint(HEAVY)
    if code == "import r1sgg":
        assert {name for name in loaded if name.startswith("r1sgg.")} == set()
