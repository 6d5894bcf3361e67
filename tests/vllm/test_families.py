"""vLLM runs each family that it takes: the prompt is the same as in transformers, and so are the probabilities."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from r1sgg.graph.text import parse
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.models.families import load_model

from ..models.capabilities import shows
from ..models.tiny_families import BUILDERS
from .conftest import OPTIONS, SHOWN, SURROUNDINGS

HALF = ("qwen3_5", "qwen3_5_moe", "minicpmv4_6")
"""vLLM 0.32 computes Gated DeltaNet on CPUs in bfloat16 only."""
SIZES = [(60, 90), (150, 100), (112, 112)]


@shows("vllm")
def test_vllm_reads_and_writes_as_transformers_does(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    from r1sgg.inference.vllm import VLLMEngine

    os.environ.update(SURROUNDINGS)
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in SIZES]
    folder = BUILDERS[name](tmp_path / "model")
    dtype = "bfloat16" if name in HALF else "float32"
    loaded = load_model(folder, device="cpu", dtype=dtype)  # first: vLLM may change classes of transformers
    engine = VLLMEngine.load(folder, dtype=dtype, options={**OPTIONS, "max_model_len": 2048})
    try:
        chats = [loaded.messages(image.size) for image in images]
        parity = engine.parity(TransformersEngine(loaded), images, chats)
        frames = [loaded.frame(image.size) for image in images]
        guides = [GuideSpec(frame, ("man", "horse"), ("riding",), 2, 2, minify=True) for frame in frames]
        answers = engine.generate(images, chats, Sampling(temperature=1.0, max_new_tokens=160), guides=guides)
    finally:
        engine.close()
    assert parity.fault() is None
    assert all(parse(one.text, frame).issues == () for one, frame in zip(answers, frames, strict=True))
    record_property(SHOWN, f"{name}: mean KL {parity.mean_kl:.1e}, largest difference {parity.largest:.1e}")
