"""The recipes of the repository: each says what its header must say, is read, and starts with a tiny model in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers.utils.import_utils import is_bitsandbytes_available
from trl import GRPOConfig, SFTConfig
from typer.testing import Result

from r1sgg.errors import ConfigError, MissingDependencyError
from r1sgg.miniature.tiny import build_tiny
from r1sgg.training.options import RewardOptions, RunOptions, TargetOptions
from r1sgg.training.parts import PartOptions
from r1sgg.training.recipe import Recipe, read_recipe
from r1sgg.training.run import warn_of_emulated_bf16

from ..models.tiny_families import build_qwen2_5_vl, build_qwen2_vl, build_qwen3_vl

Command = Callable[..., Result]
ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
PAPER = [f"{name}-{stage}.yaml" for name in ("vg150", "psg") for stage in ("sft", "grpo", "zero")]
CPU = {"bf16": False, "use_cpu": True, "activation_checkpointing": False}


def read(name: str, *arguments: str) -> Recipe:
    sft = name.endswith("-sft.yaml")
    classes = (RunOptions, SFTConfig, TargetOptions) if sft else (RunOptions, GRPOConfig, RewardOptions)
    given = ["--bf16", "false", "--use_cpu", "true", "--activation_checkpointing", "false", *arguments]
    return read_recipe((*classes, PartOptions), CONFIGS / name, given, CPU)


def batch(recipe: Recipe) -> int:
    return int(recipe.options[1].per_device_train_batch_size * recipe.options[1].gradient_accumulation_steps)


@pytest.mark.parametrize("name", [p.name for p in sorted(CONFIGS.glob("*.yaml"))])
def test_a_header_says_how_to_run_it_and_what_came_of_it(name: str) -> None:
    header = "".join(line for line in (CONFIGS / name).read_text().splitlines(True) if line.startswith("#"))
    if "Not a recipe of its own" in header:
        return
    assert "r1sgg sft" in header or "r1sgg grpo" in header
    assert "ardware" in header
    assert "esult" in header


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_numbers(name: str) -> None:
    recipe = read(name)
    run, trl = recipe.options[:2]
    assert (run.think, run.vocabulary, trl.bf16, run.max_pixels) == (True, name.split("-")[0], False, 512 * 28 * 28)
    if name.endswith("-sft.yaml"):
        assert (batch(recipe), trl.num_train_epochs, trl.learning_rate) == (128, 3, 1e-5)
        assert recipe.option(TargetOptions).object_order == "shuffled"
        return
    assert (batch(recipe) // trl.num_generations, trl.num_generations, trl.num_train_epochs) == (32, 8, 1)
    assert (trl.generation_batch_size, trl.num_iterations) == (256, 1)
    assert (trl.learning_rate, trl.temperature, trl.top_p, trl.top_k) == (6e-7, 1.0, 0.9, 50)
    assert (trl.max_completion_length, trl.beta) == (1024, 0.0)
    assert recipe.option(RewardOptions).rewards == "paper-v4"


@dataclass
class Trainer:
    """TRL's options, as far as the batch goes; its own classes wait for the other processes."""

    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1


@pytest.mark.parametrize("processes", [1, 2, 4, 16])
def test_the_batch_is_the_same_on_any_number_of_cards(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    recipe = read_recipe((RunOptions, Trainer), None, ["--global_batch_size", "128"], {})
    assert batch(recipe) * processes == 128
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="= 8 x 3, found 128"):
        read_recipe((RunOptions, Trainer), None, ["--global_batch_size", "128"], {})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--global_batch_size", "130"], "expected a multiple of per_device_train_batch_size x processes = 4 x 1"),
        (["--global_batch_size", "0"], "found 0"),
        (["--gradient_accumulation_steps", "2"], "gradient_accumulation_steps follows from it"),
    ],
)
def test_a_batch_that_does_not_come_out_is_one_sentence(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read("vg150-sft.yaml", *arguments)


def test_an_included_recipe_wins_over_the_file_and_loses_to_options() -> None:
    lora = str(CONFIGS / "lora-sft.yaml")
    recipe = read("vg150-sft.yaml", "--include", lora, str(CONFIGS / "qlora.yaml"), "--lora_r", "8")
    parts = recipe.option(PartOptions)
    assert (parts.use_peft, parts.lora_r, parts.lora_alpha, parts.load_in_4bit) == (True, 8, 64, True)
    assert (recipe.options[1].learning_rate, recipe.options[1].optim) == (1e-4, "paged_adamw_8bit")
    assert batch(recipe) == 128
    assert read("vg150-sft.yaml", f"--include={lora}").options[1].learning_rate == 1e-4
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: expected a YAML recipe"):
        read("vg150-sft.yaml", "--include", "nowhere.yaml")


# ---------------------------------------------------------------- started with a tiny model in it


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    built = {"qwen2": build_qwen2_vl, "qwen2_5": build_qwen2_5_vl, "qwen3": build_qwen3_vl}
    return {name: build(folder / name) for name, build in built.items()}


SMALL = {
    "global_batch_size": 2,
    "per_device_train_batch_size": 2,
    "max_steps": 1,
    "bf16": False,
    "activation_checkpointing": False,
    "save_strategy": "no",
    "validation": "scenes:1,split=validation",
    "validate_tokens": 4,
}
ROLLOUTS = {"num_generations": 2, "max_completion_length": 8, "use_vllm": False}


def start(r1sgg: Command, folder: Path, model: Path, name: str, *more: str, **options: object) -> list[dict[str, Any]]:
    command = "sft" if name.endswith("-sft.yaml") else "grpo"
    given = {"model": model, "data": "scenes:2", **SMALL, **(ROLLOUTS if command == "grpo" else {}), **options}
    done = r1sgg(command, folder, "--config", str(CONFIGS / name), *more, **given)
    assert done.exit_code == 0, done.output
    return [orjson.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family in ("qwen2", "qwen2_5", "qwen3") for name in PAPER[: 6 if family == "qwen2" else 2]],
)
def test_a_recipe_takes_a_step(r1sgg: Command, models: dict[str, Path], tmp_path: Path, family: str, name: str) -> None:
    rows = start(r1sgg, tmp_path, models[family], name)
    assert [row["step"] for row in rows if "loss" in row] == [1]
    assert "failure_rate" in rows[-1]
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert saved["global_batch_size"] == 2
    assert saved["recorded"]["answer_settings"]["vocabulary"] == name.split("-")[0]


@pytest.mark.parametrize("name", ["vg150-sft.yaml", "psg-grpo.yaml"])
def test_an_adapter_is_trained_where_a_recipe_says_so(
    r1sgg: Command, models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    stage = name.split("-")[1]
    start(r1sgg, tmp_path, models["qwen2"], name, "--include", str(CONFIGS / f"lora-{stage}"))
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("overlays", [["lora-sft.yaml", "qlora.yaml"], ["one-card.yaml"]])
def test_eight_and_four_bits_run_or_say_what_is_missing(
    r1sgg: Command, tmp_path: Path, overlays: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # layers that bitsandbytes' CPU kernels take; no validation, because there they train no more after an evaluation
    size = {"hidden": 128, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 128}
    model = build_tiny(tmp_path / "model", max_pixels=56 * 56, **size, vision_dim=32, vision_layers=1, vision_heads=2)
    over = ["--include", *(str(CONFIGS / o) for o in overlays)]
    options = {"model": model, "data": "scenes:2", "max_steps": 1, "save_strategy": "no", "optim": "adamw_8bit"}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "bitsandbytes", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'r1sgg\[qlora\]'"):
            r1sgg("sft", tmp_path / "without", *over, **options)
    pytest.importorskip("bitsandbytes")
    is_bitsandbytes_available.cache_clear()  # transformers has seen none
    assert r1sgg("sft", tmp_path / "with", *over, **options).exit_code == 0
    row = orjson.loads((tmp_path / "with" / "metrics.jsonl").read_bytes().splitlines()[0])
    assert row["grad_norm"] > 0


# ---------------------------------------------------------------- launching


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_launch_config_is_read_by_accelerate(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert config.distributed_type.value in ("MULTI_GPU", "FSDP", "DEEPSPEED")
    assert config.mixed_precision == "bf16"
    text = path.read_text()
    assert f"--config_file configs/accelerate/{path.name}" in text
    stage = {"zero2.yaml": 2, "zero3.yaml": 3}.get(path.name)
    assert stage is None or config.deepspeed_config["zero_stage"] == stage


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "runs").glob("*.sh")))
def test_a_script_is_well_formed(name: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "runs" / name)], check=True, env=dict(os.environ))


@pytest.mark.parametrize(
    ("abilities", "bf16", "warned"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_bf16": False}, True, True),
        ({"architecture": "x86_64", "avx512_bf16": True}, True, False),
        ({"architecture": "x86_64", "avx2": True}, False, False),
        ({}, True, False),
    ],
)
def test_bfloat16_without_instructions_for_it_is_said(
    abilities: dict[str, Any],
    bf16: bool,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    warn_of_emulated_bf16(SimpleNamespace(bf16=bf16, use_cpu=True))
    assert ("use --bf16 false" in caplog.text) == warned
