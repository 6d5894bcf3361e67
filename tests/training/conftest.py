"""A checkpoint that trains in seconds, and a way to run the command line in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import TrainingArguments
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.miniature.tiny import build_tiny

Command = Callable[..., Result]

CHECKPOINTING = "activation_checkpointing"  # in transformers 5.23; "gradient_checkpointing" before
if CHECKPOINTING not in TrainingArguments.__dataclass_fields__:
    CHECKPOINTING = "gradient_checkpointing"


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL of one layer with random weights."""
    size = {"hidden": 48, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 64}
    vision = {"vision_dim": 32, "vision_layers": 1, "vision_heads": 2}
    return build_tiny(tmp_path_factory.mktemp("mini"), seed=0, max_pixels=112 * 112, **size, **vision)


@pytest.fixture
def r1sgg(mini: Path) -> Command:
    """Run a training command on the mini checkpoint: r1sgg("sft", folder, max_steps=2)."""

    def run(command: str, folder: Path, *more: str, **options: object) -> Result:
        given = {"model": mini, "data": "scenes:64,seed=1", "output_dir": folder, "logging_steps": 1}
        given |= {"validate_tokens": 8, "report_to": "none", "per_device_train_batch_size": 4, **options}
        arguments = [text for key, value in given.items() for text in (f"--{key}", str(value))]
        with warnings.catch_warnings():  # torch and transformers warn about their own parts
            warnings.simplefilter("default")
            return CliRunner().invoke(app, [command, *arguments, *more], catch_exceptions=False)

    return run
