"""Images and engines that several tests of inference use."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from r1sgg.inference.hf import TransformersEngine
from r1sgg.models.families import LoadedModel, load_model

from ..endpoint.fake_server import KEY, Site


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> LoadedModel:
    return load_model(tiny_checkpoint, device="cpu")


@pytest.fixture(scope="session")
def engine(tiny: LoadedModel) -> TransformersEngine:
    return TransformersEngine(tiny)


@pytest.fixture(scope="session")
def ground_truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 images of noise in several sizes, without objects."""
    folder = tmp_path_factory.mktemp("noise")
    draw = np.random.default_rng(0)
    with (folder / "gt.jsonl").open("wb") as handle:
        for k in range(21):
            width, height = (int(v) for v in draw.integers(30, 100, 2))
            noise = draw.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{k}.png")
            row = {"image_id": f"im{k}", "width": width, "height": height, "image": f"{k}.png"}
            handle.write(orjson.dumps({**row, "objects": [], "relationships": []}) + b"\n")
    return folder / "gt.jsonl"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A chat-completions server on loopback, with a key in the environment and no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = Site()
    with made.server:
        yield made
        for engine in made.engines:
            engine.close()
