"""Ground truth and scripted engines for the probe's tests."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from r1sgg.inference.engine import Completion, Sampling
from r1sgg.miniature.scenes import SMALL, write_scenes
from r1sgg.models.families import Checkpoint, load_checkpoint
from r1sgg.models.prompts import Message

Script = Callable[[Image.Image, str, str], str]


class Scripted:
    """An engine that answers by a function of (image, question's text, key)."""

    def __init__(self, script: Script) -> None:
        self.name = "scripted"
        self.script = script
        self.calls = 0

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
    ) -> list[Completion]:
        self.calls += 1
        assert keys is not None
        texts = [
            self.script(image, chat[-1]["content"], key)
            for image, chat, key in zip(images, messages, keys, strict=True)
        ]
        return [Completion(text, 1, "stop") for text in texts]


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 small scenes with their true graphs."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), 40, 5, SMALL, "test")


@pytest.fixture(scope="session")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)
