"""The arithmetic of memory against real models: what is counted is exact, what is estimated is near."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from r1sgg.models.families import load_checkpoint, load_model
from r1sgg.training.memory import (
    GIB,
    LAUNCHES,
    Rollouts,
    Setup,
    bytes_on_a_card,
    kept_by_layers,
    vllm_bytes,
    vllm_share,
)
from r1sgg.training.parts import PartOptions, prepare_parts
from r1sgg.training.shape import Shape, shape_of

from ..models.tiny_families import BUILDERS

pytestmark = [
    pytest.mark.matrix(name=4),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft 0.21 reads it
]
ONE = Setup(1, "ddp", 0, None, 4, False, False, "adamw_torch", True, 2, 100, 16)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_weights_of_every_family_are_counted_exactly(name: str, tmp_path: Path) -> None:
    loaded = load_model(BUILDERS[name](tmp_path / name))
    checkpoint = load_checkpoint(tmp_path / name)
    shape = shape_of(checkpoint)
    model = loaded.model
    assert shape.weights == sum(p.numel() for p in model.parameters())
    assert 0 < shape.largest <= shape.layered < shape.weights
    prepare_parts(PartOptions(freeze_vision=True), checkpoint, "adamw_torch").freeze(model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert shape.trained(freeze_vision=True, rank=None) == trained
    assert shape.trained(freeze_vision=False, rank=None) == shape.weights
    for freeze in (True, False):
        options = PartOptions(use_peft=True, lora_r=4, freeze_vision=freeze)
        adapted = peft.get_peft_model(
            load_model(tmp_path / name).model,
            prepare_parts(options, checkpoint, "adamw_torch").arguments["peft_config"],
        )
        adapter = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert shape.trained(freeze_vision=freeze, rank=4) == adapter


def test_the_bytes_of_the_shipped_model_are_those_of_a_step() -> None:
    loaded = load_model("tiny")
    model, shape = loaded.model.train(), shape_of(load_checkpoint("tiny"))
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    items = {item.name: item.bytes for item in bytes_on_a_card(shape, setup_of(shape))}
    assert items["weights"] == sum(p.nbytes for p in model.parameters())
    assert items["gradients"] == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    moments = (value for state in optimizer.state.values() for value in state.values())
    assert items["optimizer"] == sum(value.nbytes for value in moments if value.ndim)


def setup_of(shape: Shape, **more: Any) -> Setup:
    return dataclasses.replace(ONE, trained=shape.weights, **more)


_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]}


def kept(layers: int, depth: int, dtype: torch.dtype, *, mixed: bool) -> tuple[int, Any]:
    """Bytes that a forward pass keeps for the backward pass, weights and their copies left out; and the config."""
    text = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": layers, "num_attention_heads": 4}
    text |= {
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_parameters": _ROPE,
    }
    vision = {"embed_dim": 64, "depth": depth, "num_heads": 2, "hidden_size": 256, "mlp_ratio": 4}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, image_token_id=5, vision_start_token_id=4)
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config).to(dtype).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    copies = 2 * sum(p.numel() for p in model.parameters() if p.ndim > 1) if mixed else 0
    found: dict[int, int] = {}
    alive = []

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)
        return value

    ids = torch.full((1, 256), 7)
    ids[0, 3], ids[0, 4:20] = 4, 5
    pixels = torch.randn(64, 3 * 2 * 14 * 14, dtype=dtype)
    grid = torch.tensor([[1, 8, 8]])
    with saved_tensors_hooks(keep, lambda value: value), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        model.model(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grid,
            mm_token_type_ids=(ids == 5).int(),
            attention_mask=torch.ones_like(ids),
        )
    return sum(found.values()) - copies, config


@pytest.mark.parametrize(
    ("dtype", "mixed"), [(torch.bfloat16, False), (torch.float32, True), (torch.float32, False)], ids=str
)
def test_what_layers_keep_is_near_the_estimate(dtype: torch.dtype, mixed: bool) -> None:
    shape = Shape(0, 0, 0, 0, 0, (0, 0), 256, 2, 512, 128, 100, 64, 2, 256, 4)
    size = 2 if dtype == torch.bfloat16 else 4
    setup = dataclasses.replace(ONE, weight_bytes=size, mixed=mixed, sequences=1, tokens=256, image_tokens=16)
    text, vision = kept_by_layers(shape, setup)
    few = kept(1, 1, dtype, mixed=mixed)[0]
    language = (kept(3, 1, dtype, mixed=mixed)[0] - few) / 2
    tower = (kept(1, 3, dtype, mixed=mixed)[0] - few) / 2
    assert text / 2 == pytest.approx(language, rel=0.02)
    assert tower <= vision / 2 <= 1.6 * tower, "the largest family's, for all"


def test_spreading_divides_and_ddp_does_not() -> None:
    shape = Shape(1000, 100, 800, 100, 700, (10, 20), 8, 8, 16, 4, 50, 8, 2, 16, 4)
    totals = {}
    for launch in LAUNCHES:
        setup = setup_of(shape, gpus=8, launch=launch, mixed=True)
        totals[launch] = {item.name: item.bytes for item in bytes_on_a_card(shape, setup)}
    ddp, fsdp = totals["ddp"], totals["fsdp2"]
    assert (ddp["weights"], ddp["gradients"], ddp["DDP's buckets"], ddp["optimizer"]) == (4000, 4000, 4000, 8000)
    assert (fsdp["weights"], fsdp["gradients"], fsdp["optimizer"]) == (500, 500, 1000)
    assert fsdp["gathered weights"] == 2 * (200 + 200)
    assert totals["zero2"]["weights"] == 2000 + 500
    assert totals["zero3"]["weights"] == 250 + 500
    alone = {item.name for item in bytes_on_a_card(shape, setup_of(shape))}
    assert "DDP's buckets" not in alone


@pytest.mark.parametrize(
    ("optimizer", "state"),
    [("adamw_torch_fused", 8), ("paged_adamw_8bit", 2), ("adamw_bnb_8bit", 2), ("lion_32bit", 4), ("adafactor", 0)],
)
def test_each_optimizer_keeps_what_it_keeps(optimizer: str, state: int) -> None:
    shape = Shape(1000, 100, 800, 100, 700, (10, 20), 8, 8, 16, 4, 50, 8, 2, 16, 4)
    (found,) = (i.bytes for i in bytes_on_a_card(shape, setup_of(shape, optimizer=optimizer)) if i.name == "optimizer")
    assert found == state * 1000


def test_an_adapter_trains_little_and_four_bits_hold_the_rest() -> None:
    shape = Shape(1000, 100, 800, 100, 700, (10, 20), 8, 8, 16, 4, 50, 8, 2, 16, 4)
    adapter = shape.trained(freeze_vision=True, rank=2)
    assert adapter == 40
    setup = dataclasses.replace(ONE, trained=adapter, rank=2, weight_bytes=2)
    items = {item.name: item.bytes for item in bytes_on_a_card(shape, setup)}
    assert (items["weights"], items["gradients"], items["optimizer"]) == (2000 + 160, 160, 320)
    four = {item.name: item.bytes for item in bytes_on_a_card(shape, dataclasses.replace(setup, four_bits=True))}
    assert four["weights"] == int(0.52 * 700 + 600 + 160)


def test_vllm_s_share_holds_its_weights_and_its_cache() -> None:
    # Qwen2-VL-7B: 28 layers, 4 key heads of 128
    shape = Shape(8_291_375_616, 1, 1, 1, 1, (1, 1), 3584, 28, 18944, 512, 152064, 1280, 32, 5120, 4)
    assert shape.cache == 57_344
    rollouts = Rollouts(32, 4096)
    share = vllm_share(shape, rollouts, 80 * GIB)
    assert 0.3 < share < 0.4, "0.2 of 80 GiB is less than its weights with any cache"
    assert vllm_bytes(shape, rollouts).bytes <= share * 80 * GIB
    assert vllm_share(shape, rollouts, 24 * GIB) == 0.95


@pytest.mark.parametrize("given", [False, True])
def test_grpo_gives_vllm_what_it_needs_unless_the_recipe_says_how_much(
    given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from r1sgg.training import grpo

    checkpoint = load_checkpoint("tiny")
    arguments = SimpleNamespace(
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=0.3,
        vllm_max_model_length=4096,
        vllm_tensor_parallel_size=1,
        generation_batch_size=256,
        world_size=16,
    )
    chosen = {"vllm_gpu_memory_utilization": 0.3} if given else {}
    run: Any = SimpleNamespace(arguments=arguments, checkpoint=checkpoint, recipe=SimpleNamespace(chosen=chosen))
    grpo._share_the_card(run)
    assert arguments.vllm_gpu_memory_utilization == 0.3, "there is no card here"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda k: SimpleNamespace(total_memory=24 * GIB))
    grpo._share_the_card(run)
    expected = 0.3 if given else vllm_share(shape_of(checkpoint), Rollouts(16, 4096), 24 * GIB)
    assert arguments.vllm_gpu_memory_utilization == expected
