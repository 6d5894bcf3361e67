"""benchmarks/train_gpu.py: its count of FLOPs against torch's, and its measurements on a tiny shape."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from r1sgg.models.prompts import with_image

pytestmark = pytest.mark.filterwarnings("default")  # torch and transformers warn about their own parts


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "train_gpu.py"
    spec = importlib.util.spec_from_file_location("train_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_gpu"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_the_shapes_have_the_published_sizes(bench: ModuleType) -> None:
    sizes = {k: sum(p.numel() for p in bench.build(bench.SHAPES[k], "meta", "float32")[0].parameters()) for k in SIZES}
    assert sizes == SIZES


SIZES = {"2b": 2_208_985_600, "7b": 8_291_375_616}


def test_flops_are_those_that_torch_counts(bench: ModuleType) -> None:
    model, checkpoint = bench.build(bench.SHAPES["tiny"], "cpu", "float32")
    model.set_attn_implementation("eager")  # torch counts no fused attention on a CPU
    image, _ = bench.Photos(1).draw(0)
    processor = checkpoint.processor
    text = processor.apply_chat_template(with_image(checkpoint.messages(image.size)), tokenize=False)
    inputs = processor(text=[text], images=[[image]], return_tensors="pt")
    tokens, patches = inputs["input_ids"].shape[1], int(inputs["image_grid_thw"].prod())
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(**inputs, logits_to_keep=100, use_cache=False)
    config = model.config.get_text_config()
    masked = 2 * config.num_hidden_layers * config.hidden_size * tokens**2  # torch counts what the causal mask hides
    assert bench.flops(model.config, [patches], [tokens], [100]) + masked == counted.get_total_flops()


def test_both_stages_are_measured(bench: ModuleType, tmp_path: Path) -> None:
    shape = bench.SHAPES["tiny"]
    setting = bench.SETTINGS["LoRA, checkpointing"]
    found = bench.sft(shape, "cpu", 1, tmp_path, setting)
    assert found["seconds"] > 0
    assert found["tokens"] > 2 * (391 + 500 + 450)
    assert 2 * 450 < found["answer_tokens"] < 2 * 600
    parts = bench.grpo(shape, "cpu", 1, tmp_path)
    assert all(parts[part] > 0 for part in ("rollout", "passes", "reward"))
    assert parts["rest"] == pytest.approx(parts["step"] - sum(parts[p] for p in ("rollout", "passes", "reward")))


def test_without_a_gpu_it_says_so(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["train_gpu.py"])
    bench.main()
    assert "no GPU is visible here, so nothing was measured" in capsys.readouterr().out


def test_what_does_not_fit_or_has_no_time_left_is_said(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> dict[str, float]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(bench, "sft", full)
    monkeypatch.setattr(bench, "grpo", full)
    found = bench.run(["tiny"], "cpu", 1, 10, None)
    assert found["shapes"]["tiny"]["sft"] == {"not run": "does not fit into the card's memory"}
    bench.show(found)
    assert "does not fit" in capsys.readouterr().out
    assert bench.run(["tiny"], "cpu", 1, -1, None)["shapes"]["tiny"]["grpo"] == {"not run": "no time left"}
