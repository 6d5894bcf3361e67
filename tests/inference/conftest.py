"""Images and engines that several tests of inference use."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from r1sgg.inference.hf import TransformersEngine
from r1sgg.models.families import LoadedModel, load_model


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
