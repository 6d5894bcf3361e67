"""Prompts that are in the data (`--prompt column:NAME`): every kind of input, and what is said where there are none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.parts import line_of_place, place_of_line
from r1sgg.bulk.run import Job, run
from r1sgg.cli import app
from r1sgg.data.spec import parse_spec
from r1sgg.endpoint.remote import remote
from r1sgg.errors import ConfigError
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reader

from ..data.annotation_files import examples, hub_rows, write_parquet
from ..inference.pretend import Parrot

TEXTS = ["Tell me of size (80 x 60) all.", "And this?"]


class Heard(Parrot):
    """Keeps what it is asked."""

    def generate(self, images: Any, messages: Any, *args: Any, **more: Any) -> Any:
        self.heard = [*getattr(self, "heard", []), *(chat[-1]["content"] for chat in messages)]
        return super().generate(images, messages, *args, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, asked by TEXTS: as ground truth, as lines of images, as parquet and as a Hub set."""
    for name in ("a", "b"):
        Image.new("RGB", (80, 60)).save(tmp_path / f"{name}.png")
    truth = [
        {"image_id": name, "width": 80, "height": 60, "objects": [], "relationships": [], "image": f"{name}.png"}
        for name in ("a", "b")
    ]
    lines = [row | {"meta": {"told": text, "half": text}} for row, text in zip(truth, TEXTS, strict=True)]
    del lines[1]["meta"]["half"]
    (tmp_path / "gt.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = [{"image": f"{name}.png", "told": text} for name, text in zip(("a", "b"), TEXTS, strict=True)]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    cells = [{"image": (tmp_path / f"{n}.png").read_bytes(), "told": t} for n, t in zip(("a", "b"), TEXTS, strict=True)]
    pq.write_table(pa.Table.from_pylist(cells), tmp_path / "images.parquet")
    named = [cell | {"image_id": str(k)} for k, cell in enumerate(cells)]
    pq.write_table(pa.Table.from_pylist(named), tmp_path / "named.parquet")
    rows = [row | {"told": text} for row, text in zip(hub_rows(examples(2)), TEXTS, strict=True)]
    write_parquet(tmp_path / "set", rows)
    return tmp_path


@pytest.mark.parametrize("spec", ["gt.jsonl", "lines.jsonl", "images.parquet", "named.parquet", "hub:set"])
def test_each_image_is_asked_by_its_own_prompt(
    spec: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    inputs = open_inputs(spec, "told")
    assert inputs.without_prompt == 0
    assert [place.prompt for place in inputs] == TEXTS
    assert [place_of_line(line_of_place(place)) for place in inputs] == list(inputs), "on the way to other machines"
    assert inputs.digest != open_inputs(spec).digest, "a run that was asked otherwise is not resumed"
    checkpoint = remote("parrot", "0-1000")
    settings = dataclasses.replace(checkpoint.settings, column="told")
    engine = Heard()
    reader = Reader(dataclasses.replace(checkpoint, settings=settings), engine)
    run(inputs, tmp_path / "out.jsonl", reader, Job(Sampling(), batch_size=2))
    first = TEXTS[0] if parse_spec(spec).kind == "hub" else "Tell me all."  # the set's images have another size
    assert sorted(engine.heard) == sorted([first, TEXTS[1]])


def generate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["generate", "--model", "tiny", *map(str, arguments)])


@pytest.mark.parametrize(
    ("images", "column", "says"),
    [
        ("gt.jsonl", "nothing", "expected a text of that name with each image, found none in"),
        ("gt.jsonl", "half", "found none with 1 of 2 images"),
        (".", "told", "found none in"),
    ],
)
def test_a_column_that_is_not_there_is_refused_before_the_model_is_loaded(
    images: str, column: str, says: str, folder: Path
) -> None:
    result = generate("--images", folder / images, "--prompt", f"column:{column}", "--out", folder / "out.jsonl")
    assert isinstance(result.exception, ConfigError)
    assert says in str(result.exception)
    assert not (folder / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("column:told", "expected open, closed or a file, because photos have no columns"),
        ("column:", "expected"),
        ("nowhere.txt", "--prompt: expected open, closed, a file or column:NAME, found 'nowhere.txt'"),
    ],
)
def test_photos_have_no_columns(prompt: str, says: str, folder: Path) -> None:
    asked = ["predict", str(folder / "a.png"), "--prompt", prompt, "--out", str(folder / "graphs")]
    result = CliRunner().invoke(app, asked)
    assert isinstance(result.exception, ConfigError)
    assert says in str(result.exception)


def test_a_checkpoint_s_own_column_may_be_missing_and_that_is_said(folder: Path) -> None:
    from ..models.tiny_families import build_qwen2_vl

    model = build_qwen2_vl(folder / "model")
    settings = json.loads((model / "r1sgg.json").read_text())
    (model / "r1sgg.json").write_text(json.dumps(settings | {"column": "half"}))
    asked = ["--images", folder / "gt.jsonl", "--max-new-tokens", "2", "--out", folder / "out.jsonl"]
    result = CliRunner().invoke(app, ["generate", "--model", str(model), *map(str, asked)])
    assert result.exit_code == 0, result.output
    assert "trained with the prompts of the column half, found none with 1 of 2 images" in result.output
    photo = ["predict", str(folder / "a.png"), "--model", str(model), "--max-new-tokens", "2"]
    shown = CliRunner().invoke(app, [*photo, "--out", str(folder / "graphs")])
    assert "trained with the prompts of the column half, found photos without columns" in shown.output
