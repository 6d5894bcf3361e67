"""`r1sgg grpo` through TRL's colocated vLLM, the real one: the prompts it runs, its weights, and faults put into it.

Every run makes an engine in this process and takes it down again. Thresholds are those of the package: the runs without
a fault pass under the limits that stop the runs with one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.miniature.scenes import SMALL, scene
from r1sgg.models.families import load_model

from ..models.capabilities import shows
from ..models.tiny_families import BUILDERS
from .conftest import SHOWN, SURROUNDINGS

pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="needs TRL")

Rows = list[dict[str, Any]]
PIXELS = {"qwen2_vl": 56 * 84, "qwen2_5_vl": 84 * 112, "qwen3_vl": 96 * 128}  # below the checkpoints' own limits


@pytest.fixture(autouse=True)
def one_engine() -> Iterator[None]:
    """Take down what a run leaves in this process: TRL's engine, its process group, its environment variables."""
    from vllm.distributed import cleanup_dist_env_and_memory

    before = dict(os.environ)
    os.environ.update(SURROUNDINGS)
    yield
    cleanup_dist_env_and_memory()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes, stretched to eight different sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for k in range(8):
        drawn = scene(900_000_000 + k, SMALL)
        size = (70 + 31 * k, 250 - 23 * k)
        drawn.image.resize(size).save(folder / f"{k}.png")
        x, y = size[0] / drawn.image.width, size[1] / drawn.image.height
        record = drawn.example.to_record()
        for item in record["objects"]:
            left, top, right, bottom = item["bbox"]
            item["bbox"] = [left * x, top * y, right * x, bottom * y]
        rows.append({**record, "image_id": str(k), "width": size[0], "height": size[1], "image": f"{k}.png"})
    (folder / "gt.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return folder / "gt.jsonl"


def arguments(folder: Path, **options: object) -> list[str]:
    plain = {"model": "tiny", "data": "scenes:64,seed=1", "output_dir": folder, "use_vllm": True, "max_steps": 1}
    plain |= {"vllm_max_model_length": 1024, "num_generations": 2, "per_device_train_batch_size": 8, "logging_steps": 1}
    plain |= {"max_completion_length": 32, "report_to": "none", "save_strategy": "no"}
    return ["grpo", *(text for key, value in (plain | options).items() for text in (f"--{key}", str(value)))]


def main_quietly(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code


def train(folder: Path, **options: object) -> Rows:
    main_quietly(arguments(folder, **options))
    return [orjson.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What vLLM reports that it ran, and what the trainer trains, in every rollout of a run."""
    from trl.generation.vllm_generation import VLLMGeneration

    from r1sgg.training.grpo import GraphTrainer

    found: dict[str, list[Any]] = {"ran": [], "trained": []}
    generate, score = VLLMGeneration.generate, GraphTrainer._generate_and_score_completions

    def watched(self: Any, prompts: Any, images: Any, num_generations: int, profiler: Any = None) -> Any:
        output = generate(self, prompts, images, num_generations, profiler)
        if profiler is not None:  # a rollout; the gate's samples have none
            found["ran"] += [list(ids) for ids in output[0]]
        return output

    def scored(self: Any, inputs: Any) -> Any:
        output = score(self, inputs)
        for ids, mask in zip(output["prompt_ids"], output["prompt_mask"], strict=True):
            found["trained"].append(ids[mask.bool()].tolist())
        return output

    monkeypatch.setattr(VLLMGeneration, "generate", watched)
    monkeypatch.setattr(GraphTrainer, "_generate_and_score_completions", scored)
    return found


# ---------------------------------------------------------------- without a fault


@shows("colocate")
def test_vllm_runs_what_is_trained(
    name: str,
    tmp_path: Path,
    pictures: Path,
    seen: dict[str, list[Any]],
    record_property: Callable[[str, object], None],
) -> None:
    model = BUILDERS[name](tmp_path / "model")
    options = {"max_pixels": PIXELS[name]} if name in PIXELS else {}
    rows = train(tmp_path / "run", model=model, data=pictures, max_steps=2, parity=1, **options)
    assert len(seen["ran"]) == 16
    assert seen["ran"] == seen["trained"]
    assert len({len(ids) for ids in seen["ran"]}) > 1 or name.startswith("llava"), "images of several sizes"
    for row in rows:
        assert row["parity/prompts_equal"] == row["parity/images_equal"] == row["parity/frames_equal"] == 1
    mean, most = (max(row[f"parity/{key}"] for row in rows) for key in ("mean_kl", "max_difference"))
    record_property(SHOWN, f"{name}: 16 of 16 prompts equal, mean KL {mean:.1e}, largest difference {most:.1e}")


def test_three_steps_with_weight_sync(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"max_steps": 3, "learning_rate": 1e-3, "parity": 1, "max_completion_length": 100}
    rows = train(tmp_path / "run", **options)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["grad_norm"] > 0 for row in rows)
    assert all(row["parity/mean_kl"] < 1e-6 for row in rows)
    assert all(0.99 < row["sampling/importance_sampling_ratio/mean"] < 1.01 for row in rows)
    assert capsys.readouterr().err.count("parity of vLLM and the trained model") == 1


def test_half_precision_on_both_sides_passes(tmp_path: Path) -> None:
    (row,) = train(tmp_path / "run", bf16=True)
    assert 0 < row["parity/mean_kl"] < 1e-3


def test_a_narrowed_and_guided_run_passes(tmp_path: Path) -> None:
    options = {"top_p": 0.8, "top_k": 20, "temperature": 0.7, "guide": True, "vocabulary": "vg150"}
    (row,) = train(tmp_path / "run", max_completion_length=150, **options)
    assert row["parity/mean_kl"] < 1e-6
    assert "sampling/importance_sampling_ratio/mean" not in row


def test_tiny_answers_scenes_as_transformers_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """40 drawn scenes, greedily, by the engine that TRL made and by transformers."""
    from r1sgg.models.prompts import with_image
    from r1sgg.training.run import Run, Trained

    images = [scene(900_000_000 + k, SMALL).image for k in range(40)]
    other = TransformersEngine(load_model("tiny", device="cpu"))
    chats = [other.loaded.messages(image.size) for image in images]
    expected = [one.text for one in other.generate(images, chats, Sampling(max_new_tokens=200))]
    texts: list[str] = []

    def ask(run: Run, trainer: Any, say: Callable[[str], None]) -> Trained:
        prompts = [with_image(chat) for chat in chats]
        for prompt, image in zip(prompts, images, strict=True):
            prompt[-1]["content"][0]["image"] = image
        trainer.model.eval()
        trainer.vllm_generation.temperature = 0.0
        prompt_ids, listed, fields = trainer._tokenize_prompts(prompts)
        ids, _ = trainer._generate_single_turn(prompt_ids, listed, fields, 1)
        texts.extend(trainer.processing_class.batch_decode(ids, skip_special_tokens=True))
        return Trained(tmp_path, steps=0, left_out=0, first=False)

    monkeypatch.setattr(Run, "train", ask)
    main_quietly(arguments(tmp_path / "run", max_completion_length=200))
    equal = sum(a == b for a, b in zip(texts, expected, strict=True))
    record_property(SHOWN, f"tiny: {equal} of 40 greedy answers equal those of transformers")
    assert equal == 40


# ---------------------------------------------------------------- faults, each in the engine of a real run


Fault = Callable[[pytest.MonkeyPatch, Path], dict[str, object]]


def expanded_twice(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """What TRL 1.16 sends by itself."""
    from r1sgg.training.grpo import GraphTrainer

    monkeypatch.setattr("r1sgg.training.grpo.unexpanded", lambda processor, texts: GraphTrainer.expanded)
    plain = GraphTrainer._tokenize_prompts

    def tokenized(self: Any, prompts: Any) -> Any:
        output = plain(self, prompts)
        monkeypatch.setattr(GraphTrainer, "expanded", output[0], raising=False)
        return output

    monkeypatch.setattr(GraphTrainer, "_tokenize_prompts", tokenized)
    return {}


def image_dropped(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """Expanded ids and no image: the ids are equal."""
    options = expanded_twice(monkeypatch, folder)
    change_requests(monkeypatch, lambda row: {"prompt_token_ids": row["prompt_token_ids"]})
    return options


def another_image(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """Upside down: ids, features and size are equal."""

    def turned(row: dict[str, Any]) -> dict[str, Any]:
        image = row["multi_modal_data"]["image"].transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return {**row, "multi_modal_data": {"image": image}}

    change_requests(monkeypatch, turned)
    return {}


def change_requests(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    import vllm

    plain = vllm.LLM.generate
    monkeypatch.setattr(
        vllm.LLM, "generate", lambda self, prompts, **more: plain(self, [change(row) for row in prompts], **more)
    )


def change_arguments(monkeypatch: pytest.MonkeyPatch, **changed: object) -> dict[str, object]:
    from r1sgg.training import engine

    plain = engine.engine_arguments
    monkeypatch.setattr(engine, "engine_arguments", lambda *given: plain(*given) | changed)
    return {}


def other_pixels(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    return change_arguments(monkeypatch, mm_processor_kwargs={"size": {"shortest_edge": 784, "longest_edge": 7056}})


def wrong_dtype(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    return change_arguments(monkeypatch, dtype="bfloat16")


def stale_weights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """Only the first sync writes."""
    from trl.generation.vllm_generation import VLLMGeneration

    plain, done = VLLMGeneration.sync_weights, []
    monkeypatch.setattr(VLLMGeneration, "sync_weights", lambda self: done or (plain(self), done.append(1)))
    return {"max_steps": 4, "learning_rate": 1e-4, "parity": 1}


def packed_weights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """vLLM's own packing of the output layer: a weight sync does not reach it."""
    from vllm.model_executor.layers import utils

    from r1sgg.training import engine

    plain, ours = utils.dispatch_cpu_unquantized_gemm, engine._unpacked

    def packed(layer: Any, remove_weight: bool) -> None:
        (ours if remove_weight else plain)(layer, remove_weight)

    monkeypatch.setattr(engine, "_unpacked", packed)
    return {"max_steps": 4, "learning_rate": 1e-3, "parity": 1}


def shifted_positions(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """M-RoPE: the text after the image begins three positions too late."""
    from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration as Model

    plain = Model.get_mrope_input_positions

    def shifted(self: Any, tokens: Any, *args: Any, **kwargs: Any) -> Any:
        positions, delta = plain(self, tokens, *args, **kwargs)
        last = max(k for k, token in enumerate(tokens) if token == self.config.image_token_id)
        positions[:, last + 1 :] += 3
        return positions, delta + 3

    monkeypatch.setattr(Model, "get_mrope_input_positions", shifted)
    return {}


def another_frame(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    """The reward reads boxes in pixels of the image itself."""
    from r1sgg.models.family import ModelFamily

    model = BUILDERS["qwen2_5_vl"](folder / "model")
    monkeypatch.setattr(ModelFamily, "frame", lambda self, size, processor: (float(size[0]), float(size[1])))
    return {"model": model, "max_pixels": 84 * 84}


FAULTS: dict[str, tuple[Fault, str]] = {
    "expanded twice": (expanded_twice, "step 1: the engine ran a prompt of 49 tokens for one that is trained with 34"),
    "image dropped": (
        image_dropped,
        "step 1: the engine put 0 image features into a prompt for which the trainer has 16",
    ),
    "another image": (another_image, "step 1: the log-probabilities of"),
    "other max_pixels": (
        other_pixels,
        "step 1: the engine put 9 image features into a prompt for which the trainer has 16",
    ),
    "stale weights": (stale_weights, "step 2: the log-probabilities of"),
    "packed weights": (packed_weights, "step 2: the log-probabilities of"),
    "M-RoPE positions shifted": (shifted_positions, "step 1: the log-probabilities of"),
    "another frame": (another_frame, "pixels, and the trainer reads its boxes in a frame of"),
    "wrong dtype": (wrong_dtype, "step 1: the engine computes in bfloat16, and the trainer in float32"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_gate_stops(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    inject, message = FAULTS[name]
    options = {"max_completion_length": 100, **inject(monkeypatch, tmp_path)}
    with pytest.raises(SystemExit) as ended:
        main(arguments(tmp_path / "run", **options))
    assert ended.value.code == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("r1sgg: ")]
    assert message in said
    assert "(docs/training.md: parity)" in said
    record_property(SHOWN, f"{name}: {said.removeprefix('r1sgg: ').partition('. Usually')[0]}")


def test_the_page_lists_these_faults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    table = page.partition("| fault | seen by | message |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table] == list(FAULTS)


def test_parity_off_trains_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = train(tmp_path / "run", parity="off", **wrong_dtype(monkeypatch, tmp_path))
    assert not [key for key in row if key.startswith("parity/")]
