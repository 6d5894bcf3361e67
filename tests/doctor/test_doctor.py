"""`r1sgg doctor`: the machine, the arithmetic of recipes, refusals with the command that works, and the prompt."""

from __future__ import annotations

import importlib.metadata
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.doctor import machine
from r1sgg.doctor.machine import Package, missing_for
from r1sgg.doctor.plan import AUTHORS, make_plan
from r1sgg.doctor.recipe import read_stage
from r1sgg.errors import ConfigError
from r1sgg.training.memory import GIB

from ..models.published import full_width_7b, publish_as_its_makers
from ..models.tiny_families import build_qwen2_vl

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
Doctor = Callable[..., Result]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    return publish_as_its_makers(build_qwen2_vl(folder / "own"), folder / "q2")


@pytest.fixture(scope="module")
def large(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full_width_7b(published, tmp_path_factory.mktemp("large") / "q7")


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Run `r1sgg doctor`; its sentence is in `output` where it refuses."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def run(*arguments: object) -> Result:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return CliRunner().invoke(app, ["doctor", *map(str, arguments)])

    return run


# ---------------------------------------------------------------- the machine


def test_the_machine_is_described(doctor: Doctor) -> None:
    result = doctor("--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["machine"]
    assert found["python"]["tested"] == found["python"]["version"].startswith(machine.PYTHONS)
    assert found["cores"] >= 1
    parts = {part["extra"]: part for part in found["parts"]}
    assert set(parts) == set(machine.RUNS)
    assert parts["train"]["ready"]
    assert parts["train"]["packages"][0]["fits"]
    for part in parts.values():
        assert part["ready"] == all(package["fits"] for package in part["packages"])
    shown = doctor().output
    for word in ("Python 3.", "GPU", "r1sgg[train]", "r1sgg[vllm]"):
        assert word in shown


def test_every_extra_that_runs_something_is_in_the_report() -> None:
    told = set(importlib.metadata.metadata("r1sgg").get_all("Provides-Extra") or ())
    assert set(machine.RUNS) - {""} <= told | {"qlora"}
    assert told - set(machine.RUNS) <= {"dev", "docs"}


def test_a_package_that_is_missing_or_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        'trl<1.17,>=1.16; extra == "train"',
        'torch>=2.9; extra == "train"',
        'peft>=0.21; extra == "train"',
        "rich",
    ]
    versions = {"trl": "1.18.0", "torch": "2.10.0+cpu"}
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(machine, "installed", versions.get)
    assert machine.packages("train") == [
        Package("trl", "<1.17,>=1.16", "1.18.0"),
        Package("torch", ">=2.9", "2.10.0+cpu"),
        Package("peft", ">=0.21", None),
    ]
    assert missing_for(["train"], "ddp") == [
        "trl: expected <1.17,>=1.16, found 1.18.0; pip install 'r1sgg[train]'",
        "peft: expected >=0.21, found none; pip install 'r1sgg[train]'",
    ]
    assert missing_for([], "zero2") == ["deepspeed: expected a version, found none; pip install deepspeed"]


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("name", "batch", "epoch", "total", "last", "left_out"),
    [
        ("vg150-sft", 128, 440, 1320, 32, 0),
        ("vg150-grpo", 256, 1757, 1757, 0, 0),
        ("psg-sft", 128, 364, 1092, 99, 0),
        ("psg-zero", 256, 1455, 1455, 0, 3),
    ],
)
def test_the_paper_s_recipes_take_the_steps_that_their_headers_name(
    name: str, batch: int, epoch: int, total: int, last: int, left_out: int, published: Path
) -> None:
    arguments = ["--model", str(published)]
    plan = make_plan(CONFIGS / f"{name}.yaml", arguments, gpus=4, launch="ddp", card=80 * GIB, card_source="test")
    assert plan.stage == ("sft" if name.endswith("sft") else "grpo")
    found = plan.steps
    assert (found.batch, found.epoch, found.total, found.last, found.left_out) == (batch, epoch, total, last, left_out)
    assert f"{total:,} steps" in (CONFIGS / f"{name}.yaml").read_text()
    assert found.accumulation * 4 * plan.setup.sequences == batch
    assert found.images == AUTHORS[name.partition("-")[0]]


def test_a_recipe_without_a_global_batch_has_one_that_grows_with_the_cards() -> None:
    steps = [
        make_plan(CONFIGS / "tiny-grpo.yaml", [], gpus=gpus, launch="ddp", card=80 * GIB, card_source="test").steps
        for gpus in (0, 1, 4)
    ]
    assert [(found.batch, found.prompts, found.accumulation) for found in steps] == [(128, 16, 1)] * 2 + [(512, 64, 1)]
    assert {found.total for found in steps} == {60}


def test_steps_are_those_of_a_real_run(published: Path, tmp_path: Path) -> None:
    """Of transformers' own count, with a last batch that is smaller."""
    from r1sgg.training.sft import train_sft

    given = ["--model", str(published), "--data", "scenes:11,seed=1", "--per_device_train_batch_size", "2"]
    given += ["--gradient_accumulation_steps", "2", "--num_train_epochs", "2", "--max_pixels", "3136"]
    given += ["--prompt", "short", "--report_to", "none", "--save_strategy", "no"]
    (tmp_path / "recipe.yaml").write_text("object_order: annotated\n")
    plan = make_plan(tmp_path / "recipe.yaml", given, gpus=0, launch="ddp", card=GIB, card_source="test")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        train_sft(tmp_path / "recipe.yaml", [*given, "--output_dir", str(tmp_path / "run")])
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert (state["global_step"], state["max_steps"]) == (plan.steps.total, plan.steps.total) == (6, 6)
    assert plan.steps.last == 3


def test_a_recipe_of_a_published_checkpoint_on_sixteen_cards(doctor: Doctor, published: Path) -> None:
    result = doctor("--config", "configs/vg150-grpo.yaml", "--model", published, "--gpus", 16)
    assert result.exit_code in (0, 1), result.output
    assert "global batch: 256 = 16 sequences x 16 cards x 1 passes = 32 prompts x 8 completions" in result.output
    assert "steps: 1,757" in result.output
    assert "56,224 images" in result.output
    assert (
        "start: torchrun --nproc_per_node 16 --no-python r1sgg grpo --config configs/vg150-grpo.yaml" in result.output
    )
    assert ("missing here: vllm" in result.output) == (result.exit_code == 1)


def test_a_7b_on_eight_cards_is_refused_with_the_command_of_fsdp2(doctor: Doctor, large: Path, tmp_path: Path) -> None:
    asked = ("--config", "configs/vg150-grpo.yaml", "--model", large, "--gpus", 8, "--json", tmp_path / "plan.json")
    result = doctor(*asked)
    assert isinstance(result.exception, ConfigError), result.output
    said = str(result.exception)
    assert "found" in said
    assert "GiB with the whole model on each of 8 cards; start it with FSDP2" in said
    start = "accelerate launch --config_file configs/accelerate/fsdp2.yaml --num_processes 8 --no_python r1sgg grpo"
    assert f"{start} --config configs/vg150-grpo.yaml --model {large}" in said
    record = json.loads((tmp_path / "plan.json").read_text())["run"]
    assert not record["fits"]
    assert record["shape"]["weights"] == 8_291_375_616
    assert record["bytes_on_a_card"]["weights"]["bytes"] == 4 * record["shape"]["weights"]
    chosen = doctor(*asked, "--launch", "auto")
    assert chosen.exit_code in (0, 1), chosen.output
    record = json.loads((tmp_path / "plan.json").read_text())["run"]
    assert record["fits"]
    assert record["launcher"] == start.removesuffix(" r1sgg grpo")
    assert record["options"].startswith("--per_device_train_batch_size ")
    assert record["steps"]["batch"] == 256, "smaller passes, the same batch"


def test_on_one_card_an_adapter_is_offered(doctor: Doctor, large: Path) -> None:
    result = doctor("--config", "configs/vg150-sft.yaml", "--model", large, "--gpus", 1)
    said = str(result.exception)
    assert "an adapter fits" in said
    assert "r1sgg sft --config configs/vg150-sft.yaml --include configs/lora-sft.yaml" in said
    small = doctor("--config", "configs/vg150-sft.yaml", "--model", large, "--gpus", 1, "--gpu-memory", 4)
    assert "take more cards" in str(small.exception)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "configs/vg150-sft.yaml", "--gpus", "3"], "global batch: expected a multiple of"),
        (
            ["--config", "configs/vg150-sft.yaml", "--gpus", "4", "--launch", "pipeline"],
            "--launch: expected auto or one",
        ),
        (["--config", "configs/vg150-sft.yaml", "--beta", "0.1"], "expected options of SFT or of GRPO"),
        (["--config", "nowhere.yaml"], "expected a YAML recipe"),
        (["--lora_r", "8"], "expected --config RECIPE beside options of a recipe"),
        (["--engine", "vllm"], "--engine: expected --model, and no --config"),
        (["--model", "tiny", "--engine", "hf"], "--engine hf: expected vllm, found hf"),
        (["--model", "tiny", "--engine", "openai:http://127.0.0.1:9/v1"], "expected vllm, found openai"),
        (["--model", "tiny", "--dtype", "float8"], "--dtype: expected --engine too"),
        (["--gpus", "4"], "--gpus: expected --config RECIPE too"),
        (["--config", "configs/vg150-grpo.yaml", "--rewards", "blanced"], "rewards: expected one of"),
        (["--config", "configs/vg150-grpo.yaml", "--reward_weights", "1"], "reward_weights: expected one for each of"),
        (["--config", "configs/vg150-grpo.yaml", "--parity", "often"], "parity: expected a number of steps"),
        (["--config", "configs/vg150-grpo.yaml", "--cut_loops", "true"], "cut_loops: expected false with use_vllm"),
        (["--config", "configs/vg150-sft.yaml", "--load_in_4bit", "true"], "load_in_4bit: expected use_peft: true"),
        (["--model", "tiny", "--launch", "fsdp2"], "--launch: expected --config RECIPE too"),
        (["--prompt", "closed"], "--prompt: expected --model or --config RECIPE too"),
        (["--config", "configs/vg150-grpo.yaml", "--image", "a.png"], "--image: expected --model, and no --config"),
        (["--config", "configs/vg150-grpo.yaml", "--max_pixels", "100"], "max_pixels: expected 0 or at least 784, one"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(
    doctor: Doctor, published: Path, arguments: list[str], says: str
) -> None:
    model = [] if "--model" in arguments or "--engine" in arguments else ["--model", str(published)]
    model = model if "--config" in arguments else []
    result = doctor(*arguments, *model)
    assert says in str(result.exception), result.output


def test_an_adapter_is_not_planned_as_a_model_to_train(doctor: Doctor, published: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(published)}))
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.json"):
        if (published / name).is_file():
            (tmp_path / name).write_bytes((published / name).read_bytes())
    result = doctor("--config", "configs/vg150-sft.yaml", "--model", tmp_path, "--gpus", 4)
    assert "expected a whole model to train, found an adapter; merge it with" in str(result.exception)


def test_options_that_a_recipe_has_too_are_the_recipe_s(doctor: Doctor, published: Path) -> None:
    asked = ("--config", "configs/vg150-sft.yaml", "--model", published, "--gpus", 4, "--json", "-")
    asked += ("--data", "scenes:8")

    def tokens(*more: str) -> int:
        result = doctor(*asked, *more)
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["run"]["tokens"]["prompt"])

    assert tokens("--prompt", "short", "--vocabulary", "open") < tokens("--no-think") < tokens()


def test_a_recipe_is_of_the_stage_whose_options_it_has() -> None:
    for path in sorted(CONFIGS.glob("*-*.yaml")):
        name = path.stem
        if name.startswith(("vg150-", "psg-", "tiny-")):
            assert read_stage(path, ["--output_dir", "x"])[0] == ("sft" if name.endswith(("-sft", "-base")) else "grpo")


# ---------------------------------------------------------------- prompts


def test_the_prompt_is_shown_as_the_model_sees_it(doctor: Doctor, tmp_path: Path) -> None:
    result = doctor("--model", "tiny", "--json", tmp_path / "prompt.json")
    assert result.exit_code == 0, result.output
    seen = json.loads((tmp_path / "prompt.json").read_text())["prompt"]
    assert seen["text"] in result.output
    assert "Scene graph of the image as JSON." in seen["text"]
    assert seen["image_tokens"] == 12
    assert (seen["frame"], seen["settings"]["prompt"]) == ([1000, 1000], "short")
    (tmp_path / "mine.txt").write_text("Tell me.")
    told = doctor("--model", "tiny", "--prompt", tmp_path / "mine.txt", "--think").output
    assert "Tell me." in told
    assert "<think>" in told


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="would ask the Hub")
def test_a_model_that_is_not_here_is_one_sentence(doctor: Doctor) -> None:
    assert "JosephZ/R1-SGG-7B" in str(doctor("--model", "JosephZ/R1-SGG-7B").exception)
