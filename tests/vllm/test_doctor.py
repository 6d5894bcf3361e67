"""`r1sgg doctor --model M --engine vllm`: the parity table of a checkpoint, and the sentence where it differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.errors import ModelError
from r1sgg.inference.parity import Parity

from .conftest import OPTIONS, SURROUNDINGS

ENGINE = "vllm:" + ",".join(f"{name}={value}" for name, value in OPTIONS.items())


def test_the_parity_of_the_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SURROUNDINGS.items():
        monkeypatch.setenv(name, value)
    asked = ["doctor", "--model", "tiny", "--engine", ENGINE, "--json", str(tmp_path / "found.json")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    for row in ("prompt tokens", "image features", "mean KL of", "precision"):
        assert row in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["parity"]["parity/prompts_equal"] == 1
    assert found["parity"]["fault"] is None
    assert found["prompt"]["image_tokens"] == 12

    monkeypatch.setattr(Parity, "fault", lambda self: "the engine ran a prompt of 49 tokens for one of 34")
    again = CliRunner().invoke(app, asked)
    assert isinstance(again.exception, ModelError)
    assert "vLLM would sample from another model" in str(again.exception)
