"""Checkpoints as their makers publish them: loaded with all weights, asked as they were trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.errors import InputError, ModelError
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.engines import Opening
from r1sgg.inference.reader import Reader
from r1sgg.models import known
from r1sgg.models.families import answer_settings, default_dtype, load_checkpoint, load_model
from r1sgg.models.prompts import AnswerSettings, OwnPrompt, ask_of_column, build_messages, read_prompt, recipe_prompt

from .published import publish_as_its_makers
from .tiny_families import build_qwen2_5_vl, build_qwen2_vl, build_qwen3_vl

Build = Callable[[Path], Path]
QWEN = {"qwen2_vl": build_qwen2_vl, "qwen2_5_vl": build_qwen2_5_vl, "qwen3_vl": build_qwen3_vl}
PHOTO = Image.radial_gradient("L").resize((112, 84)).convert("RGB")


@pytest.mark.parametrize("name", QWEN)
def test_a_published_checkpoint_is_the_same_model(name: str, tmp_path: Path) -> None:
    own = QWEN[name](tmp_path / "own")
    published = publish_as_its_makers(own, tmp_path / "published")
    shards = json.loads((published / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(shards.values())) == 2
    assert any(key.startswith("visual.") for key in shards) == (name != "qwen3_vl")
    first, second = load_model(own, dtype="bfloat16"), load_model(published, dtype="bfloat16")
    weights = second.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in first.model.state_dict().items())
    assert load_model(published, dtype="auto").model.dtype == torch.bfloat16
    assert first.family == second.family
    assert first.frame(PHOTO.size) == second.frame(PHOTO.size)
    chat = [first.messages(PHOTO.size)]
    one, two = (Opening(str(folder), dtype="bfloat16").open() for folder in (own, published))
    settings = Sampling(max_new_tokens=6)
    answers = [reader.engine.generate([PHOTO], chat, settings)[0].text for reader in (one, two)]
    assert answers[0] == answers[1], "its generation_config (a repetition penalty, sampling) changes nothing"


@pytest.mark.parametrize("name", QWEN)
def test_a_published_checkpoint_reads_a_photo_under_the_guide(name: str, tmp_path: Path) -> None:
    published = publish_as_its_makers(QWEN[name](tmp_path / "own"), tmp_path / "published")
    PHOTO.save(tmp_path / "photo.png")
    asked = ["predict", str(tmp_path / "photo.png"), "--model", str(published), "--guide", "--think"]
    result = CliRunner().invoke(
        app, [*asked, "--max-new-tokens", "64", "--dtype", "bfloat16", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert record["completion"].startswith("<think>")
    assert record["failure"] is None


def test_weights_are_bfloat16_on_gpus_and_float32_on_cpus(tmp_path: Path) -> None:
    assert (default_dtype("cuda"), default_dtype("mps"), default_dtype("cpu")) == ("bfloat16", "bfloat16", "float32")
    assert load_model(build_qwen2_vl(tmp_path / "own"), device="cpu").model.dtype == torch.float32


# ---------------------------------------------------------------- known checkpoints


def cached(root: Path, name: str, build: Build = build_qwen2_vl) -> Path:
    """A checkpoint in the layout of the Hub's cache."""
    owner, _, rest = name.partition("/")
    folder = root / f"models--{owner}--{rest}" / "snapshots" / "0123"
    build(folder)
    (folder / "r1sgg.json").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("name", known.KNOWN)
def test_a_known_checkpoint_is_asked_as_it_was_trained(name: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(cached(tmp_path, name))
    expected = known.KNOWN[name]
    assert checkpoint.settings == expected.settings == answer_settings(checkpoint.path)
    assert (checkpoint.family.name, expected.frame) == (expected.family, "0..1000")
    assert checkpoint.frame((640, 480)) == (1000, 1000)
    assert checkpoint.image_pixels is not None
    assert checkpoint.image_pixels[1] == expected.max_pixels
    system, user = checkpoint.messages((640, 480), "Describe the image of size (640 x 480) in <answer>{}</answer>")
    assert "<think>" in system["content"]
    assert user["content"] == "Describe the image in ```json{}```"
    _, user = checkpoint.messages((640, 480))
    assert "Use only these object names: airplane" in user["content"], "a photo has no column"


def test_a_checkpoint_s_own_settings_win_over_the_table_and_other_names_are_not_in_it(tmp_path: Path) -> None:
    folder = cached(tmp_path, "JosephZ/R1-SGG-7B")
    AnswerSettings(prompt="short").write(folder)
    assert load_checkpoint(folder).settings == AnswerSettings(prompt="short")
    assert known.known_checkpoint("JosephZ/R1-SGG-7B-copy") is None
    assert known.known_checkpoint("runs/R1-SGG-7B") is None


def test_a_server_that_serves_a_known_checkpoint_is_asked_the_same_way() -> None:
    opening = Opening("JosephZ/R1-SGG-7B", "openai:http://127.0.0.1:9/v1")
    assert opening.column_asked() == "prompt_close"
    checkpoint = opening.checkpoint()
    assert (checkpoint.family.name, checkpoint.settings.think) == ("Qwen2-VL", True)
    assert Opening("gpt-4o", "openai").column_asked() == ""


# ---------------------------------------------------------------- prompts of one's own


class Heard:
    """An engine that keeps what it is asked."""

    name = "heard"

    def generate(self, images: Any, messages: Any, sampling: Any, keys: Any = None, **more: Any) -> list[Completion]:
        self.messages = messages
        return [Completion("{}", 1, "stop") for _ in images]


def test_a_prompt_file_is_asked_with_its_frame_and_its_system_message(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("List things; x to {width}, y to {height}: {\n")
    (tmp_path / "mine.json").write_text('{"user": "Go.", "system": "You see."}')
    plain, chat = read_prompt(tmp_path / "mine.txt"), read_prompt(tmp_path / "mine.json")
    settings = AnswerSettings(
        **recipe_prompt(AnswerSettings(), str(tmp_path / "mine.txt"), None, None), think=True, vocabulary="vg150"
    )
    system, user = build_messages(settings, (640.0, 480.0))
    assert user["content"] == "List things; x to 640, y to 480: {"
    assert "<think>" in system["content"]
    assert chat == OwnPrompt("Go.", "You see.")
    settings = AnswerSettings(prompt="own", own=chat.text, system=chat.system, think=True)
    assert [message["content"] for message in build_messages(settings)] == ["You see.", "Go."]
    settings.write(tmp_path)
    assert AnswerSettings.read(tmp_path) == settings
    assert "own" not in AnswerSettings().to_record(), "files of settings stay as they were"
    assert plain.system == ""


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"  \n", "expected a prompt, found an empty file"),
        ("a.txt", b"\xff\xfe\x00", "expected a prompt in UTF-8"),
        ("a.json", b'{"text": "Go."}', 'expected {"user": TEXT, "system": TEXT}'),
        ("a.json", b'{"user": 3}', "expected a prompt, found 3"),
        ("a.json", b"{", "broken JSON"),
        ("nowhere.txt", None, "expected a text file with a prompt"),
    ],
)
def test_a_prompt_file_that_is_none_is_one_sentence(
    name: str, content: bytes | None, says: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_prompt(tmp_path / name)
    assert says in str(caught.value)


def test_a_column_keeps_its_tags_without_think_and_its_size_where_the_settings_say_so() -> None:
    text = "An image of size (4 x 2) please: <answer>{}</answer>"
    assert ask_of_column(AnswerSettings(), text, (4, 2)) == "An image please: <answer>{}</answer>"
    assert ask_of_column(AnswerSettings(image_size=True, think=True), text, (4, 2)) == (
        "An image of size (4 x 2) please: ```json{}```"
    )
    assert ask_of_column(AnswerSettings(), text, (5, 2)) == text


def test_the_options_of_an_opening_win_over_the_checkpoint_s(tmp_path: Path) -> None:
    folder = build_qwen2_vl(tmp_path / "model")
    AnswerSettings(prompt="own", own="Mine.", system="Sys.", column="told").write(folder)

    def asked(**options: Any) -> list[str]:
        checkpoint = Opening(str(folder), **options).checkpoint()
        reader, text = Reader(checkpoint, engine := Heard()), "By column."
        reader.read_batch([PHOTO], columns=[text if checkpoint.settings.column else None])
        return [str(message["content"]) for message in engine.messages[0]]

    assert asked() == ["Sys.", "By column."]
    assert asked(prompt=OwnPrompt("Other."), column="") == ["Other."]
    (ours,) = asked(prompt=OwnPrompt(""), column="", prompt_vocabulary="open")
    assert ours.startswith("Write a structured scene graph")
    assert Opening(str(folder)).column_asked() == "told"
    assert Opening(str(folder), prompt=OwnPrompt("Other.")).column_asked() == ""
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        Opening("nowhere").column_asked()
