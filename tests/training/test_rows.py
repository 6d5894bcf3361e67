"""Rows: what SFT and GRPO read, and what happens to images that cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import orjson
import pytest

from r1sgg.data.base import example_of_record
from r1sgg.data.scenes import SMALL, write_scenes
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.text import parse
from r1sgg.models.families import load_checkpoint
from r1sgg.training.rows import FileSource, TrainingRows, open_source


def test_a_row_holds_the_prompt_the_answer_and_the_truth(mini: Path) -> None:
    checkpoint = load_checkpoint(mini)
    rows = TrainingRows(open_source("scenes:3,seed=5"), checkpoint, completion=True)
    assert len(rows) == 3
    row = rows[1]
    assert row["prompt"] == checkpoint.messages(row["image"].size)
    truth = example_of_record(orjson.loads(row["ground_truth"]), "row", Path()).graph
    answer = parse(row["completion"][0]["content"], tuple(row["frame"]))
    assert not answer.issues
    assert (answer.graph.ids, answer.graph.pairs, answer.graph.predicates) == (truth.ids, truth.pairs, truth.predicates)
    np.testing.assert_allclose(answer.graph.boxes, truth.boxes, atol=0.5 / 1000 + 0.01 / 112)
    assert "completion" not in TrainingRows(rows.source, checkpoint, completion=False)[1]


def test_scenes_drawn_on_the_fly_are_those_that_are_written(tmp_path: Path) -> None:
    written = FileSource(write_scenes(tmp_path, 3, 5, SMALL, "validation"))
    drawn = open_source("scenes:count=3,seed=5,split=validation")
    for row in range(3):
        assert drawn.draw(row)[0].tobytes() == written.draw(row)[0].tobytes()
    assert drawn.hash() == written.hash()


def test_instructions_ask_something_else_about_the_same_scenes(mini: Path) -> None:
    checkpoint = load_checkpoint(mini)
    plain = TrainingRows(open_source("scenes:8,seed=5"), checkpoint, completion=True)
    asked = TrainingRows(open_source("instruct:8,seed=5"), checkpoint, completion=True)
    assert [row["image"].tobytes() for row in plain] == [row["image"].tobytes() for row in asked]
    assert not any(a["prompt"] == b["prompt"] for a, b in zip(plain, asked, strict=True))
    assert len({row["prompt"][0]["content"] for row in asked}) > 3
    assert asked[2] == asked[2]


def test_a_group_shares_one_drawing(mini: Path) -> None:
    rows = TrainingRows(open_source("scenes:3"), load_checkpoint(mini), completion=False)
    made = rows.__getitems__([2, 2, 0])
    assert made[0]["image"] is made[1]["image"]
    assert made[0] is not made[1]  # TRL's collators change rows in place
    assert made[2]["image_id"] != made[0]["image_id"]


def test_images_that_cannot_be_used_are_left_out(tmp_path: Path, mini: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_scenes(tmp_path, 4, 0, SMALL)
    names = [orjson.loads(line)["image"] for line in path.read_bytes().splitlines()]
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).write_text("no image")
    whole = (tmp_path / names[2]).read_bytes()
    (tmp_path / names[2]).write_bytes(whole[: len(whole) // 2])  # its header is fine
    with caplog.at_level(logging.WARNING):
        source = FileSource(path)
        assert len(source) == 2
        assert len(source.left_out) == 2
        rows = TrainingRows(source, load_checkpoint(mini), completion=True)
        assert rows[0]["image_id"] == rows[1]["image_id"]
    said = [record.getMessage() for record in caplog.records]
    assert [text.count(word) for text, word in zip(said, ("no such file", "not an image", "2 of 4"), strict=False)]
    assert any("damaged" in text and "stands in" in text for text in said)
    (tmp_path / names[3]).write_bytes(b"")
    (tmp_path / names[2]).unlink()
    with pytest.raises(InputError, match="found 4 without one"):
        FileSource(path)


@pytest.mark.parametrize("spec", ["scenes:", "scenes:x", "scenes:0", "scenes:3,size=2", "scenes:3,preset=vast"])
def test_a_wrong_scenes_text_is_one_sentence(spec: str) -> None:
    with pytest.raises((ConfigError, InputError)) as caught:
        open_source(spec)
    assert "expected" in str(caught.value)
