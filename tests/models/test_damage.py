"""A damaged checkpoint ends in one sentence that names the file, whichever command loads it."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.errors import R1SGGError
from r1sgg.inference.engines import load

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DEEP = '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}"
Damage = Callable[[Path], object]


def cut(size: int) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])


def text(name: str, content: str) -> Damage:
    return lambda folder: (folder / name).write_text(content)


def header(change: Callable[[dict[str, Any]], None]) -> Damage:
    """Change the header of the weights file."""

    def damage(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        record = json.loads(data[8 : 8 + size])
        change(record)
        new = json.dumps(record).encode()
        new += b" " * (-len(new) % 8)
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(new)) + new + data[8 + size :])

    return damage


def edit(name: str, *path: str, value: Any) -> Damage:
    """Change one value of a JSON file."""

    def damage(folder: Path) -> None:
        record = place = json.loads((folder / name).read_text())
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (folder / name).write_text(json.dumps(record))

    return damage


def shards(weight_map: Any) -> Damage:
    def damage(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return damage


def _embedding(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["model.embed_tokens.weight"]
    return found


def _rename(record: dict[str, Any]) -> None:
    record["x"] = record.pop("model.embed_tokens.weight")


CASES: dict[str, tuple[Damage, str, str]] = {
    # what was damaged: how, the file that the sentence names, what it says
    "download cut off": (cut(300_000), WEIGHTS, "expected a whole file of weights, found none that loads"),
    "cut in the header": (cut(100), WEIGHTS, "expected a whole file of weights"),
    "empty": (cut(0), WEIGHTS, "expected a whole file of weights"),
    "a web page": (text(WEIGHTS, "<html>404</html>" * 50), WEIGHTS, "expected a whole file of weights"),
    "a pointer": (text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid x\n"), WEIGHTS, "`git lfs pull`"),
    "another shape": (
        header(lambda record: _embedding(record).update(shape=_embedding(record)["shape"][::-1])),
        WEIGHTS,
        "embed_tokens.weight of shape",
    ),
    "integers": (header(lambda record: _embedding(record).update(dtype="I16")), WEIGHTS, "embed_tokens.weight of I16"),
    "a weight of another name": (header(_rename), WEIGHTS, "expected the weight lm_head.weight and 1 more, found none"),
    "a missing shard": (
        shards({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}),
        INDEX,
        "expected the weights file 'model-00002-of-00002.safetensors' beside it, found none",
    ),
    "a shard elsewhere": (shards({"a": "../model.safetensors"}), INDEX, "'../model.safetensors' beside it, found none"),
    "an index of nothing": (shards({}), INDEX, "expected a weight_map"),
    "an index of numbers": (shards({"a": 1}), INDEX, "expected a weight_map"),
    "broken index": (lambda f: (shards({})(f), (f / INDEX).write_text("{"))[0], INDEX, "broken JSON"),
    "deep config": (text("config.json", DEEP), "config.json", "JSON that is nested too deeply"),
    "cut config": (text("config.json", '{"model_type": "qwen2'), "config.json", "broken JSON"),
    "config of another type": (edit("config.json", "vision_config", value="x"), "config.json", "vision_config"),
    "no heads": (edit("config.json", "text_config", "num_attention_heads", value=0), "", "ZeroDivisionError"),
    "a token outside": (edit("config.json", "vision_end_token_id", value=10**6), "config.json", "vision_end_token_id"),
    "deep tokenizer": (text("tokenizer.json", DEEP), "tokenizer.json", "JSON that is nested too deeply"),
    "cut tokenizer": (text("tokenizer.json", '{"version": "1.0", "mod'), "tokenizer.json", "broken JSON"),
    "no tokenizer": (text("tokenizer.json", "{}"), "tokenizer.json", "expected a tokenizer"),
    "a broken tokenizer": (edit("tokenizer.json", "model", "vocab", value=3), "tokenizer.json", "expected a tokenizer"),
    "tokenizer list": (text("tokenizer_config.json", "[]"), "tokenizer_config.json", "a JSON object, found list"),
    "template": (text("chat_template.jinja", "{% for m in messages %}"), "chat_template.jinja", "TemplateSyntaxError"),
    "undefined": (text("chat_template.jinja", "{{ a.b }}"), "chat_template.jinja", "UndefinedError"),
    "no place": (text("chat_template.jinja", "hello"), "chat_template.jinja", "with a place for the image"),
    "no text": (
        lambda folder: (folder / "chat_template.jinja").write_bytes(b"\xff\xfe"),
        "chat_template.jinja",
        "expected a chat template",
    ),
    "deep processor": (text("processor_config.json", DEEP), "processor_config.json", "nested too deeply"),
    "a processor's mean": (
        edit("processor_config.json", "image_processor", "image_mean", value=[[], 1, 1]),
        "processor_config.json",
        "expected an image processor",
    ),
    "a huge patch": (
        edit("processor_config.json", "image_processor", "patch_size", value=10**6),
        "processor_config.json",
        "expected patch_size from 1 to 4,096, found 1000000",
    ),
    "a huge vocabulary": (
        edit("config.json", "text_config", "vocab_size", value=10**8),
        WEIGHTS,
        "of shape [100000000",
    ),
    "no generation": (text("generation_config.json", "[]"), "generation_config.json", "a JSON object, found list"),
    "end of what": (
        edit("generation_config.json", "eos_token_id", value="x"),
        "generation_config.json",
        "eos_token_id",
    ),
    "deep settings": (text("r1sgg.json", DEEP), "r1sgg.json", "broken JSON"),
}


@pytest.fixture
def damaged(tiny_checkpoint: Path, tmp_path: Path) -> Callable[[str], Path]:
    def make(case: str) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(tiny_checkpoint, folder)
        CASES[case][0](folder)
        return folder

    return make


@pytest.mark.parametrize("case", CASES)
def test_damage_is_one_sentence_that_names_the_file(damaged: Callable[[str], Path], case: str) -> None:
    folder = damaged(case)
    with pytest.raises(R1SGGError) as caught:
        load(folder, device="cpu")
    sentence = str(caught.value)
    _, name, says = CASES[case]
    assert sentence.startswith(f"{folder / name if name else folder}: expected "), sentence
    assert says in sentence
    assert "\n" not in sentence


def test_a_whole_checkpoint_in_shards_loads(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    with safe_open(folder / WEIGHTS, framework="pt") as weights:
        names = list(weights.keys())
        halves = {f"model-0000{k}-of-00002.safetensors": names[k - 1 :: 2] for k in (1, 2)}
        for file, part in halves.items():
            save_file({name: weights.get_tensor(name) for name in part}, folder / file, {"format": "pt"})
    (folder / WEIGHTS).unlink()
    weight_map = {name: file for file, part in halves.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert load(folder, device="cpu").checkpoint.name == str(folder)


@pytest.mark.parametrize(
    "case", ["download cut off", "a missing shard", "deep config", "a broken tokenizer", "template"]
)
@pytest.mark.parametrize("command", ["predict", "generate", "sft"])
def test_every_command_ends_with_the_sentence_and_exit_code_2(
    damaged: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, case: str
) -> None:
    folder, image = damaged(case), tmp_path / "a.png"
    _scene(tmp_path, image)
    data, model = str(tmp_path / "gt.jsonl"), ["--model", str(folder)]
    arguments = {
        "predict": ["predict", str(image), *model, "--out", str(tmp_path / "out")],
        "generate": ["generate", "--images", data, *model, "--out", str(tmp_path / "out.jsonl")],
        "sft": ["sft", "--data", data, *model, "--output_dir", str(tmp_path / "run")],
    }
    _one_sentence(arguments[command], folder / CASES[case][1], capsys)


@pytest.mark.parametrize("case", ["another shape", "a weight of another name"])
def test_sft_does_not_train_from_random_weights(
    damaged: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    folder = damaged(case)
    _scene(tmp_path, tmp_path / "a.png")
    data, out = str(tmp_path / "gt.jsonl"), str(tmp_path / "run")
    _one_sentence(["sft", "--data", data, "--model", str(folder), "--output_dir", out], folder / WEIGHTS, capsys)


def _scene(folder: Path, image: Path) -> None:
    Image.new("RGB", (56, 56)).save(image)
    row: dict[str, Any] = {"image_id": "a", "width": 56, "height": 56, "image": image.name, "relationships": []}
    row["objects"] = [{"id": "man.1", "bbox": [1, 2, 30, 40]}]
    (folder / "gt.jsonl").write_text(json.dumps(row) + "\n")


def _one_sentence(arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"r1sgg: {file}: expected ")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda f: (f / "adapter_model.safetensors").write_bytes(b"x" * 50),
            "adapter_model.safetensors: expected a whole",
        ),
        (lambda f: (f / "adapter_config.json").write_text(DEEP), "adapter_config.json: expected a JSON object"),
        (edit("adapter_config.json", "r", value="many"), "expected an adapter for"),
        (edit("adapter_config.json", "r", value=3), "expected an adapter for"),
        (edit("adapter_config.json", "target_modules", value=["none"]), "expected an adapter for"),
    ],
)
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of peft
def test_a_damaged_adapter(tiny_checkpoint: Path, tmp_path: Path, damage: Damage, says: str) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint)
    folder = tmp_path / "adapter"
    peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(folder)
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
        "chat_template.jinja",
        "r1sgg.json",
    ):
        if (tiny_checkpoint / name).exists():
            shutil.copy(tiny_checkpoint / name, folder)
    edit("adapter_config.json", "base_model_name_or_path", value=str(tiny_checkpoint))(folder)
    assert load(folder, device="cpu").checkpoint.name == str(folder)
    damage(folder)
    with pytest.raises(R1SGGError) as caught:
        load(folder, device="cpu")
    assert says in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
