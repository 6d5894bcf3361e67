"""A short run of benchmarks/fuzz.py: damaged answers neither raise nor leave their range."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_fuzz", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_nothing_breaks(fuzz: ModuleType) -> None:
    tally = fuzz.run(2000, seed=1)
    assert tally.faults == []
    assert tally.scored == sum(tally.texts.values()) == 2000
    assert set(tally.texts) == {damage.__name__ for damage in fuzz.DAMAGE}
    assert set(tally.outcomes) == {"read", *fuzz.FAILURES}  # every kind of failure has been met


def test_it_would_notice(fuzz: ModuleType) -> None:
    assert fuzz.wrong_scores({"node": 1.0, "edge": None}, 0.5) is None
    assert fuzz.wrong_scores({"node": 1.01}, 0.5) == "node = 1.01"
    assert fuzz.wrong_scores({"node": 0.5}, float("nan")) == "total = nan"
    good = fuzz.parse('{"objects": [{"id": "a.1", "bbox": [1, 2, 3, 4]}]}', (10, 10))
    assert fuzz.wrong_with(good) is None
    assert "relationship" in fuzz.wrong_with(
        fuzz.Parsed(fuzz.SceneGraph(good.graph.ids, good.graph.labels, good.graph.boxes, ((0, 1),), ("on",)))
    )


def test_command(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fuzz.json"
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--count", "100", "--parse-only", "--json", str(out)])
    monkeypatch.setattr(fuzz, "LIMIT_MS", float("inf"))
    with pytest.raises(SystemExit) as stop:
        fuzz.main()
    assert stop.value.code == 0
    assert "| read |" in capsys.readouterr().out
    assert json.loads(out.read_text())["count"] == 100
