"""Completions that repeat themselves are cut, others are not."""

import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import r1sgg
from r1sgg.cli import app
from r1sgg.data.base import Prediction
from r1sgg.errors import ConfigError
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference import hf
from r1sgg.inference.engine import Sampling, describe
from r1sgg.inference.loops import BLOCK, BLOCKS, EVERY, ROWS, TOKENS, LoopWatch
from r1sgg.metrics import evaluate
from r1sgg.miniature.scenes import SMALL, scene, split_seeds

from ..guiding.graphs import random_text

MOST = 400
CUT = Sampling(max_new_tokens=MOST, cut_loops=True)


def characters(text: str) -> int | None:
    """How much of a text is written, a character a token, before it is cut; None where it is not."""
    watch = LoopWatch(lambda ids: "".join(map(chr, ids)))
    ids: list[int] = []
    for character in text:
        ids.append(ord(character))
        if watch.loops(ids):
            return len(ids)
    return None


def test_a_repeated_relationship_is_found() -> None:
    start = '{"objects": [{"id": "a.1", "bbox": [1, 2, 3, 4]}], "relationships": ['
    row = '{"subject": "a.1", "predicate": "near the other one", "object": "b.1"}, '
    cut = characters(start + row * 40)
    assert cut is not None
    assert len(start) + (ROWS - 1) * len(row) < cut <= len(start) + ROWS * len(row) + EVERY
    assert characters(start + row * (ROWS - 1) + '{"subject": "b.1"}]}') is None


def test_a_repeated_object_is_found_whatever_its_number() -> None:
    rows = [f'{{"id": "traffic light.{k}", "bbox": [10, 20, 30, 40]}}, ' for k in range(1, 40)]
    assert characters('{"objects": [' + "".join(rows)) is not None
    moving = [f'{{"id": "traffic light.{k}", "bbox": [{k}, 20, 30, 40]}}, ' for k in range(1, 40)]
    assert characters('{"objects": [' + "".join(moving)) is None
    lines = [f"man{k} 10 20 30 40\n" for k in range(2, 30)]
    assert characters("objects\n" + "".join(lines)) is not None
    assert characters("relationships\n" + "man rides horse\n" * 30) is not None


def test_indented_json_does_not_repeat_itself() -> None:
    objects = [{"id": f"man.{k}", "bbox": [k, 0, 9 + k, 7]} for k in range(1, 60)]
    assert characters(json.dumps({"objects": objects, "relationships": []}, indent=2)) is None


def test_a_block_of_tokens_is_found() -> None:
    assert characters("x" + "umbrella" * 30) is not None
    assert characters("." * (TOKENS + 1 + EVERY)) is not None
    assert characters("." * TOKENS) is None
    block = "".join(chr(97 + k % 26) + str(k) for k in range(BLOCK))[:BLOCK]
    assert characters(block * (BLOCKS + 2)) is not None
    assert characters((block + block[::-1]) * (BLOCKS + 2)) is None, "longer blocks are rows, or nothing"


@pytest.mark.parametrize("answer_format", ["json", "compact"])
def test_valid_graphs_are_never_cut(answer_format: Any) -> None:
    spec = GuideSpec((1000, 1000), max_objects=20, max_relationships=30, answer_format=answer_format)
    rng = random.Random(0)
    for _ in range(40):
        assert characters(random_text(rng, spec)) is None


# ---------------------------------------------------------------- with the shipped model


@pytest.fixture(scope="module")
def tiny() -> Any:
    return r1sgg.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Pictures of noise, which `tiny` was never trained on."""
    torch.manual_seed(0)
    noise = (torch.rand(5, 16, 16, 3) * 255).byte().numpy()
    return [Image.fromarray(one).resize((112, 112), Image.Resampling.BICUBIC) for one in noise]


def test_completions_of_tiny_that_come_to_an_end_are_not_cut(tiny: Any) -> None:
    images = [scene(seed, SMALL).image for seed in split_seeds("test", 21, 40)]
    plain = tiny.read_batch(images, Sampling(max_new_tokens=MOST))
    cut = tiny.read_batch(images, CUT)
    assert [a.completion.text for a in cut] == [a.completion.text for a in plain]
    assert {a.completion.finish_reason for a in cut} == {"stop"}


@pytest.mark.parametrize("way", ["loop", "steps"])
def test_completions_of_tiny_that_never_end_are_cut_and_counted_as_failures(
    tiny: Any, photos: list[Image.Image], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "steps":
        monkeypatch.setattr(hf, "suits", lambda model: False)
    plain = tiny.read_batch(photos, Sampling(max_new_tokens=MOST))
    cut = tiny.read_batch(photos, CUT)
    looped = [k for k, reading in enumerate(cut) if reading.completion.finish_reason == "loop"]
    assert looped
    for k, (one, other) in enumerate(zip(cut, plain, strict=True)):
        assert other.completion.text.startswith(one.completion.text)
        assert other.completion.finish_reason in ("stop", "length")
        if k not in looped:
            assert one.completion.text == other.completion.text
    assert sum(cut[k].completion.tokens for k in looped) < sum(plain[k].completion.tokens for k in looped)
    truth = scene(next(iter(split_seeds("test", 1, 1))), SMALL).example
    for k in looped:
        assert cut[k].parsed.failure is not None
        said = Prediction(truth.image_id, (1000.0, 1000.0), cut[k].completion.text)
        assert evaluate([truth], [said])["failure_rate"] == 1


def test_the_option_is_off_unless_asked_for_and_part_of_a_run_s_settings() -> None:
    assert not Sampling().cut_loops
    assert describe(CUT) == {"temperature": 0.0, "max_new_tokens": MOST, "cut_loops": True}
    assert "cut_loops" not in describe(Sampling())


def test_predict_cuts_and_generate_does_when_asked(photos: list[Image.Image], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for k, photo in enumerate(photos):
        photo.save(tmp_path / "photos" / f"{k}.png")
    files = sorted(str(path) for path in (tmp_path / "photos").iterdir())
    common = ["--model", "tiny", "--device", "cpu", "--max-new-tokens", str(MOST)]
    reasons = {}
    for name, more in (("on", []), ("off", ["--no-cut-loops"])):
        done = CliRunner().invoke(app, ["predict", *files, *common, *more, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        read = [orjson.loads(path.read_bytes()) for path in sorted((tmp_path / name).glob("*.json"))]
        reasons[name] = [row["finish_reason"] for row in read]
    for name, more in (("asked", ["--cut-loops"]), ("plain", [])):
        out = tmp_path / f"{name}.jsonl"
        command = ["generate", "--images", str(tmp_path / "photos"), *common, *more, "--out", str(out)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        reasons[name] = [orjson.loads(line)["finish_reason"] for line in out.read_bytes().splitlines()]
    assert "loop" in reasons["on"]
    assert reasons["asked"] == reasons["on"]
    assert reasons["off"] == reasons["plain"]
    assert "loop" not in reasons["off"]
    done = CliRunner().invoke(app, [*command, "--cut-loops", "--engine", "vllm"])
    assert isinstance(done.exception, ConfigError)
    assert "--cut-loops: this option is for --engine hf, not vllm" in str(done.exception)
