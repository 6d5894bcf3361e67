"""Every family from its real processor through SFT, generation and GRPO, on two photos of unlike sizes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from trl import SFTConfig
from typer.testing import Result

from r1sgg.data.base import Example, write_ground_truth
from r1sgg.errors import ConfigError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.models.families import load_checkpoint, load_model
from r1sgg.training.rows import TrainingRows, open_source
from r1sgg.training.sft import DEFAULTS, AnswerTrainer, pad_reader_right

from ..models.capabilities import BY_KEY, able, shows
from ..models.tiny_families import BUILDERS
from .conftest import CHECKPOINTING
from .vowels import use

Command = Callable[..., Result]
pytestmark = pytest.mark.matrix(name=6)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    objects = [SceneObject("man.1", "man", (0.1, 0.1, 0.5, 0.9)), SceneObject("hat.1", "hat", (0.2, 0.1, 0.4, 0.3))]
    graph = SceneGraph.build(objects, [Relationship(0, "wearing", 1)])
    examples = []
    for number, (width, height) in enumerate([(60, 90), (150, 100)]):
        path = folder / f"{number}.png"
        Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
        examples.append(Example(str(number), width, height, graph, image=path))
    write_ground_truth(folder / "gt.jsonl", examples)
    return folder / "gt.jsonl"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = BUILDERS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return folder


def logged(folder: Path) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [orjson.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    return rows[0]


OPTIONS = {"prompt": "short", "minify": True, "max_steps": 1, "save_strategy": "no", "learning_rate": 1e-2}


@shows("sft")
def test_sft_then_an_answer(
    name: str, folders: Callable[[str], Path], r1sgg: Command, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = r1sgg("sft", out, model=folders(name), data=photos, **{**OPTIONS, "per_device_train_batch_size": 2})
    assert done.exit_code == 0, done.output
    assert 0 < logged(out)["grad_norm"] < 100
    before, after = load_file(folders(name) / "model.safetensors"), load_file(out / "model.safetensors")
    assert set(before) == set(after)
    moved = {key for key in before if not torch.equal(before[key].float(), after[key].float())}
    loaded = load_model(out, device="cpu")
    assert any(loaded.family.tower in key for key in moved)
    assert any(loaded.family.tower not in key for key in moved)
    images = [Image.open(photos.parent / f"{k}.png") for k in range(2)]
    chats = [loaded.messages(image.size) for image in images]
    answers = TransformersEngine(loaded).generate(images, chats, Sampling(max_new_tokens=4))
    assert [0 < answer.tokens <= 4 for answer in answers] == [True, True]


@pytest.mark.parametrize("name", ["qwen2_vl", "llava", "instructblip"])
def test_the_loss_is_the_mean_over_the_tokens_of_the_completion(
    name: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    """Against a plain loop, for TRL's loss (Qwen2-VL, LLaVA) and for that of transformers (InstructBLIP)."""
    checkpoint = load_checkpoint(folders(name))
    rows = TrainingRows(open_source("scenes:4"), checkpoint, completion=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        options = {"use_cpu": True, "bf16": False, "report_to": [], CHECKPOINTING: False}
        args = SFTConfig(str(tmp_path), **DEFAULTS, **options)
        trainer = AnswerTrainer(
            model=checkpoint.path, args=args, processing_class=checkpoint.processor, train_dataset=rows
        )
    trainer.hidden = checkpoint.family.hidden
    batch = pad_reader_right(trainer.data_collator, checkpoint.family)([rows[k] for k in range(4)])
    labels = batch["labels"]
    tokenizer = checkpoint.processor.tokenizer
    for k in range(4):
        taught = tokenizer.decode(labels[k][labels[k] != -100], skip_special_tokens=True)
        assert taught.strip() == rows[k]["completion"][0]["content"]
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=torch.tensor(100))
    with torch.no_grad():
        logits = trainer.model(**{key: value for key, value in batch.items() if key != "labels"}).logits
    total = 0.0
    for row, wanted in zip(logits, labels, strict=True):
        for place in range(1, len(wanted)):
            if wanted[place] != -100:
                total -= row[place - 1].log_softmax(-1)[wanted[place]].item()
    assert loss.item() == pytest.approx(total / 100, rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for n, p in trainer.model.named_parameters() if "language_model.layers" in n)


def test_a_loss_that_instructblip_has_not_is_one_sentence(
    folders: Callable[[str], Path], r1sgg: Command, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="loss_type: expected nll for InstructBLIP, found dft"):
        r1sgg("sft", tmp_path, model=folders("instructblip"), data=photos, loss_type="dft", **OPTIONS)


@shows("grpo")
def test_grpo_scores_each_answer_with_its_own_image(
    name: str,
    folders: Callable[[str], Path],
    r1sgg: Command,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from r1sgg.training.grpo import GraphTrainer

    agree: list[bool] = []
    plain = GraphTrainer._generate_and_score_completions
    names = ("pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "image_sizes", "mm_token_type_ids")
    names += ("token_type_ids", "image_position_ids", "spatial_shapes", "num_tiles")

    def watched(self: Any, inputs: Any) -> Any:
        """Log-probabilities of the batch, and of each answer alone."""
        made = plain(self, inputs)
        ids = torch.cat([made["prompt_ids"], made["completion_ids"]], 1)
        mask = torch.cat([made["prompt_mask"], made["completion_mask"]], 1)
        given = {key: made[key] for key in names if key in made}
        with torch.no_grad():
            together, alone = (
                self._get_per_token_logps_and_entropies(
                    self.model, ids, mask, made["completion_ids"].shape[1], batch_size=size, **given
                )[0]
                for size in (len(ids), 1)
            )
        keep = made["completion_mask"].bool()
        agree.append(torch.allclose(together[keep], alone[keep], atol=1e-3))
        agree.append(
            len({tuple(x["image"].size) for x in inputs}) == 2 or self.processing_class.image_processor is None
        )
        return made

    monkeypatch.setattr(GraphTrainer, "_generate_and_score_completions", watched)
    use("ranked", monkeypatch)
    sampled = {"num_generations": 2, "max_completion_length": 6, "per_device_train_batch_size": 4}
    done = r1sgg("grpo", tmp_path, model=folders(name), data=photos, **{**OPTIONS, **sampled})
    assert done.exit_code == 0, done.output
    assert agree == [True, True]
    assert logged(tmp_path)["grad_norm"] > 0


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (command, key)
        for command in ("sft", "grpo")
        for key in able("generate")
        if command in BY_KEY[key].cannot  # type: ignore[comparison-overlap]
    ],
)
def test_what_trl_cannot_train_is_one_sentence(
    command: str, name: str, folders: Callable[[str], Path], r1sgg: Command, photos: Path, tmp_path: Path
) -> None:
    says = rf"model: .* cannot be trained by {command.upper()}, because TRL .*; use another model"
    more = {"num_generations": 2} if command == "grpo" else {}
    with pytest.raises(ConfigError, match=says):
        r1sgg(command, tmp_path, model=folders(name), data=photos, **OPTIONS, **more)


@pytest.mark.parametrize("name", able("sft"))
def test_a_frozen_vision_tower_stays_as_it_is(
    name: str, folders: Callable[[str], Path], r1sgg: Command, photos: Path, tmp_path: Path
) -> None:
    done = r1sgg("sft", tmp_path, model=folders(name), data=photos, freeze_vision=True, **OPTIONS)
    assert done.exit_code == 0, done.output
    before, after = load_file(folders(name) / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    family = load_model(tmp_path, device="cpu").family
    moved = {key for key in before if not torch.equal(before[key].float(), after[key].float())}
    inside = {key for key in before if f"{family.tower}." in key}
    merger = {key for key in inside if re.search(rf"{family.tower}\.({family.merger})", key)}
    assert moved - inside, "the language model is trained"
    assert moved & inside <= merger, "the tower is not"
    assert bool(moved & merger) == bool(merger), "what projects to the language model is, wherever it is"
